//! Blobs: their bytes if small, and how many pieces refer to each.

use rusqlite::OptionalExtension;
use uuid::Uuid;

use super::rows::damaged;
use super::{BlobId, IndexError, Piece};
use crate::tx::Tx;
use crate::{Ledger, LedgerError};

/// A blob that a commit brings in.
#[derive(Clone, Debug)]
pub(super) struct NewBlob {
    pub(super) id: BlobId,
    /// Its bytes, if they are kept in the ledger.
    pub(super) data: Option<Vec<u8>>,
}

/// Makes a blob known, without references yet.
pub(super) fn add(tx: &Tx<'_>, blob: &NewBlob) -> Result<(), LedgerError> {
    let id = blob.id.0.as_bytes();
    tx.execute("INSERT INTO blobs (id, refs) VALUES (?1, 0)", [id])?;
    if let Some(data) = &blob.data {
        tx.execute("INSERT INTO blob_data (id, data) VALUES (?1, ?2)", (id, data))?;
    }
    Ok(())
}

/// Counts one more reference for each piece.
pub(super) fn refer(tx: &Tx<'_>, pieces: &[Piece]) -> Result<(), IndexError> {
    for piece in pieces {
        let sql = "UPDATE blobs SET refs = refs + 1 WHERE id = ?1";
        if tx.execute(sql, [piece.blob.0.as_bytes()])? == 0 {
            return Err(damaged(format!("blob {} is referred to but unknown", piece.blob)));
        }
    }
    Ok(())
}

/// Counts one reference less for each piece; adds those that are down to none to `garbage`.
pub(super) fn release(
    tx: &Tx<'_>,
    pieces: &[Piece],
    garbage: &mut Vec<BlobId>,
) -> Result<(), IndexError> {
    for piece in pieces {
        let sql = "UPDATE blobs SET refs = refs - 1 WHERE id = ?1 RETURNING refs";
        match tx.first(sql, [piece.blob.0.as_bytes()], |row| row.get::<_, i64>(0))? {
            Some(0) => garbage.push(piece.blob),
            Some(refs) if 0 < refs => {}
            _ => return Err(damaged(format!("blob {} was released too often", piece.blob))),
        }
    }
    Ok(())
}

/// Those of `garbage` that are garbage still at the end of the operation (a copy onto itself
/// releases and refers).
pub(super) fn still_unused(tx: &Tx<'_>, garbage: Vec<BlobId>) -> Result<Vec<BlobId>, LedgerError> {
    let mut unused = Vec::with_capacity(garbage.len());
    for id in garbage {
        let sql = "SELECT 1 FROM blobs WHERE id = ?1 AND refs = 0";
        if tx.first(sql, [id.0.as_bytes()], |_| Ok(()))?.is_some() {
            unused.push(id);
        }
    }
    Ok(unused)
}

impl Ledger {
    /// The bytes of a blob that is kept in the ledger. Blocks the thread.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] when it is not there.
    pub fn blob_data_blocking(&self, id: BlobId) -> Result<Vec<u8>, LedgerError> {
        self.read_blocking(|conn| {
            conn.prepare_cached("SELECT data FROM blob_data WHERE id = ?1")?
                .query_row([id.0.as_bytes()], |row| row.get(0))
                .optional()?
                .ok_or_else(|| LedgerError::Damaged(format!("blob {id} has no data")))
        })
    }

    /// Makes the ledger forget those of the blobs that nothing refers to; answers which. Only
    /// then may their files be removed.
    pub async fn forget_blobs(&self, ids: Vec<BlobId>) -> Result<Vec<BlobId>, LedgerError> {
        self.write(move |tx| forget(tx, ids)).await
    }

    /// As [`Ledger::forget_blobs`], for start-up code. Blocks the thread.
    pub fn forget_blobs_blocking(&self, ids: Vec<BlobId>) -> Result<Vec<BlobId>, LedgerError> {
        self.write_blocking(move |tx| forget(tx, ids))
    }

    /// Blobs that nothing refers to, at most `limit`, after the one given. Blocks the thread.
    pub fn unused_blobs_blocking(
        &self,
        after: Option<BlobId>,
        limit: u32,
    ) -> Result<Vec<BlobId>, LedgerError> {
        let after = after.map_or(Uuid::nil(), |id| id.0);
        self.read_blocking(|conn| {
            let sql = "SELECT id FROM blobs WHERE refs = 0 AND id > ?1 ORDER BY id LIMIT ?2";
            let mut statement = conn.prepare_cached(sql)?;
            let rows = statement.query_map((after.as_bytes(), limit), |row| row.get(0))?;
            rows.map(|id| Ok(BlobId(Uuid::from_bytes(id?)))).collect()
        })
    }

    /// Those of the blobs that the ledger does not know. Blocks the thread.
    pub fn unknown_blobs_blocking(&self, ids: &[BlobId]) -> Result<Vec<BlobId>, LedgerError> {
        self.read_blocking(|conn| {
            let mut statement = conn.prepare_cached("SELECT 1 FROM blobs WHERE id = ?1")?;
            let mut unknown = Vec::new();
            for id in ids {
                if !statement.exists([id.0.as_bytes()])? {
                    unknown.push(*id);
                }
            }
            Ok(unknown)
        })
    }
}

fn forget(tx: &Tx<'_>, ids: Vec<BlobId>) -> Result<Vec<BlobId>, LedgerError> {
    let mut gone = Vec::with_capacity(ids.len());
    for id in ids {
        let bytes = id.0.as_bytes();
        if tx.execute("DELETE FROM blobs WHERE id = ?1 AND refs = 0", [bytes])? != 0 {
            tx.execute("DELETE FROM blob_data WHERE id = ?1", [bytes])?;
            gone.push(id);
        }
    }
    Ok(gone)
}
