//! How the index's values are written in rows, and read back.

use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    BlobId, Bucket, Checksum, IndexError, ObjectHeaders, ObjectInfo, Pairs, Piece, Place,
    Versioning,
};
use crate::LedgerError;
use crate::clock::timestamp;

type Result<T, E = IndexError> = std::result::Result<T, E>;

/// One piece in a row: blob (16), place (1), offset (8), length (8), big-endian.
const PIECE_BYTES: usize = 33;

/// Columns that [`object`] reads, in its order.
pub(super) const OBJECT_COLUMNS: &str = "seq, key, version, content_id, latest, marker, size, \
     etag, modified_ms, part_count, attributes, tags";

/// What an object's row keeps as one JSON text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attributes {
    pub(super) headers: ObjectHeaders,
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    pub(super) metadata: Pairs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) checksums: Vec<Checksum>,
}

/// A row of `versions`, without parts and pieces.
pub(super) struct ObjectRow {
    pub(super) seq: i64,
    pub(super) info: ObjectInfo,
}

pub(super) fn object(bucket: &str, row: &Row<'_>) -> Result<ObjectRow> {
    let attributes: Attributes = json(row.get_ref(10)?.as_str().map_err(damaged)?)?;
    let tags = match row.get_ref(11)?.as_str_or_null().map_err(damaged)? {
        Some(tags) => json(tags)?,
        None => Pairs::new(),
    };
    let info = ObjectInfo {
        bucket: bucket.to_owned(),
        key: key(row, 1)?,
        version_id: row.get(2)?,
        content_id: row.get(3)?,
        is_latest: row.get(4)?,
        delete_marker: row.get(5)?,
        size: row.get::<_, i64>(6)?.cast_unsigned(),
        etag: row.get(7)?,
        modified_at: timestamp(row.get(8)?),
        part_count: row.get(9)?,
        headers: attributes.headers,
        metadata: attributes.metadata,
        checksums: attributes.checksums,
        tags,
    };
    Ok(ObjectRow { seq: row.get(0)?, info })
}

/// A key column. Keys come in as `String`, so anything else is damage.
pub(super) fn key(row: &Row<'_>, column: usize) -> Result<String> {
    let bytes = row.get_ref(column)?.as_blob().map_err(damaged)?;
    String::from_utf8(bytes.to_vec()).map_err(damaged)
}

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(damaged)
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(damaged)
}

/// Tags as a column: NULL when there are none.
pub(super) fn tags_column(tags: &Pairs) -> Result<Option<String>> {
    if tags.is_empty() { Ok(None) } else { to_json(tags).map(Some) }
}

pub(super) fn damaged(err: impl std::fmt::Display) -> IndexError {
    IndexError::Ledger(LedgerError::Damaged(err.to_string()))
}

pub(super) fn encode_pieces(pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pieces.len() * PIECE_BYTES);
    for piece in pieces {
        bytes.extend_from_slice(piece.blob.0.as_bytes());
        bytes.push(match piece.place {
            Place::File => 0,
            Place::Ledger => 1,
        });
        bytes.extend_from_slice(&piece.offset.to_be_bytes());
        bytes.extend_from_slice(&piece.len.to_be_bytes());
    }
    bytes
}

pub(super) fn decode_pieces(bytes: &[u8]) -> Result<Vec<Piece>> {
    let (records, rest) = bytes.as_chunks::<PIECE_BYTES>();
    if !rest.is_empty() {
        return Err(damaged("a list of pieces has an odd length"));
    }
    records.iter().map(decode_piece).collect()
}

