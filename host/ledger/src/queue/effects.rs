//! What an invocation did or chose once, for all its attempts.

use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::error::at_most;
use crate::tx::{Tx, check_fence};
use crate::{Event, Fence, LedgerError};

/// Values that one invocation may remember (these bounds are in the guests' contract).
pub const MEMORIES_MAX: usize = 64;
/// Longest name of a remembered value.
pub const MEMORY_NAME_BYTES_MAX: usize = 256;
/// Largest remembered value.
pub const MEMORY_VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Tx<'_> {
    /// Publishes an event unless this invocation has.
    pub(super) fn publish_from(
        &mut self,
        fence: &Fence,
        occurrence: u32,
        event: Event,
    ) -> Result<(), LedgerError> {
        let seq = self.fenced(fence)?;
        let new = self.execute(
            "INSERT INTO effects (invocation_seq, digest) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            (seq, publication(occurrence, &event)),
        )?;
        if 0 < new {
            self.emit(event)?;
        }
        Ok(())
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
    let seq = check_fence(conn, fence)?;
    remembered(conn, seq, name)
}

fn remembered(conn: &Connection, seq: i64, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
    let value = conn
        .prepare_cached("SELECT value FROM memories WHERE invocation_seq = ?1 AND name = ?2")?
        .query_row((seq, name), |row| row.get(0))
        .optional()?;
    Ok(value)
}

/// What makes a publication the same one in a later attempt. Lengths go in front, so that no two
/// different events look alike.
fn publication(occurrence: u32, event: &Event) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(b"publish");
    digest.update(occurrence.to_le_bytes());
    let subject = event.subject.as_deref().map_or(&[][..], str::as_bytes);
    let content_type = event.content_type.as_deref().map_or(&[][..], str::as_bytes);
    for part in [event.kind.as_bytes(), subject, content_type, &event.data] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
