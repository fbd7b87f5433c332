//! What the index keeps about buckets, objects, versions and multipart uploads.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Version id of an object in a bucket that keeps no versions (as S3 spells it).
pub const NULL_VERSION: &str = "null";

/// Whether a bucket keeps the versions that are overwritten or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// Never switched on: every write replaces the `null` version.
    #[default]
    Off,
    /// Every write makes a version of its own; a delete leaves a marker.
    Enabled,
    /// Kept versions stay; new writes replace the `null` version.
    Suspended,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name, by S3's rules for names.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it keeps versions.
    pub versioning: Versioning,
}

/// Content headers, kept as the writer gave them and answered with the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectHeaders {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, not interpreted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// User metadata (names in lower case without `x-amz-meta-`) or tags.
pub type Pairs = BTreeMap<String, String>;

/// How the names of tags begin that the host and its functions set: what they say is about one
/// version in one place. Clients cannot change them, and a copy does not take them along.
pub const RESERVED_TAG_PREFIX: &str = "backlot:";
/// Tag of a version that is not served: its value is the id under which it is in quarantine.
pub const QUARANTINE_TAG: &str = "backlot:quarantine";

/// Whether a tag is one that clients cannot change.
#[must_use]
pub fn is_reserved_tag(name: &str) -> bool {
    name.starts_with(RESERVED_TAG_PREFIX)
}

/// A checksum that S3 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// What a checksum covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumKind {
    /// All bytes of the object.
    #[default]
    FullObject,
    /// The checksums of the parts of a multipart upload.
    Composite,
}

/// A checksum of an object or part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How it was made.
    pub algorithm: ChecksumAlgorithm,
    /// What it covers.
    #[serde(default)]
    pub kind: ChecksumKind,
    /// Base64, as in S3's headers; a composite one ends in `-` and the number of parts.
    pub value: String,
}

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// The bucket's name.
    pub bucket: String,
    /// The key: 1 to 1,024 bytes of UTF-8.
    pub key: String,
    /// The version's id; [`NULL_VERSION`] where the bucket kept no versions when it was written.
    pub version_id: String,
    /// Unique to this write, also where `version_id` is `null`.
    pub content_id: String,
    /// Size in bytes; 0 for a delete marker.
    pub size: u64,
    /// S3's entity tag without quotes: MD5 in hex, `<md5 of md5s>-<parts>` for a multipart or
    /// composed object. Empty for a delete marker.
    pub etag: String,
    /// When it was committed, with millisecond precision.
    pub modified_at: Timestamp,
    /// Content headers.
    pub headers: ObjectHeaders,
    /// User metadata.
    pub metadata: Pairs,
    /// Tags of this version.
    pub tags: Pairs,
    /// Checksums that were asked for when it was written.
    pub checksums: Vec<Checksum>,
    /// Whether this version says that the object is deleted.
    pub delete_marker: bool,
    /// Whether it is the newest version of its key.
    pub is_latest: bool,
    /// Number of parts of a multipart upload; 0 for an object written in one go. The spans of the
    /// parts are asked for apart, they may be 10,000.
    pub part_count: u32,
}

impl ObjectInfo {
    /// The id as S3's answers carry it: absent where the bucket never kept versions.
    #[must_use]
    pub fn version_header(&self, versioning: Versioning) -> Option<&str> {
        (versioning != Versioning::Off).then_some(self.version_id.as_str())
    }
}

/// One part of a finished multipart object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPart {
    /// 1 to 10,000, as uploaded; parts are in ascending order, gaps allowed.
    pub number: u32,
    /// First byte within the object.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// Checksums of the part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
}

/// An entity tag to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagMatch {
    /// `*`: any object.
    Any,
    /// This one, without quotes.
    Is(String),
}

/// What must hold at commit, else `PreconditionFailed`. A delete marker counts as no object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The current object's entity tag is this one (no object: `NotFound`).
    pub if_match: Option<EtagMatch>,
    /// The current object's entity tag is not this one; with `Any`: there is no object.
    pub if_none_match: Option<EtagMatch>,
}

/// What must hold for the source of a copy, checked in the transaction that copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceConditions {
    /// The source's entity tag is one of these (empty: not asked).
    pub if_match: Vec<EtagMatch>,
    /// The source's entity tag is none of these.
    pub if_none_match: Vec<EtagMatch>,
    /// The source was modified after this time (compared in whole seconds, as HTTP dates are).
    pub if_modified_since: Option<Timestamp>,
    /// The source was not modified after this time.
    pub if_unmodified_since: Option<Timestamp>,
    /// The source is this very content (see [`ObjectInfo::content_id`]).
    pub content_id: Option<String>,
}

/// An object or one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// A version's id; `None` for the current one.
    pub version: Option<String>,
}

