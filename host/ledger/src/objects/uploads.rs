//! Multipart uploads.

use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::listing::{Entry, Walk};
use super::rows::{
    Attributes, BucketRow, decode_pieces, encode_pieces, find_bucket, json, key as key_column,
    tags_column, to_json,
};
use super::write::{Draft, NewContent, Origin, Parts, Target, commit};
use super::{
    BlobId, Checksum, ChecksumAlgorithm, ChecksumKind, Committed, Conditions, IndexError,
    ObjectHeaders, ObjectInfo, ObjectPart, Pairs, Part, PartsPage, Piece, Upload, UploadsPage,
    UploadsQuery, blobs,
};
use crate::clock::timestamp;
use crate::tx::Tx;
use crate::{Ledger, LedgerError};

type Result<T, E = IndexError> = std::result::Result<T, E>;

/// Columns that [`upload`] reads, in its order.
const UPLOAD_COLUMNS: &str = "id, key, started_ms, principal, attributes, tags, checksum";

/// Columns that [`part`] reads, in its order.
const PART_COLUMNS: &str = "number, size, etag, modified_ms, checksums";

/// A multipart upload to start.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Content headers of the object.
    pub headers: ObjectHeaders,
    /// User metadata of the object.
    pub metadata: Pairs,
    /// Tags of the object.
    pub tags: Pairs,
    /// The checksum of each part, and what the object's one covers.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Who asks.
    pub principal: String,
}

/// Where the bytes of a new part are.
#[derive(Clone, Debug)]
pub enum PartContent {
    /// In a blob of their own.
    New(NewContent),
    /// In blobs that the caller holds a pin on, so that they are known still.
    Shared(Vec<Piece>),
}

/// A part to keep.
#[derive(Clone, Debug)]
pub struct NewPart {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload's id.
    pub upload_id: String,
    /// Its number.
    pub number: u32,
    /// Its size in bytes.
    pub size: u64,
    /// MD5 in hex.
    pub etag: String,
    /// Its checksums.
    pub checksums: Vec<Checksum>,
    /// Where its bytes are.
    pub content: PartContent,
}

/// What a finished upload is.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The object's parts in order, chosen from those stored.
    pub parts: Vec<ObjectPart>,
    /// The object's entity tag.
    pub etag: String,
    /// The object's checksums.
    pub checksums: Vec<Checksum>,
}

/// An upload to finish.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload's id.
    pub upload_id: String,
    /// What must hold for the target.
    pub conditions: Conditions,
    /// On whose behalf.
    pub origin: Origin,
}

impl Ledger {
    /// Starts a multipart upload.
    pub async fn create_upload(&self, new: NewUpload) -> Result<Upload> {
        self.write(move |tx| create(tx, new)).await
    }

    /// A multipart upload in progress.
    pub async fn upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<Upload> {
        let (bucket, key, upload_id) = (bucket.to_owned(), key.to_owned(), upload_id.to_owned());
        self.read(move |conn| find(conn, &find_bucket(conn, &bucket)?, &key, &upload_id)).await
    }

    /// Keeps a part; one of the same number is replaced.
    pub async fn put_upload_part(&self, new: NewPart) -> Result<Committed<Part>> {
        self.write(move |tx| put_part(tx, new)).await
    }

    /// Makes the object of an upload. `seal` sees the upload and its stored parts, inside the
    /// transaction (keep it short), and says what the object is or why not.
    pub async fn complete_upload<E>(
        &self,
        completion: Completion,
        seal: impl FnOnce(&Upload, &[Part]) -> Result<Sealed, E> + Send + 'static,
    ) -> Result<Committed<ObjectInfo>, E>
    where
        E: From<IndexError> + From<LedgerError> + Send + 'static,
    {
        self.write(move |tx| complete(tx, completion, seal)).await
    }

    /// Drops an upload and its parts.
    pub async fn abort_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
    ) -> Result<Committed<()>> {
        let (bucket, key, upload_id) = (bucket.to_owned(), key.to_owned(), upload_id.to_owned());
        self.write(move |tx| {
            let bucket = find_bucket(tx.conn(), &bucket)?;
            find(tx.conn(), &bucket, &key, &upload_id)?;
            let mut garbage = Vec::new();
            drop_parts(tx, &upload_id, &mut garbage)?;
            Ok(Committed { value: (), garbage: blobs::still_unused(tx, garbage)?, again: false })
        })
        .await
    }

    /// A page of the uploads of a bucket.
    pub async fn list_uploads(&self, query: UploadsQuery) -> Result<UploadsPage> {
        self.read(move |conn| list(conn, &query)).await
    }

    /// A page of the parts of an upload, after the number given.
    pub async fn list_upload_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        after: u32,
        limit: u32,
    ) -> Result<PartsPage> {
        let (bucket, key, upload_id) = (bucket.to_owned(), key.to_owned(), upload_id.to_owned());
        self.read(move |conn| {
            let upload = find(conn, &find_bucket(conn, &bucket)?, &key, &upload_id)?;
            let mut parts = parts_after(conn, &upload_id, after, limit.saturating_add(1))?;
            let more = limit != 0 && (limit as usize) < parts.len();
            parts.truncate(limit as usize);
            let next = parts.last().filter(|_| more).map(|part| part.number);
            Ok(PartsPage { upload, parts, next })
        })
        .await
    }
}

