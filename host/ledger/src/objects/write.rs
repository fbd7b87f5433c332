//! Objects come into being: a body, a copy, or other objects put end to end.

use rusqlite::OptionalExtension;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::blobs::{self, NewBlob};
use super::rows::{
    Attributes, BucketRow, ObjectRow, encode_pieces, find_bucket, newest, pieces_of, resolve,
    tags_column, to_json,
};
use super::{
    BlobId, Checksum, Committed, Conditions, EtagMatch, IndexError, NULL_VERSION, ObjectHeaders,
    ObjectInfo, ObjectPart, ObjectRef, Pairs, Piece, Place, SourceConditions, Versioning,
    is_reserved_tag, notice,
};
use crate::tx::Tx;
use crate::{Effect, Ledger};

type Result<T, E = IndexError> = std::result::Result<T, E>;

/// Most pieces of one object: its list of pieces takes at most 3.3 MB of the index.
pub const PIECES_MAX: usize = 100_000;

/// On whose behalf a change is made.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The effect of a running attempt that this is: done once, and not at all when the attempt is
    /// over.
    pub effect: Option<Effect>,
    /// Who asks, for the event.
    pub principal: String,
}

/// Bytes that are durable, or become so with the commit.
#[derive(Clone, Debug)]
pub struct NewContent {
    /// Their blob.
    pub blob: BlobId,
    /// How many; without any there is no blob.
    pub size: u64,
    /// They themselves, if they are to be kept in the ledger; else there is a file.
    pub data: Option<Vec<u8>>,
}

impl NewContent {
    /// Makes the blob known; answers the pieces (one, or none) that it is.
    pub(super) fn add(self, tx: &Tx<'_>) -> Result<Vec<Piece>> {
        if self.size == 0 {
            return Ok(Vec::new());
        }
        let place = if self.data.is_some() { Place::Ledger } else { Place::File };
        blobs::add(tx, &NewBlob { id: self.blob, data: self.data })?;
        Ok(vec![Piece { blob: self.blob, place, offset: 0, len: self.size }])
    }
}

/// An object to be made of a body.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Content headers.
    pub headers: ObjectHeaders,
    /// User metadata.
    pub metadata: Pairs,
    /// Tags.
    pub tags: Pairs,
    /// What must hold.
    pub conditions: Conditions,
    /// The entity tag of the bytes.
    pub etag: String,
    /// Checksums of the bytes.
    pub checksums: Vec<Checksum>,
    /// The bytes.
    pub content: NewContent,
    /// On whose behalf.
    pub origin: Origin,
}

/// An object to be made of another.
#[derive(Clone, Debug)]
pub struct CopyOf {
    /// Which.
    pub source: ObjectRef,
    /// What must hold for it.
    pub source_conditions: SourceConditions,
    /// The target's bucket.
    pub bucket: String,
    /// The target's key.
    pub key: String,
    /// Headers and metadata instead of the source's.
    pub described: Option<(ObjectHeaders, Pairs)>,
    /// Tags instead of the source's, of which the reserved ones stay behind.
    pub tags: Option<Pairs>,
    /// A checksum to keep besides the source's.
    pub checksum: Option<Checksum>,
    /// What must hold for the target.
    pub conditions: Conditions,
    /// On whose behalf.
    pub origin: Origin,
}

/// An object to be made of others put end to end.
#[derive(Clone, Debug)]
pub struct Composition {
    /// The bucket's name.
    pub bucket: String,
    /// The target's key.
    pub key: String,
    /// Keys of the sources, in order.
    pub sources: Vec<String>,
    /// Content headers.
    pub headers: ObjectHeaders,
    /// User metadata.
    pub metadata: Pairs,
    /// Tags.
    pub tags: Pairs,
    /// What must hold for the target.
    pub conditions: Conditions,
    /// Most bytes it may have.
    pub size_max: u64,
    /// Makes the entity tag of those of the sources.
    pub etag: fn(&[String]) -> String,
    /// On whose behalf.
    pub origin: Origin,
}

