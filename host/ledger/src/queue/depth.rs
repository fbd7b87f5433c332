//! How much there is of each state. Counts are made from the indexes alone.

use rusqlite::Connection;

use crate::{LedgerError, State, rows};

/// Invocations by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Could run at once.
    pub ready: u64,
    /// Queued for later: after a failure, or because somebody said so.
    pub delayed: u64,
    /// Queued behind an older one of the same concurrency key.
    pub blocked: u64,
    /// At work.
    pub running: u64,
    /// Waiting for children, or asleep.
    pub parked: u64,
    /// Failed, and kept until they are replayed, dropped or too old: dead letters, and the children
    /// of such.
    pub failed: u64,
}

pub(super) fn depth(conn: &Connection) -> Result<Depth, LedgerError> {
    let count = |condition: &str| {
        let sql = format!("SELECT count(*) FROM invocations WHERE {condition}");
        let counted: i64 = conn.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
        Ok::<_, LedgerError>(counted.cast_unsigned())
    };
    let in_state = |state| count(&format!("state <> 3 AND state = {}", rows::state(state)));
    let queued = in_state(State::Queued)?;
    let ready = count("state = 0 AND due_ms IS NULL AND blocked_by IS NULL")?;
    let delayed = count("state = 0 AND due_ms IS NOT NULL")?;
    Ok(Depth {
        ready,
        delayed,
        blocked: queued.saturating_sub(ready).saturating_sub(delayed),
        running: in_state(State::Running)?,
        parked: in_state(State::Parked)?,
        failed: in_state(State::Failed)?,
    })
}
