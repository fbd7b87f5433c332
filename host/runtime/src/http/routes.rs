//! Which function answers which request.
//!
//! A route of a host name goes before one of any host, an exact path before a prefix, a longer
//! prefix before a shorter one. Among routes of the same path the method decides; where none of
//! them takes it, less specific routes get their turn.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::Method;

use crate::functions::Version;
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
    /// This version answers it.
    To(Arc<Version>),
    /// The path is known, with these methods.
    MethodNotAllowed(String),
    /// Nothing.
    NotFound,
}

/// The routes of all deployed functions. Looked up without a lock, by each request.
#[derive(Default)]
pub(crate) struct Routes {
    table: ArcSwap<Table>,
    /// The versions that the table was built from. Only deploys take it.
    versions: Mutex<Vec<Arc<Version>>>,
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
    version: Arc<Version>,
}

impl Routes {
    /// From now on requests for the function's routes go to this version, and to none before.
    ///
    /// # Errors
    /// When another function has one of its routes; nothing is changed then.
    pub(crate) fn set(&self, version: &Arc<Version>) -> Result<(), RouteConflict> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let others = versions.iter().filter(|other| other.function() != version.function());
        for other in others {
            if let Some(route) = clash(version, other) {
                let (function, holder) = (version.function().into(), other.function().into());
                return Err(RouteConflict { function, route, holder });
            }
        }
        versions.retain(|other| other.function() != version.function());
        if triggers(version).next().is_some() {
            versions.push(version.clone());
        }
        self.table.store(Arc::new(Table::of(&versions)));
        Ok(())
    }

    /// Where a request for this path (without query) goes. `host` may carry a port.
    pub(crate) fn find(&self, host: &str, path: &str, method: &Method) -> Routed {
        let table = self.table.load();
        let mut allowed = BTreeSet::new();
        if !table.hosts.is_empty() {
            let host = without_port(host).to_ascii_lowercase();
            if let Some(paths) = table.hosts.get(&host)
                && let Some(version) = paths.find(path, method, &mut allowed)
            {
                return Routed::To(version);
            }
        }
        match table.any_host.find(path, method, &mut allowed) {
            Some(version) => Routed::To(version),
            None if allowed.is_empty() => Routed::NotFound,
            None => Routed::MethodNotAllowed(Vec::from_iter(allowed).join(", ")),
        }
    }
}

impl Table {
    fn of(versions: &[Arc<Version>]) -> Self {
        let mut table = Self::default();
        for version in versions {
            for trigger in triggers(version) {
                let paths = match &trigger.host {
                    Some(host) => table.hosts.entry(host.to_ascii_lowercase()).or_default(),
                    None => &mut table.any_host,
                };
                let targets = match trigger.path.strip_suffix('*') {
                    Some(prefix) => paths.prefixes.entry(prefix.to_owned()).or_default(),
                    None => paths.exact.entry(trigger.path.clone()).or_default(),
                };
                targets.push(Target { methods: trigger.methods(), version: version.clone() });
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
    ) -> Option<Arc<Version>> {
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
        found.map(|target| target.version.clone())
    }
}

/// An empty list takes everything; HEAD is answered where GET is (RFC 9110, section 9.3.2).
fn takes(methods: &[Method], method: &Method) -> bool {
    methods.is_empty()
        || methods.contains(method)
        || (*method == Method::HEAD && methods.contains(&Method::GET))
}

fn triggers(version: &Version) -> impl Iterator<Item = &HttpTrigger> {
    version.manifest.triggers.iter().filter_map(|trigger| match trigger {
        Trigger::Http(trigger) => Some(trigger),
        _ => None,
    })
}

/// A route that both want, in words.
fn clash(one: &Version, other: &Version) -> Option<String> {
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
