//! Which function answers which request.
//!
//! A route of a host name goes before one of any host, an exact path before a prefix, a longer
//! prefix before a shorter one. Among routes of the same path the method decides; where none of
//! them takes it, less specific routes get their turn.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::Method;

use crate::functions::Slot;
use crate::manifest::Manifest;
use crate::triggers::{HttpTrigger, Trigger};

/// Two functions want the very same requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("function {function:?} wants the route {route:?}, which function {holder:?} has")]
pub struct RouteConflict {
    /// The function that is being deployed.
    pub function: String,
    /// Method, host and path, as people write them.
    pub route: String,
    /// The function that has the route.
    pub holder: String,
}

/// What a request leads to.
pub(crate) enum Routed {
    /// This function answers it.
    To(Arc<Slot>),
    /// The path is known, with these methods.
    MethodNotAllowed(String),
    /// Nothing.
    NotFound,
}

/// The routes of all functions that are enabled: those of what is live. A canary's own count when it
/// is live. Looked up without a lock, by each request.
#[derive(Default)]
pub(crate) struct Routes {
    table: ArcSwap<Table>,
    building: Mutex<()>,
}

#[derive(Default)]
struct Table {
    /// By host name in lower case, without port.
    hosts: HashMap<String, Paths>,
    any_host: Paths,
}

#[derive(Default)]
struct Paths {
    exact: HashMap<String, Vec<Target>>,
    /// By the prefix up to and with its last `/`.
    prefixes: HashMap<String, Vec<Target>>,
}

struct Target {
    methods: Vec<Method>,
    slot: Arc<Slot>,
}

/// Whether another function has one of the routes that this manifest asks for.
///
/// # Errors
/// When one has.
pub(crate) fn check<'a>(
    manifest: &Manifest,
    others: impl IntoIterator<Item = &'a Manifest>,
) -> Result<(), RouteConflict> {
    let mut others = others.into_iter().filter(|other| other.name != manifest.name);
    let clash = others.find_map(|other| Some((clash(manifest, other)?, other.name.clone())));
    match clash {
        None => Ok(()),
        Some((route, holder)) => {
            Err(RouteConflict { function: manifest.name.clone(), route, holder })
        }
    }
}

impl Routes {
    /// From now on the routes are those of these functions, as they are when it is their turn.
    pub(crate) fn follow(&self, slots: impl FnOnce() -> Arc<BTreeMap<String, Slot>>) {
        let _turn = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        self.table.store(Arc::new(Table::of(&slots())));
    }

    /// Where a request for this path (without query) goes. `host` may carry a port.
    pub(crate) fn find(&self, host: &str, path: &str, method: &Method) -> Routed {
        let table = self.table.load();
        let mut allowed = BTreeSet::new();
        if !table.hosts.is_empty() {
            let host = without_port(host).to_ascii_lowercase();
            if let Some(paths) = table.hosts.get(&host)
                && let Some(slot) = paths.find(path, method, &mut allowed)
            {
                return Routed::To(slot);
            }
        }
        match table.any_host.find(path, method, &mut allowed) {
            Some(slot) => Routed::To(slot),
            None if allowed.is_empty() => Routed::NotFound,
            None => Routed::MethodNotAllowed(Vec::from_iter(allowed).join(", ")),
        }
    }
}

impl Table {
    fn of(slots: &BTreeMap<String, Slot>) -> Self {
        let mut table = Self::default();
        for slot in slots.values().filter(|slot| slot.state.enabled) {
            let mut shared = None;
            for trigger in triggers(slot.manifest()) {
                let slot = shared.get_or_insert_with(|| Arc::new(slot.clone()));
                let paths = match &trigger.host {
                    Some(host) => table.hosts.entry(host.to_ascii_lowercase()).or_default(),
                    None => &mut table.any_host,
                };
                let targets = match trigger.path.strip_suffix('*') {
                    Some(prefix) => paths.prefixes.entry(prefix.to_owned()).or_default(),
                    None => paths.exact.entry(trigger.path.clone()).or_default(),
                };
                targets.push(Target { methods: trigger.methods(), slot: slot.clone() });
            }
        }
        table
    }
}

impl Paths {
    fn find(
        &self,
        path: &str,
        method: &Method,
        allowed: &mut BTreeSet<String>,
    ) -> Option<Arc<Slot>> {
        let exact = self.exact.get(path).into_iter();
        // `/api/*` also takes `/api`, whatever `/*` would do with it.
        let itself = if self.prefixes.is_empty() || path.ends_with('/') {
            None
        } else {
            self.prefixes.get(&format!("{path}/"))
        };
        let prefixes = path
            .rmatch_indices('/')
            .filter_map(|(at, _)| path.get(..=at))
            .filter_map(|prefix| self.prefixes.get(prefix));
        let mut found = exact.chain(itself).chain(prefixes).flatten();
        let found = found.find(|target| {
            let takes = takes(&target.methods, method);
            if !takes {
                allowed.extend(target.methods.iter().map(Method::to_string));
            }
            takes
        });
        found.map(|target| target.slot.clone())
    }
}

/// An empty list takes everything; HEAD is answered where GET is (RFC 9110, section 9.3.2).
fn takes(methods: &[Method], method: &Method) -> bool {
    methods.is_empty()
        || methods.contains(method)
        || (*method == Method::HEAD && methods.contains(&Method::GET))
}

fn triggers(manifest: &Manifest) -> impl Iterator<Item = &HttpTrigger> {
    manifest.triggers.iter().filter_map(|trigger| match trigger {
        Trigger::Http(trigger) => Some(trigger),
        _ => None,
    })
}

/// A route that both want, in words.
fn clash(one: &Manifest, other: &Manifest) -> Option<String> {
    let pairs = triggers(one).flat_map(|a| triggers(other).map(move |b| (a, b)));
    let same = |(a, b): &(&HttpTrigger, &HttpTrigger)| {
        let host = |trigger: &HttpTrigger| trigger.host.as_deref().map(str::to_ascii_lowercase);
        a.path == b.path && host(a) == host(b) && shared_method(a, b).is_some()
    };
    let (a, b) = pairs.into_iter().find(same)?;
    let method = shared_method(a, b)?;
    let host = a.host.as_deref().unwrap_or_default();
    Some(format!("{method} {host}{}", a.path).trim_start().to_owned())
}

/// A method that both take; empty when both take all.
fn shared_method(a: &HttpTrigger, b: &HttpTrigger) -> Option<String> {
    let (a, b) = (a.methods(), b.methods());
    match (a.as_slice(), b.as_slice()) {
        ([], []) => Some(String::new()),
        ([], [first, ..]) | ([first, ..], []) => Some(first.to_string()),
        (a, b) => a.iter().find(|method| b.contains(method)).map(Method::to_string),
    }
}

/// The name or address of a `Host`: what is before its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An IPv6 address is in brackets, and colons within them are its own.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
