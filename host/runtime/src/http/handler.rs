//! The HTTP side of a version: its component, its place for requests, its idle instances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime_wasi_http::handler::ProxyPre;

use super::counters::{Counters, HttpCounts};
use super::crowd::Crowds;
use super::instance::Instance;
use super::profile::Profile;
use crate::state::GuestState;

/// A version's component, ready to answer requests.
pub(crate) struct HttpHandler {
    pub(crate) pre: ProxyPre<GuestState>,
    pub(crate) profile: Arc<Profile>,
    /// One permit a request at work.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) crowds: Crowds,
    crowds_begun: AtomicU64,
    idle: Mutex<IdlePool>,
}

#[derive(Default)]
struct IdlePool {
    instances: Vec<Idle>,
    /// Somebody looks after them.
    watched: bool,
}

/// An instance that waits for its next request.
struct Idle {
    instance: Instance,
    since: Instant,
    /// Its place in the pool.
    _place: OwnedSemaphorePermit,
}

fn requests_max(profile: &Profile) -> usize {
    usize::try_from(profile.settings.requests_max).unwrap_or(usize::MAX)
}

impl HttpHandler {
    pub(crate) fn new(pre: ProxyPre<GuestState>, profile: Profile) -> Self {
        Self {
            pre,
            slots: Arc::new(Semaphore::new(requests_max(&profile))),
            profile: Arc::new(profile),
            counters: Arc::default(),
            crowds: Crowds::default(),
            crowds_begun: AtomicU64::new(0),
            idle: Mutex::default(),
        }
    }

    /// The same component, with other grants and limits.
    pub(crate) fn with_profile(&self, profile: Profile) -> Self {
        let pre = match &self.pre {
            ProxyPre::P2(pre) => ProxyPre::P2(pre.clone()),
            ProxyPre::P3(pre) => ProxyPre::P3(pre.clone()),
        };
        Self::new(pre, profile)
    }

    pub(crate) fn counts(&self) -> HttpCounts {
        let running = requests_max(&self.profile).saturating_sub(self.slots.available_permits());
        self.counters.counts(running as u64)
    }

    /// Whether an instance serves several requests at once. Of 0.2 it cannot.
    pub(crate) fn crowded(&self) -> bool {
        matches!(self.pre, ProxyPre::P3(_)) && 1 < self.profile.settings.concurrency
    }

    /// A number for a new crowd.
    pub(crate) fn next_crowd(&self) -> u64 {
        self.crowds_begun.fetch_add(1, Ordering::Relaxed)
    }

    /// An instance that may be used again, the one that was used last.
    pub(crate) fn take_idle(&self) -> Option<Instance> {
        if self.profile.settings.reuse == 1 {
            return None;
        }
        self.idle().instances.pop().map(|idle| idle.instance)
    }

    /// Keep an instance that served well, if it may serve more. Says whether somebody has to look
    /// after the idle ones from now on, with [`HttpHandler::drop_idle`].
    pub(crate) fn keep(&self, instance: Instance, places: &Arc<Semaphore>) -> bool {
        if self.profile.settings.reuse <= instance.served() {
            return false;
        }
        let Ok(place) = places.clone().try_acquire_owned() else { return false };
        let mut idle = self.idle();
        idle.instances.push(Idle { instance, since: Instant::now(), _place: place });
        !std::mem::replace(&mut idle.watched, true)
    }

    /// Drop the instances that nobody used for long, or all of them. Says whether some are left to
    /// look after.
    pub(crate) fn drop_idle(&self, all: bool) -> bool {
        let max = self.profile.settings.idle();
        let mut idle = self.idle();
        let old = |idle: &mut Idle| all || max <= idle.since.elapsed();
        let dropped: Vec<Idle> = idle.instances.extract_if(.., old).collect();
        idle.watched = !idle.instances.is_empty();
        let left = idle.watched;
        drop(idle);
        // Tearing them down takes a while, so not under the lock.
        drop(dropped);
        left
    }

    fn idle(&self) -> MutexGuard<'_, IdlePool> {
        // What a panicking holder left is still a list of whole instances.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
