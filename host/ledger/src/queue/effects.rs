//! What an invocation did or chose once, for all its attempts.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::finish::DELAY_MAX;
use crate::clock::{after, timestamp};
use crate::error::at_most;
use crate::tx::{Tx, check_fence};
use crate::{
    EFFECT_SUBJECT_BYTES_MAX, EFFECTS_MAX, Effect, EffectRecord, Event, Fence, InvocationId,
    LedgerError,
};

/// Values that one invocation may remember (these bounds are in the guests' contract).
pub const MEMORIES_MAX: usize = 64;
/// Longest name of a remembered value.
pub const MEMORY_NAME_BYTES_MAX: usize = 256;
/// Largest remembered value.
pub const MEMORY_VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Tx<'_> {
    /// What this effect answered, if it was done before.
    pub(crate) fn recorded<T: DeserializeOwned>(
        &self,
        effect: &Effect,
    ) -> Result<Option<T>, LedgerError> {
        let seq = self.fenced(&effect.fence)?;
        let answer: Option<String> = self.first(
            "SELECT answer FROM effects WHERE invocation_seq = ?1 AND key = ?2",
            (seq, effect.key()),
            |row| row.get(0),
        )?;
        let read = |answer: String| {
            serde_json::from_str(&answer)
                .map_err(|err| LedgerError::Damaged(format!("a recorded answer: {err}")))
        };
        answer.map(read).transpose()
    }

    /// Records, in the transaction that does it, that this effect was done.
    pub(crate) fn record(
        &self,
        effect: &Effect,
        answer: &impl Serialize,
    ) -> Result<(), LedgerError> {
        let seq = self.fenced(&effect.fence)?;
        let counted = self.execute(
            "UPDATE invocations SET effects = effects + 1 WHERE seq = ?1 AND effects < ?2",
            (seq, EFFECTS_MAX as i64),
        )?;
        at_most("effects", if counted == 0 { EFFECTS_MAX + 1 } else { 0 }, EFFECTS_MAX)?;
        let answer =
            serde_json::to_string(answer).map_err(|err| LedgerError::Invalid(err.to_string()))?;
        let subject = &effect.subject;
        let subject = subject
            .get(..subject.floor_char_boundary(EFFECT_SUBJECT_BYTES_MAX))
            .unwrap_or_default();
        self.execute(
            "INSERT INTO effects (invocation_seq, key, call, subject, attempt, time_ms, answer)
             SELECT seq, ?2, ?3, ?4, attempt, ?5, ?6 FROM invocations WHERE seq = ?1",
            params![seq, effect.key(), effect.call, subject, self.now_ms(), answer],
        )?;
        Ok(())
    }

    /// Publishes an event unless this invocation has.
    pub(super) fn publish_once(
        &mut self,
        effect: &Effect,
        event: Event,
    ) -> Result<(), LedgerError> {
        if self.recorded::<String>(effect)?.is_none() {
            let id = self.emit(event)?;
            self.record(effect, &id.as_str())?;
        }
        Ok(())
    }

    /// When a sleep ends: as settled by the first attempt that came to it.
    pub(super) fn sleep(
        &mut self,
        effect: &Effect,
        duration: Duration,
    ) -> Result<Timestamp, LedgerError> {
        if let Some(wake_ms) = self.recorded(effect)? {
            return Ok(timestamp(wake_ms));
        }
        let wake_ms = after(self.now_ms(), duration.min(DELAY_MAX));
        self.record(effect, &wake_ms)?;
        Ok(timestamp(wake_ms))
    }

    /// The first value ever given under a name.
    pub(super) fn remember(
        &mut self,
        fence: &Fence,
        name: &str,
        value: Vec<u8>,
    ) -> Result<Vec<u8>, LedgerError> {
        let seq = self.fenced(fence)?;
        if let Some(first) = remembered(self.conn(), seq, name)? {
            return Ok(first);
        }
        let count: i64 = self
            .first("SELECT count(*) FROM memories WHERE invocation_seq = ?1", [seq], |row| {
                row.get(0)
            })?
            .unwrap_or(0);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        at_most("remembered values", count.saturating_add(1), MEMORIES_MAX)?;
        self.execute(
            "INSERT INTO memories (invocation_seq, name, value) VALUES (?1, ?2, ?3)",
            (seq, name, &value),
        )?;
        Ok(value)
    }
}

/// The value remembered under a name.
pub(super) fn recall(
    conn: &Connection,
    fence: &Fence,
    name: &str,
) -> Result<Option<Vec<u8>>, LedgerError> {
    let seq = check_fence(conn, fence)?.seq;
    remembered(conn, seq, name)
}

fn remembered(conn: &Connection, seq: i64, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
    let value = conn
        .prepare_cached("SELECT value FROM memories WHERE invocation_seq = ?1 AND name = ?2")?
        .query_row((seq, name), |row| row.get(0))
        .optional()?;
    Ok(value)
}

/// The effects of an invocation in the order in which they were done, after the first `skip`.
pub(super) fn list(
    conn: &Connection,
    id: &InvocationId,
    skip: usize,
    limit: usize,
) -> Result<Vec<EffectRecord>, LedgerError> {
    let mut statement = conn.prepare_cached(
        "SELECT call, subject, effects.attempt, time_ms, answer
         FROM effects JOIN invocations ON invocations.seq = invocation_seq
         WHERE id = ?1 ORDER BY effects.seq LIMIT ?3 OFFSET ?2",
    )?;
    let rows = statement.query_map((id.as_str(), skip as i64, limit as i64), |row| {
        let (call, subject, attempt) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((call, subject, attempt, row.get::<_, i64>(3)?, row.get::<_, String>(4)?))
    })?;
    rows.map(|row| {
        let (call, subject, attempt, time_ms, answer) = row?;
        let answer = serde_json::from_str(&answer)
            .map_err(|err| LedgerError::Damaged(format!("a recorded answer: {err}")))?;
        Ok(EffectRecord { call, subject, attempt, time: timestamp(time_ms), answer })
    })
    .collect()
}
