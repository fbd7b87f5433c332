//! The dispatcher: leases what is ready, one loop a lane, and runs it on a bounded number of
//! workers. It wakes up when the ledger says that something changed or is due; it never polls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backlot_ledger::{Change, Fence, InvocationId, LEASE_MAX, Lane, LedgerError, Router, crash};
use jiff::Timestamp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::attempt::{self, Signals};
use crate::runtime::Shared;

/// Longest sleep of a lane with free workers, in case that news were lost or the clock was set.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// Pause after the ledger failed to lease.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Cancelled invocations that are remembered for attempts that were leased before and start after
/// the news of it. Past that, the heartbeat finds out.
const CANCELLED_REMEMBERED: usize = 4_096;

/// The attempts that run now, by invocation and fencing token: one that ends late must not pass
/// for its successor.
#[derive(Default)]
pub(crate) struct Running {
    inner: Mutex<RunningInner>,
    /// Tells every attempt to ask the ledger whether it still counts.
    recheck: Arc<Notify>,
    /// Tells each lane that a function may run one more.
    freed: [Notify; 2],
}

#[derive(Default)]
struct RunningInner {
    attempts: BTreeMap<(InvocationId, u64), CancellationToken>,
    cancelled: VecDeque<InvocationId>,
}

impl Running {
    /// An attempt starts. Its token is cancelled already when the invocation is.
    fn start(&self, fence: &Fence) -> CancellationToken {
        let token = CancellationToken::new();
        let mut inner = self.lock();
        if inner.cancelled.contains(&fence.invocation) {
            token.cancel();
        }
        inner.attempts.insert((fence.invocation.clone(), fence.token), token.clone());
        token
    }

    fn end(&self, fence: &Fence) {
        self.lock().attempts.remove(&(fence.invocation.clone(), fence.token));
    }

    fn cancel(&self, id: InvocationId) {
        let mut inner = self.lock();
        for token in inner.attempts.range((id.clone(), 0)..=(id.clone(), u64::MAX)) {
            token.1.cancel();
        }
        // Cancelled invocations stay so, so it can never be one that may run.
        inner.cancelled.push_back(id);
        if CANCELLED_REMEMBERED < inner.cancelled.len() {
            inner.cancelled.pop_front();
        }
    }

    /// A function that may not run more at once has one less.
    fn freed(&self) {
        self.freed.iter().for_each(Notify::notify_one);
    }

    /// Until a function may run one more.
    async fn one_freed(&self, lane: Lane) {
        let [roots, children] = &self.freed;
        match lane {
            Lane::Roots => roots.notified().await,
            Lane::Children => children.notified().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, RunningInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends attempts whose invocations are cancelled, until the ledger closes.
pub(crate) async fn watch(shared: Arc<Shared>, mut changes: Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Cancelled(id)) => shared.running.cancel(id),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "news of the ledger were missed, asking for every attempt");
                shared.running.recheck.notify_waiters();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Runs one lane until `stop`; then releases what runs and returns. Dropped, it ends everything
/// at once and tells the ledger nothing.
pub(crate) async fn lane(shared: Arc<Shared>, lane: Lane, workers: usize, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(workers.max(1)));
    let mut attempts = JoinSet::new();
    let mut changes = shared.ledger.changes();
    while !stop.is_cancelled() {
        reap(&mut attempts);
        let Some(free) = free_slots(&slots, &stop).await else { break };
        forget(&mut changes);
        // Another version may run more at once.
        let deployed = shared.functions.deployed();
        // The surplus is leased in the next round.
        match shared.ledger.lease(lane, free.len().min(LEASE_MAX), shared.lease).await {
            Ok(leased) if leased.is_empty() => {
                drop(free);
                news(&shared, lane, &mut changes, deployed, &stop).await;
            }
            Ok(leased) => {
                crash::point("lease.after");
                for (leased, slot) in leased.into_iter().zip(free) {
                    let (shared, stop) = (shared.clone(), stop.clone());
                    attempts.spawn(async move {
                        let (fence, function) =
                            (leased.fence.clone(), leased.invocation.function.clone());
                        let abort = shared.running.start(&fence);
                        let recheck = shared.running.recheck.clone();
                        attempt::run(&shared, leased, &Signals { abort, stop, recheck }).await;
                        shared.running.end(&fence);
                        drop(slot);
                        if shared.functions.at_once(&function).is_some() {
                            shared.running.freed();
                        }
                    });
                }
            }
            Err(err) => {
                drop(free);
                pause(&err, &stop).await;
            }
        }
    }
    while let Some(ended) = attempts.join_next().await {
        report(ended);
    }
}

/// All free workers, at least one.
async fn free_slots(
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        slot = slots.clone().acquire_owned() => slot.ok()?,
    };
    let mut free = vec![first];
    while let Ok(slot) = slots.clone().try_acquire_owned() {
        free.push(slot);
    }
    Some(free)
}

/// Drop the news that the next look at the ledger makes old. What comes after stays in the queue.
fn forget(changes: &mut Receiver<Change>) {
    while !matches!(changes.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
}

/// Wait until there may be something to lease: news of this lane, or something is due.
async fn news(
    shared: &Shared,
    lane: Lane,
    changes: &mut Receiver<Change>,
    deployed: Notified<'_>,
    stop: &CancellationToken,
) {
    let wait = match shared.ledger.next_due().await {
        Ok(due) => due.map_or(LOOK_ANYWAY, until).min(LOOK_ANYWAY),
        Err(err) => return pause(&err, stop).await,
    };
    let due = tokio::time::sleep(wait);
    tokio::pin!(due, deployed);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = &mut due => return,
            () = shared.running.one_freed(lane) => return,
            () = &mut deployed => return,
            change = changes.recv() => match change {
                Ok(Change::Queued(queued)) if queued == lane => return,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return,
                // The ledger is gone, and the process with it.
                Err(RecvError::Closed) => return stop.cancelled().await,
            },
        }
    }
}

/// At least a moment, so that what is due but not yet ours to lease costs no busy loop.
fn until(due: Timestamp) -> Duration {
    const LEAST: Duration = Duration::from_millis(20);
    due.duration_since(Timestamp::now()).try_into().unwrap_or(Duration::ZERO).max(LEAST)
}

async fn pause(err: &LedgerError, stop: &CancellationToken) {
    tracing::error!(%err, "the ledger cannot be asked for work, trying again");
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(FAILURE_PAUSE) => {}
    }
}

fn reap(attempts: &mut JoinSet<()>) {
    while let Some(ended) = attempts.try_join_next() {
        report(ended);
    }
}

/// A panic in an attempt is a bug of ours; its lease runs out and it is run again.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(err) = ended
        && err.is_panic()
    {
        tracing::error!(%err, "an attempt panicked in the host");
    }
}
