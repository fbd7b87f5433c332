//! The queue of invocations: routing, leases, endings, children, memory.
//!
//! Each method of [`Ledger`] here is one operation on the writer (`impl Tx` in the modules below)
//! or one read.
//!
//! What always holds, after any sequence of operations and crashes:
//! - a parked invocation waits for at least one child that has not ended;
//! - below an ended invocation everything has ended: a handler's end is the end of its children;
//! - an invocation that waits for an older one waits for one that has not ended.

use std::time::Duration;

use jiff::Timestamp;

use crate::error::at_most;
use crate::tx::Tx;
use crate::{
    Attempt, AttemptEnd, Backlog, Cost, Effect, EffectRecord, Ending, Event, EventId, Fence,
    Invocation, InvocationFilter, InvocationId, Lane, Leased, Ledger, LedgerError, LogLine,
    Outcome, Replay,
};

mod backlog;
mod children;
mod depth;
mod effects;
mod finish;
mod held;
mod lease;
mod replay;
mod retention;
mod route;
mod schedule;
mod tree;
mod view;

pub use backlog::{BACKLOG_MAX, CHAIN_MAX};

pub use children::{
    CHILD_KEY_BYTES_MAX, CHILD_PAYLOAD_BYTES_MAX, CHILDREN_MAX, OUTCOMES_BYTES_MAX,
};
pub use depth::Depth;
pub use effects::{MEMORIES_MAX, MEMORY_NAME_BYTES_MAX, MEMORY_VALUE_BYTES_MAX};
pub use finish::{
    DELAY_MAX, LOG_ATTEMPTS_KEPT, LOG_BYTES_MAX, PROGRESS_STRANDS_MAX, REASON_BYTES_MAX,
    RESULT_BYTES_MAX,
};
pub use lease::{ATTEMPTS_KEPT, LEASE_MAX, LOST_MAX};
pub use retention::{ROW_BYTES, Retention};
pub use route::ROUTES_MAX;
pub use tree::{ENDING_RESULT_BYTES_MAX, FUNCTION_FAILED, FUNCTION_SUCCEEDED};
pub use view::PAGE_MAX;

/// Queues the attempts of an earlier process again.
pub(crate) fn void_leases(tx: &mut Tx<'_>) -> Result<(), LedgerError> {
    tx.void_leases()
}

impl Ledger {
    /// Commits an event together with an invocation for each of its routes. An event whose id is
    /// known already is not routed again.
    pub async fn publish(&self, event: Event) -> Result<EventId, LedgerError> {
        self.write(move |tx| tx.emit(event)).await
    }

    /// As [`Ledger::publish`], as an effect of a running attempt.
    pub async fn publish_once(&self, effect: &Effect, event: Event) -> Result<(), LedgerError> {
        let effect = effect.clone();
        self.write(move |tx| tx.publish_once(&effect, event)).await
    }

    /// When a sleep of this length (at most [`DELAY_MAX`]), an effect of a running attempt, ends:
    /// counted from the first time that it was asked for.
    pub async fn sleep(
        &self,
        effect: &Effect,
        duration: Duration,
    ) -> Result<Timestamp, LedgerError> {
        let effect = effect.clone();
        self.write(move |tx| tx.sleep(&effect, duration)).await
    }

    /// As [`Ledger::publish`], for this function and no other, whatever its triggers say.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] when the event's id is known.
    pub async fn invoke(
        &self,
        function: &str,
        event: Event,
        version: Option<String>,
    ) -> Result<InvocationId, LedgerError> {
        let function = function.to_owned();
        self.write(move |tx| tx.invoke(&function, &event, version.as_deref())).await
    }

    /// Runs an ended root invocation again; the id of the one that runs.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a child, for what has not ended, and, unless fresh, where a
    /// newer invocation would have superseded it.
    pub async fn replay(
        &self,
        id: &InvocationId,
        replay: Replay,
    ) -> Result<InvocationId, LedgerError> {
        let id = id.clone();
        self.write(move |tx| tx.replay(&id, &replay)).await
    }