impl Ledger {
    /// Makes an object of a body.
    pub async fn put_object(&self, new: NewObject) -> Result<Committed<ObjectInfo>> {
        self.write(move |tx| {
            if let Some(before) = recorded(tx, &new.origin)? {
                return Ok(before);
            }
            let size = new.content.size;
            let draft = Draft {
                size,
                etag: new.etag,
                attributes: Attributes {
                    headers: new.headers,
                    metadata: new.metadata,
                    checksums: new.checksums,
                },
                tags: new.tags,
                parts: Parts::default(),
                pieces: new.content.add(tx)?,
            };
            let target = Target { bucket: new.bucket, key: new.key, conditions: new.conditions };
            commit(tx, target, draft, "ObjectCreated:Put", &new.origin)
        })
        .await
    }

    /// Makes an object of another; they share their bytes.
    pub async fn copy_object(&self, copy: CopyOf) -> Result<Committed<ObjectInfo>> {
        self.write(move |tx| copy_object(tx, copy)).await
    }

    /// Makes an object of others; they share their bytes.
    pub async fn compose_object(&self, composition: Composition) -> Result<Committed<ObjectInfo>> {
        self.write(move |tx| compose(tx, composition)).await
    }
}

/// What the same effect answered before, if it is one that was done.
pub(super) fn recorded<T: DeserializeOwned>(
    tx: &Tx<'_>,
    origin: &Origin,
) -> Result<Option<Committed<T>>> {
    let Some(effect) = &origin.effect else { return Ok(None) };
    let before = tx.recorded(effect)?;
    Ok(before.map(|value| Committed { value, garbage: Vec::new(), again: true }))
}

/// Records what an effect answers.
pub(super) fn record(tx: &Tx<'_>, origin: &Origin, answer: &impl Serialize) -> Result<()> {
    if let Some(effect) = &origin.effect {
        tx.record(effect, answer)?;
    }
    Ok(())
}

fn copy_object(tx: &mut Tx<'_>, copy: CopyOf) -> Result<Committed<ObjectInfo>> {
    if let Some(before) = recorded(tx, &copy.origin)? {
        return Ok(before);
    }
    let conn = tx.conn();
    let bucket = find_bucket(conn, &copy.source.bucket)?;
    let source = resolve(conn, &bucket, &copy.source.key, copy.source.version.as_deref())?;
    copy.source_conditions.check(&source.info)?;
    let (text, pieces) = conn
        .prepare_cached("SELECT parts FROM versions WHERE seq = ?1")?
        .query_row([source.seq], |row| row.get::<_, Option<String>>(0))
        .optional()?
        .map(|text| Ok::<_, IndexError>((text, pieces_of(conn, source.seq)?)))
        .transpose()?
        .unwrap_or_default();
    let info = source.info;
    let mut checksums = info.checksums;
    checksums.extend(copy.checksum);
    let (headers, metadata) = copy.described.unwrap_or((info.headers, info.metadata));
    let draft = Draft {
        size: info.size,
        etag: info.etag,
        attributes: Attributes { headers, metadata, checksums },
        tags: copy.tags.unwrap_or_else(|| own_tags(info.tags)),
        parts: Parts { count: info.part_count, text },
        pieces,
    };
    let target = Target { bucket: copy.bucket, key: copy.key, conditions: copy.conditions };
    commit(tx, target, draft, "ObjectCreated:Copy", &copy.origin)
}

fn own_tags(mut tags: Pairs) -> Pairs {
    tags.retain(|name, _| !is_reserved_tag(name));
    tags
}

