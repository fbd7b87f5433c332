//! How an invocation ends, and what its end does to those above, below and behind it.

use rusqlite::params;
use serde_json::json;

use crate::tx::Tx;
use crate::{AttemptOutcome, Change, Event, Fence, InvocationId, Lane, LedgerError, State, rows};

/// How an invocation ends, with the reason for the record.
pub(super) enum End<'a> {
    Succeeded(Option<Vec<u8>>),
    /// By the handler's own word.
    Rejected(&'a str),
    /// Out of attempts.
    Failed(&'a str),
    Cancelled(&'a str),
}

/// What the end of an invocation needs to know of it.
struct Node {
    id: InvocationId,
    parent_seq: Option<i64>,
    awaited: bool,
    blocked_by: Option<i64>,
    concurrent: bool,
    state: State,
    attempt: i64,
    function: String,
    depth: u32,
    has_children: bool,
}

/// Kind of the event of a root invocation that succeeded.
pub const FUNCTION_SUCCEEDED: &str = "backlot.function.succeeded";
/// Kind of the event of a root invocation that failed: rejected, or out of attempts.
pub const FUNCTION_FAILED: &str = "backlot.function.failed";
/// Largest result that is told with an ending; a larger one is in the invocation's record.
pub const ENDING_RESULT_BYTES_MAX: usize = 64 * 1024;

impl Tx<'_> {
    /// Ends the tree at `id`. Nothing happens when it has ended.
    pub(super) fn cancel(&mut self, id: &InvocationId) -> Result<(), LedgerError> {
        let found =
            self.first("SELECT seq, state FROM invocations WHERE id = ?1", [id.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let (seq, state) = found.ok_or_else(|| LedgerError::UnknownInvocation(id.clone()))?;
        if rows::read_state(state)?.ended() { Ok(()) } else { self.cancel_tree(seq, "cancelled") }
    }

    /// As [`Tx::cancel`], of a child by its running parent.
    pub(super) fn cancel_child(
        &mut self,
        fence: &Fence,
        id: &InvocationId,
    ) -> Result<(), LedgerError> {
        let parent_seq = self.fenced(fence)?;
        let child: Option<i64> = self.first(
            "SELECT seq FROM invocations WHERE id = ?1 AND parent_seq = ?2",
            (id.as_str(), parent_seq),
            |row| row.get(0),
        )?;
        match child {
            Some(_) => self.cancel(id),
            None => Err(LedgerError::Invalid(format!("{id} is not a child of this invocation"))),
        }
    }

    /// Cancels an invocation that has not ended, with all below it.
    pub(super) fn cancel_tree(&mut self, seq: i64, reason: &str) -> Result<(), LedgerError> {
        self.end(seq, End::Cancelled(reason))
    }

    /// Ends an invocation that has not ended. In the same transaction its children are cancelled,
    /// what waited behind it moves up, and a parent that waited for it last becomes ready.
    pub(super) fn end(&mut self, seq: i64, end: End<'_>) -> Result<(), LedgerError> {
        let node = self.node(seq)?;
        let id = node.id.clone();
        let rejected = matches!(end, End::Rejected(_));
        let (state, reason, result, change) = match end {
            End::Succeeded(result) => (State::Succeeded, None, result, Change::Ended(id)),
            End::Failed(reason) | End::Rejected(reason) => {
                (State::Failed, Some(reason), None, Change::Ended(id))
            }
            End::Cancelled(reason) => (State::Cancelled, Some(reason), None, Change::Cancelled(id)),
        };
        if state == State::Cancelled && node.state == State::Running {
            self.close_attempt(seq, node.attempt, AttemptOutcome::Cancelled, reason)?;
        }
        self.mark_ended(seq, state, reason, result)?;
        self.change(change);
        if node.has_children {
            self.cancel_below(seq)?;
        }
        if node.concurrent {
            self.move_up(seq, node.blocked_by)?;
        }
        if node.parent_seq.is_none() && state != State::Cancelled {
            self.tell_ending(seq, &node, rejected)?;
        }
        match node.parent_seq {
            Some(parent_seq) if node.awaited => self.wake(parent_seq),
            _ => Ok(()),
        }
    }

    /// Publishes how a root ended, if a function wants to know.
    fn tell_ending(&mut self, seq: i64, node: &Node, rejected: bool) -> Result<(), LedgerError> {
        if !self.router.is_some_and(|router| router.follows(&node.function)) {
            return Ok(());
        }
        let event = self
            .first(
                "SELECT e.id, e.kind, e.source, e.subject, i.state, i.reason, i.attempt, i.result
                 FROM invocations AS i JOIN events AS e ON e.seq = i.event_seq WHERE i.seq = ?1",
                [seq],
                |row| {
                    let subject: Option<String> = row.get(3)?;
                    let result: Option<Vec<u8>> = row.get(7)?;
                    let result = result
                        .filter(|result| result.len() <= ENDING_RESULT_BYTES_MAX)
                        .and_then(|result| serde_json::from_slice(&result).ok());
                    let succeeded = row.get::<_, i64>(4)? == rows::state(State::Succeeded);
                    let data = json!({
                        "invocation": node.id,
                        "function": node.function,
                        "event": {
                            "id": row.get::<_, String>(0)?,
                            "kind": row.get::<_, String>(1)?,
                            "source": row.get::<_, String>(2)?,
                            "subject": subject,
                        },
                        "attempts": row.get::<_, i64>(6)?,
                        "rejected": rejected,
                        "reason": row.get::<_, Option<String>>(5)?,
                        "result": result.unwrap_or(serde_json::Value::Null),
                    });
                    let kind = if succeeded { FUNCTION_SUCCEEDED } else { FUNCTION_FAILED };
                    let source = format!("/functions/{}", node.function);
                    Ok(Event::json(source, kind, subject, data.to_string().into_bytes()))
                },
            )?
            .ok_or_else(|| LedgerError::Damaged(format!("no invocation in row {seq}")))?;
        self.caused_at(node.depth);
        self.emit_if_wanted(&Event { time: self.now(), ..event })
    }

    fn node(&self, seq: i64) -> Result<Node, LedgerError> {
        let (node, state) = self
            .first(
                "SELECT id, parent_seq, awaited, blocked_by, concurrency_key IS NOT NULL, attempt,
                        state, function, depth, 0 < children
                 FROM invocations WHERE seq = ?1",
                [seq],
                |row| {
                    let node = Node {
                        id: InvocationId::stored(row.get(0)?),
                        parent_seq: row.get(1)?,
                        awaited: row.get(2)?,
                        blocked_by: row.get(3)?,
                        concurrent: row.get(4)?,
                        attempt: row.get(5)?,
                        state: State::Queued,
                        function: row.get(7)?,
                        depth: row.get(8)?,
                        has_children: row.get(9)?,
                    };
                    Ok((node, row.get(6)?))
                },
            )?
            .ok_or_else(|| LedgerError::Damaged(format!("no invocation in row {seq}")))?;
        Ok(Node { state: rows::read_state(state)?, ..node })
    }

    fn mark_ended(
        &self,
        seq: i64,
        state: State,
        reason: Option<&str>,
        result: Option<Vec<u8>>,
    ) -> Result<(), LedgerError> {
        self.execute(
            "UPDATE invocations
             SET state = ?2, ended_ms = ?3, reason = ?4, result = ?5, token = token + 1,
                 lease_until_ms = NULL, due_ms = NULL, blocked_by = NULL, waiting = 0, awaited = 0
             WHERE seq = ?1",
            params![seq, rows::state(state), self.now_ms(), reason, result],
        )?;
        self.take_from_backlog(seq)
    }

    /// Cancels all that is below an invocation that just ended. What has ended has nothing
    /// unended below it, so the walk need not look past it.
    fn cancel_below(&mut self, seq: i64) -> Result<(), LedgerError> {
        const REASON: &str = "its parent ended";
        let below = self
            .sql(
                "WITH RECURSIVE below (seq, id, state, attempt) AS (
                     SELECT seq, id, state, attempt FROM invocations
                     WHERE parent_seq = ?1 AND state < 3
                     UNION ALL
                     SELECT child.seq, child.id, child.state, child.attempt
                     FROM below JOIN invocations AS child ON child.parent_seq = below.seq
                     WHERE child.state < 3
                 ) SELECT seq, id, state, attempt FROM below",
            )?
            .query_map([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<Result<Vec<(i64, String, i64, i64)>, _>>()?;
        for (seq, id, state, attempt) in below {
            if rows::read_state(state)? == State::Running {
                self.close_attempt(seq, attempt, AttemptOutcome::Cancelled, Some(REASON))?;
            }
            self.mark_ended(seq, State::Cancelled, Some(REASON), None)?;
            self.change(Change::Cancelled(InvocationId::stored(id)));
        }
        Ok(())
    }

    /// Lets what waits behind an ended invocation wait for what that one waited for; nothing any
    /// more, mostly.
    fn move_up(&mut self, seq: i64, blocked_by: Option<i64>) -> Result<(), LedgerError> {
        let moved = self.execute(
            "UPDATE invocations SET blocked_by = ?2 WHERE blocked_by = ?1",
            (seq, blocked_by),
        )?;
        if 0 < moved && blocked_by.is_none() {
            self.change(Change::Queued(Lane::Roots));
        }
        Ok(())
    }

    /// One child less to wait for; the last makes the parent ready. A parent that ended (its
    /// children are ended with it) is not parked any more and left alone.
    fn wake(&mut self, parent_seq: i64) -> Result<(), LedgerError> {
        let parked = self.first(
            "UPDATE invocations SET waiting = waiting - 1 WHERE seq = ?1 AND state = 2
             RETURNING waiting, lane",
            [parent_seq],
            |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)),
        )?;
        let Some((0, lane)) = parked else { return Ok(()) };
        self.execute("UPDATE invocations SET state = 0, rank = 0 WHERE seq = ?1", [parent_seq])?;
        self.change(Change::Queued(rows::read_lane(lane)?));
        Ok(())
    }

    /// Completes an attempt's record without cost or logs.
    pub(super) fn close_attempt(
        &self,
        seq: i64,
        number: i64,
        outcome: AttemptOutcome,
        reason: Option<&str>,
    ) -> Result<(), LedgerError> {
        self.execute(
            "UPDATE attempts SET ended_ms = ?3, outcome = ?4, reason = ?5
             WHERE invocation_seq = ?1 AND number = ?2",
            params![seq, number, self.now_ms(), rows::outcome(outcome), reason],
        )?;
        Ok(())
    }
}
