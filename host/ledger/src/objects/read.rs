//! One object.

use rusqlite::{Connection, OptionalExtension};

use super::rows::{self, find_bucket, pieces_of, resolve};
use super::{IndexError, ObjectInfo, ObjectPart, ObjectRef, Piece, Place};
use crate::Ledger;

type Result<T, E = IndexError> = std::result::Result<T, E>;

/// What a reader needs.
#[derive(Clone, Debug)]
pub struct Content {
    /// The object.
    pub info: ObjectInfo,
    /// Where its bytes are.
    pub pieces: Vec<Piece>,
    /// The whole blob of the only piece, if it is kept in the ledger: small objects are answered
    /// by this one read.
    pub data: Option<Vec<u8>>,
}

impl Ledger {
    /// What is known about an object.
    pub async fn object(&self, object: ObjectRef) -> Result<ObjectInfo> {
        self.read(move |conn| {
            let bucket = find_bucket(conn, &object.bucket)?;
            Ok(resolve(conn, &bucket, &object.key, object.version.as_deref())?.info)
        })
        .await
    }

    /// An object and where its bytes are.
    pub async fn object_content(&self, object: ObjectRef) -> Result<Content> {
        self.read(move |conn| {
            let bucket = find_bucket(conn, &object.bucket)?;
            let found = resolve(conn, &bucket, &object.key, object.version.as_deref())?;
            let pieces = pieces_of(conn, found.seq)?;
            let data = match pieces.as_slice() {
                [only] if only.place == Place::Ledger => data(conn, only)?,
                _ => None,
            };
            Ok(Content { info: found.info, pieces, data })
        })
        .await
    }

    /// An object and the parts it was uploaded in; none if it was written in one go.
    pub async fn object_parts(&self, object: ObjectRef) -> Result<(ObjectInfo, Vec<ObjectPart>)> {
        self.read(move |conn| {
            let bucket = find_bucket(conn, &object.bucket)?;
            let found = resolve(conn, &bucket, &object.key, object.version.as_deref())?;
            let text: Option<String> = conn
                .prepare_cached("SELECT parts FROM versions WHERE seq = ?1")?
                .query_row([found.seq], |row| row.get(0))?;
            let parts = text.map_or_else(|| Ok(Vec::new()), |text| rows::json(&text))?;
            Ok((found.info, parts))
        })
        .await
    }
}

fn data(conn: &Connection, piece: &Piece) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT data FROM blob_data WHERE id = ?1";
    let id = piece.blob.0.as_bytes();
    Ok(conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?)
}