fn decode_piece(record: &[u8; PIECE_BYTES]) -> Result<Piece> {
    let short = || damaged("a piece is too short");
    let (blob, rest) = record.split_first_chunk::<16>().ok_or_else(short)?;
    let (place, rest) = rest.split_first().ok_or_else(short)?;
    let (offset, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let len = rest.first_chunk::<8>().ok_or_else(short)?;
    let place = match place {
        0 => Place::File,
        1 => Place::Ledger,
        other => return Err(damaged(format!("a piece has the place {other}"))),
    };
    Ok(Piece {
        blob: BlobId(Uuid::from_bytes(*blob)),
        place,
        offset: u64::from_be_bytes(*offset),
        len: u64::from_be_bytes(*len),
    })
}

pub(super) fn versioning_column(versioning: Versioning) -> i64 {
    match versioning {
        Versioning::Off => 0,
        Versioning::Enabled => 1,
        Versioning::Suspended => 2,
    }
}

/// A bucket and its row number.
#[derive(Clone, Debug)]
pub(super) struct BucketRow {
    pub(super) id: i64,
    pub(super) bucket: Bucket,
}

pub(super) fn bucket_row(row: &Row<'_>) -> Result<BucketRow> {
    let versioning = match row.get::<_, i64>(2)? {
        0 => Versioning::Off,
        1 => Versioning::Enabled,
        2 => Versioning::Suspended,
        other => return Err(damaged(format!("a bucket has the versioning {other}"))),
    };
    let created_at = timestamp(row.get(3)?);
    Ok(BucketRow { id: row.get(0)?, bucket: Bucket { name: row.get(1)?, created_at, versioning } })
}

/// The bucket of that name, on any connection.
pub(super) fn find_bucket(conn: &Connection, name: &str) -> Result<BucketRow> {
    conn.prepare_cached("SELECT id, name, versioning, created_ms FROM buckets WHERE name = ?1")?
        .query_row([name], |row| Ok(bucket_row(row)))
        .optional()?
        .ok_or_else(|| IndexError::NoSuchBucket(name.to_owned()))?
}

/// The newest version of a key, be it a delete marker, on any connection.
pub(super) fn newest(
    conn: &Connection,
    bucket: &BucketRow,
    key: &str,
) -> Result<Option<ObjectRow>> {
    let sql = const_format(
        "SELECT ",
        " FROM versions WHERE bucket = ?1 AND key = ?2 ORDER BY seq DESC LIMIT 1",
    );
    conn.prepare_cached(&sql)?
        .query_row((bucket.id, key.as_bytes()), |row| Ok(object(&bucket.bucket.name, row)))
        .optional()?
        .transpose()
}

/// A version by its id, on any connection.
pub(super) fn named(
    conn: &Connection,
    bucket: &BucketRow,
    key: &str,
    version: &str,
) -> Result<Option<ObjectRow>> {
    let sql =
        const_format("SELECT ", " FROM versions WHERE bucket = ?1 AND key = ?2 AND version = ?3");
    conn.prepare_cached(&sql)?
        .query_row((bucket.id, key.as_bytes(), version), |row| Ok(object(&bucket.bucket.name, row)))
        .optional()?
        .transpose()
}

/// The object that a request for a key and perhaps a version means.
pub(super) fn resolve(
    conn: &Connection,
    bucket: &BucketRow,
    key: &str,
    version: Option<&str>,
) -> Result<ObjectRow> {
    let found = match version {
        Some(version) => named(conn, bucket, key, version)?
            .ok_or_else(|| IndexError::NoSuchVersion(version.to_owned()))?,
        None => newest(conn, bucket, key)?.ok_or_else(|| IndexError::NotFound(key.to_owned()))?,
    };
    if found.info.delete_marker {
        let version_id = found.info.version_id;
        return Err(IndexError::DeleteMarker { version_id, named: version.is_some() });
    }
    Ok(found)
}

pub(super) fn pieces_of(conn: &Connection, seq: i64) -> Result<Vec<Piece>> {
    conn.prepare_cached("SELECT pieces FROM versions WHERE seq = ?1")?
        .query_row([seq], |row| Ok(decode_pieces(row.get_ref(0)?.as_blob()?)))?
}

fn const_format(before: &str, after: &str) -> String {
    [before, OBJECT_COLUMNS, after].concat()
}
