//! The deployed functions: which version a name runs now, and which events start it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwap;
use backlot_bindings::EverythingPre;
use backlot_ledger::{Event, Invocation, Route, Router};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::handler::ProxyPre;

use crate::compile::ComponentDigest;
use crate::http::{HttpCounts, HttpHandler};
use crate::manifest::Manifest;
use crate::state::GuestState;

/// Versions of a function that are kept beside the live one, the newest: to be replayed on.
pub(crate) const VERSIONS_KEPT: usize = 8;

/// One immutable component with its manifest, ready to be instantiated.
pub struct Version {
    /// The manifest it was deployed with.
    pub manifest: Manifest,
    /// Of the component's bytes.
    pub digest: ComponentDigest,
    id: String,
    /// Handles events, if it does.
    pub(crate) handler: Option<EverythingPre<GuestState>>,
    /// Answers HTTP requests, if it does.
    pub(crate) http: Option<HttpHandler>,
    /// Cancelled when another version of the function is live.
    pub(crate) superseded: CancellationToken,
}

impl Version {
    pub(crate) fn new(
        manifest: Manifest,
        digest: ComponentDigest,
        handler: Option<EverythingPre<GuestState>>,
        http: Option<ProxyPre<GuestState>>,
    ) -> Self {
        let mut id = Sha256::new_with_prefix(digest.to_string());
        // A manifest has no maps with keys that JSON does not take.
        id.update(serde_json::to_vec(&manifest).unwrap_or_default());
        let id = hex::encode(id.finalize());
        let http = http.map(|pre| HttpHandler::new(pre, &manifest, &id));
        let superseded = CancellationToken::new();
        Self { manifest, digest, id, handler, http, superseded }
    }

    /// What was counted of its HTTP requests since it was deployed; none when it answers none.
    pub fn http_counts(&self) -> Option<HttpCounts> {
        self.http.as_ref().map(|http| http.counters.counts())
    }

    /// What it is known by: SHA-256 over component and manifest, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The function's name.
    pub fn function(&self) -> &str {
        &self.manifest.name
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.function(), self.digest)
    }
}

/// The versions of one function.
#[derive(Clone)]
struct Slot {
    live: Arc<Version>,
    /// Those that were live before, the newest first.
    before: VecDeque<Arc<Version>>,
}

/// The functions by name. Read without a lock: by each event that is committed, and by each
/// attempt that starts, which keeps the version it found to its end.
#[derive(Default)]
pub(crate) struct Functions {
    slots: ArcSwap<BTreeMap<String, Slot>>,
    deployed: Notify,
}

impl Functions {
    /// From now on attempts of that function run this version. One that is live already stays as
    /// it is.
    pub(crate) fn deploy(&self, version: &Arc<Version>) {
        if self.get(version.function()).is_some_and(|live| live.id == version.id) {
            return;
        }
        let before = self.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            let mut before = VecDeque::new();
            if let Some(old) = slots.remove(version.function()) {
                before = old.before;
                before.push_front(old.live);
                before.retain(|old| old.id != version.id);
                before.truncate(VERSIONS_KEPT);
            }
            let slot = Slot { live: version.clone(), before };
            slots.insert(version.function().to_owned(), slot);
            slots
        });
        if let Some(old) = before.get(version.function()) {
            old.live.superseded.cancel();
        }
        self.deployed.notify_waiters();
    }

    /// The next deploy.
    pub(crate) fn deployed(&self) -> Notified<'_> {
        self.deployed.notified()
    }

    pub(crate) fn get(&self, function: &str) -> Option<Arc<Version>> {
        self.slots.load().get(function).map(|slot| slot.live.clone())
    }

    /// The version that an invocation runs: the one that was chosen for it (by its id or the first
    /// digits of that), else the live one.
    pub(crate) fn pick(&self, invocation: &Invocation) -> Option<Arc<Version>> {
        let slots = self.slots.load();
        let slot = slots.get(&invocation.function)?;
        let Some(chosen) = &invocation.version else { return Some(slot.live.clone()) };
        let mut all = std::iter::once(&slot.live).chain(&slot.before);
        all.find(|version| version.id.starts_with(chosen.as_str())).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Version>> {
        self.slots.load().values().map(|slot| slot.live.clone()).collect()
    }
}

impl Router for Functions {
    fn route(&self, event: &Event) -> Vec<Route> {
        let slots = self.slots.load();
        slots
            .values()
            .filter_map(|Slot { live, .. }| {
                // One invocation a function, by the first of its triggers that matches.
                live.manifest
                    .triggers
                    .iter()
                    .find_map(|trigger| trigger.route(live.function(), event))
            })
            .collect()
    }

    fn follows(&self, function: &str) -> bool {
        let slots = self.slots.load();
        let mut triggers = slots.values().flat_map(|slot| &slot.live.manifest.triggers);
        triggers.any(|trigger| trigger.follows(function))
    }
}
