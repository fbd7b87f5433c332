//! What is ready and held back, because its function runs as many attempts as it may. Held ones are
//! out of the way of others, however many they are.

use rusqlite::OptionalExtension;

use super::lease::Ready;
use crate::tx::Tx;
use crate::{Change, Lane, LedgerError, rows};

/// Invocations of one function that are held back, or let go, in one step: bounds the operation.
const HELD_MAX: u32 = 10_000;

/// Functions that are found to have enough in one look for work; the next look finds the rest.
const FUNCTIONS_MAX: usize = 32;

impl Tx<'_> {
    /// Lets go of as many as may run now.
    pub(super) fn let_go(&self) -> Result<(), LedgerError> {
        let mut after = String::new();
        while let Some(function) = self.held_after(&after)? {
            let room = self.room(&function)?.unwrap_or(HELD_MAX).min(HELD_MAX);
            if 0 < room {
                self.execute(
                    "UPDATE invocations SET held = 0 WHERE seq IN (
                         SELECT seq FROM invocations INDEXED BY invocations_held
                         WHERE function = ?1 AND state = 0 AND held = 1
                         ORDER BY rank, root_seq, seq LIMIT ?2)",
                    (&function, room),
                )?;
            }
            after = function;
        }
        Ok(())
    }

    /// Of those that are ready, the ones whose functions may run more; the others are held.
    pub(super) fn hold_back(
        &mut self,
        lane: Lane,
        limit: usize,
        mut ready: Vec<Ready>,
    ) -> Result<Vec<Ready>, LedgerError> {
        for _ in 0..FUNCTIONS_MAX {
            let Some((function, room)) = self.over(&ready)? else { return Ok(ready) };
            self.execute(
                "UPDATE invocations SET held = 1 WHERE seq IN (
                     SELECT seq FROM invocations INDEXED BY invocations_ready
                     WHERE lane = ?1 AND state = 0 AND due_ms IS NULL AND blocked_by IS NULL
                         AND held = 0 AND function = ?2
                     ORDER BY rank, root_seq, seq LIMIT ?3 OFFSET ?4)",
                (rows::lane(lane), &function, HELD_MAX, room),
            )?;
            ready = self.ready(lane, limit)?;
        }
        self.change(Change::Queued(lane));
        Ok(Vec::new())
    }

    /// A function of which more are ready than may run, and how many may.
    fn over(&self, ready: &[Ready]) -> Result<Option<(String, u32)>, LedgerError> {
        for one in ready {
            let Some(room) = self.room(&one.function)? else { continue };
            let wanted = ready.iter().filter(|other| other.function == one.function).count();
            if (room as usize) < wanted {
                return Ok(Some((one.function.clone(), room)));
            }
        }
        Ok(None)
    }

    /// How many more attempts of a function may run. None: as many as there are workers.
    fn room(&self, function: &str) -> Result<Option<u32>, LedgerError> {
        let Some(at_once) = self.router.and_then(|router| router.at_once(function)) else {
            return Ok(None);
        };
        let running: u32 = self
            .first(
                "SELECT count(*) FROM invocations INDEXED BY invocations_leased
                 WHERE lane IN (0, 1) AND state = 1 AND function = ?1",
                [function],
                |row| row.get(0),
            )?
            .unwrap_or(0);
        Ok(Some(at_once.saturating_sub(running)))
    }

    fn held_after(&self, function: &str) -> Result<Option<String>, LedgerError> {
        let next = self
            .sql(
                "SELECT function FROM invocations INDEXED BY invocations_held
                 WHERE state = 0 AND held = 1 AND ?1 < function ORDER BY function LIMIT 1",
            )?
            .query_row([function], |row| row.get(0))
            .optional()?;
        Ok(next)
    }
}
