//! Schedules: each slot of time fires once, also over restarts.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use crate::clock::timestamp;
use crate::tx::Tx;
use crate::{Event, LedgerError};

/// The last slot that was fired, or the moment at which the schedule began.
pub(super) fn last_fired(
    conn: &Connection,
    function: &str,
    schedule: &str,
) -> Result<Option<Timestamp>, LedgerError> {
    let last = conn
        .prepare_cached("SELECT last_ms FROM schedules WHERE function = ?1 AND name = ?2")?
        .query_row((function, schedule), |row| row.get(0))
        .optional()?;
    Ok(last.map(timestamp))
}

impl Tx<'_> {
    /// Begins a schedule that is new; answers its last slot, or now.
    pub(super) fn begin_schedule(
        &mut self,
        function: &str,
        schedule: &str,
    ) -> Result<Timestamp, LedgerError> {
        self.execute(
            "INSERT INTO schedules (function, name, last_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            (function, schedule, self.now_ms()),
        )?;
        Ok(last_fired(self.conn(), function, schedule)?.unwrap_or_else(|| self.now()))
    }

    /// Publishes the event of a slot, unless that slot or a later one was fired; without an event
    /// the slot is passed over.
    pub(super) fn fire(
        &mut self,
        function: &str,
        schedule: &str,
        slot: Timestamp,
        event: Option<Event>,
    ) -> Result<bool, LedgerError> {
        let new = self.execute(
            "INSERT INTO schedules (function, name, last_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (function, name) DO UPDATE SET last_ms = ?3 WHERE last_ms < ?3",
            (function, schedule, slot.as_millisecond()),
        )?;
        if new == 0 {
            return Ok(false);
        }
        if let Some(event) = event {
            self.emit(event)?;
        }
        Ok(true)
    }
}
