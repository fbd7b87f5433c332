//! `backlot.toml`: what can be set, what it is by default, and what it may be.
//!
//! A value comes from a flag, else the environment (`BACKLOT_S3_ADDRESS` is `s3.address`), else
//! the file, else the default. [`keys`] is the one list of all of that.

pub(crate) mod backup;
mod keys;
mod load;
pub(crate) mod show;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;

use backlot_policy::Policy;
use serde::Deserialize;

use backup::Backup;

pub(crate) use load::load;

/// The checked configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) cache: Option<PathBuf>,
    pub(crate) s3: S3,
    pub(crate) http: Http,
    pub(crate) functions: Functions,
    pub(crate) queue: Queue,
    pub(crate) history: History,
    pub(crate) encoder: Encoder,
    pub(crate) validator: Validator,
    pub(crate) antivirus: Antivirus,
    pub(crate) log: Log,
    /// What the buckets that are validated take.
    #[serde(default)]
    pub(crate) validate: Vec<Policy>,
    /// Repositories of backups.
    #[serde(default)]
    pub(crate) backup: Vec<Backup>,
    #[serde(default)]
    pub(crate) users: Vec<User>,
    #[serde(default)]
    pub(crate) trust: Vec<Trust>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3 {
    pub(crate) address: SocketAddr,
    pub(crate) base_domain: Option<String>,
    pub(crate) connections_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) body_megabytes_max: u64,
    pub(crate) drain_secs: u64,
    pub(crate) tls: Option<Tls>,
}

/// Where a listener's certificate is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) address: SocketAddr,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    pub(crate) connections_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) drain_secs: u64,
    pub(crate) tls: Option<Tls>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Functions {
    pub(crate) address: SocketAddr,
    pub(crate) connections_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) idle_max: usize,
    pub(crate) drain_secs: u64,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) compile_secs: u64,
    pub(crate) compile_megabytes: u64,
    pub(crate) tls: Option<Tls>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queue {
    pub(crate) invocations_max: u64,
    pub(crate) megabytes_max: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    pub(crate) days: u64,
    pub(crate) invocations_max: u64,
    pub(crate) megabytes_max: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Encoder {
    pub(crate) slots: Option<usize>,
    pub(crate) niceness: i32,
    pub(crate) uploads_at_once: usize,
    pub(crate) preset: String,
    pub(crate) quality: Option<u8>,
    pub(crate) rungs: Option<String>,
    pub(crate) part_secs: Option<u32>,
    pub(crate) parts: Option<u32>,
    pub(crate) mp4: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Validator {
    pub(crate) schedule: String,
    pub(crate) settle_secs: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Antivirus {
    pub(crate) socket: Option<String>,
    pub(crate) megabytes_max: u64,
    pub(crate) timeout_secs: u64,
    pub(crate) scans_max: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Functions that must be signed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trust {
    /// A name, in which `*` stands for anything.
    pub(crate) functions: String,
    /// Public keys of minisign: the second line of its `.pub` file.
    pub(crate) keys: Vec<String>,
    /// Whether a version may go live whose serial is lower than that of one that was.
    #[serde(default)]
    pub(crate) downgrade: bool,
}

/// A user of the S3 front door, besides the one that the first start makes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// Absent: all buckets, and buckets may be created and deleted.
    pub(crate) buckets: Option<Vec<Bucket>>,
}

/// What a user may do in one bucket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bucket {
    pub(crate) bucket: String,
    pub(crate) access: Vec<Access>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    Read,
    Write,
}
