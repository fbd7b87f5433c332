//! Buckets.

use super::rows::{bucket_row, find_bucket, versioning_column};
use super::{Bucket, Committed, IndexError, Versioning, uploads};
use crate::Ledger;
use crate::tx::Tx;

type Result<T, E = IndexError> = std::result::Result<T, E>;

impl Ledger {
    /// Creates a bucket. The name is the caller's to check.
    pub async fn create_bucket(&self, name: &str) -> Result<Bucket> {
        let name = name.to_owned();
        self.write(move |tx| {
            let sql = "INSERT INTO buckets (name, versioning, created_ms) VALUES (?1, 0, ?2)
                       ON CONFLICT (name) DO NOTHING";
            if tx.execute(sql, (&name, tx.now_ms()))? == 0 {
                return Err(IndexError::BucketExists(name));
            }
            Ok(find_bucket(tx.conn(), &name)?.bucket)
        })
        .await
    }

    /// Deletes a bucket that has no versions; its multipart uploads are dropped with it.
    pub async fn delete_bucket(&self, name: &str) -> Result<Committed<()>> {
        let name = name.to_owned();
        self.write(move |tx| delete(tx, &name)).await
    }

    /// A bucket, if it exists.
    pub async fn bucket(&self, name: &str) -> Result<Option<Bucket>> {
        let name = name.to_owned();
        self.read(move |conn| match find_bucket(conn, &name) {
            Ok(found) => Ok(Some(found.bucket)),
            Err(IndexError::NoSuchBucket(_)) => Ok(None),
            Err(err) => Err(err),
        })
        .await
    }

    /// All buckets by name.
    pub async fn buckets(&self) -> Result<Vec<Bucket>> {
        self.read(|conn| {
            let sql = "SELECT id, name, versioning, created_ms FROM buckets ORDER BY name";
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            let mut buckets = Vec::new();
            while let Some(row) = rows.next()? {
                buckets.push(bucket_row(row)?.bucket);
            }
            Ok(buckets)
        })
        .await
    }

    /// Sets whether a bucket keeps versions.
    pub async fn set_versioning(&self, name: &str, versioning: Versioning) -> Result<()> {
        let name = name.to_owned();
        self.write(move |tx| {
            let sql = "UPDATE buckets SET versioning = ?2 WHERE name = ?1";
            match tx.execute(sql, (&name, versioning_column(versioning)))? {
                0 => Err(IndexError::NoSuchBucket(name)),
                _ => Ok(()),
            }
        })
        .await
    }
}

fn delete(tx: &mut Tx<'_>, name: &str) -> Result<Committed<()>> {
    let bucket = find_bucket(tx.conn(), name)?;
    let sql = "SELECT 1 FROM versions WHERE bucket = ?1 LIMIT 1";
    if tx.first(sql, [bucket.id], |_| Ok(()))?.is_some() {
        return Err(IndexError::BucketNotEmpty(name.to_owned()));
    }
    let garbage = uploads::drop_all(tx, bucket.id)?;
    tx.execute("DELETE FROM buckets WHERE id = ?1", [bucket.id])?;
    Ok(Committed { value: (), garbage, again: false })
}
