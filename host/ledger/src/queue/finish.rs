//! The end of an attempt: its record, and what becomes of the invocation.

use std::time::Duration;

use rusqlite::params;

use super::children::ids_json;
use super::tree::End;
use crate::clock::after;
use crate::error::at_most;
use crate::tx::Tx;
use crate::{
    AttemptEnd, AttemptOutcome, Change, Cost, Fence, InvocationId, LedgerError, LogLine, LogSource,
    Outcome, Progress, RetryPolicy, State, rows,
};

/// Largest result of a handler (the bound that the guests' contract states).
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// Longest reason; the rest is cut off.
pub const REASON_BYTES_MAX: usize = 4 * 1024;
/// Text of the log lines kept of one attempt; of more the last ones are kept, because they tell
/// how it ended.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;
/// Attempts of an invocation whose logs are kept.
pub const LOG_ATTEMPTS_KEPT: i64 = 16;
/// Strands of progress kept; the rest is dropped.
pub const PROGRESS_STRANDS_MAX: usize = 64;
/// Longest delay before another attempt; a longer wish is cut to it.
pub const DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What a log line takes beside its text: bounds the number of empty lines.
const LOG_LINE_BYTES: usize = 64;

/// The attempt that ends.
struct Ended {
    seq: i64,
    number: i64,
    failures: u32,
    lane: i64,
    /// When it was accepted, or replayed.
    begun_ms: i64,
}

