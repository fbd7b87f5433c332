//! What a guest may import: our own packages, all of `wasi:cli/imports`, and `wasi:http`. HTTP
//! handlers get WASI 0.3 beside 0.2: it needs an engine with concurrency.
//!
//! Everything is linked for every guest, whatever it is granted; a call that is not granted
//! answers `denied`. What is not linked is refused when a version is deployed, all of it at once.

use backlot_backup::guest::HasBackup;
use backlot_bindings::backlot::encoding::encoder;
use backlot_bindings::backlot::function::{children, context};
use backlot_bindings::backlot::storage::{antivirus, backup, changes, objects};
use backlot_encoding::guest::Encoding;
use backlot_storage::guest::HasStorage;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasData, Linker, ResourceType};
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p2::bindings::LinkOptions;
use wasmtime_wasi_http::p2::bindings::http::{outgoing_handler, types};
use wasmtime_wasi_http::p3::bindings::http::client;

use crate::context::ContextView;
use crate::engine::Engine;
use crate::state::GuestState;

/// The interfaces that are linked, each with the version that the host implements. A guest may ask
/// for any version that is compatible with it.
const LINKED: &[&str] = &[
    "backlot:encoding/encoder@0.1.0",
    "backlot:function/children@0.1.0",
    "backlot:function/context@0.1.0",
    "backlot:function/types@0.1.0",
    "backlot:storage/antivirus@0.1.0",
    "backlot:storage/backup@0.1.0",
    "backlot:storage/changes@0.1.0",
    "backlot:storage/objects@0.1.0",
    "wasi:cli/environment@0.2.12",
    "wasi:cli/exit@0.2.12",
    "wasi:cli/stderr@0.2.12",
    "wasi:cli/stdin@0.2.12",
    "wasi:cli/stdout@0.2.12",
    "wasi:cli/terminal-input@0.2.12",
    "wasi:cli/terminal-output@0.2.12",
    "wasi:cli/terminal-stderr@0.2.12",
    "wasi:cli/terminal-stdin@0.2.12",
    "wasi:cli/terminal-stdout@0.2.12",
    "wasi:clocks/monotonic-clock@0.2.12",
    "wasi:clocks/wall-clock@0.2.12",
    "wasi:filesystem/preopens@0.2.12",
    "wasi:filesystem/types@0.2.12",
    "wasi:http/outgoing-handler@0.2.12",
    "wasi:http/types@0.2.12",
    "wasi:io/error@0.2.12",
    "wasi:io/poll@0.2.12",
    "wasi:io/streams@0.2.12",
    "wasi:random/insecure@0.2.12",
    "wasi:random/insecure-seed@0.2.12",
    "wasi:random/random@0.2.12",
    "wasi:sockets/instance-network@0.2.12",
    "wasi:sockets/ip-name-lookup@0.2.12",
    "wasi:sockets/network@0.2.12",
    "wasi:sockets/tcp@0.2.12",
    "wasi:sockets/tcp-create-socket@0.2.12",
    "wasi:sockets/udp@0.2.12",
    "wasi:sockets/udp-create-socket@0.2.12",
];

/// The interfaces that are linked for HTTP handlers besides.
const LINKED_FOR_HTTP: &[&str] = &[
    "wasi:cli/environment@0.3.0",
    "wasi:cli/exit@0.3.0",
    "wasi:cli/stderr@0.3.0",
    "wasi:cli/stdin@0.3.0",
    "wasi:cli/stdout@0.3.0",
    "wasi:cli/terminal-input@0.3.0",
    "wasi:cli/terminal-output@0.3.0",
    "wasi:cli/terminal-stderr@0.3.0",
    "wasi:cli/terminal-stdin@0.3.0",
    "wasi:cli/terminal-stdout@0.3.0",
    "wasi:cli/types@0.3.0",
    "wasi:clocks/monotonic-clock@0.3.0",
    "wasi:clocks/system-clock@0.3.0",
    "wasi:clocks/types@0.3.0",
    "wasi:filesystem/preopens@0.3.0",
    "wasi:filesystem/types@0.3.0",
    "wasi:http/client@0.3.0",
    "wasi:http/types@0.3.0",
    "wasi:random/insecure@0.3.0",
    "wasi:random/insecure-seed@0.3.0",
    "wasi:random/random@0.3.0",
    "wasi:sockets/ip-name-lookup@0.3.0",
    "wasi:sockets/types@0.3.0",
];

