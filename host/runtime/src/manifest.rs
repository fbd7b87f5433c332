//! A function's manifest: its name, what starts it, what it may touch, and its limits.
//!
//! The form is TOML and unknown keys are errors. A manifest that was read is checked: every
//! [`Manifest`] that [`Manifest::parse`] gives is within the limits named here.

use std::collections::BTreeMap;
use std::time::Duration;

use backlot_ledger::RetryPolicy;
use serde::{Deserialize, Serialize};

use crate::grants::Grants;
use crate::http::Http;
use crate::limits::Limits;
use crate::probe::Probe;
use crate::trial::CanaryRule;
use crate::triggers::{self, Trigger};

/// Longest function name, in bytes.
pub(crate) const NAME_MAX_BYTES: usize = 64;
/// Most triggers, storage grants, children and variables of one manifest, each.
pub(crate) const ENTRIES_MAX: usize = 64;
/// Most attempts.
pub(crate) const ATTEMPTS_MAX: u32 = 100;
/// Longest backoff: a day.
pub(crate) const BACKOFF_MAX_SECS: u64 = 86_400;
/// Longest `age_secs`, and longest delay of a trigger: 30 days.
pub(crate) const AGE_MAX_SECS: u64 = 30 * 86_400;
/// Longest value of a variable, in bytes.
pub(crate) const ENV_VALUE_MAX_BYTES: usize = 4_096;

/// Most `serial`: what the ledger's integers hold.
pub(crate) const SERIAL_MAX: u64 = i64::MAX as u64;

/// A checked manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The slot that versions are deployed to: 1 to 64 of `a-z`, `0-9` and `-`, a letter first.
    pub name: String,
    /// What starts it. None: only other functions do, as a child.
    #[serde(default)]
    pub triggers: Vec<Trigger>,
    /// What it may touch; nothing by default.
    #[serde(default)]
    pub grants: Grants,
    /// Its limits.
    #[serde(default)]
    pub limits: Limits,
    /// What happens after a failed attempt.
    #[serde(default)]
    pub retry: Retry,
    /// How its HTTP requests are served.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http: Http,
    /// The guest's environment variables: nothing else is in its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Grows from release to release: where the configuration pins a function, none goes live that
    /// is older than one which was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// What a version must achieve as a canary to become live.
    #[serde(default, skip_serializing_if = "is_default")]
    pub canary: CanaryRule,
    /// What it must be able to handle before it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// What is as it is by default is left out, so that versions of before keep their ids.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What happens after an attempt that failed or trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all: 1 to 100; 4 by default.
    pub attempts: u32,
    /// First backoff, doubled each time: 0 to 86,400 s; 1 by default.
    pub base_secs: u64,
    /// Longest backoff: `base_secs` to 86,400 s; 60 by default.
    pub cap_secs: u64,
    /// No attempt begins so long after the event was accepted: 1 to 2,592,000 s; without a limit by
    /// default.
    pub age_secs: Option<u64>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 4, base_secs: 1, cap_secs: 60, age_secs: None }
    }
}

impl Retry {
    /// As the ledger takes it.
    pub(crate) fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            attempts: self.attempts,
            base: Duration::from_secs(self.base_secs),
            cap: Duration::from_secs(self.cap_secs),
            age_max: self.age_secs.map(Duration::from_secs),
        }
    }
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML of this shape; the text gives line and column.
    #[error("manifest: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value that is out of its range.
    #[error("manifest: {key} is {value}, must be {limit}")]
    OutOfRange {
        /// The key, with its table.
        key: String,
        /// What it is.
        value: String,
        /// What it may be.
        limit: String,
    },
}

