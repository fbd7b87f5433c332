//! Which invocations change, for streams: what became durable, one invocation at a time.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use backlot_ledger::{Change, Invocation, InvocationFilter, InvocationId, PAGE_MAX, State};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time;

use crate::web::Shared;
use crate::web::reply::Fault;
use crate::web::sse::{self, End};

/// What comes within this time is looked at together.
const GATHER_TIME: Duration = Duration::from_millis(50);
/// Most changed invocations that wait for their reader.
const PENDING_MAX: usize = 10_000;
/// The first look for new invocations: mostly there are few.
const NEW_FIRST: usize = 20;
/// Pages of new invocations that are looked through after one change.
const NEW_PAGES_MAX: usize = PENDING_MAX / PAGE_MAX;
/// The reader took too long, or too much happened.
const BEHIND: End = End("the reader fell behind: more changed than it took; ask again");

/// Tells which invocations changed.
pub(super) struct Watch {
    shared: Arc<Shared>,
    changes: Receiver<Change>,
    /// Whose attempts run: when one of them is queued again, nobody says which.
    running: HashSet<InvocationId>,
    /// Whether those that begin are told of, or only what is done to them.
    tells_new: bool,
    /// The newest that is known.
    newest: Option<InvocationId>,
    /// Changed, and not yet given to the reader.
    pending: BTreeSet<InvocationId>,
}

impl Watch {
    /// Of attempts that start and end from now on, and, if `tells_new`, of invocations that begin.
    pub(super) async fn new(shared: &Arc<Shared>, tells_new: bool) -> Result<Self, Fault> {
        // First, so that nothing is missed.
        let changes = shared.ledger.changes();
        let filter =
            |state, limit| InvocationFilter { state, limit, ..InvocationFilter::default() };
        let newest = shared.ledger.invocations(filter(None, 1)).await?;
        let running = shared.ledger.invocations(filter(Some(State::Running), 0)).await?;
        Ok(Self {
            shared: shared.clone(),
            changes,
            running: running.into_iter().map(|running| running.id).collect(),
            tells_new,
            newest: newest.into_iter().next().map(|newest| newest.id),
            pending: BTreeSet::new(),
        })
    }

    /// Waits until something changed, or for the time of a heartbeat.
    pub(super) async fn wait(&mut self) -> Result<(), End> {
        let mut queued = false;
        if self.pending.is_empty() {
            let shutdown = self.shared.shutdown.clone();
            let change = tokio::select! {
                () = shutdown.cancelled() => return Err(sse::STOPPED),
                () = time::sleep(sse::HEARTBEAT) => return Ok(()),
                change = self.changes.recv() => change,
            };
            match change {
                Ok(change) => queued |= self.note(change),
                Err(RecvError::Lagged(_)) => return Err(BEHIND),
                Err(RecvError::Closed) => return Err(sse::STOPPED),
            }
            time::sleep(GATHER_TIME).await;
        }
        loop {
            match self.changes.try_recv() {
                Ok(change) => queued |= self.note(change),
                Err(TryRecvError::Lagged(_)) => return Err(BEHIND),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if queued {
            self.pending.extend(self.running.iter().cloned());
            if self.tells_new {
                self.note_new().await?;
            }
        }
        if self.pending.len() <= PENDING_MAX { Ok(()) } else { Err(BEHIND) }
    }

    /// Whether something was queued.
    fn note(&mut self, change: Change) -> bool {
        let id = match change {
            Change::Queued(_) => return true,
            Change::Started(id) => {
                self.running.insert(id.clone());
                id
            }
            Change::Ended(id) | Change::Cancelled(id) | Change::Parked(id) => {
                self.running.remove(&id);
                id
            }
        };
        self.pending.insert(id);
        false
    }

    /// Adds those that began since the last look.
    async fn note_new(&mut self) -> Result<(), End> {
        let mut before = None;
        let mut newest = None;
        for number in 0..NEW_PAGES_MAX {
            let limit = if number == 0 { NEW_FIRST } else { PAGE_MAX };
            let filter =
                InvocationFilter { before: before.clone(), limit, ..InvocationFilter::default() };
            let page = self.shared.ledger.invocations(filter).await.map_err(|_| sse::FAILED)?;
            let is_last = page.len() < limit;
            for invocation in page {
                if Some(&invocation.id) <= self.newest.as_ref() {
                    self.newest = newest.or(self.newest.take());
                    return Ok(());
                }
                before = Some(invocation.id.clone());
                newest.get_or_insert_with(|| invocation.id.clone());
                self.pending.insert(invocation.id);
            }
            if is_last {
                break;
            }
        }
        self.newest = newest.or(self.newest.take());
        Ok(())
    }

    /// The next that changed, without its result; None when the reader knows all.
    pub(super) async fn next(&mut self) -> Result<Option<Invocation>, End> {
        while let Some(id) = self.pending.pop_first() {
            let found = self.shared.ledger.invocation(&id).await.map_err(|_| sse::FAILED)?;
            // None: deleted meanwhile.
            let Some(mut invocation) = found else {
                self.running.remove(&id);
                continue;
            };
            if invocation.state != State::Running {
                self.running.remove(&id);
            }
            invocation.result = None;
            return Ok(Some(invocation));
        }
        Ok(None)
    }
}
