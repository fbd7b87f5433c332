//! What ended is not kept for ever.

use std::time::Duration;

use rusqlite::Connection;

use crate::LedgerError;
use crate::tx::Tx;

/// Rows deleted in one operation: bounds how long others wait for it.
const STEP_ROWS_MAX: i64 = 256;

/// How much of what ended is kept. Failed invocations (dead letters) count like all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Deleted when its root ended longer ago than this.
    pub age_max: Duration,
    /// Ended roots kept; beyond that the oldest are deleted.
    pub roots_max: u32,
    /// Bytes of their events, results, logs, effects and memories, those of their children too, and
    /// [`ROW_BYTES`] for each invocation; beyond that the oldest roots are deleted.
    pub bytes_max: u64,
}

/// What the rows of an invocation and their indexes take beside what is in them, about.
pub const ROW_BYTES: u64 = 1_024;

/// What one step did.
pub(super) struct Step {
    pub(super) roots: u64,
    pub(super) done: bool,
}

/// A place in the order in which roots ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndedAt {
    ms: i64,
    seq: i64,
}

/// The newest of the ended roots that are more than are to be kept. What is superfluous stays so:
/// asked once for all steps, because the answer takes as long as there are roots to keep.
pub(super) fn newest_superfluous(
    conn: &Connection,
    retention: Retention,
) -> Result<Option<EndedAt>, LedgerError> {
    let mut newest_first = conn.prepare_cached(
        "SELECT ended_ms, seq FROM invocations WHERE parent_seq IS NULL AND state >= 3
         ORDER BY ended_ms DESC, seq DESC",
    )?;
    let mut roots = newest_first.query([])?;
    let (mut count, mut bytes) = (0_u32, 0_u64);
    while let Some(row) = roots.next()? {
        let root = EndedAt { ms: row.get(0)?, seq: row.get(1)? };
        count = count.saturating_add(1);
        bytes = bytes.saturating_add(bytes_of_tree(conn, root.seq)?);
        if retention.roots_max < count || retention.bytes_max < bytes {
            return Ok(Some(root));
        }
    }
    Ok(None)
}

/// What a root and all below it take. Lengths are read, not what is so long.
fn bytes_of_tree(conn: &Connection, root_seq: i64) -> Result<u64, LedgerError> {
    let (rows, bytes): (i64, i64) = conn
        .prepare_cached(
            "WITH tree AS (
                 SELECT seq, event_seq, result FROM invocations WHERE seq = ?1
                 UNION ALL
                 SELECT seq, event_seq, result FROM invocations WHERE root_seq = ?1
             )
             SELECT count(*), coalesce(sum(
                 coalesce(octet_length(result), 0)
                 + (SELECT bytes FROM events WHERE seq = event_seq)
                 + (SELECT coalesce(sum(octet_length(lines)), 0) FROM logs
                    WHERE invocation_seq = tree.seq)
                 + (SELECT coalesce(sum(octet_length(answer) + octet_length(subject)), 0)
                    FROM effects WHERE invocation_seq = tree.seq)
                 + (SELECT coalesce(sum(octet_length(value)), 0) FROM memories
                    WHERE invocation_seq = tree.seq)), 0)
             FROM tree",
        )?
        .query_row([root_seq], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (rows, bytes) = (rows.cast_unsigned(), bytes.cast_unsigned());
    Ok(bytes.saturating_add(rows.saturating_mul(ROW_BYTES)))
}

impl Tx<'_> {
    /// Deletes up to [`STEP_ROWS_MAX`] rows of what is too old, or not newer than `superfluous`.
    pub(super) fn prune_step(
        &mut self,
        age_max: Duration,
        superfluous: Option<EndedAt>,
    ) -> Result<Step, LedgerError> {
        let age_ms = i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = self.now_ms().saturating_sub(age_ms);
        let mut left = STEP_ROWS_MAX;
        let mut roots = 0;
        while 0 < left {
            let root = self.oldest_root()?.filter(|root| {
                root.ms < oldest_ms || superfluous.is_some_and(|newest| *root <= newest)
            });
            let Some(root) = root else {
                let unused = self.execute(
                    "DELETE FROM events WHERE seq IN (
                         SELECT seq FROM events
                         WHERE invocations = 0 AND accepted_ms < ?1 LIMIT ?2)",
                    (oldest_ms, left),
                )?;
                return Ok(Step { roots, done: (unused as i64) < left });
            };
            let below = self
                .sql("SELECT seq, event_seq FROM invocations WHERE root_seq = ?1 LIMIT ?2")?
                .query_map((root.seq, left), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<(i64, i64)>, _>>()?;
            for (seq, event_seq) in &below {
                self.delete_invocation(*seq, *event_seq)?;
            }
            left -= below.len() as i64;
            if 0 < left {
                let event_seq = self
                    .sql("SELECT event_seq FROM invocations WHERE seq = ?1")?
                    .query_row([root.seq], |row| row.get(0))?;
                self.delete_invocation(root.seq, event_seq)?;
                roots += 1;
                left -= 1;
            }
        }
        Ok(Step { roots, done: false })
    }

    fn oldest_root(&self) -> Result<Option<EndedAt>, LedgerError> {
        self.first(
            "SELECT ended_ms, seq FROM invocations WHERE parent_seq IS NULL AND state >= 3
             ORDER BY ended_ms, seq LIMIT 1",
            [],
            |row| Ok(EndedAt { ms: row.get(0)?, seq: row.get(1)? }),
        )
    }

    pub(super) fn delete_invocation(&self, seq: i64, event_seq: i64) -> Result<(), LedgerError> {
        for sql in [
            "DELETE FROM invocations WHERE seq = ?1",
            "DELETE FROM attempts WHERE invocation_seq = ?1",
            "DELETE FROM logs WHERE invocation_seq = ?1",
            "DELETE FROM memories WHERE invocation_seq = ?1",
            "DELETE FROM effects WHERE invocation_seq = ?1",
        ] {
            self.execute(sql, [seq])?;
        }
        self.execute(
            "UPDATE events SET invocations = invocations - 1 WHERE seq = ?1",
            [event_seq],
        )?;
        self.execute("DELETE FROM events WHERE seq = ?1 AND invocations = 0", [event_seq])?;
        Ok(())
    }
}
