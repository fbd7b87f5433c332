//! The feed of changes: every version that was written or removed, in the order of commit.
//!
//! What was written and is still there is read from the versions themselves, so that writing costs
//! nothing more, and a feed from the start holds as many of them as there are versions. Removals
//! are rows of their own, kept for as long as ended invocations are.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::rows::{damaged, key};
use super::{IndexError, ObjectInfo};
use crate::clock::timestamp;
use crate::tx::Tx;
use crate::{Ledger, LedgerError};

/// Changes on one page.
pub const CHANGES_MAX: usize = 1_000;
/// Changes that one page looks through for those that are asked for: bounds how long it takes.
const SCANNED_MAX: usize = 10_000;
/// Removals forgotten in one operation: bounds how long others wait for it.
const FORGOTTEN_AT_ONCE: i64 = 1_000;

/// Which changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangesQuery {
    /// Those after this place; 0: from the start.
    pub after: u64,
    /// Only of these buckets and key prefixes; empty: all.
    pub places: Vec<(String, String)>,
    /// At most so many, and at most [`CHANGES_MAX`]; 0: that.
    pub limit: usize,
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A version was written, and is still kept.
    Created,
    /// The object is gone: a delete marker came over it, or its only or newest version went.
    Removed,
    /// An older version went, for good.
    VersionRemoved,
}

/// One change of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectChange {
    /// Its place in the feed: to go on after it.
    pub place: u64,
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version: that was written, is the marker, or is gone.
    pub version_id: String,
    /// As [`ObjectInfo::content_id`].
    pub content_id: String,
    /// What happened.
    pub kind: ChangeKind,
    /// Bytes of the version.
    pub size: u64,
    /// Its entity tag.
    pub etag: String,
    /// When.
    pub at: Timestamp,
}

/// A page of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesPage {
    /// The changes that were asked for, in the order of commit.
    pub changes: Vec<ObjectChange>,
    /// Where to go on: past all that was looked at, asked for or not.
    pub next: u64,
    /// There is more now. A page may be short, even empty, though there is.
    pub more: bool,
    /// Removals after the place asked for are forgotten: compare with a list to learn of them.
    pub gap: bool,
}

impl Ledger {
    /// A page of the feed of changes.
    ///
    /// # Errors
    /// Only those of the ledger itself.
    pub async fn object_changes(&self, query: ChangesQuery) -> Result<ChangesPage, IndexError> {
        self.read(move |conn| page(conn, &query)).await
    }

    /// The end of the feed now: after it comes what is changed from now on.
    ///
    /// # Errors
    /// Only those of the ledger itself.
    pub async fn last_change(&self) -> Result<u64, IndexError> {
        self.read(|conn| {
            let last: i64 = conn
                .prepare_cached(
                    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'versions'), 0)",
                )?
                .query_row([], |row| row.get(0))?;
            Ok(last.cast_unsigned())
        })
        .await
    }
}

