//! How an invocation ends, and what its end does to those above, below and behind it.

use rusqlite::params;

use crate::tx::Tx;
use crate::{AttemptOutcome, Change, Fence, InvocationId, Lane, LedgerError, State, rows};

/// How an invocation ends, with the reason for the record.
pub(super) enum End<'a> {
    Succeeded(Option<Vec<u8>>),
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
}

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
        let id = node.id;
        let (state, reason, result, change) = match end {
            End::Succeeded(result) => (State::Succeeded, None, result, Change::Ended(id)),
            End::Failed(reason) => (State::Failed, Some(reason), None, Change::Ended(id)),
            End::Cancelled(reason) => (State::Cancelled, Some(reason), None, Change::Cancelled(id)),
        };
        if state == State::Cancelled && node.state == State::Running {
            self.close_attempt(seq, node.attempt, AttemptOutcome::Cancelled, reason)?;
        }
        self.mark_ended(seq, state, reason, result)?;
        self.change(change);
        self.cancel_below(seq)?;
        if node.concurrent {
            self.move_up(seq, node.blocked_by)?;
        }
        match node.parent_seq {
            Some(parent_seq) if node.awaited => self.wake(parent_seq),
            _ => Ok(()),
        }
    }

    fn node(&self, seq: i64) -> Result<Node, LedgerError> {
        let (node, state) = self
            .first(
                "SELECT id, parent_seq, awaited, blocked_by, concurrency_key IS NOT NULL, attempt,
                        state
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
        Ok(())
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