    /// Forgets an ended root invocation and all below it.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] for a child, and for what has not ended.
    pub async fn forget(&self, id: &InvocationId) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(move |tx| tx.forget(&id)).await
    }

    /// Begins a schedule, unless it has; answers its last slot, or now.
    pub async fn begin_schedule(
        &self,
        function: &str,
        schedule: &str,
    ) -> Result<Timestamp, LedgerError> {
        let (function, name) = (function.to_owned(), schedule.to_owned());
        // Asked for again and again, and new only once.
        let (of, named) = (function.clone(), name.clone());
        match self.read(move |conn| schedule::last_fired(conn, &of, &named)).await? {
            Some(last) => Ok(last),
            None => self.write(move |tx| tx.begin_schedule(&function, &name)).await,
        }
    }

    /// Publishes the event of a slot of a schedule, unless that slot or a later one was fired;
    /// whether it was done. Without an event the slot is passed over.
    pub async fn fire(
        &self,
        function: &str,
        schedule: &str,
        slot: Timestamp,
        event: Option<Event>,
    ) -> Result<bool, LedgerError> {
        let (function, schedule) = (function.to_owned(), schedule.to_owned());
        self.write(move |tx| tx.fire(&function, &schedule, slot, event)).await
    }

    /// What has not ended.
    pub async fn backlog(&self) -> Result<Backlog, LedgerError> {
        self.read(|conn| {
            let backlog = conn
                .prepare_cached("SELECT invocations, bytes FROM backlog")?
                .query_row([], |row| {
                    let [invocations, bytes] = [row.get::<_, i64>(0)?, row.get(1)?];
                    Ok(Backlog {
                        invocations: invocations.cast_unsigned(),
                        bytes: bytes.cast_unsigned(),
                    })
                })?;
            Ok(backlog)
        })
        .await
    }

    /// Starts attempts of up to `limit` (at most [`LEASE_MAX`]) ready invocations of a lane. Each
    /// must be finished, or renewed before `lease` is over; else it is given to somebody else. Does
    /// not wait for the disk: what an attempt whose lease a power cut lost has done came after it,
    /// and is lost with it.
    pub async fn lease(
        &self,
        lane: Lane,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Leased>, LedgerError> {
        self.write_ordered(move |tx| tx.lease(lane, limit, lease)).await
    }

    /// Lengthens the lease to `lease` from now.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`] when the attempt is over: stop the guest.
    pub async fn renew(&self, fence: &Fence, lease: Duration) -> Result<(), LedgerError> {
        let fence = fence.clone();
        self.write_ordered(move |tx| tx.renew(&fence, lease)).await
    }

    /// Ends an attempt. When that ends the invocation, its children that have not ended are
    /// cancelled, and a parent that waited for it becomes ready, in the same commit.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`] when the attempt is over already, [`LedgerError::OverLimit`] for a
    /// result over [`RESULT_BYTES_MAX`], [`LedgerError::Invalid`] when it would wait for what is
    /// not its child; after the last two the attempt still runs.
    pub async fn finish(&self, fence: &Fence, end: AttemptEnd) -> Result<(), LedgerError> {
        if let Outcome::Succeeded(Some(result)) = &end.outcome {
            at_most("result bytes", result.len(), RESULT_BYTES_MAX)?;
        }
        let fence = fence.clone();
        self.write(move |tx| tx.finish(&fence, end)).await
    }

    /// What an attempt cost and said whose invocation was cancelled while it ran, for the record.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`] for an attempt that is over for another reason, and for one whose
    /// invocation was replayed since.
    pub async fn leave(
        &self,
        fence: &Fence,
        cost: Cost,
        logs: Vec<LogLine>,
        version: String,
    ) -> Result<(), LedgerError> {
        let fence = fence.clone();
        self.write(move |tx| tx.leave(&fence, cost, &logs, &version)).await
    }

    /// Ends an invocation and the whole tree below it. Nothing happens when it has ended.
    pub async fn cancel(&self, id: &InvocationId) -> Result<(), LedgerError> {
        let id = id.clone();
        self.write(move |tx| tx.cancel(&id)).await
    }

    /// As [`Ledger::cancel`], for a running attempt and only for its own children
    /// ([`LedgerError::Invalid`] for others).
    pub async fn cancel_child(&self, fence: &Fence, id: &InvocationId) -> Result<(), LedgerError> {
        let (fence, id) = (fence.clone(), id.clone());
        self.write(move |tx| tx.cancel_child(&fence, &id)).await
    }

    /// When to look again though nothing changes: the earliest moment at which a delayed
    /// invocation becomes ready or a lease runs out. May be past.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.read(lease::next_due).await
    }

    /// Queues an invocation of `function` as a child, once a key: a second call with the same key
    /// answers the same child, whatever became of it.
    pub async fn start_child(
        &self,
        fence: &Fence,
        function: &str,
        key: &str,
        payload: Vec<u8>,
    ) -> Result<InvocationId, LedgerError> {
        at_most("child key bytes", key.len(), CHILD_KEY_BYTES_MAX)?;
        at_most("child payload bytes", payload.len(), CHILD_PAYLOAD_BYTES_MAX)?;
        let (fence, function, key) = (fence.clone(), function.to_owned(), key.to_owned());
        self.write(move |tx| tx.start_child(&fence, &function, &key, payload)).await
    }

    /// How these children ended, in the order asked; None for those that have not.
    ///
    /// # Errors
    /// [`LedgerError::Invalid`] when one of them is not a child of this invocation,
    /// [`LedgerError::OverLimit`] when their results are over [`OUTCOMES_BYTES_MAX`] together.
    pub async fn children_outcomes(
        &self,
        fence: &Fence,
        ids: &[InvocationId],
    ) -> Result<Vec<Option<Ending>>, LedgerError> {
        at_most("children", ids.len(), CHILDREN_MAX)?;
        let (fence, ids) = (fence.clone(), ids.to_vec());
        self.read(move |conn| children::outcomes(conn, &fence, &ids)).await
    }

    /// Remembers a value under a name for the rest of the invocation, and answers the first value
    /// ever given under that name.
    pub async fn remember(
        &self,
        fence: &Fence,
        name: &str,
        value: Vec<u8>,
    ) -> Result<Vec<u8>, LedgerError> {
        at_most("memory name bytes", name.len(), MEMORY_NAME_BYTES_MAX)?;
        at_most("memory value bytes", value.len(), MEMORY_VALUE_BYTES_MAX)?;
        let (fence, name) = (fence.clone(), name.to_owned());
        self.write(move |tx| tx.remember(&fence, &name, value)).await
    }

    /// The value that the invocation remembered under a name.
    pub async fn recall(&self, fence: &Fence, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let (fence, name) = (fence.clone(), name.to_owned());
        self.read(move |conn| effects::recall(conn, &fence, &name)).await
    }

    /// One invocation with its result.
    pub async fn invocation(&self, id: &InvocationId) -> Result<Option<Invocation>, LedgerError> {
        let id = id.clone();
        self.read(move |conn| view::invocation(conn, &id)).await
    }

    /// The children of an invocation in the order in which they were started.
    pub async fn children_of(&self, id: &InvocationId) -> Result<Vec<Invocation>, LedgerError> {
        let id = id.clone();
        self.read(move |conn| view::children_of(conn, &id)).await
    }

    /// How much waits, runs and failed.
    pub async fn depth(&self) -> Result<Depth, LedgerError> {
        self.read(depth::depth).await
    }

    /// Invocations, newest first, a page at a time.
    pub async fn invocations(
        &self,
        filter: InvocationFilter,
    ) -> Result<Vec<Invocation>, LedgerError> {
        self.read(move |conn| view::invocations(conn, &filter)).await
    }

    /// The attempts of an invocation, oldest first; the last [`ATTEMPTS_KEPT`] are kept.
    pub async fn attempts(&self, id: &InvocationId) -> Result<Vec<Attempt>, LedgerError> {
        let id = id.clone();
        self.read(move |conn| view::attempts(conn, &id)).await
    }

    /// What the ended attempts of an invocation wrote, oldest first; that of the last
    /// [`LOG_ATTEMPTS_KEPT`] attempts that wrote anything is kept.
    pub async fn logs(&self, id: &InvocationId) -> Result<Vec<LogLine>, LedgerError> {
        let id = id.clone();
        self.read(move |conn| view::logs(conn, &id)).await
    }

    /// A page of the effects of an invocation, in the order in which they were done, after the
    /// first `skip`; at most [`PAGE_MAX`].
    pub async fn effects(
        &self,
        id: &InvocationId,
        skip: usize,
    ) -> Result<Vec<EffectRecord>, LedgerError> {
        let id = id.clone();
        self.read(move |conn| effects::list(conn, &id, skip, PAGE_MAX)).await
    }

    /// One event.
    pub async fn event(&self, id: &EventId) -> Result<Option<Event>, LedgerError> {
        let id = id.clone();
        self.read(move |conn| view::event(conn, &id)).await
    }

    /// Deletes what ended long ago or is more than is to be kept, oldest first, in small steps
    /// between which others write; how many roots were deleted. Trees are deleted whole.
    pub async fn prune(&self, retention: Retention) -> Result<u64, LedgerError> {
        let superfluous =
            self.read(move |conn| retention::newest_superfluous(conn, retention)).await?;
        let mut roots = 0;
        loop {
            let step = self.write(move |tx| tx.prune_step(retention.age_max, superfluous)).await?;
            roots += step.roots;
            if step.done {
                break;
            }
        }
        while !self.write(move |tx| tx.forget_old_removals(retention.age_max)).await? {}
        Ok(roots)
    }
}
