//! The deployed functions: which versions a name runs now, and which events start it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use backlot_bindings::EverythingPre;
use backlot_ledger::{BUILTIN, Event, FunctionState, Invocation, Route, Router, WEIGHT_MAX};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::handler::ProxyPre;

use crate::compile::ComponentDigest;
use crate::engine::EngineKind;
use crate::http::{HttpCounts, HttpHandler, Profile, Routes};
use crate::log_rate::LogRate;
use crate::manifest::Manifest;
use crate::state::GuestState;
use crate::trial::{CallEnd, Trial, TrialFigures, Verdict};

/// Versions of a function that are kept ready beside those that run: to be replayed on.
const READY_KEPT: usize = 4;

/// A component's handlers, linked. It has at least one of them.
pub(crate) struct Handlers {
    /// Of events.
    pub(crate) events: Option<EventHandler>,
    /// Of HTTP requests.
    pub(crate) http: Option<ProxyPre<GuestState>>,
}

/// One immutable component with its manifest, ready to be instantiated.
#[derive(Clone)]
pub struct Version {
    /// The manifest it was deployed with.
    pub manifest: Manifest,
    /// Of the component's bytes.
    pub digest: ComponentDigest,
    id: String,
    /// Handles events, if it does.
    pub(crate) handler: Option<EventHandler>,
    /// Answers HTTP requests, if it does.
    pub(crate) http: Option<Arc<HttpHandler>>,
    /// What its guests may log.
    pub(crate) log_rate: Arc<LogRate>,
    /// Cancelled when it runs no more.
    pub(crate) superseded: CancellationToken,
}

/// A component's handler of events, ready to be instantiated.
#[derive(Clone)]
pub(crate) struct EventHandler {
    pub(crate) pre: EverythingPre<GuestState>,
    /// The engine that it is compiled for.
    pub(crate) engine: EngineKind,
}

impl Version {
    pub(crate) fn new(
        manifest: Manifest,
        digest: ComponentDigest,
        id: String,
        handlers: Handlers,
    ) -> Self {
        let Handlers { events: handler, http } = handlers;
        let log_rate = Arc::new(LogRate::new(manifest.limits.log_bytes_per_sec()));
        let http = http.map(|pre| {
            let profile = Profile::new(&manifest, &id, log_rate.clone());
            Arc::new(HttpHandler::new(pre, profile))
        });
        let superseded = CancellationToken::new();
        Self { manifest, digest, id, handler, http, log_rate, superseded }
    }

    /// The same version, that may read what it is granted and change nothing.
    pub(crate) fn without_effects(&self) -> Self {
        let mut dry = self.clone();
        dry.manifest.grants = self.manifest.grants.without_effects();
        let profile = Profile::new(&dry.manifest, &self.id, self.log_rate.clone());
        dry.http = self.http.as_ref().map(|http| Arc::new(http.with_profile(profile)));
        dry
    }

    /// What was counted of its HTTP requests since it was deployed; none when it answers none.
    pub fn http_counts(&self) -> Option<HttpCounts> {
        self.http.as_ref().map(|http| http.counts())
    }

    /// What it is known by: SHA-256 over component and manifest, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The function's name.
    pub fn function(&self) -> &str {
        &self.manifest.name
    }

    /// The same version, as one that runs.
    fn running(self: Arc<Self>) -> Arc<Self> {
        if !self.superseded.is_cancelled() {
            return self;
        }
        Arc::new(Self { superseded: CancellationToken::new(), ..Self::clone(&self) })
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.function(), self.digest)
    }
}

/// What a version of this manifest and component is known by: SHA-256 over both, in hexadecimal.
pub fn version_id(manifest: &Manifest, digest: ComponentDigest) -> String {
    let mut id = Sha256::new_with_prefix(digest.to_string());
    // A manifest has no maps with keys that JSON does not take.
    id.update(serde_json::to_vec(manifest).unwrap_or_default());
    hex::encode(id.finalize())
}

/// The versions of one function.
#[derive(Clone)]
pub(crate) struct Slot {
    /// As the ledger has it.
    pub(crate) state: FunctionState,
    /// What runs.
    pub(crate) live: Live,
    /// What runs for a share of what comes.
    pub(crate) canary: Option<Arc<Version>>,
    /// How the two compare.
    pub(crate) trial: Option<Arc<Trial>>,
    /// The version that is in the program itself.
    pub(crate) builtin: Option<Arc<Version>>,
    /// Others that are ready, the one that was used last first.
    pub(crate) ready: VecDeque<Arc<Version>>,
}