fn compose(tx: &mut Tx<'_>, composition: Composition) -> Result<Committed<ObjectInfo>> {
    if let Some(before) = recorded(tx, &composition.origin)? {
        return Ok(before);
    }
    let bucket = find_bucket(tx.conn(), &composition.bucket)?;
    let mut pieces = Vec::new();
    let mut etags = Vec::with_capacity(composition.sources.len());
    let mut size = 0_u64;
    for key in &composition.sources {
        let source = match resolve(tx.conn(), &bucket, key, None) {
            Err(IndexError::DeleteMarker { .. }) => return Err(IndexError::NotFound(key.clone())),
            found => found?,
        };
        pieces.extend(pieces_of(tx.conn(), source.seq)?);
        at_most("pieces", pieces.len() as u64, PIECES_MAX as u64)?;
        size = size.saturating_add(source.info.size);
        at_most("object bytes", size, composition.size_max)?;
        etags.push(source.info.etag);
    }
    let draft = Draft {
        size,
        etag: (composition.etag)(&etags),
        attributes: Attributes {
            headers: composition.headers,
            metadata: composition.metadata,
            checksums: Vec::new(),
        },
        tags: composition.tags,
        parts: Parts::default(),
        pieces,
    };
    let Composition { bucket, key, conditions, origin, .. } = composition;
    commit(tx, Target { bucket, key, conditions }, draft, "ObjectCreated:Copy", &origin)
}

/// Where an object goes, and what must hold there.
pub(super) struct Target {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) conditions: Conditions,
}

/// The parts of an object as a row has them.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) count: u32,
    pub(super) text: Option<String>,
}

impl Parts {
    pub(super) fn of(parts: &[ObjectPart]) -> Result<Parts> {
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        Ok(Parts { count, text: Some(to_json(&parts)?) })
    }
}

/// What an object will be.
pub(super) struct Draft {
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) attributes: Attributes,
    pub(super) tags: Pairs,
    pub(super) parts: Parts,
    pub(super) pieces: Vec<Piece>,
}

/// Makes a draft the newest version of its key, with its event.
pub(super) fn commit(
    tx: &mut Tx<'_>,
    target: Target,
    draft: Draft,
    event: &str,
    origin: &Origin,
) -> Result<Committed<ObjectInfo>> {
    let bucket = find_bucket(tx.conn(), &target.bucket)?;
    let current = newest(tx.conn(), &bucket, &target.key)?;
    check_target(&target.conditions, current.as_ref(), &target.key)?;
    // Before the old version lets go: they may be the same bytes.
    blobs::refer(tx, &draft.pieces)?;
    let mut garbage = Vec::new();
    let content_id = Uuid::now_v7().simple().to_string();
    let version_id = match bucket.bucket.versioning {
        Versioning::Enabled => content_id.clone(),
        Versioning::Off | Versioning::Suspended => NULL_VERSION.to_owned(),
    };
    make_room(tx, &bucket, &target.key, &version_id, current, &mut garbage)?;
    let info = ObjectInfo {
        bucket: target.bucket,
        key: target.key,
        version_id,
        content_id,
        size: draft.size,
        etag: draft.etag,
        modified_at: tx.now(),
        headers: draft.attributes.headers,
        metadata: draft.attributes.metadata,
        checksums: draft.attributes.checksums,
        tags: draft.tags,
        delete_marker: false,
        is_latest: true,
        part_count: draft.parts.count,
    };
    insert(tx, &bucket, &info, draft.parts.text.as_deref(), &draft.pieces)?;
    notice::emit(tx, notice::CREATED, event, &info, &origin.principal)?;
    record(tx, origin, &info)?;
    Ok(Committed { value: info, garbage: blobs::still_unused(tx, garbage)?, again: false })
}

/// Removes the version that a new one of that id replaces, and makes the newest one an older one.
pub(super) fn make_room(
    tx: &Tx<'_>,
    bucket: &BucketRow,
    key: &str,
    version_id: &str,
    current: Option<ObjectRow>,
    garbage: &mut Vec<BlobId>,
) -> Result<()> {
    // The usual case, a bucket without versions, needs no second look.
    let replaced = match &current {
        Some(current) if current.info.version_id == version_id => Some(current.seq),
        Some(_) if version_id == NULL_VERSION => {
            super::rows::named(tx.conn(), bucket, key, version_id)?.map(|old| old.seq)
        }
        _ => None,
    };
    if let Some(seq) = replaced {
        remove_row(tx, seq, garbage)?;
    }
    if let Some(current) = current
        && Some(current.seq) != replaced
    {
        tx.execute("UPDATE versions SET latest = 0 WHERE seq = ?1", [current.seq])?;
    }
    Ok(())
}

