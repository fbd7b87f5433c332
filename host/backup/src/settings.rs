//! What the operator says about a repository.

use std::path::PathBuf;
use std::time::Duration;

use backlot_storage::QUARANTINE_BUCKET;
use serde::{Deserialize, Serialize};

use crate::drill::SCRATCH_PREFIX;

/// Stands among the buckets of a repository for all of them.
pub const ALL_BUCKETS: &str = "*";

/// One repository, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub target: Target,
    /// File with the password on its first line.
    pub password_file: PathBuf,
    /// Buckets that it covers, or [`ALL_BUCKETS`].
    pub buckets: Vec<String>,
    /// What is changed is backed up by itself; else only what functions hand over, and what is
    /// asked for.
    pub follow: bool,
    /// When a snapshot is taken of what waits.
    pub batch: Batch,
    /// Which snapshots are kept; None: all.
    pub keep: Option<Keep>,
    /// Nothing is ever removed from it: no snapshot is forgotten, nothing is pruned.
    pub append_only: bool,
    /// A part of it is read back so often; None: never.
    pub verify_every: Option<Duration>,
    /// So many verifications read all of it.
    pub verify_parts: u32,
    /// Objects are restored on trial so often; None: never.
    pub drill_every: Option<Duration>,
    /// Snapshots are forgotten and their space freed so often; None: never.
    pub prune_every: Option<Duration>,
    /// So long without a success is told to those who listen.
    pub overdue_after: Duration,
}

impl Settings {
    /// Whether a bucket is backed up here. [`ALL_BUCKETS`] are all but the quarantine and those that
    /// drills restore into.
    #[must_use]
    pub fn covers(&self, bucket: &str) -> bool {
        let special = bucket == QUARANTINE_BUCKET || bucket.starts_with(SCRATCH_PREFIX);
        self.buckets.iter().any(|name| name == bucket || (name == ALL_BUCKETS && !special))
    }
}

/// Where a repository is.
#[derive(Clone)]
pub enum Target {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket of an S3 server.
    S3(S3Target),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.location())
    }
}

impl Target {
    /// For people; without secrets.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Target::Folder(path) => path.display().to_string(),
            Target::S3(s3) => format!("s3:{}/{}/{}", s3.endpoint, s3.bucket, s3.prefix),
        }
    }
}

/// A bucket of an S3 server.
#[derive(Clone)]
pub struct S3Target {
    /// Such as `https://s3.example.com`.
    pub endpoint: String,
    /// Its region; most servers take any.
    pub region: String,
    /// The bucket's name.
    pub bucket: String,
    /// How all keys begin; empty, or without a slash at its end.
    pub prefix: String,
    /// Key id.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Each file is locked for so many days (S3 Object Lock, which the bucket must have): nobody
    /// can delete or change it before.
    pub lock_days: Option<u32>,
}

/// When a snapshot is taken of what waits: as soon as one of these is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// So many changes; no snapshot takes in more.
    pub changes_max: usize,
    /// So many bytes; a snapshot takes in no more unless a single object is larger.
    pub bytes_max: u64,
    /// The oldest has waited for so long.
    pub wait: Duration,
}

/// Which snapshots are kept: those that any of these counts names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// The newest.
    pub last: u32,
    /// The last of each of so many days.
    pub daily: u32,
    /// The last of each of so many weeks.
    pub weekly: u32,
    /// The last of each of so many months.
    pub monthly: u32,
}