/// What runs of a function.
#[derive(Clone)]
pub(crate) enum Live {
    /// This version.
    Ready(Arc<Version>),
    /// Nothing: it was deployed, and cannot be loaded. What starts it waits for a version that can.
    Broken { manifest: Arc<Manifest>, reason: String },
}

impl Slot {
    /// The program's own version, which nobody deployed anything over.
    pub(crate) fn builtin(version: Arc<Version>) -> Self {
        let state = FunctionState {
            name: version.function().to_owned(),
            live: BUILTIN.to_owned(),
            canary: None,
            previous: None,
            enabled: true,
            folder: None,
        };
        Self::new(state, Live::Ready(version.clone()), Some(version))
    }

    pub(crate) fn new(state: FunctionState, live: Live, builtin: Option<Arc<Version>>) -> Self {
        Self { state, live, canary: None, trial: None, builtin, ready: VecDeque::new() }
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        match &self.live {
            Live::Ready(version) => &version.manifest,
            Live::Broken { manifest, .. } => manifest,
        }
    }

    pub(crate) fn live(&self) -> Option<&Arc<Version>> {
        match &self.live {
            Live::Ready(version) => Some(version),
            Live::Broken { .. } => None,
        }
    }

    /// What new work runs on.
    fn running(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.live().into_iter().chain(&self.canary)
    }

    /// Each version that is loaded, what runs first.
    pub(crate) fn loaded(&self) -> Vec<Arc<Version>> {
        let mut loaded: Vec<Arc<Version>> = Vec::new();
        for version in self.running().chain(&self.builtin).chain(&self.ready) {
            if !loaded.iter().any(|known| known.id == version.id) {
                loaded.push(version.clone());
            }
        }
        loaded
    }

    /// One that is ready, by its id or the first digits of that.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Version>> {
        let mut all = self.running().chain(&self.builtin).chain(&self.ready);
        all.find(|version| version.id.starts_with(id)).cloned()
    }

    /// The version for what has this key: the same for the same key, as long as nothing changes.
    pub(crate) fn choose(&self, key: &str) -> Option<&Arc<Version>> {
        let weight = self.state.canary.as_ref().map_or(0, |canary| canary.weight);
        match &self.canary {
            Some(canary) if place(&self.state.name, key) < weight => Some(canary),
            _ => self.live(),
        }
    }

    /// Keeps a version ready.
    fn keep(&mut self, version: Arc<Version>) {
        self.ready.retain(|known| known.id != version.id);
        self.ready.push_front(version);
        self.ready.truncate(READY_KEPT);
    }
}

/// Where a key stands among all: evenly from 0 to below [`WEIGHT_MAX`].
fn place(function: &str, key: &str) -> u32 {
    let digest = Sha256::new_with_prefix(function).chain_update([0]).chain_update(key).finalize();
    let bytes = digest.first_chunk::<8>().copied().unwrap_or_default();
    u32::try_from(u64::from_le_bytes(bytes) % u64::from(WEIGHT_MAX)).unwrap_or_default()
}

/// What an invocation runs on.
pub(crate) enum Pick {
    /// This version.
    Version(Arc<Version>),
    /// The version that was chosen for it, by the first digits of its id, which is not ready.
    Other(String),
    /// Nothing; the text says why.
    Nothing(String),
}

/// The functions by name. Read without a lock: by each event that is committed, and by each
/// attempt that starts, which keeps the version it found to its end.
#[derive(Default)]
pub(crate) struct Functions {
    slots: ArcSwap<BTreeMap<String, Slot>>,
    /// Which of them answers which HTTP request.
    pub(crate) routes: Routes,
    deployed: Notify,
    /// A canary may be decided about.
    decidable: Notify,
}