impl Tx<'_> {
    /// Records the end of an attempt and moves the invocation on.
    pub(super) fn finish(&mut self, fence: &Fence, end: AttemptEnd) -> Result<(), LedgerError> {
        let seq = self.fenced(fence)?;
        let ended = self
            .first(
                "SELECT attempt, failures, lane, coalesce(resumed_ms, accepted_ms)
                 FROM invocations WHERE seq = ?1",
                [seq],
                |row| {
                    let (number, failures) = (row.get(0)?, row.get(1)?);
                    Ok(Ended { seq, number, failures, lane: row.get(2)?, begun_ms: row.get(3)? })
                },
            )?
            .ok_or_else(|| LedgerError::Fenced(fence.invocation.clone()))?;
        self.record_attempt(&ended, &end)?;
        match end.outcome {
            Outcome::Succeeded(result) => self.end(seq, End::Succeeded(result)),
            Outcome::Rejected(reason) => self.end(seq, End::Rejected(cut(&reason))),
            Outcome::Retry { reason, after } => self.fail(&ended, &reason, after, end.retry),
            Outcome::Trapped(reason) => self.fail(&ended, &reason, None, end.retry),
            Outcome::Parked { children } => self.park(fence, &ended, &children),
            Outcome::Asleep { until } => {
                let due_ms = until.as_millisecond();
                self.requeue(&ended, Some(0), (self.now_ms() < due_ms).then_some(due_ms))
            }
            Outcome::Released => {
                self.requeue(&ended, Some(0), None)?;
                Ok(())
            }
        }
    }

    /// One failure more: queued again after a delay, or failed.
    fn fail(
        &mut self,
        ended: &Ended,
        reason: &str,
        wish: Option<Duration>,
        policy: RetryPolicy,
    ) -> Result<(), LedgerError> {
        let reason = cut(reason);
        let failures = ended.failures.saturating_add(1);
        self.execute(
            "UPDATE invocations SET failures = ?2, reason = ?3 WHERE seq = ?1",
            (ended.seq, failures, reason),
        )?;
        if policy.attempts <= failures {
            return self.end(ended.seq, End::Failed(reason));
        }
        let delay = wish.unwrap_or_else(|| backoff(policy, failures, fastrand::f64()));
        let due_ms = after(self.now_ms(), delay.min(DELAY_MAX));
        if policy.age_max.is_some_and(|age| after(ended.begun_ms, age) < due_ms) {
            return self.end(ended.seq, End::Failed(reason));
        }
        self.requeue(ended, None, (self.now_ms() < due_ms).then_some(due_ms))
    }

    /// Runnable again, at once or not before `due_ms`; `rank` None keeps its place in the lane.
    fn requeue(
        &mut self,
        ended: &Ended,
        rank: Option<i64>,
        due_ms: Option<i64>,
    ) -> Result<(), LedgerError> {
        self.execute(
            "UPDATE invocations
             SET state = 0, rank = coalesce(?2, rank), due_ms = ?3, token = token + 1, lost = 0,
                 lease_until_ms = NULL
             WHERE seq = ?1",
            (ended.seq, rank, due_ms),
        )?;
        self.change(Change::Queued(rows::read_lane(ended.lane)?));
        Ok(())
    }

    /// Waits for children; for none of them to end, if all have: then it goes on at once.
    fn park(
        &mut self,
        fence: &Fence,
        ended: &Ended,
        children: &[InvocationId],
    ) -> Result<(), LedgerError> {
        at_most("children", children.len(), super::CHILDREN_MAX)?;
        let ids = ids_json(children)?;
        let foreign: i64 = self
            .first(
                "SELECT count(*) FROM json_each(?2) AS asked
                 LEFT JOIN invocations AS child
                     ON child.id = asked.value AND child.parent_seq = ?1
                 WHERE child.seq IS NULL",
                (ended.seq, &ids),
                |row| row.get(0),
            )?
            .unwrap_or(0);
        if foreign != 0 {
            let reason = format!("{foreign} of the ids to wait for are not of its children");
            return Err(LedgerError::Invalid(reason));
        }
        let waiting = self.execute(
            "UPDATE invocations SET awaited = 1
             WHERE id IN (SELECT value FROM json_each(?2)) AND parent_seq = ?1 AND state < 3",
            (ended.seq, &ids),
        )?;
        if waiting == 0 {
            return self.requeue(ended, Some(0), None);
        }
        self.execute(
            "UPDATE invocations
             SET state = 2, waiting = ?2, token = token + 1, lost = 0, lease_until_ms = NULL
             WHERE seq = ?1",
            (ended.seq, waiting as i64),
        )?;
        self.change(Change::Parked(fence.invocation.clone()));
        Ok(())
    }

    /// The attempt's record: outcome, cost, logs, progress.
    fn record_attempt(&mut self, ended: &Ended, end: &AttemptEnd) -> Result<(), LedgerError> {
        let (outcome, reason) = match &end.outcome {
            Outcome::Succeeded(_) => (AttemptOutcome::Succeeded, None),
            Outcome::Rejected(reason) => (AttemptOutcome::Rejected, Some(reason)),
            Outcome::Retry { reason, .. } => (AttemptOutcome::Retry, Some(reason)),
            Outcome::Trapped(reason) => (AttemptOutcome::Trapped, Some(reason)),
            Outcome::Parked { .. } | Outcome::Asleep { .. } => (AttemptOutcome::Parked, None),
            Outcome::Released => (AttemptOutcome::Released, None),
        };
        let reason = reason.map(|reason| cut(reason));
        let Cost { cpu_ms, bytes_in, bytes_out } = end.cost;
        let [cpu_ms, bytes_in, bytes_out] = [cpu_ms, bytes_in, bytes_out].map(stored);
        self.execute(
            "UPDATE attempts SET ended_ms = ?3, outcome = ?4, reason = ?5, cpu_ms = ?6,
                 bytes_in = ?7, bytes_out = ?8, version = ?9
             WHERE invocation_seq = ?1 AND number = ?2",
            params![
                ended.seq,
                ended.number,
                self.now_ms(),
                rows::outcome(outcome),
                reason,
                cpu_ms,
                bytes_in,
                bytes_out,
                end.version
            ],
        )?;
        self.add_cost(ended.seq, end.cost, progress(&end.progress)?)?;
        self.keep_logs(ended.seq, ended.number, &end.logs)
    }

    /// Completes the record of an attempt that was cancelled: what it cost and said. Of any other
    /// attempt that is over nothing is kept.
    pub(super) fn leave(
        &mut self,
        fence: &Fence,
        cost: Cost,
        logs: &[LogLine],
        version: &str,
    ) -> Result<(), LedgerError> {
        // The end of a running invocation raises its token once, and nothing does after that.
        let cancelled = self.first(
            "SELECT seq, attempt FROM invocations WHERE id = ?1 AND token = ?2 + 1 AND state = ?3",
            (fence.invocation.as_str(), fence.token.cast_signed(), rows::state(State::Cancelled)),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let Some((seq, number)) = cancelled else {
            return Err(LedgerError::Fenced(fence.invocation.clone()));
        };
        let Cost { cpu_ms, bytes_in, bytes_out } = cost;
        let [cpu_ms, bytes_in, bytes_out] = [cpu_ms, bytes_in, bytes_out].map(stored);
        self.execute(
            "UPDATE attempts SET cpu_ms = ?3, bytes_in = ?4, bytes_out = ?5, version = ?6
             WHERE invocation_seq = ?1 AND number = ?2",
            (seq, number, cpu_ms, bytes_in, bytes_out, version),
        )?;
        self.add_cost(seq, cost, None)?;
        self.keep_logs(seq, number, logs)
    }

    fn add_cost(&self, seq: i64, cost: Cost, progress: Option<String>) -> Result<(), LedgerError> {
        let Cost { cpu_ms, bytes_in, bytes_out } = cost;
        let [cpu_ms, bytes_in, bytes_out] = [cpu_ms, bytes_in, bytes_out].map(stored);
        self.execute(
            "UPDATE invocations
             SET cpu_ms = min(cpu_ms + ?2, ?6), bytes_in = min(bytes_in + ?3, ?6),
                 bytes_out = min(bytes_out + ?4, ?6), progress = coalesce(?5, progress)
             WHERE seq = ?1",
            (seq, cpu_ms, bytes_in, bytes_out, progress, stored(u64::MAX)),
        )?;
        Ok(())
    }

    fn keep_logs(&self, seq: i64, number: i64, lines: &[LogLine]) -> Result<(), LedgerError> {
        if lines.is_empty() {
            return Ok(());
        }
        self.execute(
            "INSERT INTO logs (invocation_seq, number, lines) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            (seq, number, json(&last_lines(lines))?),
        )?;
        self.execute(
            "DELETE FROM logs WHERE seq IN (
                 SELECT seq FROM logs WHERE invocation_seq = ?1
                 ORDER BY number DESC LIMIT -1 OFFSET ?2)",
            (seq, LOG_ATTEMPTS_KEPT),
        )?;
        Ok(())
    }
}

