//! Leases: who runs what, until when, under which token.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::tree::End;
use super::view;
use crate::clock::{after, timestamp};
use crate::error::at_most;
use crate::tx::Tx;
use crate::{AttemptOutcome, Change, Fence, Lane, Leased, LedgerError, rows};

/// Invocations leased in one call: bounds the operation, and the events held in memory.
pub const LEASE_MAX: usize = 64;
/// Attempts in a row whose end nobody saw (the process died, or did not renew) until the
/// invocation has failed: what kills the host each time must stop some time. Many, because a host
/// may be killed for other reasons.
pub const LOST_MAX: i64 = 20;
/// Attempts of an invocation whose record is kept.
pub const ATTEMPTS_KEPT: i64 = 64;

/// An invocation that can run now.
pub(super) struct Ready {
    seq: i64,
    pub(super) function: String,
    /// How many of its attempts were lost in a row.
    lost: i64,
    token: i64,
    /// How many there were.
    attempt: i64,
}

impl Tx<'_> {
    /// Starts attempts of ready invocations, in the lane's order.
    pub(super) fn lease(
        &mut self,
        lane: Lane,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Leased>, LedgerError> {
        at_most("invocations leased at once", limit, LEASE_MAX)?;
        self.expire(lane)?;
        self.execute(
            "UPDATE invocations SET due_ms = NULL
             WHERE lane = ?1 AND state = 0 AND due_ms IS NOT NULL AND due_ms <= ?2",
            (rows::lane(lane), self.now_ms()),
        )?;
        self.let_go()?;
        let mut ready = self.ready(lane, limit)?;
        // Ended here and not where the loss is noticed, which may be before anybody is there to be
        // told of it. One end may be that of others too, so the question is asked again.
        while let Some(Ready { seq, lost, .. }) = ready.iter().find(|one| LOST_MAX <= one.lost) {
            let reason =
                format!("{lost} attempts in a row were lost: the process died, or hung, in each");
            self.end(*seq, End::Failed(&reason))?;
            ready = self.ready(lane, limit)?;
        }
        let ready = self.hold_back(lane, limit, ready)?;
        let until_ms = after(self.now_ms(), lease);
        ready.into_iter().map(|ready| self.start_attempt(&ready, until_ms)).collect()
    }

    /// Invocations that can run now.
    pub(super) fn ready(&self, lane: Lane, limit: usize) -> Result<Vec<Ready>, LedgerError> {
        let ready = self
            .sql(
                "SELECT seq, lost, token, attempt, function FROM invocations
                 WHERE lane = ?1 AND state = 0 AND due_ms IS NULL AND blocked_by IS NULL
                     AND held = 0
                 ORDER BY rank, root_seq, seq LIMIT ?2",
            )?
            .query_map((rows::lane(lane), limit as i64), |row| {
                let (token, attempt) = (row.get(2)?, row.get(3)?);
                let function = row.get(4)?;
                Ok(Ready { seq: row.get(0)?, function, lost: row.get(1)?, token, attempt })
            })?
            .collect::<Result<_, _>>()?;
        Ok(ready)
    }

    fn start_attempt(&mut self, ready: &Ready, until_ms: i64) -> Result<Leased, LedgerError> {
        let Ready { seq, token, attempt, .. } = *ready;
        let (token, number) = (token + 1, attempt + 1);
        self.execute(
            "UPDATE invocations
             SET state = 1, token = ?4, attempt = ?5, lease_until_ms = ?2,
                 started_ms = coalesce(started_ms, ?3)
             WHERE seq = ?1",
            (seq, until_ms, self.now_ms(), token, number),
        )?;
        self.execute(
            "INSERT INTO attempts (invocation_seq, number, started_ms) VALUES (?1, ?2, ?3)",
            (seq, number, self.now_ms()),
        )?;
        if ATTEMPTS_KEPT < number {
            self.execute(
                "DELETE FROM attempts WHERE invocation_seq = ?1 AND number <= ?2",
                (seq, number - ATTEMPTS_KEPT),
            )?;
        }
        let (invocation, event) = view::leased(self.conn(), seq)?;
        self.change(Change::Started(invocation.id.clone()));
        let fence = Fence { invocation: invocation.id.clone(), token: token.cast_unsigned() };
        Ok(Leased { invocation, event, fence })
    }

    /// Lengthens a lease. An attempt whose lease ran out may still renew it as long as nobody has
    /// looked: nobody else runs it then.
    pub(super) fn renew(&self, fence: &Fence, lease: Duration) -> Result<(), LedgerError> {
        let seq = self.fenced(fence)?;
        self.execute(
            "UPDATE invocations SET lease_until_ms = ?2 WHERE seq = ?1",
            (seq, after(self.now_ms(), lease)),
        )?;
        Ok(())
    }

    /// Takes back what an earlier process had leased.
    pub(super) fn void_leases(&mut self) -> Result<(), LedgerError> {
        for lane in [Lane::Roots, Lane::Children] {
            self.take_back(lane, i64::MAX, "the process that ran it is gone")?;
        }
        Ok(())
    }

    fn expire(&mut self, lane: Lane) -> Result<(), LedgerError> {
        self.take_back(lane, self.now_ms(), "its lease ran out")
    }

    /// Ends the attempts whose lease ended at or before `until_ms`; they are ready at once.
    fn take_back(&mut self, lane: Lane, until_ms: i64, why: &str) -> Result<(), LedgerError> {
        let lost = self
            .sql(
                "SELECT seq, attempt, lost + 1 FROM invocations
                 WHERE lane = ?1 AND state = 1 AND lease_until_ms <= ?2",
            )?
            .query_map((rows::lane(lane), until_ms), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<Vec<(i64, i64, i64)>, _>>()?;
        for (seq, attempt, lost) in lost {
            self.close_attempt(seq, attempt, AttemptOutcome::Lost, Some(why))?;
            self.execute(
                "UPDATE invocations
                 SET state = 0, rank = 0, token = token + 1, lost = ?2, lease_until_ms = NULL
                 WHERE seq = ?1",
                params![seq, lost],
            )?;
            self.change(Change::Queued(lane));
        }
        Ok(())
    }
}

/// The earliest moment at which time alone makes an invocation ready.
pub(super) fn next_due(conn: &Connection) -> Result<Option<Timestamp>, LedgerError> {
    const DELAYED: &str = "SELECT due_ms FROM invocations
        WHERE lane = ?1 AND state = 0 AND due_ms IS NOT NULL ORDER BY due_ms LIMIT 1";
    const LEASED: &str = "SELECT lease_until_ms FROM invocations
        WHERE lane = ?1 AND state = 1 ORDER BY lease_until_ms LIMIT 1";
    let mut earliest: Option<i64> = None;
    for sql in [DELAYED, LEASED] {
        for lane in [Lane::Roots, Lane::Children] {
            let due: Option<i64> = conn
                .prepare_cached(sql)?
                .query_row([rows::lane(lane)], |row| row.get(0))
                .optional()?;
            earliest = earliest.into_iter().chain(due).min();
        }
    }
    Ok(earliest.map(timestamp))
}