/// Names [`ContextView`] to the linker.
struct Context;

impl HasData for Context {
    type Data<'a> = ContextView<'a>;
}

/// A linker with all that we offer to HTTP handlers.
///
/// # Errors
/// As [`linker`].
pub(crate) fn http(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = linker(engine)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    client::add_to_linker::<_, WasiHttp>(&mut linker, GuestState::http)?;
    wasmtime_wasi_http::p3::bindings::http::types::add_to_linker::<_, WasiHttp>(
        &mut linker,
        GuestState::http,
    )?;
    Ok(linker)
}

/// A linker with all that we offer to handlers of events.
///
/// # Errors
/// Only when two interfaces collide, which is a bug of ours.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine.wasmtime());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    context::add_to_linker::<_, Context>(&mut linker, GuestState::context)?;
    children::add_to_linker::<_, Context>(&mut linker, GuestState::context)?;
    objects::add_to_linker::<_, HasStorage>(&mut linker, GuestState::storage)?;
    antivirus::add_to_linker::<_, HasStorage>(&mut linker, GuestState::storage)?;
    backup::add_to_linker::<_, HasBackup>(&mut linker, GuestState::backup)?;
    changes::add_to_linker::<_, HasStorage>(&mut linker, GuestState::storage)?;
    encoder::add_to_linker::<_, Encoding>(&mut linker, GuestState::encoding)?;
    outgoing_handler::add_to_linker::<_, WasiHttp>(&mut linker, GuestState::http)?;
    types::add_to_linker::<_, WasiHttp>(
        &mut linker,
        &LinkOptions::default().into(),
        GuestState::http,
    )?;
    Ok(linker)
}

/// What a component imports and we do not link: interfaces, and functions or resources of
/// interfaces that we do link. Where we have another version of it, that is named in brackets.
/// Sorted.
pub(crate) fn missing_imports(linker: &Linker<GuestState>, component: &Component) -> Vec<String> {
    let engine = linker.engine();
    let mut missing = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else {
            missing.push(name.to_owned());
            continue;
        };
        let Some(linked) = linked(engine).find(|linked| compatible(name, linked)) else {
            missing.push(with_ours(engine, name));
            continue;
        };
        for (item, export) in interface.exports(engine) {
            if !has_item(linker, linked, item, &export.ty) {
                let ours = linked.split_once('@').map_or("", |(_, version)| version);
                missing.push(format!("{name}#{item} (this host has {ours})"));
            }
        }
    }
    missing.sort();
    missing
}

/// What is linked for guests of that engine.
fn linked(engine: &wasmtime::Engine) -> impl Iterator<Item = &'static str> {
    let for_http: &[&str] = if engine.get_concurrency_support() { LINKED_FOR_HTTP } else { &[] };
    LINKED.iter().chain(for_http).copied()
}

/// An interface that we do not link, with the versions of it that we do.
fn with_ours(engine: &wasmtime::Engine, name: &str) -> String {
    let interface = name.split('@').next().unwrap_or(name);
    let ours: Vec<&str> = linked(engine)
        .filter_map(|linked| linked.strip_prefix(interface)?.strip_prefix('@'))
        .collect();
    if ours.is_empty() {
        name.to_owned()
    } else {
        format!("{name} (this host has {})", ours.join(", "))
    }
}

/// Whether the linker has that item: it then refuses to define it a second time.
fn has_item(
    linker: &Linker<GuestState>,
    interface: &str,
    item: &str,
    kind: &ComponentItem,
) -> bool {
    let mut probe = linker.clone();
    let Ok(mut instance) = probe.instance(interface) else { return false };
    let defined = match kind {
        ComponentItem::ComponentFunc(_) => instance.func_new(item, |_, _, _, _| Ok(())),
        ComponentItem::Resource(_) => {
            instance.resource(item, ResourceType::host::<()>(), |_, _| Ok(()))
        }
        // Types carry nothing that could be missing.
        _ => return true,
    };
    defined.is_err()
}

