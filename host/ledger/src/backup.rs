//! Backups: which changes wait for a snapshot in which repository, and what was done.
//!
//! A change is handed over in one commit with the effect that does so, and struck off in one commit
//! with the record of the snapshot that holds it. In between it waits, whatever happens.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::clock::timestamp;
use crate::objects::{IndexError, QUARANTINE_TAG};
use crate::tx::Tx;
use crate::{Effect, Event, Ledger, LedgerError};

mod rows;

/// Most changes handed over by one call.
pub const HAND_OVER_MAX: usize = 1_000;
/// Runs of each kind that are kept for a repository, the newest.
pub const RUNS_KEPT: usize = 200;
/// Kind of the event that something about a backup failed.
pub const BACKUP_FAILED: &str = "backlot.backup.failed";
/// Kind of the event that a repository has had no successful backup for too long.
pub const BACKUP_OVERDUE: &str = "backlot.backup.overdue";
/// Kind of the event that backups succeed again.
pub const BACKUP_RECOVERED: &str = "backlot.backup.recovered";

type Result<T, E = IndexError> = std::result::Result<T, E>;

/// A version of an object that is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOver {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version's id.
    pub version: String,
    /// As [`crate::objects::ObjectInfo::content_id`].
    pub content_id: String,
    /// It is gone, rather than written.
    pub removed: bool,
    /// Names of the repositories that it goes to.
    pub repositories: Vec<String>,
}

/// What was done with a version that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It waits for the next snapshots.
    Queued,
    /// It, or a newer version of its key, waits already.
    Known,
    /// Not those bytes any more: nothing to keep.
    Gone,
    /// No repository covers its bucket.
    NotCovered,
}

/// A change that waits for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its place in the order of handing over.
    pub seq: u64,
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Version and content id; None: there is to be nothing under the key.
    pub stored: Option<(String, String)>,
    /// Of two changes of a key the one with the higher place counts.
    pub place: u64,
    /// Bytes of the version.
    pub size: u64,
}

/// What waits for one repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many changes.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest of them was handed over.
    pub oldest: Option<Timestamp>,
}

/// How far a bucket is backed up in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The bucket's name.
    pub bucket: String,
    /// All that was changed before is in a snapshot; None: never.
    pub last_success: Option<Timestamp>,
    /// Changes that wait.
    pub pending: u64,
    /// When the oldest of them was handed over.
    pub oldest_pending: Option<Timestamp>,
}

/// Something that was done with a repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its number.
    pub seq: u64,
    /// Name of the repository.
    pub repository: String,
    /// Such as `snapshot`, `verify`.
    pub kind: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether all was well.
    pub succeeded: bool,
    /// What it found.
    pub details: serde_json::Value,
}

/// How far a bucket is in a snapshot when nothing of it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveredTo {
    /// The bucket's name.
    pub bucket: String,
    /// All that was changed before.
    pub as_of: Timestamp,
    /// What was handed over after this may wait: it was changed later.
    pub seen: Timestamp,
}

/// How far the feed of changes is gone through for a bucket of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// The place up to which it is.
    pub place: u64,
    /// The end of the feed when this began.
    pub since: u64,
}

/// The end of a run, to be written down.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// Name of the repository.
    pub repository: String,
    /// Such as `snapshot`, `verify`.
    pub kind: &'static str,
    /// When it began.
    pub started: Timestamp,
    /// Whether all was well.
    pub succeeded: bool,
    /// What it found.
    pub details: serde_json::Value,
    /// What waited up to this place ([`Pending::seq`]) is in a snapshot now.
    pub done_to: Option<u64>,
    /// Buckets that are known to be in a snapshot, unless something waits.
    pub covers: Vec<CoveredTo>,
    /// Told in the same commit.
    pub event: Option<Event>,
}

