//! The restore drill: objects of the newest snapshot are restored into a bucket of their own, read
//! back from there, and compared byte for byte with what is in their buckets now.

use backlot_storage::{Delete, LIST_MAX, ListQuery, ObjectReader, Store, StoreError};
use jiff::Timestamp;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::restore;
use crate::service::BackupError;
use crate::vault::{Entry, Vault};

/// How the names of the buckets begin that drills restore into. They are never backed up.
pub(crate) const SCRATCH_PREFIX: &str = "backlot-drill-";
/// Objects of one drill: evenly spread over the snapshot.
const OBJECTS_MAX: u64 = 1_000;
/// Bytes of one drill; objects that would exceed them are left out.
const BYTES_MAX: u64 = 4 << 30;
/// Bytes compared at once.
const COMPARED_BYTES: usize = 1 << 20;
/// Objects that are named.
const NAMED_MAX: usize = 100;

/// What a drill found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// The snapshot.
    pub snapshot: String,
    /// Objects that were restored.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Compared byte for byte with the object that they were taken of.
    pub compared: u64,
    /// That object is not there any more: compared with its entity tag.
    pub by_digest: u64,
    /// Left out, because they are too large beside the others.
    pub too_large: u64,
    /// What came back otherwise than it went in: bucket, key and what differs.
    pub differing: Vec<(String, String, String)>,
}

pub(crate) fn run(vault: &Vault, store: &Store, runtime: &Handle) -> Result<Drilled, BackupError> {
    let snapshot = vault.read("latest", None)?;
    let mut drilled = Drilled { snapshot: snapshot.info.id.clone(), ..Drilled::default() };
    let mut count = 0_u64;
    snapshot.each(None, &mut |_| {
        count += 1;
        Ok(true)
    })?;
    let step = count.div_ceil(OBJECTS_MAX).max(1);
    // Another start each time, so that in time all objects have their turn.
    let start = Timestamp::now().as_second().unsigned_abs() % step;
    // What a crash left of the last one.
    for bucket in runtime.block_on(store.buckets())? {
        if bucket.name.starts_with(SCRATCH_PREFIX) {
            remove(&bucket.name, store, runtime)?;
        }
    }
    let scratch = format!("{SCRATCH_PREFIX}{}", Timestamp::now().as_millisecond());
    runtime.block_on(store.create_bucket(&scratch))?;
    let mut failed = None;
    let mut place = 0_u64;
    let walked = snapshot.each(None, &mut |entry| {
        place += 1;
        if (place - 1) % step != start {
            return Ok(true);
        }
        if BYTES_MAX < drilled.bytes + entry.size {
            drilled.too_large += 1;
            return Ok(true);
        }
        let key = entry.key.clone();
        let compared =
            restore::put(&snapshot, &entry, &scratch, store, runtime).and_then(|bytes| {
                drilled.objects += 1;
                drilled.bytes += bytes;
                compare(&entry, &scratch, store, runtime, &mut drilled)
            });
        match compared {
            Ok(None) => {}
            Ok(Some(what)) => {
                if drilled.differing.len() < NAMED_MAX {
                    drilled.differing.push((entry.bucket, key.clone(), what));
                }
            }
            // What the repository cannot give back is a finding, not a failure of the drill.
            Err(BackupError::Vault(err)) => {
                if drilled.differing.len() < NAMED_MAX {
                    drilled.differing.push((entry.bucket, key.clone(), err.to_string()));
                }
            }
            Err(err) => failed = Some(err),
        }
        Ok(failed.is_none())
    });
    remove(&scratch, store, runtime)?;
    walked?;
    failed.map_or(Ok(drilled), Err)
}

/// What differs between what was restored and what it was taken of.
fn compare(
    entry: &Entry,
    scratch: &str,
    store: &Store,
    runtime: &Handle,
    drilled: &mut Drilled,
) -> Result<Option<String>, BackupError> {
    let back = runtime.block_on(store.open_object(scratch, &entry.key, None))?;
    let info = back.info();
    if info.headers != entry.kept.headers || info.metadata != entry.kept.metadata {
        return Ok(Some("headers or metadata".to_owned()));
    }
    let version = Some(entry.kept.version.as_str()).filter(|version| !version.is_empty());
    let live = runtime.block_on(store.open_object(&entry.bucket, &entry.key, version));
    match live {
        Ok(live) if live.info().content_id == entry.kept.content_id => {
            drilled.compared += 1;
            same_bytes(&back, &live, runtime)
        }
        Ok(_)
        | Err(
            StoreError::NotFound(_)
            | StoreError::NoSuchVersion(_)
            | StoreError::NoSuchBucket(_)
            | StoreError::DeleteMarker { .. },
        ) => {
            drilled.by_digest += 1;
            same_digest(&back, &entry.kept.etag, runtime)
        }
        Err(err) => Err(err.into()),
    }
}

fn same_bytes(
    back: &ObjectReader,
    live: &ObjectReader,
    runtime: &Handle,
) -> Result<Option<String>, BackupError> {
    if back.info().size != live.info().size {
        return Ok(Some(format!("{} bytes, not {}", back.info().size, live.info().size)));
    }
    let mut offset = 0;
    while offset < live.info().size {
        let one = runtime.block_on(back.read_at(offset, COMPARED_BYTES))?;
        let other = runtime.block_on(live.read_at(offset, COMPARED_BYTES))?;
        if one != other || one.is_empty() {
            return Ok(Some(format!("the bytes from {offset}")));
        }
        offset += one.len() as u64;
    }
    Ok(None)
}

fn same_digest(
    back: &ObjectReader,
    etag: &str,
    runtime: &Handle,
) -> Result<Option<String>, BackupError> {
    // That of an object of several parts is no digest of its bytes: the repository's digests
    // have been checked as it was read.
    if etag.contains('-') {
        return Ok(None);
    }
    let (mut digest, mut offset) = (Md5::new(), 0);
    loop {
        let bytes = runtime.block_on(back.read_at(offset, COMPARED_BYTES))?;
        if bytes.is_empty() {
            break;
        }
        digest.update(&bytes);
        offset += bytes.len() as u64;
    }
    let found = hex::encode(digest.finalize());
    Ok((found != etag).then(|| format!("entity tag {found}, not {etag}")))
}

/// Removes the scratch bucket with all that is in it.
fn remove(scratch: &str, store: &Store, runtime: &Handle) -> Result<(), BackupError> {
    loop {
        let query =
            ListQuery { bucket: scratch.to_owned(), limit: LIST_MAX, ..ListQuery::default() };
        let page = runtime.block_on(store.list(query))?;
        if page.objects.is_empty() {
            break;
        }
        for object in page.objects {
            let delete = Delete {
                bucket: scratch.to_owned(),
                key: object.key,
                principal: "backup".to_owned(),
                ..Delete::default()
            };
            runtime.block_on(store.delete(delete))?;
        }
    }
    Ok(runtime.block_on(store.delete_bucket(scratch))?)
}
