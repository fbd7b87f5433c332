//! The `[http]` table of a manifest: what a function's HTTP side may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::manifest::{ManifestError, within};

/// Most `timeout_secs`: a day, for streams of events.
pub(crate) const TIMEOUT_MAX_SECS: u64 = 86_400;
/// Most `requests_max`: more than any pool of guests holds.
pub(crate) const REQUESTS_MAX: u64 = 10_000;
/// Most `reuse`. An instance that lives for ever is a leak that nobody looks for.
pub(crate) const REUSE_MAX: u64 = 1_000_000;
/// Most `concurrency`: all of them share one instance's memory and one thread.
pub(crate) const CONCURRENCY_MAX: u64 = 1_000;
/// Most `idle_secs`.
pub(crate) const IDLE_MAX_SECS: u64 = 3_600;
/// Most of either body: as much as one S3 PUT.
pub(crate) const BODY_MAX_MEGABYTES: u64 = 5_120;
/// Most `response_kilobytes_per_sec`: 10 GiB/s, more than a loopback moves.
pub(crate) const RATE_MAX_KILOBYTES: u64 = 10 << 20;

/// How a function's requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// From a request's head to the end of its answer: 1 to 86,400 s; 30 by default. Past it the
    /// answer is 504, or the connection is reset if an answer has begun.
    pub timeout_secs: u64,
    /// Requests of this function at once: 1 to 10,000; 128 by default. The next one is answered
    /// 429.
    pub requests_max: u64,
    /// Requests that an instance serves before it is dropped: 1 to 1,000,000; 1 by default, so that
    /// no request sees what another left. More is faster where starting is slow (Python).
    pub reuse: u64,
    /// Requests that an instance serves at once, of `wasi:http` 0.3 only: 1 to 1,000; 1 by default.
    pub concurrency: u64,
    /// How long an instance that may be used again is kept idle: 1 to 3,600 s; 10 by default.
    pub idle_secs: u64,
    /// Largest body of a request: 1 to 5,120 MiB; 16 by default. A longer one is answered 413.
    pub request_megabytes: u64,
    /// Largest body of an answer: 1 to 5,120 MiB; 1,024 by default. A longer one is cut off, and
    /// the connection is reset.
    pub response_megabytes: u64,
    /// Fastest that an answer is sent: 1 to 10,485,760 KiB a second; without a limit by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_kilobytes_per_sec: Option<u64>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            timeout_secs: 30,
            requests_max: 128,
            reuse: 1,
            concurrency: 1,
            idle_secs: 10,
            request_megabytes: 16,
            response_megabytes: 1_024,
            response_kilobytes_per_sec: None,
        }
    }
}

impl Http {
    /// From a request's head to the end of its answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }

    /// How long an instance is kept idle.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_secs)
    }

    /// Largest body of a request, in bytes.
    pub fn request_bytes(&self) -> u64 {
        self.request_megabytes << 20
    }

    /// Largest body of an answer, in bytes.
    pub fn response_bytes(&self) -> u64 {
        self.response_megabytes << 20
    }

    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        let rate = self.response_kilobytes_per_sec.unwrap_or(1);
        within("http.timeout_secs", self.timeout_secs, 1, TIMEOUT_MAX_SECS)?;
        within("http.requests_max", self.requests_max, 1, REQUESTS_MAX)?;
        within("http.reuse", self.reuse, 1, REUSE_MAX)?;
        within("http.concurrency", self.concurrency, 1, CONCURRENCY_MAX)?;
        within("http.idle_secs", self.idle_secs, 1, IDLE_MAX_SECS)?;
        within("http.request_megabytes", self.request_megabytes, 1, BODY_MAX_MEGABYTES)?;
        within("http.response_megabytes", self.response_megabytes, 1, BODY_MAX_MEGABYTES)?;
        within("http.response_kilobytes_per_sec", rate, 1, RATE_MAX_KILOBYTES)
    }
}