impl Manifest {
    /// Of a function that nothing starts and nothing is granted.
    pub(crate) fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            triggers: Vec::new(),
            grants: Grants::default(),
            limits: Limits::default(),
            retry: Retry::default(),
            env: BTreeMap::new(),
            serial: None,
            http: Http::default(),
            canary: CanaryRule::default(),
            probe: None,
        }
    }

    /// Read and check a manifest.
    ///
    /// # Errors
    /// [`ManifestError::Syntax`] for what is not a manifest, or has keys that we do not know, and
    /// [`ManifestError::OutOfRange`] for a value past its limit.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Check the values of a manifest that was changed after it was read.
    ///
    /// # Errors
    /// [`ManifestError::OutOfRange`] for the first value that is.
    pub fn check(&self) -> Result<(), ManifestError> {
        check_name("name", &self.name)?;
        self.limits.check()?;
        self.check_cpu()?;
        let Retry { attempts, base_secs, cap_secs, age_secs } = self.retry;
        within("retry.attempts", attempts.into(), 1, ATTEMPTS_MAX.into())?;
        within("retry.base_secs", base_secs, 0, BACKOFF_MAX_SECS)?;
        within("retry.cap_secs", cap_secs, base_secs, BACKOFF_MAX_SECS)?;
        within("retry.age_secs", age_secs.unwrap_or(1), 1, AGE_MAX_SECS)?;
        for (key, entries) in [
            ("triggers", self.triggers.len()),
            ("grants.storage", self.grants.storage.len()),
            ("grants.backup", self.grants.backup.len()),
            ("grants.children", self.grants.children.len()),
            ("grants.http", self.grants.http.len()),
            ("env", self.env.len()),
        ] {
            at_most(&format!("number of {key}"), entries, ENTRIES_MAX)?;
        }
        for child in &self.grants.children {
            check_name("grants.children", child)?;
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                let limit = "a name without `=` and NUL";
                return Err(out_of_range("env", format!("{name:?}"), limit));
            }
            at_most(&format!("bytes of env.{name}"), value.len(), ENV_VALUE_MAX_BYTES)?;
        }
        self.http.check()?;
        within("serial", self.serial.unwrap_or(0), 0, SERIAL_MAX)?;
        self.canary.check()?;
        if let Some(probe) = &self.probe {
            probe.check()?;
        }
        triggers::check(&self.triggers)
    }

    /// Of requests that an instance serves at once, nobody can tell which computed.
    fn check_cpu(&self) -> Result<(), ManifestError> {
        match self.limits.cpu_ms {
            Some(limit) if 1 < self.http.concurrency => {
                let wanted = "left out where http.concurrency is more than 1";
                Err(out_of_range("limits.cpu_ms", limit.to_string(), wanted))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn check_name(key: &str, name: &str) -> Result<(), ManifestError> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= NAME_MAX_BYTES {
        return Ok(());
    }
    let limit = format!("1 to {NAME_MAX_BYTES} of a-z, 0-9 and -, beginning with a letter");
    Err(out_of_range(key, format!("{name:?}"), limit))
}

pub(crate) fn within(key: &str, value: u64, least: u64, most: u64) -> Result<(), ManifestError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(out_of_range(key, value.to_string(), format!("{least} to {most}")))
}

pub(crate) fn at_most(key: &str, value: usize, most: usize) -> Result<(), ManifestError> {
    if value <= most {
        return Ok(());
    }
    Err(out_of_range(key, value.to_string(), format!("at most {most}")))
}

pub(crate) fn out_of_range(key: &str, value: String, limit: impl Into<String>) -> ManifestError {
    ManifestError::OutOfRange { key: key.into(), value, limit: limit.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough_and_grants_nothing() {
        let manifest = Manifest::parse("name = \"f\"").unwrap();
        assert!(manifest.triggers.is_empty() && manifest.env.is_empty());
        assert_eq!(manifest.grants, Grants::default());
        assert_eq!(manifest.limits.memory_bytes(), 256 << 20);
        assert_eq!(manifest.limits.wall(), Duration::from_secs(900));
        assert_eq!(manifest.retry.policy().attempts, 4);
    }

    #[test]
    fn the_manifests_in_the_readme_are_some() {
        let readme = include_str!("../../../README.md");
        let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        // What begins with a list of rules is of the configuration; with a table, a part.
        let manifests = blocks.filter(|toml| !toml.starts_with("[[")).map(|toml| {
            let name = if toml.starts_with('[') { "name = \"part\"\n" } else { "" };
            Manifest::parse(&format!("{name}{toml}")).unwrap()
        });
        let found: Vec<_> = manifests.map(|one| (one.name, one.triggers.len())).collect();
        let wanted = [("alarm", 1), ("hello", 2), ("shop", 1), ("part", 0)];
        assert_eq!(found, wanted.map(|(name, triggers)| (name.to_owned(), triggers)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_value_and_limit() {
        for (rest, wanted) in [
            ("[limits]\nmemory_megabytes = 0", "limits.memory_megabytes is 0, must be 1 to 16384"),
            ("[limits]\nwall_secs = 700000", "limits.wall_secs is 700000, must be 1 to 604800"),
            ("[limits]\ntable_elements = 0", "limits.table_elements is 0, must be 1 to 3200000"),
            ("[limits]\nhandles = 100000", "limits.handles is 100000, must be 1 to 65536"),
            ("[limits]\ncpu_ms = 0", "limits.cpu_ms is 0, must be 1 to 604800000"),
            (
                "[limits]\ncpu_ms = 5\n[http]\nconcurrency = 2",
                "limits.cpu_ms is 5, must be left out where http.concurrency is more than 1",
            ),
            ("[limits]\noutbound_calls = 0", "limits.outbound_calls is 0, must be 1 to 100000"),
            (
                "[limits]\nlog_kilobytes_per_sec = 0",
                "limits.log_kilobytes_per_sec is 0, must be 1 to 65536",
            ),
            ("[limits]\nlog_kilobytes = 5000", "limits.log_kilobytes is 5000, must be 1 to 4096"),
            ("[retry]\nattempts = 0", "retry.attempts is 0, must be 1 to 100"),
            ("[retry]\nbase_secs = 9\ncap_secs = 3", "retry.cap_secs is 3, must be 9 to 86400"),
            ("[limits]\nmemory = 5", "unknown field `memory`"),
            ("colour = 1", "unknown field `colour`"),
            ("[grants]\nnetwork = true", "unknown field `network`"),
            (
                "[grants]\nstorage = [{ bucket = \"b\", access = [\"own\"] }]",
                "unknown variant `own`",
            ),
            ("[[triggers]]\ntype = \"cron\"", "unknown variant `cron`"),
            (
                "[[triggers]]\ntype = \"object\"\nbucket = \"b\"\nevents = []",
                "triggers.events is []",
            ),
            ("[[triggers]]\ntype = \"event\"\nkind = \"\"", "triggers.kind is \"\""),
            (
                "[[triggers]]\ntype = \"event\"\nkind = \"backlot.child\"",
                "must be the kind of an event that a function or a client publishes",
            ),
            (
                "[[triggers]]\ntype = \"event\"\nkind = \"k\"\nfilter = \"sise > 5\"",
                "asks for `sise`; an event has `id`",
            ),
            (
                "[[triggers]]\ntype = \"event\"\nkind = \"k\"\nbucket = \"b\"",
                "unknown field `bucket`",
            ),
            (
                "[[triggers]]\ntype = \"schedule\"\nname = \"s\"\ncron = \"0 0 30 2 *\"",
                "must be a time that comes",
            ),
            (
                "[[triggers]]\ntype = \"schedule\"\nname = \"s\"\ncron = \"0 * * * *\"\n\
                 [[triggers]]\ntype = \"schedule\"\nname = \"s\"\ncron = \"1 * * * *\"",
                "triggers.name is \"s\" twice",
            ),
            ("[http]\nreuse = 0", "http.reuse is 0, must be 1 to 1000000"),
            ("[http]\ntimeout = 3", "unknown field `timeout`"),
            ("[[triggers]]\ntype = \"http\"\npath = \"a\"", "must be a path like"),
            ("[[triggers]]\ntype = \"http\"\npath = \"/a*\"", "triggers.path is \"/a*\""),
            (
                "[[triggers]]\ntype = \"http\"\npath = \"/\"\nhost = \"a:80\"",
                "must be a host name without a port",
            ),
            (
                "[[triggers]]\ntype = \"http\"\npath = \"/\"\nmethods = [\"get\"]",
                "triggers.methods is \"get\", must be a method in capitals",
            ),
            ("[grants]\nhttp = [\"http://a\"]", "\"http://a\" is no host"),
            ("[grants]\nhttp = [\"*\"]", "\"*\" is no host"),
            ("[grants]\nhttp = [\"a:0\"]", "\"a:0\" is no host"),
            ("[canary]\ncalls = 0", "canary.calls is 0, must be 1 to 1000000"),
            ("[canary]\nerror_percent = 101", "canary.error_percent is 101, must be 0 to 100"),
            ("[probe]\nevent = { kind = \"\" }", "probe.event.kind is \"\""),
            ("[probe]\nevent = { kind = \"k\" }\nwall_secs = 0", "probe.wall_secs is 0"),
            ("[probe]", "probe is empty, must be given an `event`, a `request`, or both"),
            ("[probe]\nrequest = { path = \"health\" }", "must be a request to a path like"),
            (
                "[probe]\nrequest = { path = \"/\", status = 99 }",
                "probe.request.status is 99, must be 200 to 599",
            ),
            ("[retry]\nage_secs = 0", "retry.age_secs is 0, must be 1 to 2592000"),
            ("[grants]\nchildren = [\"No\"]", "grants.children is \"No\""),
            ("[env]\n\"A=B\" = \"c\"", "env is \"A=B\", must be a name without `=`"),
        ] {
            let error = Manifest::parse(&format!("name = \"f\"\n{rest}")).unwrap_err().to_string();
            assert!(error.contains(wanted), "{rest}: {error}");
        }
        for name in ["", "Encoder", "9lives", "-f", "a_b", &"a".repeat(65)] {
            let error = Manifest::parse(&format!("name = {name:?}")).unwrap_err().to_string();
            assert!(error.contains("must be 1 to 64 of a-z, 0-9 and -"), "{name}: {error}");
        }
    }
}
