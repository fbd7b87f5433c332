//! The `[limits]` table of a manifest: what a guest may use.
//!
//! Some bounds are the same for all guests: 64 core instances, 8 memories and 32 tables of 100,000
//! elements each; 1 MiB of stack for its own frames; 8 KiB a line of its log; 64 KiB of random
//! bytes a call; 64 objects that it reads or writes and 32 requests that it sends at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{TABLE_ELEMENTS_MAX, TABLES_PER_GUEST};
use crate::manifest::{ManifestError, within};

/// Most `memory_megabytes`: several memories of 4 GiB make no sense on the machines we know.
pub(crate) const MEMORY_MAX_MEGABYTES: u64 = 16 * 1_024;
/// Most `table_elements`: all tables at their largest.
pub(crate) const TABLES_MAX_ELEMENTS: u64 = TABLES_PER_GUEST as u64 * TABLE_ELEMENTS_MAX as u64;
/// Most `handles`.
pub(crate) const HANDLES_MAX: u64 = 65_536;
/// Most `wall_secs`: a week.
pub(crate) const WALL_MAX_SECS: u64 = 7 * 86_400;
/// Most `cpu_ms`: as much.
pub(crate) const CPU_MAX_MS: u64 = WALL_MAX_SECS * 1_000;
/// Most `log_kilobytes`: logs live in the ledger.
pub(crate) const LOG_MAX_KILOBYTES: u64 = 4 * 1_024;
/// Most `log_kilobytes_per_sec`: what a disk takes.
pub(crate) const LOG_MAX_KILOBYTES_PER_SEC: u64 = 64 * 1_024;
/// Most `hostcall_megabytes`: an uncompressed 4:4:4 10-bit frame of 8K is 200 MB.
pub(crate) const HOSTCALL_MAX_MEGABYTES: u64 = 512;
/// Most `outbound_calls`.
pub(crate) const OUTBOUND_MAX_CALLS: u64 = 100_000;

/// What a guest may use: in an attempt at handling an event, or for an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// All its linear memories and tables together: 1 to 16,384 MiB; 256 by default.
    pub memory_megabytes: u64,
    /// Elements of all its tables together: 1 to 3,200,000; 100,000 by default.
    pub table_elements: u64,
    /// Handles that it holds at once, the host's and its own each: 1 to 65,536; 1,024 by default.
    pub handles: u64,
    /// An attempt's time, waiting in host calls included: 1 to 604,800 s; 900 by default. Of a
    /// request it is `http.timeout_secs`.
    pub wall_secs: u64,
    /// What it computes, without what the host's encoder does for it: 1 to 604,800,000 ms; as long
    /// as it may take in all, by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// What its log keeps: 1 to 4,096 KiB; 256 by default.
    pub log_kilobytes: u64,
    /// What the logs of all guests of a version keep together: 1 to 65,536 KiB a second; 1,024 by
    /// default.
    pub log_kilobytes_per_sec: u64,
    /// What one host call may carry into the host: 1 to 512 MiB; 64 by default.
    pub hostcall_megabytes: u64,
    /// HTTP requests that it may send: 1 to 100,000; 1,000 by default.
    pub outbound_calls: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_megabytes: 256,
            table_elements: 100_000,
            handles: 1_024,
            wall_secs: 900,
            cpu_ms: None,
            log_kilobytes: 256,
            log_kilobytes_per_sec: 1_024,
            hostcall_megabytes: 64,
            outbound_calls: 1_000,
        }
    }
}

impl Limits {
    /// All memories together, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size(self.memory_megabytes, 1 << 20)
    }

    /// Elements of all tables together.
    pub fn table_elements(&self) -> usize {
        size(self.table_elements, 1)
    }

    /// Handles at once.
    pub fn handles(&self) -> usize {
        size(self.handles, 1)
    }

    /// An attempt's time.
    pub fn wall(&self) -> Duration {
        Duration::from_secs(self.wall_secs)
    }

    /// What it may compute.
    pub fn cpu(&self) -> Duration {
        self.cpu_ms.map_or(Duration::MAX, Duration::from_millis)
    }

    /// What its log keeps, in bytes.
    pub fn log_bytes(&self) -> usize {
        size(self.log_kilobytes, 1 << 10)
    }

    /// What the logs of all guests of a version keep in a second, in bytes.
    pub fn log_bytes_per_sec(&self) -> usize {
        size(self.log_kilobytes_per_sec, 1 << 10)
    }

    /// What one host call may carry, in bytes.
    pub fn hostcall_bytes(&self) -> usize {
        size(self.hostcall_megabytes, 1 << 20)
    }

    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        // A new limit does not compile before it is checked here.
        let Self {
            memory_megabytes,
            table_elements,
            handles,
            wall_secs,
            cpu_ms,
            log_kilobytes,
            log_kilobytes_per_sec,
            hostcall_megabytes,
            outbound_calls,
        } = *self;
        for (key, value, most) in [
            ("memory_megabytes", memory_megabytes, MEMORY_MAX_MEGABYTES),
            ("table_elements", table_elements, TABLES_MAX_ELEMENTS),
            ("handles", handles, HANDLES_MAX),
            ("wall_secs", wall_secs, WALL_MAX_SECS),
            ("cpu_ms", cpu_ms.unwrap_or(1), CPU_MAX_MS),
            ("log_kilobytes", log_kilobytes, LOG_MAX_KILOBYTES),
            ("log_kilobytes_per_sec", log_kilobytes_per_sec, LOG_MAX_KILOBYTES_PER_SEC),
            ("hostcall_megabytes", hostcall_megabytes, HOSTCALL_MAX_MEGABYTES),
            ("outbound_calls", outbound_calls, OUTBOUND_MAX_CALLS),
        ] {
            within(&format!("limits.{key}"), value, 1, most)?;
        }
        Ok(())
    }
}

fn size(count: u64, unit: u64) -> usize {
    usize::try_from(count.saturating_mul(unit)).unwrap_or(usize::MAX)
}
