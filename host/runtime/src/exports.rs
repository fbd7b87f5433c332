//! What a component exports, and whether it imports WASI 0.3, read from its bytes before it is
//! compiled: it decides which engines it is compiled for.

use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::Component;

use crate::engine::{Engine, EngineKind};

/// Handlers that we know, and what else there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exports {
    /// `backlot:function/handler`, for events.
    pub(crate) handler: bool,
    /// `wasi:http/incoming-handler` 0.2 or `wasi:http/handler` 0.3.
    pub(crate) http: bool,
    /// It imports interfaces of WASI 0.3, some of whose functions are async.
    pub(crate) imports_wasi3: bool,
    /// Names of all exports, as they are written.
    pub(crate) names: Vec<String>,
}

/// Most names that are kept: they are for an error's text.
const NAMES_MAX: usize = 32;

impl Exports {
    /// The exports of a component. Of bytes that are none there are none: compiling says why.
    pub(crate) fn of(component: &[u8]) -> Self {
        let mut exports = Self::default();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(component) {
            match payload {
                Ok(Payload::Version { encoding: Encoding::Module, .. }) if depth == 0 => break,
                Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
                Ok(Payload::ComponentExportSection(section)) if depth == 0 => {
                    for export in section.into_iter().flatten() {
                        exports.add(export.name.name);
                    }
                }
                Ok(Payload::ComponentImportSection(section)) if depth == 0 => {
                    for import in section.into_iter().flatten() {
                        exports.import(import.name.name);
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        exports
    }

    /// The exports of a component that was compiled.
    pub(crate) fn named(code: &Component, engine: &Engine) -> Self {
        let mut exports = Self::default();
        for (name, _) in code.component_type().exports(engine.wasmtime()) {
            exports.add(name);
        }
        for (name, _) in code.component_type().imports(engine.wasmtime()) {
            exports.import(name);
        }
        exports
    }

    /// Which engine runs it for events, if any: also what exports nothing known, if only to say
    /// what is wrong with it.
    pub(crate) fn for_events(&self) -> Option<EngineKind> {
        let wanted = self.handler || !self.http;
        // The engine for durable handlers has no concurrency within a guest.
        let kind = if self.imports_wasi3 { EngineKind::Http } else { EngineKind::Durable };
        wanted.then_some(kind)
    }

    /// Whether it is compiled for an engine.
    pub(crate) fn needs(&self, kind: EngineKind) -> bool {
        self.for_events() == Some(kind) || (kind == EngineKind::Http && self.http)
    }

    fn import(&mut self, name: &str) {
        self.imports_wasi3 |= name.starts_with("wasi:") && name.contains("@0.3.");
    }

    fn add(&mut self, name: &str) {
        self.handler |= name.starts_with("backlot:function/handler@");
        self.http |= name.starts_with("wasi:http/incoming-handler@0.2.")
            || name.starts_with("wasi:http/handler@0.3.");
        if self.names.len() < NAMES_MAX {
            self.names.push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outermost_exports_count() {
        let wasm = wat::parse_str(
            r#"(component
                (core module (func (export "inner")))
                (component $c (instance $j) (export "a:b/inner@0.3.0" (instance $j)))
                (import "wasi:random/random@0.3.0" (instance))
                (instance $i)
                (export "wasi:http/incoming-handler@0.2.3" (instance $i))
                (export "backlot:function/handler@0.1.0" (instance $i))
                (export "other" (instance $i)))"#,
        );
        let wasm = wasm.unwrap();
        let exports = Exports::of(&wasm);
        assert!(exports.handler && exports.http && exports.imports_wasi3);
        assert_eq!(exports.for_events(), Some(EngineKind::Http));
        assert!(!exports.needs(EngineKind::Durable));
        assert_eq!(exports.names.len(), 3, "{exports:?}");
        assert_eq!(Exports::of(b"nonsense"), Exports::default());
        assert_eq!(Exports::of(&wat::parse_str("(module)").unwrap()), Exports::default());
    }
}