/// Removes a version for good.
pub(super) fn remove_row(tx: &Tx<'_>, seq: i64, garbage: &mut Vec<BlobId>) -> Result<()> {
    let pieces = pieces_of(tx.conn(), seq)?;
    tx.execute("DELETE FROM versions WHERE seq = ?1", [seq])?;
    blobs::release(tx, &pieces, garbage)
}

pub(super) fn insert(
    tx: &Tx<'_>,
    bucket: &BucketRow,
    info: &ObjectInfo,
    parts: Option<&str>,
    pieces: &[Piece],
) -> Result<()> {
    let attributes = Attributes {
        headers: info.headers.clone(),
        metadata: info.metadata.clone(),
        checksums: info.checksums.clone(),
    };
    let sql = "INSERT INTO versions (bucket, key, version, content_id, latest, marker, size, etag,
                   modified_ms, part_count, attributes, tags, parts, pieces)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    tx.execute(
        sql,
        (
            bucket.id,
            info.key.as_bytes(),
            &info.version_id,
            &info.content_id,
            info.is_latest,
            info.delete_marker,
            info.size.cast_signed(),
            &info.etag,
            info.modified_at.as_millisecond(),
            info.part_count,
            to_json(&attributes)?,
            tags_column(&info.tags)?,
            parts,
            encode_pieces(pieces),
        ),
    )?;
    Ok(())
}

pub(super) fn check_target(
    conditions: &Conditions,
    current: Option<&ObjectRow>,
    key: &str,
) -> Result<()> {
    let live = current.filter(|current| !current.info.delete_marker);
    if let Some(wanted) = &conditions.if_match {
        let Some(live) = live else { return Err(IndexError::NotFound(key.to_owned())) };
        holds("if-match", matches(wanted, &live.info.etag))?;
    }
    if let (Some(unwanted), Some(live)) = (&conditions.if_none_match, live) {
        holds("if-none-match", !matches(unwanted, &live.info.etag))?;
    }
    Ok(())
}

impl SourceConditions {
    /// Refuses a source for which they do not hold. As S3 combines them: a condition on the
    /// entity tag that holds overrules one on the time.
    ///
    /// # Errors
    /// [`IndexError::PreconditionFailed`] with the first that does not hold.
    pub fn check(&self, source: &ObjectInfo) -> Result<()> {
        let any = |tags: &[EtagMatch]| tags.iter().any(|tag| matches(tag, &source.etag));
        let modified = source.modified_at.as_second();
        if let Some(wanted) = &self.content_id {
            holds("content-id", *wanted == source.content_id)?;
        }
        if !self.if_match.is_empty() {
            holds("if-match", any(&self.if_match))?;
        } else if let Some(time) = self.if_unmodified_since {
            holds("if-unmodified-since", modified <= time.as_second())?;
        }
        if !self.if_none_match.is_empty() {
            holds("if-none-match", !any(&self.if_none_match))?;
        } else if let Some(time) = self.if_modified_since {
            holds("if-modified-since", time.as_second() < modified)?;
        }
        Ok(())
    }
}

fn matches(tag: &EtagMatch, etag: &str) -> bool {
    match tag {
        EtagMatch::Any => true,
        EtagMatch::Is(wanted) => wanted == etag,
    }
}

fn holds(condition: &'static str, holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(IndexError::PreconditionFailed { condition }) }
}

pub(super) fn at_most(what: &'static str, got: u64, limit: u64) -> Result<()> {
    if got <= limit { Ok(()) } else { Err(IndexError::OverLimit { what, got, limit }) }
}
