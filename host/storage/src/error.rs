//! Why a store operation was not done.

use std::io;

use backlot_ledger::LedgerError;
use backlot_ledger::objects::IndexError;

/// Why a store operation was not done. Unless said otherwise nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bucket does not exist.
    #[error("no bucket {0:?}")]
    NoSuchBucket(String),
    /// A bucket of that name is there already.
    #[error("bucket {0:?} exists already")]
    BucketExists(String),
    /// The bucket still has objects, versions, delete markers or multipart uploads.
    #[error("bucket {0:?} is not empty")]
    BucketNotEmpty(String),
    /// There is no (current) object under the key.
    #[error("no object {0:?}")]
    NotFound(String),
    /// The object has no version of that id.
    #[error("no version {0:?}")]
    NoSuchVersion(String),
    /// What was found is a delete marker.
    #[error("version {version_id:?} is a delete marker")]
    DeleteMarker {
        /// The marker's version.
        version_id: String,
        /// Whether the caller named the version (S3 answers 405 rather than 404).
        named: bool,
    },
    /// The multipart upload does not exist, was completed or aborted.
    #[error("no multipart upload {0:?}")]
    NoSuchUpload(String),
    /// A part named at completion is not there, or its entity tag or checksum differs.
    #[error("part {number} is missing or differs from the one named")]
    InvalidPart {
        /// The part's number.
        number: u32,
    },
    /// Parts were not named in ascending order, or none was named.
    #[error("parts are not named in ascending order")]
    InvalidPartOrder,
    /// A part other than the last is smaller than the limit.
    #[error("part {number} has {size} bytes, the least is {limit}")]
    PartTooSmall {
        /// The part's number.
        number: u32,
        /// Its size in bytes.
        size: u64,
        /// [`crate::StoreLimits::part_bytes_min`].
        limit: u64,
    },
    /// A condition of the request did not hold at commit.
    #[error("condition {condition} does not hold")]
    PreconditionFailed {
        /// Which one, as the header is spelt (`if-match`, `if-none-match`, …).
        condition: &'static str,
    },
    /// The bytes that came do not have the digest that was promised.
    #[error("{what} of the body is {got}, expected {expected}")]
    BadDigest {
        /// `md5`, `crc32`, `sha256`, …
        what: &'static str,
        /// What was promised.
        expected: String,
        /// What the bytes have.
        got: String,
    },
    /// The body ended early or went on for too long.
    #[error("body has {got} bytes, {expected} were announced")]
    WrongSize {
        /// Bytes announced.
        expected: u64,
        /// Bytes that came (when it went on for too long: so far).
        got: u64,
    },
    /// A byte range lies outside of the object.
    #[error("range {start}-{end} is not within {size} bytes")]
    RangeNotSatisfiable {
        /// First byte asked for.
        start: u64,
        /// Byte after the last one asked for.
        end: u64,
        /// Size of the object.
        size: u64,
    },
    /// A named limit.
    #[error("{what}: {got} is over the limit of {limit}")]
    OverLimit {
        /// What is too much, with its unit.
        what: &'static str,
        /// How much it is.
        got: u64,
        /// How much it may be.
        limit: u64,
    },
    /// An argument makes no sense; the text says which and why.
    #[error("{0}")]
    Invalid(String),
    /// The attempt that wanted to write was superseded or cancelled.
    #[error("the attempt was superseded or cancelled")]
    Fenced,
    /// More work is waiting than is allowed to; try again later.
    #[error("busy: too much work is waiting")]
    Busy,
    /// Reading the caller's body failed (the client went away).
    #[error("reading the body failed")]
    Body(#[source] io::Error),
    /// The disk failed, or has not got what the index says it has.
    #[error("blob store failed")]
    Disk(#[source] io::Error),
    /// The ledger failed.
    #[error("ledger failed: {0}")]
    Unavailable(String),
}

impl From<LedgerError> for StoreError {
    fn from(err: LedgerError) -> Self {
        match err {
            LedgerError::Fenced(_) => StoreError::Fenced,
            LedgerError::Busy { .. } | LedgerError::Backlog { .. } => StoreError::Busy,
            LedgerError::OverLimit { what, got, limit } => {
                StoreError::OverLimit { what, got, limit }
            }
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

impl From<IndexError> for StoreError {
    fn from(err: IndexError) -> Self {
        match err {
            IndexError::NoSuchBucket(name) => StoreError::NoSuchBucket(name),
            IndexError::BucketExists(name) => StoreError::BucketExists(name),
            IndexError::BucketNotEmpty(name) => StoreError::BucketNotEmpty(name),
            IndexError::NotFound(key) => StoreError::NotFound(key),
            IndexError::NoSuchVersion(version) => StoreError::NoSuchVersion(version),
            IndexError::DeleteMarker { version_id, named } => {
                StoreError::DeleteMarker { version_id, named }
            }
            IndexError::NoSuchUpload(id) => StoreError::NoSuchUpload(id),
            IndexError::PreconditionFailed { condition } => {
                StoreError::PreconditionFailed { condition }
            }
            IndexError::OverLimit { what, got, limit } => {
                StoreError::OverLimit { what, got, limit }
            }
            IndexError::Ledger(err) => err.into(),
        }
    }
}
