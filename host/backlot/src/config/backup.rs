//! `[[backup]]`: repositories, and what is kept in them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use backlot_backup::{ALL_BUCKETS, Batch, Keep, S3Target, Settings, Target};
use serde::Deserialize;

use super::Config;
use crate::fault::Fault;

/// What an entry has, for people.
pub(super) const SHAPE: &str = "name = \"local\", folder = \"/backups\" or s3 = { endpoint, bucket, \
     access_key, secret_key, prefix, region, lock_days }, and optionally buckets = [\"*\"], follow, password_file, \
     batch = { changes, megabytes, wait_secs }, keep = { last, daily, weekly, monthly }, \
     append_only, verify_hours, verify_parts, drill_hours, prune_hours, overdue_hours";
/// Folder of the passwords that are made, in the data folder.
const PASSWORDS: &str = "backup-passwords";
/// Most repositories: each has a thread, and an index in memory while it works.
const REPOSITORIES_MAX: usize = 16;
/// Longest lock, ten years: it cannot be undone.
const LOCK_DAYS_MAX: u32 = 3_650;
/// MiB in bytes.
const MIB: u64 = 1024 * 1024;

/// One repository.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    pub(crate) name: String,
    /// A folder, or else `s3`.
    folder: Option<PathBuf>,
    s3: Option<S3>,
    #[serde(default = "all_buckets")]
    buckets: Vec<String>,
    #[serde(default = "yes")]
    follow: bool,
    /// Unset: in the data folder, made where it is missing.
    password_file: Option<PathBuf>,
    #[serde(default)]
    batch: BatchLimits,
    keep: Option<KeepCounts>,
    #[serde(default)]
    append_only: bool,
    /// 0: never. So are the others.
    #[serde(default = "day")]
    verify_hours: u64,
    #[serde(default = "verify_parts")]
    verify_parts: u32,
    #[serde(default = "week")]
    drill_hours: u64,
    #[serde(default = "day")]
    prune_hours: u64,
    #[serde(default = "day")]
    overdue_hours: u64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct S3 {
    endpoint: String,
    bucket: String,
    #[serde(default)]
    prefix: String,
    #[serde(default = "region")]
    region: String,
    access_key: String,
    secret_key: String,
    lock_days: Option<u32>,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.endpoint, self.bucket)
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BatchLimits {
    changes: usize,
    megabytes: u64,
    wait_secs: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { changes: 10_000, megabytes: 4_096, wait_secs: 60 }
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeepCounts {
    last: u32,
    daily: u32,
    weekly: u32,
    monthly: u32,
}

fn all_buckets() -> Vec<String> {
    vec![ALL_BUCKETS.to_owned()]
}

fn yes() -> bool {
    true
}

fn day() -> u64 {
    24
}

fn week() -> u64 {
    7 * 24
}

fn verify_parts() -> u32 {
    30
}

fn region() -> String {
    "us-east-1".to_owned()
}

impl Backup {
    /// As the backups take it.
    pub(crate) fn settings(&self, data: &Path) -> Result<Settings, Fault> {
        let target = match (&self.folder, &self.s3) {
            (Some(folder), None) => Target::Folder(folder.clone()),
            (None, Some(s3)) => Target::S3(S3Target {
                endpoint: s3.endpoint.clone(),
                region: s3.region.clone(),
                bucket: s3.bucket.clone(),
                prefix: s3.prefix.clone(),
                access_key: s3.access_key.clone(),
                secret_key: s3.secret_key.clone(),
                lock_days: s3.lock_days,
            }),
            _ => return Err(self.wrong("it must have one of `folder` and `s3`")),
        };
        let default_file = || data.join(PASSWORDS).join(&self.name);
        let every = |hours: u64| (0 < hours).then(|| Duration::from_secs(hours * 3_600));
        let KeepCounts { last, daily, weekly, monthly } = self.keep.unwrap_or_default();
        Ok(Settings {
            name: self.name.clone(),
            target,
            password_file: self.password_file.clone().unwrap_or_else(default_file),
            buckets: self.buckets.clone(),
            follow: self.follow,
            batch: Batch {
                changes_max: self.batch.changes,
                bytes_max: self.batch.megabytes.saturating_mul(MIB),
                wait: Duration::from_secs(self.batch.wait_secs),
            },
            keep: self.keep.is_some().then_some(Keep { last, daily, weekly, monthly }),
            append_only: self.append_only,
            verify_every: every(self.verify_hours),
            verify_parts: self.verify_parts,
            drill_every: every(self.drill_hours),
            prune_every: every(self.prune_hours),
            overdue_after: every(self.overdue_hours).unwrap_or(Duration::MAX),
        })
    }

    fn wrong(&self, what: &str) -> Fault {
        let message = format!("[[backup]] {:?}: {what}", self.name);
        Fault::new("E0104", message, "change [[backup]] in backlot.toml")
    }

    fn check(&self) -> Result<(), Fault> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if self.name.is_empty() || 64 < self.name.len() || !self.name.bytes().all(plain) {
            return Err(self.wrong("a name is 1 to 64 letters, digits, - and _"));
        }
        for (what, value, most) in [
            ("batch.changes", self.batch.changes as u64, 100_000),
            ("batch.megabytes", self.batch.megabytes, 1 << 20),
            ("verify_parts", u64::from(self.verify_parts), 10_000),
        ] {
            if !(1..=most).contains(&value) {
                return Err(self.wrong(&format!("{what} is {value}, it must be 1 to {most}")));
            }
        }
        for (what, value) in [
            ("batch.wait_secs", self.batch.wait_secs / 3_600),
            ("verify_hours", self.verify_hours),
            ("drill_hours", self.drill_hours),
            ("prune_hours", self.prune_hours),
            ("overdue_hours", self.overdue_hours),
        ] {
            if 100_000 < value {
                return Err(self.wrong(&format!("{what} is too long")));
            }
        }
        if self.append_only && self.keep.is_some() {
            return Err(self.wrong("it is append-only, so nothing can be removed by `keep`"));
        }
        let lock_days = self.s3.as_ref().and_then(|s3| s3.lock_days);
        if lock_days.is_some_and(|days| !(1..=LOCK_DAYS_MAX).contains(&days)) {
            return Err(self.wrong(&format!("s3.lock_days must be 1 to {LOCK_DAYS_MAX}")));
        }
        if let Some(s3) = &self.s3
            && s3.endpoint.parse::<http::Uri>().map_or(true, |uri| uri.host().is_none())
        {
            return Err(self.wrong("s3.endpoint is such as http://127.0.0.1:9000"));
        }
        Ok(())
    }
}

/// Whether an endpoint is, or may be, the server's own.
fn is_own(endpoint: &str, own: SocketAddr) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|ip| ip.is_loopback() || ip == own.ip());
    uri.port_u16() == Some(own.port()) && (is_here || own.ip().is_unspecified())
}

/// Refuses repositories that make no sense, or are in each other's way.
pub(super) fn check(config: &Config) -> Result<(), Fault> {
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    for backup in &config.backup {
        backup.check()?;
        if !names.insert(backup.name.as_str()) {
            return Err(backup.wrong("it is there twice"));
        }
        let settings = backup.settings(&config.data)?;
        if !places.insert(settings.target.location()) {
            return Err(backup.wrong("another repository is in the same place"));
        }
        if let Target::S3(s3) = &settings.target
            && is_own(&s3.endpoint, config.s3.address)
            && settings.covers(&s3.bucket)
        {
            return Err(backup.wrong("it would back up its own bucket: name others in `buckets`"));
        }
    }
    if REPOSITORIES_MAX < config.backup.len() {
        let count = config.backup.len();
        let what = format!("there are {count} [[backup]], the most is {REPOSITORIES_MAX}");
        return Err(Fault::new("E0104", what, "have some buckets share a repository"));
    }
    Ok(())
}
