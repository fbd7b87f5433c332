//! Reads of what waits and what was done.

use rusqlite::{OptionalExtension, Row};

use super::*;

pub(super) fn pending(
    conn: &Connection,
    repository: &str,
    limit: usize,
    bytes_max: u64,
) -> Result<Vec<Pending>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, bucket, key, version, content_id, place, size FROM backup_pending
         WHERE repository = ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query((repository, limit as i64))?;
    let (mut pending, mut bytes) = (Vec::new(), 0_u64);
    while let Some(row) = rows.next()? {
        let next = change(row)?;
        bytes = bytes.saturating_add(next.size);
        if bytes_max < bytes && !pending.is_empty() {
            break;
        }
        pending.push(next);
    }
    Ok(pending)
}

fn change(row: &Row<'_>) -> Result<Pending> {
    let key = String::from_utf8(row.get(2)?)
        .map_err(|err| LedgerError::Damaged(format!("a key that waits for a backup: {err}")))?;
    let version: Option<String> = row.get(3)?;
    Ok(Pending {
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        bucket: row.get(1)?,
        key,
        stored: version.zip(row.get(4)?),
        place: row.get::<_, i64>(5)?.cast_unsigned(),
        size: row.get::<_, i64>(6)?.cast_unsigned(),
    })
}

pub(super) fn backlog(conn: &Connection, repository: &str, count_max: usize) -> Result<Backlog> {
    let (changes, bytes): (i64, i64) = conn
        .prepare_cached(
            "SELECT count(*), coalesce(sum(size), 0) FROM (
                 SELECT size FROM backup_pending WHERE repository = ?1 ORDER BY seq LIMIT ?2)",
        )?
        .query_row((repository, count_max as i64), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let oldest: Option<i64> = conn
        .prepare_cached("SELECT min(queued_ms) FROM backup_pending WHERE repository = ?1")?
        .query_row([repository], |row| row.get(0))?;
    Ok(Backlog {
        changes: changes.cast_unsigned(),
        bytes: bytes.cast_unsigned(),
        oldest: oldest.map(timestamp),
    })
}

pub(super) fn covered(
    conn: &Connection,
    repository: &str,
    bucket: Option<&str>,
) -> Result<Vec<Covered>> {
    let mut statement = conn.prepare_cached(
        "SELECT bucket, max(time_ms), sum(waits), min(queued_ms) FROM (
             SELECT bucket, time_ms, 0 AS waits, NULL AS queued_ms
             FROM backup_covered WHERE repository = ?1
             UNION ALL
             SELECT bucket, NULL, 1, queued_ms FROM backup_pending WHERE repository = ?1)
         WHERE ?2 IS NULL OR bucket = ?2 GROUP BY bucket ORDER BY bucket",
    )?;
    let rows = statement.query_map((repository, bucket), |row| {
        Ok(Covered {
            bucket: row.get(0)?,
            last_success: row.get::<_, Option<i64>>(1)?.map(timestamp),
            pending: row.get::<_, i64>(2)?.cast_unsigned(),
            oldest_pending: row.get::<_, Option<i64>>(3)?.map(timestamp),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn runs(
    conn: &Connection,
    repository: &str,
    kind: &str,
    limit: usize,
) -> Result<Vec<Run>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, repository, kind, started_ms, ended_ms, succeeded, details FROM backup_runs
         WHERE repository = ?1 AND kind = ?2 ORDER BY seq DESC LIMIT ?3",
    )?;
    let mut rows = statement.query((repository, kind, limit as i64))?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        let details: String = row.get(6)?;
        let details = serde_json::from_str(&details)
            .map_err(|err| LedgerError::Damaged(format!("the record of a backup: {err}")))?;
        runs.push(Run {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            repository: row.get(1)?,
            kind: row.get(2)?,
            started: timestamp(row.get(3)?),
            ended: timestamp(row.get(4)?),
            succeeded: row.get(5)?,
            details,
        });
    }
    Ok(runs)
}

pub(super) fn following(
    conn: &Connection,
    repository: &str,
) -> Result<BTreeMap<String, Following>> {
    let mut statement = conn.prepare_cached(
        "SELECT bucket, place, since FROM backup_following WHERE repository = ?1",
    )?;
    let rows = statement.query_map([repository], |row| {
        let (place, since): (i64, i64) = (row.get(1)?, row.get(2)?);
        let following = Following { place: place.cast_unsigned(), since: since.cast_unsigned() };
        Ok((row.get(0)?, following))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn repository(conn: &Connection, name: &str) -> Result<Option<String>> {
    let id = conn
        .prepare_cached("SELECT id FROM backup_repositories WHERE repository = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(id)
}