fn create(tx: &mut Tx<'_>, new: NewUpload) -> Result<Upload> {
    let bucket = find_bucket(tx.conn(), &new.bucket)?;
    let upload_id = Uuid::now_v7().simple().to_string();
    let checksum = new.checksum.as_ref().map(to_json).transpose()?;
    let tags = tags_column(&new.tags)?;
    let attributes =
        Attributes { headers: new.headers, metadata: new.metadata, checksums: Vec::new() };
    let sql = "INSERT INTO uploads (id, bucket, key, started_ms, principal, attributes, tags,
                   checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let key = new.key.as_bytes();
    let attributes_text = to_json(&attributes)?;
    tx.execute(
        sql,
        (&upload_id, bucket.id, key, tx.now_ms(), &new.principal, attributes_text, tags, checksum),
    )?;
    Ok(Upload {
        upload_id,
        bucket: new.bucket,
        key: new.key,
        started_at: tx.now(),
        headers: attributes.headers,
        metadata: attributes.metadata,
        tags: new.tags,
        checksum: new.checksum,
        principal: new.principal,
    })
}

fn put_part(tx: &mut Tx<'_>, new: NewPart) -> Result<Committed<Part>> {
    let bucket = find_bucket(tx.conn(), &new.bucket)?;
    find(tx.conn(), &bucket, &new.key, &new.upload_id)?;
    let pieces = match new.content {
        PartContent::New(content) => content.add(tx)?,
        PartContent::Shared(pieces) => pieces,
    };
    // Before the old part lets go: they may be the same bytes.
    blobs::refer(tx, &pieces)?;
    let mut garbage = Vec::new();
    let at = (&new.upload_id, new.number);
    let sql = "DELETE FROM parts WHERE upload = ?1 AND number = ?2 RETURNING pieces";
    if let Some(old) = tx.first(sql, at, |row| row.get::<_, Vec<u8>>(0))? {
        blobs::release(tx, &decode_pieces(&old)?, &mut garbage)?;
    }
    let sql = "INSERT INTO parts (upload, number, size, etag, modified_ms, checksums, pieces)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let size = new.size.cast_signed();
    let checksums = to_json(&new.checksums)?;
    let pieces = encode_pieces(&pieces);
    let row = (&new.upload_id, new.number, size, &new.etag, tx.now_ms(), checksums, pieces);
    tx.execute(sql, row)?;
    let part = Part {
        number: new.number,
        size: new.size,
        etag: new.etag,
        modified_at: tx.now(),
        checksums: new.checksums,
    };
    Ok(Committed { value: part, garbage: blobs::still_unused(tx, garbage)?, again: false })
}

fn complete<E: From<IndexError> + From<LedgerError>>(
    tx: &mut Tx<'_>,
    completion: Completion,
    seal: impl FnOnce(&Upload, &[Part]) -> Result<Sealed, E>,
) -> Result<Committed<ObjectInfo>, E> {
    let Completion { bucket, key, upload_id, conditions, origin } = completion;
    let row = find_bucket(tx.conn(), &bucket)?;
    let upload = find(tx.conn(), &row, &key, &upload_id)?;
    let stored = parts_after(tx.conn(), &upload_id, 0, u32::MAX)?;
    let sealed = seal(&upload, &stored)?;
    let mut pieces = Vec::with_capacity(sealed.parts.len());
    for part in &sealed.parts {
        pieces.extend(part_pieces(tx.conn(), &upload_id, part.number)?);
        super::write::at_most("pieces", pieces.len() as u64, super::PIECES_MAX as u64)?;
    }
    let draft = Draft {
        size: sealed.parts.iter().map(|part| part.size).sum(),
        etag: sealed.etag,
        attributes: Attributes {
            headers: upload.headers,
            metadata: upload.metadata,
            checksums: sealed.checksums,
        },
        tags: upload.tags,
        parts: Parts::of(&sealed.parts)?,
        pieces,
    };
    let target = Target { bucket, key, conditions };
    let event = "ObjectCreated:CompleteMultipartUpload";
    let mut committed = commit(tx, target, draft, event, &origin)?;
    // The object holds the bytes of its parts now; what goes here are the parts it left out.
    let mut garbage = std::mem::take(&mut committed.garbage);
    drop_parts(tx, &upload_id, &mut garbage)?;
    committed.garbage = blobs::still_unused(tx, garbage)?;
    Ok(committed)
}

/// Drops the uploads of a bucket; answers the blobs that nothing refers to any more.
pub(super) fn drop_all(tx: &Tx<'_>, bucket: i64) -> Result<Vec<BlobId>> {
    let mut statement = tx.sql("SELECT id FROM uploads WHERE bucket = ?1")?;
    let ids = statement.query_map([bucket], |row| row.get::<_, String>(0))?;
    let ids = ids.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut garbage = Vec::new();
    for id in ids {
        drop_parts(tx, &id, &mut garbage)?;
    }
    Ok(blobs::still_unused(tx, garbage)?)
}