/// The delay after the given number of failures (from 1): anything up to a bound that doubles,
/// "full jitter", so that what failed together does not come back together. `random` is in 0..1.
fn backoff(policy: RetryPolicy, failures: u32, random: f64) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let bound = policy.base.saturating_mul(doubled).min(policy.cap).min(DELAY_MAX);
    bound.mul_f64(random.clamp(0.0, 1.0))
}

/// Sums of costs stay far from overflow: 2^53.
fn stored(quantity: u64) -> i64 {
    const MOST: i64 = 1 << 53;
    i64::try_from(quantity).map_or(MOST, |quantity| quantity.min(MOST))
}

fn cut(reason: &str) -> &str {
    reason.get(..reason.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or(reason)
}

fn progress(strands: &[Progress]) -> Result<Option<String>, LedgerError> {
    if strands.is_empty() {
        return Ok(None);
    }
    json(&strands.iter().take(PROGRESS_STRANDS_MAX).collect::<Vec<_>>()).map(Some)
}

/// The last lines that fit, after a line that tells how many do not.
fn last_lines(lines: &[LogLine]) -> Vec<LogLine> {
    let mut left = LOG_BYTES_MAX;
    let fitting = lines.iter().rev().take_while(|line| {
        let fits = left.checked_sub(line.text.len() + LOG_LINE_BYTES);
        left = fits.unwrap_or(0);
        fits.is_some()
    });
    let dropped = lines.len() - fitting.count();
    let (earlier, kept) = lines.split_at(dropped);
    let note = earlier.last().map(|line| LogLine {
        time: line.time,
        source: LogSource::Host,
        text: format!("{dropped} earlier lines are over the limit of {LOG_BYTES_MAX} bytes"),
    });
    note.into_iter().chain(kept.iter().cloned()).collect()
}

fn json(value: &impl serde::Serialize) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|err| LedgerError::Invalid(err.to_string()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn backoff_doubles_up_to_the_cap_and_is_anything_below() {
        let secs = Duration::from_secs;
        let policy = RetryPolicy { attempts: 100, base: secs(1), cap: secs(60), age_max: None };
        let bounds: Vec<u64> =
            (1..=8).map(|failures| backoff(policy, failures, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(policy, u32::MAX, 1.0), secs(60));
        assert_eq!(backoff(policy, 3, 0.0), Duration::ZERO);
        assert_eq!(backoff(policy, 3, 0.5), secs(2));
        let endless = RetryPolicy { base: Duration::MAX, cap: Duration::MAX, ..policy };
        assert_eq!(backoff(endless, 9, 1.0), DELAY_MAX);
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        let long = "ä".repeat(REASON_BYTES_MAX);
        assert_eq!(cut(&long).len(), REASON_BYTES_MAX);
        assert_eq!(cut(&long[2..].replacen('ä', "a", 1)).len(), REASON_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn of_too_many_log_lines_the_last_are_kept() {
        let line =
            |text: String| LogLine { time: Timestamp::UNIX_EPOCH, source: LogSource::Stdout, text };
        let lines: Vec<_> = (0..3).map(|n| line(n.to_string().repeat(LOG_BYTES_MAX / 2))).collect();
        let kept = last_lines(&lines);
        assert_eq!(kept.len(), 2);
        assert!(kept[0].text.starts_with("2 earlier lines"));
        assert_eq!(kept[1], lines[2]);
        // Empty lines count too.
        let many = vec![line(String::new()); 100_000];
        assert!(last_lines(&many).len() <= LOG_BYTES_MAX / LOG_LINE_BYTES + 1);
        assert_eq!(last_lines(&lines[..1]), lines[..1]);
    }
}
