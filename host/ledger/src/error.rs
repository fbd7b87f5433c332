//! Why the ledger did not do what it was asked.

use std::path::PathBuf;

use crate::InvocationId;

/// Every way in which a call to the ledger fails.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The queue to the writer stayed full; nothing was done, try again later.
    #[error("the ledger is busy: its queue of {limit} operations is full")]
    Busy {
        /// How many operations may wait.
        limit: usize,
    },
    /// The attempt behind the fence is over: cancelled, superseded, expired or already finished.
    /// Nothing it asks for is committed.
    #[error("invocation {0} is no longer this attempt's")]
    Fenced(InvocationId),
    /// There is no such invocation.
    #[error("no invocation {0}")]
    UnknownInvocation(InvocationId),
    /// A named limit.
    #[error("{what}: {got} is over the limit of {limit}")]
    OverLimit {
        /// What is limited, with its unit.
        what: &'static str,
        /// What was asked for.
        got: u64,
        /// The limit, inclusive.
        limit: u64,
    },
    /// Too much waits to be handled already; nothing was taken, try again later.
    #[error("{what}: there are {limit} already, the most that may wait")]
    Backlog {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The arguments make no sense; the text says which and why.
    #[error("{0}")]
    Invalid(String),
    /// The operation panicked, or the writer went away; it was not committed.
    #[error("the operation was abandoned and not committed")]
    Abandoned,
    /// The disk is full; nothing was committed.
    #[error("the disk that holds the ledger is full")]
    DiskFull,
    /// The group of operations could not be committed; none of it was.
    #[error("the commit failed: {0}")]
    Commit(String),
    /// The database was written by a later version of the program.
    #[error(
        "{path} has format {found}, and this program knows formats up to {supported}: \
         use the version that wrote it or a later one"
    )]
    NewerFormat {
        /// The database file.
        path: PathBuf,
        /// The format found in it.
        found: i64,
        /// The newest format that this program knows.
        supported: i64,
    },
    /// The file is a database, but not one of ours.
    #[error("{0} is not a ledger: it belongs to another program")]
    NotALedger(PathBuf),
    /// Another process has the data folder open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The data folder could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row holds what this program never writes.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// The database refused.
    #[error("the ledger's database failed: {0}")]
    Database(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for LedgerError {
    fn from(err: rusqlite::Error) -> Self {
        match err.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => LedgerError::DiskFull,
            _ => LedgerError::Database(err),
        }
    }
}

/// Refuses what is over a limit.
pub(crate) fn at_most(what: &'static str, got: usize, limit: usize) -> Result<(), LedgerError> {
    if got <= limit {
        Ok(())
    } else {
        Err(LedgerError::OverLimit { what, got: got as u64, limit: limit as u64 })
    }
}
