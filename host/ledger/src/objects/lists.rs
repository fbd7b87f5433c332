//! Pages of objects and versions.

use rusqlite::{Connection, OptionalExtension};

use super::listing::{Entry, Walk};
use super::rows::{BucketRow, OBJECT_COLUMNS, find_bucket, object};
use super::{IndexError, ListPage, ListQuery, NULL_VERSION, VersionsPage, VersionsQuery};
use crate::Ledger;

type Result<T, E = IndexError> = std::result::Result<T, E>;

impl Ledger {
    /// A page of current objects.
    pub async fn list_objects(&self, query: ListQuery) -> Result<ListPage> {
        self.read(move |conn| list(conn, &query)).await
    }

    /// A page of versions and delete markers.
    pub async fn list_versions(&self, query: VersionsQuery) -> Result<VersionsPage> {
        self.read(move |conn| list_versions(conn, &query)).await
    }
}

fn list(conn: &Connection, query: &ListQuery) -> Result<ListPage> {
    let bucket = find_bucket(conn, &query.bucket)?;
    let mut page = ListPage::default();
    if query.limit == 0 {
        return Ok(page);
    }
    let sql = format!(
        "SELECT {OBJECT_COLUMNS} FROM versions INDEXED BY versions_live
         WHERE bucket = ?1 AND latest = 1 AND marker = 0 AND ?2 <= key AND key < ?3 ORDER BY key"
    );
    let mut last = None;
    let walk = Walk {
        bucket: bucket.id,
        prefix: &query.prefix,
        delimiter: query.delimiter.as_deref(),
        after: query.after.as_deref(),
        room: query.limit as usize,
    };
    let more = walk.run(conn, &sql, |entry| {
        match entry {
            Entry::Row(row) => {
                let info = object(&query.bucket, row)?.info;
                last = Some(info.key.clone());
                page.objects.push(info);
            }
            Entry::Prefix(prefix) => {
                last = Some(prefix.to_owned());
                page.prefixes.push(prefix.to_owned());
            }
        }
        Ok(())
    })?;
    page.next = last.filter(|_| more);
    Ok(page)
}

fn list_versions(conn: &Connection, query: &VersionsQuery) -> Result<VersionsPage> {
    let bucket = find_bucket(conn, &query.bucket)?;
    let mut page = VersionsPage::default();
    if query.limit == 0 {
        return Ok(page);
    }
    let mut room = query.limit as usize;
    let mut more = false;
    if let (Some(key), Some(version)) = (&query.key_after, &query.version_after) {
        more = rest_of_key(conn, &bucket, key, version, room, &mut page)?;
        room -= page.versions.len();
    }
    let mut last =
        page.versions.last().map(|info| (info.key.clone(), Some(info.version_id.clone())));
    if !more {
        let sql = format!(
            "SELECT {OBJECT_COLUMNS} FROM versions INDEXED BY versions_by_age
             WHERE bucket = ?1 AND ?2 <= key AND key < ?3 ORDER BY key, seq DESC"
        );
        let walk = Walk {
            bucket: bucket.id,
            prefix: &query.prefix,
            delimiter: query.delimiter.as_deref(),
            after: query.key_after.as_deref(),
            room,
        };
        more = walk.run(conn, &sql, |entry| {
            match entry {
                Entry::Row(row) => {
                    let info = object(&query.bucket, row)?.info;
                    last = Some((info.key.clone(), Some(info.version_id.clone())));
                    page.versions.push(info);
                }
                Entry::Prefix(prefix) => {
                    last = Some((prefix.to_owned(), None));
                    page.prefixes.push(prefix.to_owned());
                }
            }
            Ok(())
        })?;
    }
    page.next = last.filter(|_| more);
    Ok(page)
}

/// The versions of one key that are older than the one given. Answers whether there is more of
/// them than there is room for.
fn rest_of_key(
    conn: &Connection,
    bucket: &BucketRow,
    key: &str,
    version: &str,
    room: usize,
    page: &mut VersionsPage,
) -> Result<bool> {
    let below = seq_of(conn, bucket, key, version)?;
    let sql = format!(
        "SELECT {OBJECT_COLUMNS} FROM versions
         WHERE bucket = ?1 AND key = ?2 AND seq < ?3 ORDER BY seq DESC LIMIT ?4"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let limit = i64::try_from(room).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = statement.query((bucket.id, key.as_bytes(), below, limit))?;
    while let Some(row) = rows.next()? {
        if page.versions.len() == room {
            return Ok(true);
        }
        page.versions.push(object(&bucket.bucket.name, row)?.info);
    }
    Ok(false)
}

/// The place of a version among those of its key. A client that deletes what it lists has deleted
/// the one it goes on after: then the first that is younger tells the place (ids of versions sort
/// by age), and without one, or for `null`, the list of the key starts anew.
fn seq_of(conn: &Connection, bucket: &BucketRow, key: &str, version: &str) -> Result<i64> {
    let params = (bucket.id, key.as_bytes(), version);
    let sql = "SELECT seq FROM versions WHERE bucket = ?1 AND key = ?2 AND version = ?3";
    let found = conn.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()?;
    if let Some(seq) = found {
        return Ok(seq);
    }
    if version == NULL_VERSION {
        return Ok(i64::MAX);
    }
    let sql = "SELECT min(seq) FROM versions
               WHERE bucket = ?1 AND key = ?2 AND ?3 < version AND version <> 'null'";
    let younger: Option<i64> = conn.prepare_cached(sql)?.query_row(params, |row| row.get(0))?;
    Ok(younger.unwrap_or(i64::MAX))
}