impl Ledger {
    /// Hands versions over, all or none; at most [`HAND_OVER_MAX`].
    ///
    /// # Errors
    /// Only those of the ledger itself, and of the fence.
    pub async fn backup_hand_over(
        &self,
        items: Vec<HandedOver>,
        effect: Option<Effect>,
    ) -> Result<Vec<Outcome>> {
        let count = items.len();
        if HAND_OVER_MAX < count {
            let (got, limit) = (count as u64, HAND_OVER_MAX as u64);
            return Err(IndexError::OverLimit { what: "changes of one call", got, limit });
        }
        self.write(move |tx| {
            if let Some(effect) = &effect
                && let Some(before) = tx.recorded(effect)?
            {
                return Ok(before);
            }
            let outcomes = items.iter().map(|item| hand_over(tx, item)).collect::<Result<_>>()?;
            if let Some(effect) = &effect {
                tx.record(effect, &outcomes)?;
            }
            Ok(outcomes)
        })
        .await
    }

    /// What waits for a repository, in the order of handing over: at most so many, and no more
    /// bytes than that once there is one.
    pub async fn backup_pending(
        &self,
        repository: &str,
        limit: usize,
        bytes_max: u64,
    ) -> Result<Vec<Pending>> {
        let repository = repository.to_owned();
        self.read(move |conn| rows::pending(conn, &repository, limit, bytes_max)).await
    }

    /// How much waits for a repository. Counts at most so many.
    pub async fn backup_backlog(&self, repository: &str, count_max: usize) -> Result<Backlog> {
        let repository = repository.to_owned();
        self.read(move |conn| rows::backlog(conn, &repository, count_max)).await
    }

    /// How far the buckets are backed up that were ever handed over to a repository, by name.
    pub async fn backup_covered(
        &self,
        repository: &str,
        bucket: Option<&str>,
    ) -> Result<Vec<Covered>> {
        let (repository, bucket) = (repository.to_owned(), bucket.map(str::to_owned));
        self.read(move |conn| rows::covered(conn, &repository, bucket.as_deref())).await
    }

    /// How far the feed of changes is gone through for the buckets of a repository.
    pub async fn backup_following(&self, repository: &str) -> Result<BTreeMap<String, Following>> {
        let repository = repository.to_owned();
        self.read(move |conn| rows::following(conn, &repository)).await
    }

    /// The id of the repository that had this name; None: there was none.
    pub async fn backup_repository(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.read(move |conn| rows::repository(conn, &name)).await
    }

