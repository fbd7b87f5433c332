//! The deployed functions: which version a name runs now, and which events start it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use backlot_bindings::EverythingPre;
use backlot_ledger::{Event, Route, Router};

use crate::compile::ComponentDigest;
use crate::manifest::Manifest;
use crate::state::GuestState;

/// One immutable component with its manifest, ready to be instantiated.
pub struct Version {
    /// The manifest it was deployed with.
    pub manifest: Manifest,
    /// What it is known by.
    pub digest: ComponentDigest,
    pub(crate) ready: EverythingPre<GuestState>,
}

impl Version {
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

/// The functions by name. Read without a lock: by each event that is committed, and by each
/// attempt that starts, which keeps the version it found to its end.
#[derive(Default)]
pub(crate) struct Functions {
    live: ArcSwap<BTreeMap<String, Arc<Version>>>,
}

impl Functions {
    /// From now on attempts of that function run this version.
    pub(crate) fn deploy(&self, version: &Arc<Version>) {
        self.live.rcu(|live| {
            let mut live = BTreeMap::clone(live);
            live.insert(version.function().to_owned(), version.clone());
            live
        });
    }

    pub(crate) fn get(&self, function: &str) -> Option<Arc<Version>> {
        self.live.load().get(function).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Version>> {
        self.live.load().values().cloned().collect()
    }
}

impl Router for Functions {
    fn route(&self, event: &Event) -> Vec<Route> {
        let live = self.live.load();
        live.values()
            .filter_map(|version| {
                // One invocation a function, by the first of its triggers that matches.
                let concurrency =
                    version.manifest.triggers.iter().find_map(|trigger| trigger.matches(event))?;
                Some(Route { function: version.function().to_owned(), concurrency })
            })
            .collect()
    }
}