impl ObjectRef {
    /// The current version of an object.
    pub fn current(bucket: impl Into<String>, key: impl Into<String>) -> ObjectRef {
        ObjectRef { bucket: bucket.into(), key: key.into(), version: None }
    }
}

/// A multipart upload in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// Its id; ids of one key sort by the time they were started.
    pub upload_id: String,
    /// The bucket's name.
    pub bucket: String,
    /// The key it will be stored under.
    pub key: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// Content headers the object will have.
    pub headers: ObjectHeaders,
    /// User metadata the object will have.
    pub metadata: Pairs,
    /// Tags the object will have.
    pub tags: Pairs,
    /// The checksum each part carries, and what the object's one will cover.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Who started it.
    pub principal: String,
}

/// A stored part of a multipart upload.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Size in bytes.
    pub size: u64,
    /// MD5 in hex.
    pub etag: String,
    /// When it was committed.
    pub modified_at: Timestamp,
    /// Checksums of the part.
    pub checksums: Vec<Checksum>,
}

/// A part as named when a multipart upload is completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    /// The part's number.
    pub number: u32,
    /// The entity tag the client was given, without quotes.
    pub etag: String,
    /// Checksums the client was given; compared if present.
    pub checksums: Vec<(ChecksumAlgorithm, String)>,
}

/// Which current objects to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// The bucket's name.
    pub bucket: String,
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that have this after the prefix are folded into one common prefix (which ends in it).
    pub delimiter: Option<String>,
    /// Only entries (keys and common prefixes) after this one, in byte order.
    pub after: Option<String>,
    /// Most entries to answer; S3 allows at most 1,000. 0 answers none.
    pub limit: u32,
}

/// A page of current objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListPage {
    /// Objects in byte order of their keys; tags are not filled in.
    pub objects: Vec<ObjectInfo>,
    /// Common prefixes in byte order.
    pub prefixes: Vec<String>,
    /// If there is more: the last entry of this page, to be given as `after` for the next.
    pub next: Option<String>,
}

/// Which versions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsQuery {
    /// The bucket's name.
    pub bucket: String,
    /// Only keys that begin so.
    pub prefix: String,
    /// As in [`ListQuery`].
    pub delimiter: Option<String>,
    /// Only entries after this key (or within it, see `version_after`).
    pub key_after: Option<String>,
    /// With `key_after`: go on within that key, after this version.
    pub version_after: Option<String>,
    /// Most entries to answer.
    pub limit: u32,
}

/// A page of versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionsPage {
    /// Versions and delete markers by key, newest first within one; tags are not filled in.
    pub versions: Vec<ObjectInfo>,
    /// Common prefixes in byte order.
    pub prefixes: Vec<String>,
    /// If there is more: `key_after` and `version_after` for the next page.
    pub next: Option<(String, Option<String>)>,
}

/// Which multipart uploads to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsQuery {
    /// The bucket's name.
    pub bucket: String,
    /// Only keys that begin so.
    pub prefix: String,
    /// As in [`ListQuery`].
    pub delimiter: Option<String>,
    /// Only entries after this key (or within it, see `upload_after`).
    pub key_after: Option<String>,
    /// With `key_after`: also uploads of that key after this id.
    pub upload_after: Option<String>,
    /// Most entries to answer.
    pub limit: u32,
}

/// A page of multipart uploads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UploadsPage {
    /// Uploads by key, then by start.
    pub uploads: Vec<Upload>,
    /// Common prefixes in byte order.
    pub prefixes: Vec<String>,
    /// If there is more: `key_after` and `upload_after` for the next page.
    pub next: Option<(String, Option<String>)>,
}

/// A page of a multipart upload's parts.
#[derive(Clone, Debug, PartialEq)]
pub struct PartsPage {
    /// The upload they belong to.
    pub upload: Upload,
    /// Parts by number.
    pub parts: Vec<Part>,
    /// If there is more: the number to go on after.
    pub next: Option<u32>,
}

/// What a delete did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The version that was removed, or the delete marker that was made.
    pub version_id: Option<String>,
    /// Whether that version is (or was) a delete marker.
    pub delete_marker: bool,
    /// Whether there was something to delete.
    pub existed: bool,
}

/// Name of a blob: bytes that were written once and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub Uuid);

impl BlobId {
    /// A new name; later ones sort after earlier ones.
    #[must_use]
    pub fn new() -> BlobId {
        BlobId(Uuid::now_v7())
    }
}

impl Default for BlobId {
    fn default() -> Self {
        BlobId::new()
    }
}

impl std::fmt::Display for BlobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// Where the bytes of a blob are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file of its own.
    File,
    /// In the ledger.
    Ledger,
}

/// A stretch of a blob. An object's bytes are its pieces put end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which blob.
    pub blob: BlobId,
    /// Where its bytes are.
    pub place: Place,
    /// First byte within the blob.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub len: u64,
}