fn page(conn: &Connection, query: &ChangesQuery) -> Result<ChangesPage, IndexError> {
    let forgotten: i64 = conn
        .prepare_cached("SELECT seq FROM removals_forgotten")?
        .query_row([], |row| row.get(0))?;
    let mut written = conn.prepare_cached(
        "SELECT seq, name, key, version, content_id, CASE marker WHEN 1 THEN 1 ELSE 0 END, size,
                etag, modified_ms
         FROM versions JOIN buckets ON buckets.id = bucket WHERE seq > ?1 ORDER BY seq",
    )?;
    let mut removed = conn.prepare_cached(
        "SELECT seq, bucket, key, version, content_id, CASE latest WHEN 1 THEN 1 ELSE 2 END, size,
                etag, removed_ms
         FROM removals WHERE seq > ?1 ORDER BY seq",
    )?;
    let after = query.after.cast_signed();
    let mut written = written.query([after])?;
    let mut removed = removed.query([after])?;
    let limit = if query.limit == 0 { CHANGES_MAX } else { query.limit.min(CHANGES_MAX) };
    let mut page =
        ChangesPage { changes: Vec::new(), next: query.after, more: false, gap: after < forgotten };
    let mut next_written = change(written.next()?)?;
    let mut next_removed = change(removed.next()?)?;
    for _ in 0..SCANNED_MAX {
        let place = |change: &Option<ObjectChange>| change.as_ref().map(|change| change.place);
        let found = match (place(&next_written), place(&next_removed)) {
            (None, None) => return Ok(page),
            (Some(one), Some(other)) if other < one => next_removed.take(),
            (None, Some(_)) => next_removed.take(),
            (Some(_), _) => next_written.take(),
        };
        if page.changes.len() == limit {
            break;
        }
        if let Some(found) = found {
            page.next = found.place;
            if query.wants(&found) {
                page.changes.push(found);
            }
        }
        if next_written.is_none() {
            next_written = change(written.next()?)?;
        }
        if next_removed.is_none() {
            next_removed = change(removed.next()?)?;
        }
    }
    page.more = true;
    Ok(page)
}

impl ChangesQuery {
    fn wants(&self, change: &ObjectChange) -> bool {
        let covers = |(bucket, prefix): &(String, String)| {
            *bucket == change.bucket && change.key.starts_with(prefix.as_str())
        };
        self.places.is_empty() || self.places.iter().any(covers)
    }
}

fn change(row: Option<&Row<'_>>) -> Result<Option<ObjectChange>, IndexError> {
    let Some(row) = row else { return Ok(None) };
    let kind = match row.get::<_, i64>(5)? {
        0 => ChangeKind::Created,
        1 => ChangeKind::Removed,
        2 => ChangeKind::VersionRemoved,
        other => return Err(damaged(format!("a change has the kind {other}"))),
    };
    Ok(Some(ObjectChange {
        place: row.get::<_, i64>(0)?.cast_unsigned(),
        bucket: row.get(1)?,
        key: key(row, 2)?,
        version_id: row.get(3)?,
        content_id: row.get(4)?,
        kind,
        size: row.get::<_, i64>(6)?.cast_unsigned(),
        etag: row.get(7)?,
        at: timestamp(row.get(8)?),
    }))
}

/// Enters the removal of a version into the feed.
pub(super) fn removed(tx: &Tx<'_>, object: &ObjectInfo) -> Result<(), IndexError> {
    // It has a row: the version that is removed was inserted once.
    tx.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'versions'", [])?;
    tx.execute(
        "INSERT INTO removals
         (seq, bucket, key, version, content_id, latest, size, etag, removed_ms)
         SELECT seq, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM sqlite_sequence WHERE name = 'versions'",
        (
            &object.bucket,
            object.key.as_bytes(),
            &object.version_id,
            &object.content_id,
            object.is_latest,
            object.size.cast_signed(),
            &object.etag,
            tx.now_ms(),
        ),
    )?;
    Ok(())
}

impl Tx<'_> {
    /// Forgets some of the removals that are older than that; whether that were all.
    pub(crate) fn forget_old_removals(&mut self, age_max: Duration) -> Result<bool, LedgerError> {
        let age_ms = i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX);
        let before_ms = self.now_ms().saturating_sub(age_ms);
        // In the order of seq they are in the order of time too, but for a clock that was set back.
        let last: Option<i64> = self
            .first(
                "SELECT max(seq) FROM (
                     SELECT seq, removed_ms FROM removals ORDER BY seq LIMIT ?2
                 ) WHERE removed_ms < ?1",
                (before_ms, FORGOTTEN_AT_ONCE),
                |row| row.get(0),
            )?
            .flatten();
        let Some(last) = last else { return Ok(true) };
        let forgotten = self.execute("DELETE FROM removals WHERE seq <= ?1", [last])?;
        self.execute("UPDATE removals_forgotten SET seq = ?1", [last])?;
        Ok((forgotten as i64) < FORGOTTEN_AT_ONCE)
    }
}