/// Drops an upload and the parts it still has.
fn drop_parts(tx: &Tx<'_>, upload_id: &str, garbage: &mut Vec<BlobId>) -> Result<()> {
    let mut statement = tx.sql("DELETE FROM parts WHERE upload = ?1 RETURNING pieces")?;
    let lists = statement.query_map([upload_id], |row| row.get::<_, Vec<u8>>(0))?;
    for pieces in lists.collect::<rusqlite::Result<Vec<_>>>()? {
        blobs::release(tx, &decode_pieces(&pieces)?, garbage)?;
    }
    tx.execute("DELETE FROM uploads WHERE id = ?1", [upload_id])?;
    Ok(())
}

fn find(conn: &Connection, bucket: &BucketRow, key: &str, upload_id: &str) -> Result<Upload> {
    let sql =
        ["SELECT ", UPLOAD_COLUMNS, " FROM uploads WHERE id = ?1 AND bucket = ?2 AND key = ?3"];
    conn.prepare_cached(&sql.concat())?
        .query_row((upload_id, bucket.id, key.as_bytes()), |row| {
            Ok(upload(&bucket.bucket.name, row))
        })
        .optional()?
        .ok_or_else(|| IndexError::NoSuchUpload(upload_id.to_owned()))?
}

fn upload(bucket: &str, row: &Row<'_>) -> Result<Upload> {
    let attributes: Attributes = json(&row.get::<_, String>(4)?)?;
    let tags: Option<String> = row.get(5)?;
    let checksum: Option<String> = row.get(6)?;
    Ok(Upload {
        upload_id: row.get(0)?,
        bucket: bucket.to_owned(),
        key: key_column(row, 1)?,
        started_at: timestamp(row.get(2)?),
        principal: row.get(3)?,
        headers: attributes.headers,
        metadata: attributes.metadata,
        tags: tags.map_or_else(|| Ok(Pairs::new()), |tags| json(&tags))?,
        checksum: checksum.map(|checksum| json(&checksum)).transpose()?,
    })
}

fn parts_after(conn: &Connection, upload_id: &str, after: u32, limit: u32) -> Result<Vec<Part>> {
    let sql = [
        "SELECT ",
        PART_COLUMNS,
        " FROM parts WHERE upload = ?1 AND ?2 < number ORDER BY number LIMIT ?3",
    ];
    let mut statement = conn.prepare_cached(&sql.concat())?;
    let mut rows = statement.query((upload_id, after, limit))?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        parts.push(part(row)?);
    }
    Ok(parts)
}

fn part(row: &Row<'_>) -> Result<Part> {
    Ok(Part {
        number: row.get(0)?,
        size: row.get::<_, i64>(1)?.cast_unsigned(),
        etag: row.get(2)?,
        modified_at: timestamp(row.get(3)?),
        checksums: json(&row.get::<_, String>(4)?)?,
    })
}

fn part_pieces(conn: &Connection, upload_id: &str, number: u32) -> Result<Vec<Piece>> {
    conn.prepare_cached("SELECT pieces FROM parts WHERE upload = ?1 AND number = ?2")?
        .query_row((upload_id, number), |row| Ok(decode_pieces(row.get_ref(0)?.as_blob()?)))?
}

fn list(conn: &Connection, query: &UploadsQuery) -> Result<UploadsPage> {
    let bucket = find_bucket(conn, &query.bucket)?;
    let mut page = UploadsPage::default();
    if query.limit == 0 {
        return Ok(page);
    }
    let mut room = query.limit as usize;
    let mut more = false;
    if let (Some(key), Some(after)) = (&query.key_after, &query.upload_after) {
        more = rest_of_key(conn, &bucket, key, after, room, &mut page)?;
        room -= page.uploads.len();
    }
    let mut last =
        page.uploads.last().map(|upload| (upload.key.clone(), Some(upload.upload_id.clone())));
    if !more {
        let sql = format!(
            "SELECT {UPLOAD_COLUMNS} FROM uploads
             WHERE bucket = ?1 AND ?2 <= key AND key < ?3 ORDER BY key, id"
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
                    let upload = upload(&query.bucket, row)?;
                    last = Some((upload.key.clone(), Some(upload.upload_id.clone())));
                    page.uploads.push(upload);
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

/// The uploads of one key after the id given. Answers whether there is more than there is room for.
fn rest_of_key(
    conn: &Connection,
    bucket: &BucketRow,
    key: &str,
    after: &str,
    room: usize,
    page: &mut UploadsPage,
) -> Result<bool> {
    let sql = format!(
        "SELECT {UPLOAD_COLUMNS} FROM uploads
         WHERE bucket = ?1 AND key = ?2 AND ?3 < id ORDER BY id LIMIT ?4"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let limit = i64::try_from(room).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = statement.query((bucket.id, key.as_bytes(), after, limit))?;
    while let Some(row) = rows.next()? {
        if page.uploads.len() == room {
            return Ok(true);
        }
        page.uploads.push(upload(&bucket.bucket.name, row)?);
    }
    Ok(false)
}