/// As wasmtime matches names: the same interface, and versions that agree up to the first number
/// that is not 0 (with 0.x, up to x); pre-releases match exactly.
fn compatible(wanted: &str, linked: &str) -> bool {
    if wanted == linked {
        return true;
    }
    let (Some((wanted, wanted_version)), Some((linked, linked_version))) =
        (wanted.split_once('@'), linked.split_once('@'))
    else {
        return false;
    };
    wanted == linked
        && !wanted_version.contains('-')
        && track(wanted_version).is_some_and(|track_wanted| {
            track(linked_version).is_some_and(|linked| track_wanted == linked)
        })
}

fn track(version: &str) -> Option<(&str, &str)> {
    let (major, rest) = version.split_once('.')?;
    let (minor, _) = rest.split_once('.')?;
    match (major, minor) {
        ("0", "0") => None,
        ("0", minor) => Some(("0", minor)),
        (major, _) => Some((major, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_named_here_is_linked() {
        let engine = Engine::durable(1).unwrap();
        let linker = linker(&engine).unwrap();
        for name in LINKED {
            // Types alone need no definition.
            if *name == "backlot:function/types@0.1.0" {
                continue;
            }
            let mut probe = linker.clone();
            let second = probe.root().func_new(name, |_, _, _, _| Ok(()));
            assert!(second.is_err(), "{name}");
        }
    }

    #[test]
    fn versions_match_as_wasmtime_matches_them() {
        for (wanted, linked, matches) in [
            ("a:b/c@0.2.0", "a:b/c@0.2.12", true),
            ("a:b/c@0.2.99", "a:b/c@0.2.12", true),
            ("a:b/c@0.3.0", "a:b/c@0.2.12", false),
            ("a:b/d@0.2.0", "a:b/c@0.2.12", false),
            ("a:b/c@1.4.0", "a:b/c@1.0.1", true),
            ("a:b/c@0.0.1", "a:b/c@0.0.2", false),
            ("a:b/c@0.2.0-rc", "a:b/c@0.2.12", false),
            ("a:b/c", "a:b/c@0.2.12", false),
        ] {
            assert_eq!(compatible(wanted, linked), matches, "{wanted} {linked}");
        }
    }

    #[test]
    fn every_interface_named_for_http_is_linked_too() {
        let engine = Engine::http(1).unwrap();
        let linker = http(&engine).unwrap();
        for name in LINKED_FOR_HTTP {
            // Types alone need no definition.
            if matches!(*name, "wasi:cli/types@0.3.0" | "wasi:clocks/types@0.3.0") {
                continue;
            }
            let mut probe = linker.clone();
            assert!(probe.root().func_new(name, |_, _, _, _| Ok(())).is_err(), "{name}");
        }
    }

    #[test]
    fn everything_missing_is_listed_at_once() {
        let engine = Engine::durable(1).unwrap();
        let linker = linker(&engine).unwrap();
        let wasm = wat::parse_str(
            r#"(component
                (import "wasi:http/types@0.4.0" (instance))
                (import "backlot:email/sender@0.1.0" (instance))
                (import "plain" (func))
                (import "wasi:clocks/wall-clock@0.3.0" (instance))
                (import "wasi:cli/exit@0.2.3" (instance
                    (export "exit" (func (param "status" (result))))
                    (export "explode" (func)))))"#,
        )
        .unwrap();
        let component = Component::from_binary(engine.wasmtime(), &wasm).unwrap();
        assert_eq!(
            missing_imports(&linker, &component),
            [
                "backlot:email/sender@0.1.0",
                "plain",
                "wasi:cli/exit@0.2.3#explode (this host has 0.2.12)",
                "wasi:clocks/wall-clock@0.3.0 (this host has 0.2.12)",
                "wasi:http/types@0.4.0 (this host has 0.2.12)",
            ]
        );
    }
}
