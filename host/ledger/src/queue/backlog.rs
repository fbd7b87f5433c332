//! How much has not ended, and the bound on what may come in from outside.

use crate::tx::Tx;
use crate::{Backlog, LedgerError};

/// What may wait, unless [`crate::Ledger::limit_backlog`] says otherwise.
pub const BACKLOG_MAX: Backlog = Backlog { invocations: 1_000_000, bytes: 4 << 30 };

/// The longest chain of events, each published by an invocation that the one before started. As in
/// AWS Lambda's detection of recursive loops.
pub const CHAIN_MAX: u32 = 16;

impl Tx<'_> {
    /// Counts an invocation that begins, with the bytes of its event. What comes from outside is
    /// refused when there is too much; what an invocation causes never is, it is bounded already.
    pub(super) fn add_to_backlog(&self, bytes: i64) -> Result<(), LedgerError> {
        self.execute(
            "UPDATE backlog SET invocations = invocations + 1, bytes = bytes + ?1",
            [bytes],
        )?;
        if self.depth() != 0 {
            return Ok(());
        }
        let (invocations, all_bytes): (i64, i64) = self
            .first("SELECT invocations, bytes FROM backlog", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .ok_or_else(|| LedgerError::Damaged("the backlog is not counted".to_owned()))?;
        let limit = self.backlog_max;
        for (what, got, limit) in [
            ("invocations that have not ended", invocations, limit.invocations),
            ("bytes of events that have not been handled", all_bytes, limit.bytes),
        ] {
            let got = got.cast_unsigned();
            if limit < got {
                return Err(LedgerError::Backlog { what, limit });
            }
        }
        Ok(())
    }

    /// Counts an invocation that ended.
    pub(super) fn take_from_backlog(&self, seq: i64) -> Result<(), LedgerError> {
        self.execute(
            "UPDATE backlog SET invocations = invocations - 1, bytes = bytes - (
                 SELECT e.bytes FROM invocations AS i JOIN events AS e ON e.seq = i.event_seq
                 WHERE i.seq = ?1)",
            [seq],
        )?;
        Ok(())
    }
}
