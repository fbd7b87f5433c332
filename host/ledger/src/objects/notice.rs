//! The events that tell of objects.

use serde_json::json;

use super::ObjectInfo;
use crate::tx::Tx;
use crate::{Event, LedgerError};

/// Kind of the event of an object that was written.
pub const CREATED: &str = "backlot.object.created";
/// Kind of the event of an object that was deleted.
pub const REMOVED: &str = "backlot.object.removed";
/// Kind of the event of an older version that was deleted: the object is what it was. A kind of its
/// own, so that whoever works on the object is not told that it is gone.
pub const VERSION_REMOVED: &str = "backlot.object.version-removed";

/// Emits the event of a change, in S3's record shape. Unlike in S3 the key is not URL-encoded.
pub(super) fn emit(
    tx: &mut Tx<'_>,
    kind: &str,
    name: &str,
    object: &ObjectInfo,
    principal: &str,
) -> Result<(), LedgerError> {
    let data = json!({
        "eventName": name,
        "s3": {
            "bucket": { "name": object.bucket },
            "object": {
                "key": object.key,
                "size": object.size,
                "eTag": object.etag,
                "versionId": object.version_id,
                "contentId": object.content_id,
            },
        },
        "userIdentity": { "principalId": principal },
    });
    let source = format!("/buckets/{}", object.bucket);
    let mut event =
        Event::json(source, kind, Some(object.key.clone()), data.to_string().into_bytes());
    event.time = tx.now();
    tx.emit(event)?;
    Ok(())
}
