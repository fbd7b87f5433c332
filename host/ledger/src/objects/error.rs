//! Why the index was not changed or could not answer.

use crate::LedgerError;

/// Why the index was not changed or could not answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The bucket does not exist.
    #[error("no bucket {0:?}")]
    NoSuchBucket(String),
    /// A bucket of that name is there already.
    #[error("bucket {0:?} exists already")]
    BucketExists(String),
    /// The bucket still has versions, delete markers or multipart uploads.
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
        /// Whether the caller named the version.
        named: bool,
    },
    /// The multipart upload does not exist, was completed or aborted.
    #[error("no multipart upload {0:?}")]
    NoSuchUpload(String),
    /// A condition did not hold.
    #[error("condition {condition} does not hold")]
    PreconditionFailed {
        /// Which one, as the header is spelt.
        condition: &'static str,
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
    /// The ledger itself failed, is busy, or refused the fence.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<rusqlite::Error> for IndexError {
    fn from(err: rusqlite::Error) -> Self {
        IndexError::Ledger(err.into())
    }
}
