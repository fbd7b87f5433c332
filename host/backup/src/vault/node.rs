//! What a snapshot keeps of an object beside its bytes.

use std::ffi::OsStr;

use backlot_storage::{Checksum, ObjectHeaders, ObjectInfo, Pairs};
use jiff::{SignedDuration, Timestamp};
use rustic_core::repofile::{Metadata, Node, NodeType};
use serde::{Deserialize, Serialize};

/// The extended attribute with all that a file's other attributes do not say, as JSON.
const ATTRIBUTE: &str = "user.backlot";

/// What is kept of an object beside key, bytes and the time of its last change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The version's id in the bucket that it was taken from.
    pub version: String,
    /// As [`ObjectInfo::content_id`].
    pub content_id: String,
    /// The entity tag.
    pub etag: String,
    /// Content headers.
    pub headers: ObjectHeaders,
    /// User metadata.
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    pub metadata: Pairs,
    /// Tags.
    #[serde(skip_serializing_if = "Pairs::is_empty")]
    pub tags: Pairs,
    /// Checksums that were asked for when it was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
}

/// The node of an object. `place` orders the changes of a key.
pub(super) fn of_object(name: &str, info: &ObjectInfo, place: u64) -> serde_json::Result<Node> {
    let kept = Kept {
        version: info.version_id.clone(),
        content_id: info.content_id.clone(),
        etag: info.etag.clone(),
        headers: info.headers.clone(),
        metadata: info.metadata.clone(),
        tags: info.tags.clone(),
        checksums: info.checksums.clone(),
    };
    let mut meta = Metadata {
        mode: Some(0o644),
        mtime: Some(info.modified_at),
        // Tells two versions of one size apart that were written in the same millisecond: by size
        // and times it is decided that a file has not changed. Nobody restores this one.
        ctime: Some(changed_at(info.modified_at, place)),
        size: info.size,
        inode: place,
        links: 1,
        ..Metadata::default()
    };
    // The type has no name outside its crate, but a form.
    let value = base64(&serde_json::to_vec(&kept)?);
    let attributes = serde_json::json!([{ "name": ATTRIBUTE, "value": value }]);
    meta.extended_attributes = serde_json::from_value(attributes)?;
    Ok(Node::new_node(OsStr::new(name), NodeType::File, meta))
}

/// The node of a folder.
pub(super) fn of_folder(name: &str) -> Node {
    // A time that never changes, so that a folder with the same objects has the same id.
    let meta =
        Metadata { mode: Some(0o755), mtime: Some(Timestamp::UNIX_EPOCH), ..Metadata::default() };
    Node::new_node(OsStr::new(name), NodeType::Dir, meta)
}

/// What a node keeps; None: it is not ours.
pub(super) fn kept(node: &Node) -> Option<Kept> {
    let attribute = node.meta.extended_attributes.iter().find(|found| found.name == ATTRIBUTE)?;
    serde_json::from_slice(attribute.value.as_deref()?).ok()
}

/// The node's name as we gave it.
pub(super) fn name(node: &Node) -> String {
    node.name().to_string_lossy().into_owned()
}

fn changed_at(modified: Timestamp, place: u64) -> Timestamp {
    let nanos = i64::try_from(place % 1_000_000).unwrap_or(0);
    modified.checked_add(SignedDuration::from_nanos(nanos)).unwrap_or(modified)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
