//! What is in quarantine and was left in its place is not read: not itself, and not through a copy.

use backlot_storage::{ObjectInfo, ObjectRef, QUARANTINE_TAG};
use s3s::{S3Result, s3_error};

use super::backend::Backend;
use super::errors::from_store;

/// Refuses to read a version that is in quarantine.
pub(super) fn check(info: &ObjectInfo) -> S3Result<()> {
    let Some(id) = info.tags.get(QUARANTINE_TAG) else { return Ok(()) };
    Err(s3_error!(
        AccessDenied,
        "the object is in quarantine: `backlot quarantine show {id}` says why, and an operator \
         releases it with `backlot quarantine release {id}`; a new upload is judged anew"
    ))
}

/// As [`check`], for the source of a copy.
pub(super) async fn check_source(backend: &Backend, source: &ObjectRef) -> S3Result<()> {
    let version = source.version.as_deref();
    let info = backend.store.head(&source.bucket, &source.key, version).await;
    check(&info.map_err(from_store)?)
}