impl Functions {
    /// From now on this is what runs. Attempts of versions that run no more are told so.
    pub(crate) fn set(&self, mut slot: Slot) {
        slot.live = match slot.live {
            Live::Ready(version) => Live::Ready(version.running()),
            broken => broken,
        };
        slot.canary = slot.canary.map(Version::running);
        let name = slot.state.name.clone();
        let before = self.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            let mut slot = slot.clone();
            if let Some(old) = slots.remove(&name) {
                for version in old.ready.iter().rev().chain(old.running()) {
                    if !slot.running().any(|running| running.id == version.id) {
                        slot.keep(version.clone());
                    }
                }
            }
            slots.insert(name.clone(), slot);
            slots
        });
        self.routes.follow(|| self.slots());
        if let Some(old) = before.get(&name) {
            for version in old.running() {
                if !slot.running().any(|running| Arc::ptr_eq(running, version)) {
                    version.superseded.cancel();
                }
            }
        }
        self.deployed.notify_waiters();
    }

    /// From now on there is no such function.
    pub(crate) fn remove(&self, name: &str) {
        let before = self.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            slots.remove(name);
            slots
        });
        self.routes.follow(|| self.slots());
        for version in before.get(name).into_iter().flat_map(Slot::running) {
            version.superseded.cancel();
        }
        self.deployed.notify_waiters();
    }

    /// Keeps a version ready that somebody asked for.
    pub(crate) fn keep(&self, version: &Arc<Version>) {
        self.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            if let Some(slot) = slots.get_mut(version.function()) {
                slot.keep(version.clone());
            }
            slots
        });
    }

    /// The next change of what runs.
    pub(crate) fn deployed(&self) -> Notified<'_> {
        self.deployed.notified()
    }

    /// The next moment at which [`Functions::verdicts`] may have something.
    pub(crate) fn decidable(&self) -> Notified<'_> {
        self.decidable.notified()
    }

    pub(crate) fn slot(&self, function: &str) -> Option<Slot> {
        self.slots.load().get(function).cloned()
    }

    pub(crate) fn slots(&self) -> Arc<BTreeMap<String, Slot>> {
        self.slots.load_full()
    }

    /// What new work of the function runs on; None too when it is disabled.
    pub(crate) fn get(&self, function: &str) -> Option<Arc<Version>> {
        let slots = self.slots.load();
        let slot = slots.get(function).filter(|slot| slot.state.enabled)?;
        slot.live().cloned()
    }

    /// The version that an invocation runs: the one that was chosen for it (by its id or the first
    /// digits of that), else the one for what it belongs to.
    pub(crate) fn pick(&self, invocation: &Invocation) -> Pick {
        let function = &invocation.function;
        let slots = self.slots.load();
        let Some(slot) = slots.get(function) else {
            return Pick::Nothing(format!("no function {function:?} is deployed"));
        };
        if let Some(chosen) = &invocation.version {
            return slot.find(chosen).map_or_else(|| Pick::Other(chosen.clone()), Pick::Version);
        }
        match (slot.choose(invocation.affinity()), &slot.live) {
            (Some(version), _) => Pick::Version(version.clone()),
            (None, Live::Broken { reason, .. }) => {
                Pick::Nothing(format!("function {function:?} cannot be run: {reason}"))
            }
            (None, Live::Ready(version)) => Pick::Version(version.clone()),
        }
    }

    /// What runs of the functions that are enabled.
    pub(crate) fn all(&self) -> Vec<Arc<Version>> {
        let slots = self.slots.load();
        slots
            .values()
            .filter(|slot| slot.state.enabled)
            .filter_map(|slot| slot.live().cloned())
            .collect()
    }

    /// Counts a call of a version that was chosen for it by its share.
    pub(crate) fn record(&self, version: &Version, end: CallEnd, latency: Duration) {
        let slots = self.slots.load();
        let Some(slot) = slots.get(version.function()) else { return };
        let Some(trial) = &slot.trial else { return };
        if slot.canary.as_ref().is_some_and(|canary| canary.id == version.id) {
            trial.canary.count(end, latency);
        } else if slot.live().is_some_and(|live| live.id == version.id) {
            trial.live.count(end, latency);
        } else {
            return;
        }
        if trial.verdict().is_some() {
            self.decidable.notify_one();
        }
    }

    /// The canaries that can be decided about, with the figures.
    pub(crate) fn verdicts(&self) -> Vec<(String, String, Verdict, TrialFigures)> {
        let slots = self.slots.load();
        let decided = slots.values().filter_map(|slot| {
            let (trial, canary) = (slot.trial.as_ref()?, slot.canary.as_ref()?);
            let verdict = trial.verdict()?;
            Some((slot.state.name.clone(), canary.id.clone(), verdict, trial.figures()))
        });
        decided.collect()
    }
}

impl Router for Functions {
    fn route(&self, event: &Event) -> Vec<Route> {
        let slots = self.slots.load();
        slots
            .iter()
            .filter(|(_, slot)| slot.state.enabled)
            .filter_map(|(name, slot)| {
                // One invocation a function, by the first of its triggers that matches. A canary's
                // triggers do not count before it is live.
                slot.manifest().triggers.iter().find_map(|trigger| trigger.route(name, event))
            })
            .collect()
    }

    fn follows(&self, function: &str) -> bool {
        let slots = self.slots.load();
        let enabled = slots.values().filter(|slot| slot.state.enabled);
        let mut triggers = enabled.flat_map(|slot| &slot.manifest().triggers);
        triggers.any(|trigger| trigger.follows(function))
    }

    fn at_once(&self, function: &str) -> Option<u32> {
        let slots = self.slots.load();
        slots.get(function)?.manifest().limits.concurrency
    }
}