    /// Takes a repository as the one of this name: nothing is known of what is in it. Changes from
    /// now on have a place after `place`, the last one that it knows of, whichever ledger gave it.
    pub async fn backup_adopt(&self, name: &str, id: &str, place: u64) -> Result<()> {
        let (name, id) = (name.to_owned(), id.to_owned());
        self.write(move |tx| {
            for table in ["backup_following", "backup_covered"] {
                tx.execute(&format!("DELETE FROM {table} WHERE repository = ?1"), [&name])?;
            }
            tx.execute(
                "INSERT INTO backup_repositories (repository, id) VALUES (?1, ?2)
                 ON CONFLICT (repository) DO UPDATE SET id = ?2",
                (&name, &id),
            )?;
            let place = place.cast_signed();
            let sql = "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'versions'";
            if tx.execute(sql, [place])? == 0 {
                let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES ('versions', ?1)";
                tx.execute(sql, [place])?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets how far repositories are with buckets that they do not cover any more, so that one
    /// that comes back is looked through from the start.
    pub async fn backup_forget_uncovered(
        &self,
        covers: impl Fn(&str, &str) -> bool + Send + 'static,
    ) -> Result<()> {
        self.write(move |tx| {
            for table in ["backup_following", "backup_covered"] {
                let known: Vec<(String, String)> = tx
                    .sql(&format!("SELECT repository, bucket FROM {table}"))?
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<rusqlite::Result<_>>()?;
                let gone = known.iter().filter(|(name, bucket)| !covers(name, bucket));
                for (name, bucket) in gone {
                    let sql = format!("DELETE FROM {table} WHERE repository = ?1 AND bucket = ?2");
                    tx.execute(&sql, (name, bucket))?;
                }
            }
            Ok(())
        })
        .await
    }

    /// A moment: what was changed before it is in what is read from now on.
    pub async fn backup_moment(&self) -> Result<Timestamp> {
        self.write_ordered(|tx| Ok(tx.now())).await
    }

    /// Writes down how far the feed of changes is gone through.
    pub async fn backup_follow(
        &self,
        repository: &str,
        following: BTreeMap<String, Following>,
    ) -> Result<()> {
        let repository = repository.to_owned();
        self.write(move |tx| {
            for (bucket, Following { place, since }) in &following {
                tx.execute(
                    "INSERT INTO backup_following (repository, bucket, place, since)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (repository, bucket) DO UPDATE SET place = ?3, since = ?4",
                    (&repository, bucket, place.cast_signed(), since.cast_signed()),
                )?;
            }
            Ok(())
        })
        .await
    }

    /// Writes down what was done; with it what does not wait any more.
    pub async fn backup_end(&self, end: RunEnd) -> Result<()> {
        self.write(move |tx| finish(tx, end)).await
    }

    /// The newest runs of a kind, the newest first.
    pub async fn backup_runs(
        &self,
        repository: &str,
        kind: &'static str,
        limit: usize,
    ) -> Result<Vec<Run>> {
        let repository = repository.to_owned();
        self.read(move |conn| rows::runs(conn, &repository, kind, limit)).await
    }
}

/// What is to be kept of a key.
struct Wanted {
    stored: Option<(String, String)>,
    place: i64,
    size: i64,
}

fn hand_over(tx: &Tx<'_>, item: &HandedOver) -> Result<Outcome> {
    if item.repositories.is_empty() {
        return Ok(Outcome::NotCovered);
    }
    let wanted = if item.removed { after_removal(tx, item)? } else { written(tx, item)? };
    let Some(wanted) = wanted else { return Ok(Outcome::Gone) };
    let mut outcome = Outcome::Known;
    for repository in &item.repositories {
        if queue(tx, repository, item, &wanted)? {
            outcome = Outcome::Queued;
        }
    }
    Ok(outcome)
}

/// The version that is handed over, if it is there, not deleted and not in quarantine.
fn written(tx: &Tx<'_>, item: &HandedOver) -> Result<Option<Wanted>> {
    // The current one counts later than all that was, whenever it was written: a newer one may
    // have come and gone. One below a delete marker is not to come back.
    let sql = "SELECT CASE one.latest
                WHEN 1 THEN (SELECT seq FROM sqlite_sequence WHERE name = 'versions')
                ELSE one.seq END, one.size, one.tags
         FROM versions AS one JOIN buckets ON buckets.id = one.bucket
         WHERE name = ?1 AND one.key = ?2 AND version = ?3 AND content_id = ?4 AND marker = 0
           AND NOT EXISTS (
               SELECT 1 FROM versions AS top WHERE top.bucket = one.bucket AND top.key = one.key
               AND top.latest = 1 AND top.marker = 1)";
    let HandedOver { bucket, key, version, content_id, .. } = item;
    let found = tx.first(sql, (bucket, key.as_bytes(), version, content_id), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?))
    })?;
    let stored = Some((version.clone(), content_id.clone()));
    let found = found.filter(|(_, _, tags)| !is_in_quarantine(tags.as_deref()));
    Ok(found.map(|(place, size, _)| Wanted { stored, place, size }))
}

fn is_in_quarantine(tags: Option<&str>) -> bool {
    tags.is_some_and(|tags| tags.contains(&format!("\"{QUARANTINE_TAG}\"")))
}

/// What is under the key now that a version of it is gone: nothing, or an older version that is
/// current again. What was written after it comes by itself.
fn after_removal(tx: &Tx<'_>, item: &HandedOver) -> Result<Option<Wanted>> {
    let last = tx.first("SELECT seq FROM sqlite_sequence WHERE name = 'versions'", [], |row| {
        row.get::<_, i64>(0)
    })?;
    // Later than all that was, and before all that comes.
    let place = last.unwrap_or(0);
    let live = tx.first(
        "SELECT version, content_id, size, tags FROM versions JOIN buckets ON buckets.id = bucket
         WHERE name = ?1 AND key = ?2 AND latest = 1 AND marker = 0",
        (&item.bucket, item.key.as_bytes()),
        |row| {
            let (version, content_id): (String, String) = (row.get(0)?, row.get(1)?);
            Ok((version, content_id, row.get::<_, i64>(2)?, row.get::<_, Option<String>>(3)?))
        },
    )?;
    let Some((version, content_id, size, tags)) = live else {
        return Ok(Some(Wanted { stored: None, place, size: 0 }));
    };
    let in_quarantine = is_in_quarantine(tags.as_deref());
    // Content ids are in the order of time.
    let older = content_id < item.content_id;
    let stored = Some((version, content_id));
    Ok((older && !in_quarantine).then_some(Wanted { stored, place, size }))
}

/// Whether the change waits now and did not before.
fn queue(tx: &Tx<'_>, repository: &str, item: &HandedOver, wanted: &Wanted) -> Result<bool> {
    let key = item.key.as_bytes();
    let waiting = tx.first(
        "SELECT seq, place, queued_ms, content_id FROM backup_pending
         WHERE repository = ?1 AND bucket = ?2 AND key = ?3",
        (repository, &item.bucket, key),
        |row| {
            let (seq, place, queued_ms): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((seq, place, queued_ms, row.get::<_, Option<String>>(3)?))
        },
    )?;
    let content_id = wanted.stored.as_ref().map(|(_, content_id)| content_id);
    let mut queued_ms = tx.now_ms();
    if let Some((seq, place, since_ms, waiting)) = waiting {
        if wanted.place < place || waiting.as_ref() == content_id {
            return Ok(false);
        }
        // A new number: a snapshot that is being made of the old change does not strike off this.
        tx.execute("DELETE FROM backup_pending WHERE seq = ?1", [seq])?;
        queued_ms = since_ms;
    }
    let version = wanted.stored.as_ref().map(|(version, _)| version);
    tx.execute(
        "INSERT INTO backup_pending
         (repository, bucket, key, version, content_id, place, size, queued_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            repository,
            item.bucket,
            key,
            version,
            content_id,
            wanted.place,
            wanted.size,
            queued_ms
        ],
    )?;
    Ok(true)
}

fn finish(tx: &mut Tx<'_>, end: RunEnd) -> Result<()> {
    let RunEnd { repository, kind, started, succeeded, details, done_to, covers, event } = end;
    let started_ms = started.as_millisecond();
    if let Some(done_to) = done_to {
        tx.execute(
            "DELETE FROM backup_pending WHERE repository = ?1 AND seq <= ?2",
            (&repository, done_to.cast_signed()),
        )?;
    }
    for CoveredTo { bucket, as_of, seen } in &covers {
        tx.execute(
            "INSERT INTO backup_covered (repository, bucket, time_ms)
             SELECT ?1, ?2, ?3 WHERE NOT EXISTS (
                 SELECT 1 FROM backup_pending
                 WHERE repository = ?1 AND bucket = ?2 AND queued_ms <= ?4)
             ON CONFLICT (repository, bucket) DO UPDATE SET time_ms = max(time_ms, ?3)",
            (&repository, bucket, as_of.as_millisecond(), seen.as_millisecond()),
        )?;
    }
    tx.execute(
        "INSERT INTO backup_runs (repository, kind, started_ms, ended_ms, succeeded, details)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![repository, kind, started_ms, tx.now_ms(), succeeded, details.to_string()],
    )?;
    tx.execute(
        "DELETE FROM backup_runs WHERE repository = ?1 AND kind = ?2 AND seq <= (
             SELECT seq FROM backup_runs WHERE repository = ?1 AND kind = ?2
             ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
        params![repository, kind, RUNS_KEPT as i64],
    )?;
    if let Some(event) = event {
        tx.emit(event)?;
    }
    Ok(())
}
