//! Object store: bytes as blobs on disk, what they mean in the ledger.
//!
//! A body is written to a blob of its own (or, if small, into the ledger), made durable, and then
//! one commit makes it an object: conditions, the object's row and its event are one transaction.
//! Blobs never change. An object is a list of pieces of blobs, so that multipart completion, copy
//! and compose share bytes instead of writing them again. Blobs are counted; one that nothing
//! refers to is removed after the commit that let go of it, as soon as no reader holds it.
//!
//! **Invariant: nothing is acknowledged before its bytes, their directory entry and the commit are
//! on disk.** **Invariant: a key never becomes a path.**

mod antivirus;
mod body;
mod digest;
mod disk;
mod error;
pub mod guest;
mod limits;
mod objects;
mod pins;
mod quarantine;
mod reader;
mod requests;
mod store;
mod uploads;

pub use antivirus::{Opinion, Scanner, ScannerAddress};
pub use backlot_ledger::objects::{
    Bucket, Checksum, ChecksumAlgorithm, ChecksumKind, CompletedPart, Conditions, Deleted,
    EtagMatch, ListPage, ListQuery, NULL_VERSION, ObjectHeaders, ObjectInfo, ObjectPart, ObjectRef,
    Origin, Pairs, Part, PartsPage, QUARANTINE_TAG, RESERVED_TAG_PREFIX, SourceConditions, Tagging,
    Upload, UploadsPage, UploadsQuery, Versioning, VersionsPage, VersionsQuery, is_reserved_tag,
};
pub use error::StoreError;
pub use limits::{
    COMPOSE_SOURCES_MAX, DELETE_MANY_MAX, HEADER_BYTES_MAX, KEY_BYTES_MAX, LIST_MAX,
    METADATA_BYTES_MAX, PARTS_MAX, PIECES_MAX, StoreLimits, TAG_NAME_CHARS_MAX,
    TAG_VALUE_CHARS_MAX, TAGS_MAX,
};
pub use objects::ObjectWriter;
pub use quarantine::{
    Place, QUARANTINE_BUCKET, QuarantinePage, Quarantined, RELEASED_TAG, Released,
};
pub use reader::{CHUNK_BYTES, ObjectReader};
pub use requests::{
    CompleteMultipart, Compose, Copy, CopyPart, CreateMultipart, Delete, Expected,
    MetadataDirective, Put, PutPart, TagDirective,
};
pub use store::{Store, Swept};
pub use uploads::PartWriter;
