//! Objects and versions go.

use uuid::Uuid;

use super::rows::{BucketRow, find_bucket, named, newest};
use super::write::{Origin, check_target, insert, make_room, record, recorded, remove_row};
use super::{
    BlobId, Committed, Conditions, Deleted, IndexError, NULL_VERSION, ObjectHeaders, ObjectInfo,
    ObjectRef, Pairs, Versioning, blobs, changes, notice,
};
use crate::Ledger;
use crate::tx::Tx;

type Result<T, E = IndexError> = std::result::Result<T, E>;

/// An object or version to delete.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Which; without a version, a marker takes its place where versions are kept.
    pub object: ObjectRef,
    /// What must hold for the current object.
    pub conditions: Conditions,
    /// With a version: only while it is this content; else nothing is removed.
    pub content_id: Option<String>,
    /// On whose behalf.
    pub origin: Origin,
}

impl Ledger {
    /// Deletes objects or versions, all in one commit; one answer each, in order.
    ///
    /// # Errors
    /// Only what concerns all of them: the ledger itself, a stale fence.
    pub async fn remove_objects(
        &self,
        removals: Vec<Removal>,
    ) -> Result<Committed<Vec<Result<Deleted>>>> {
        self.write(move |tx| {
            let mut garbage = Vec::new();
            let mut value = Vec::with_capacity(removals.len());
            for removal in removals {
                // What is refused is refused before anything is changed.
                match remove(tx, removal, &mut garbage) {
                    Err(IndexError::Ledger(err)) => return Err(IndexError::Ledger(err)),
                    answer => value.push(answer),
                }
            }
            Ok(Committed { value, garbage: blobs::still_unused(tx, garbage)?, again: false })
        })
        .await
    }
}

fn remove(tx: &mut Tx<'_>, removal: Removal, garbage: &mut Vec<BlobId>) -> Result<Deleted> {
    if let Some(before) = recorded(tx, &removal.origin)? {
        return Ok(before.value);
    }
    let origin = removal.origin.clone();
    let deleted = remove_now(tx, removal, garbage)?;
    record(tx, &origin, &deleted)?;
    Ok(deleted)
}

fn remove_now(tx: &mut Tx<'_>, removal: Removal, garbage: &mut Vec<BlobId>) -> Result<Deleted> {
    let Removal { object, conditions, content_id, origin } = removal;
    let bucket = find_bucket(tx.conn(), &object.bucket)?;
    let current = newest(tx.conn(), &bucket, &object.key)?;
    check_target(&conditions, current.as_ref(), &object.key)?;
    if let Some(version) = &object.version {
        let found = named(tx.conn(), &bucket, &object.key, version)?;
        if content_id.is_some_and(|id| found.is_none_or(|found| found.info.content_id != id)) {
            return Ok(Deleted { version_id: Some(version.clone()), ..Deleted::default() });
        }
        return remove_version(tx, &bucket, &object.key, version, &origin, garbage);
    }
    match bucket.bucket.versioning {
        Versioning::Off => remove_version(tx, &bucket, &object.key, NULL_VERSION, &origin, garbage)
            .map(|deleted| Deleted { version_id: None, ..deleted }),
        kept => {
            let existed = current.as_ref().is_some_and(|current| !current.info.delete_marker);
            let content_id = Uuid::now_v7().simple().to_string();
            let version_id =
                if kept == Versioning::Enabled { content_id.clone() } else { NULL_VERSION.into() };
            make_room(tx, &bucket, &object.key, &version_id, current, garbage)?;
            let marker = marker(tx, object, version_id.clone(), content_id);
            insert(tx, &bucket, &marker, None, &[])?;
            let name = "ObjectRemoved:DeleteMarkerCreated";
            notice::emit(tx, notice::REMOVED, name, &marker, &origin.principal)?;
            Ok(Deleted { version_id: Some(version_id), delete_marker: true, existed })
        }
    }
}

fn remove_version(
    tx: &mut Tx<'_>,
    bucket: &BucketRow,
    key: &str,
    version: &str,
    origin: &Origin,
    garbage: &mut Vec<BlobId>,
) -> Result<Deleted> {
    let version_id = Some(version.to_owned());
    let Some(found) = named(tx.conn(), bucket, key, version)? else {
        return Ok(Deleted { version_id, ..Deleted::default() });
    };
    remove_row(tx, found.seq, garbage)?;
    changes::removed(tx, &found.info)?;
    if found.info.is_latest
        && let Some(next) = newest(tx.conn(), bucket, key)?
    {
        tx.execute("UPDATE versions SET latest = 1 WHERE seq = ?1", [next.seq])?;
    }
    let kind = if found.info.is_latest { notice::REMOVED } else { notice::VERSION_REMOVED };
    notice::emit(tx, kind, "ObjectRemoved:Delete", &found.info, &origin.principal)?;
    Ok(Deleted { version_id, delete_marker: found.info.delete_marker, existed: true })
}

fn marker(tx: &Tx<'_>, object: ObjectRef, version_id: String, content_id: String) -> ObjectInfo {
    ObjectInfo {
        bucket: object.bucket,
        key: object.key,
        version_id,
        content_id,
        size: 0,
        etag: String::new(),
        modified_at: tx.now(),
        headers: ObjectHeaders::default(),
        metadata: Pairs::new(),
        tags: Pairs::new(),
        checksums: Vec::new(),
        delete_marker: true,
        is_latest: true,
        part_count: 0,
    }
}
