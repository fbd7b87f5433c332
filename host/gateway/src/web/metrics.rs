//! GET `/metrics`: what is counted, for Prometheus, in the text format of OpenMetrics.
//!
//! As much as may be read without a token of the API: on loopback everything, elsewhere nothing.

use std::fmt::Error;
use std::fs;
use std::io;
use std::sync::Arc;

use backlot_ledger::{Depth, Scope};
use backlot_runtime::HttpCounts;
use http::Response;
use http::request::Parts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::reply::{self, Body, Fault};
use super::{Shared, access};

/// Versions with a series of their own: about thirty lines each. What is left out is counted.
const VERSIONS_MAX: usize = 500;
/// Digits of a version's id, as the command line shows it.
const ID_DIGITS: usize = 12;
/// Of the histogram's buckets every second one is told: bounds are powers of four microseconds.
const BUCKET_STEP: usize = 2;

/// Answers with the counts of this moment.
pub(super) async fn answer(shared: &Arc<Shared>, head: &Parts) -> Result<Response<Body>, Fault> {
    if !shared.config.reads_open {
        access::check(shared, head, Scope::Read).await?;
    }
    let (versions, left_out) = versions(shared);
    let depth = shared.ledger.depth().await?;
    let process = tokio::task::spawn_blocking(Process::now).await;
    let process = process.map_err(io::Error::other).flatten().map_err(|err| {
        tracing::error!(%err, "the state of the process could not be read");
        Fault::internal("the state of the process could not be read")
    })?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Moment { versions, left_out, depth, process }));
    let mut written = String::new();
    text::encode(&mut written, &registry).map_err(|err| {
        tracing::error!(%err, "the metrics could not be written");
        Fault::internal("the metrics could not be written")
    })?;
    Ok(reply::metrics(written))
}

/// The versions that answer HTTP requests, and how many more there are.
fn versions(shared: &Shared) -> (Vec<VersionCounts>, usize) {
    let functions = shared.live.runtime().map(|runtime| runtime.overview()).unwrap_or_default();
    let mut counted: Vec<VersionCounts> = functions
        .iter()
        .flat_map(|function| &function.loaded)
        .filter_map(|version| {
            Some(VersionCounts {
                function: version.function().to_owned(),
                version: version.id().chars().take(ID_DIGITS).collect(),
                counts: version.http_counts()?,
            })
        })
        .collect();
    let left_out = counted.len().saturating_sub(VERSIONS_MAX);
    counted.truncate(VERSIONS_MAX);
    (counted, left_out)
}

#[derive(Debug)]
struct VersionCounts {
    function: String,
    version: String,
    counts: HttpCounts,
}

impl VersionCounts {
    fn labels(&self) -> [(&str, &str); 2] {
        [("function", &self.function), ("version", &self.version)]
    }

    /// How requests ended, by name.
    fn ends(&self) -> [(&'static str, u64); 8] {
        let HttpCounts { answered: [success, redirect, refusal, failure], .. } = self.counts;
        let HttpCounts { failed, timed_out, gone, too_long, .. } = self.counts;
        [
            ("2xx", success),
            ("3xx", redirect),
            ("4xx", refusal),
            ("5xx", failure),
            ("failed", failed),
            ("timed_out", timed_out),
            ("gone", gone),
            ("too_long", too_long),
        ]
    }
}

/// What this process uses.
#[derive(Debug)]
struct Process {
    resident_bytes: u64,
    open_descriptors: u64,
}

impl Process {
    /// Blocks for a moment.
    fn now() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
        let resident: u64 = resident.ok_or_else(|| io::Error::other("no VmRSS in status"))?;
        // One of them is the folder that is being read.
        let open = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
        Ok(Self { resident_bytes: resident.saturating_mul(1024), open_descriptors: open as u64 })
    }
}

/// Everything that is told, as it was at one moment.
#[derive(Debug)]
struct Moment {
    versions: Vec<VersionCounts>,
    left_out: usize,
    depth: Depth,
    process: Process,
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.requests(&mut encoder)?;
        self.latency(&mut encoder)?;
        self.queue(&mut encoder)?;
        for (name, help, value) in [
            ("process_resident_memory", "Memory of the process.", self.process.resident_bytes),
            ("process_open_fds", "Open file descriptors.", self.process.open_descriptors),
            (
                "backlot_metrics_versions_left_out",
                "Versions of functions without a series, because there are too many.",
                self.left_out as u64,
            ),
        ] {
            let bytes = (name == "process_resident_memory").then_some(&Unit::Bytes);
            let metric = encoder.encode_descriptor(name, help, bytes, MetricType::Gauge)?;
            ConstGauge::new(signed(value)).encode(metric)?;
        }
        Ok(())
    }
}

impl Moment {
    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut family = encoder.encode_descriptor(
            "backlot_http_requests",
            "HTTP requests that a version of a function ended, by how: the class of its answer's \
             status; failed (a trap, or no answer), timed_out, too_long; gone (the client left).",
            None,
            MetricType::Counter,
        )?;
        for version in &self.versions {
            for (end, count) in version.ends() {
                let [function, id] = version.labels();
                let labels = [function, id, ("end", end)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "backlot_http_running",
            "HTTP requests whose guest is at work.",
            None,
            MetricType::Gauge,
        )?;
        for version in &self.versions {
            let running = ConstGauge::new(signed(version.counts.running));
            running.encode(family.encode_family(&version.labels())?)?;
        }
        let mut family = encoder.encode_descriptor(
            "backlot_http_refused",
            "HTTP requests that a version of a function was not given: too many at once.",
            None,
            MetricType::Counter,
        )?;
        for version in &self.versions {
            let refused = ConstCounter::new(version.counts.refused);
            refused.encode(family.encode_family(&version.labels())?)?;
        }
        Ok(())
    }

    fn latency(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut family = encoder.encode_descriptor(
            "backlot_http_duration",
            "Time from an HTTP request's head to the end of its answer.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for version in &self.versions {
            let buckets = buckets(&version.counts.latency);
            let count = version.counts.latency.iter().sum();
            let sum = version.counts.latency_micros as f64 / 1e6;
            family
                .encode_family(&version.labels())?
                .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn queue(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let Depth { ready, delayed, blocked, running, parked, failed } = self.depth;
        let mut family = encoder.encode_descriptor(
            "backlot_queue_invocations",
            "Invocations that have not ended.",
            None,
            MetricType::Gauge,
        )?;
        for (state, count) in [
            ("ready", ready),
            ("delayed", delayed),
            ("blocked", blocked),
            ("running", running),
            ("parked", parked),
        ] {
            let labels = [("state", state)];
            ConstGauge::new(signed(count)).encode(family.encode_family(&labels)?)?;
        }
        let metric = encoder.encode_descriptor(
            "backlot_dead_letters",
            "Invocations that failed and are kept, with the children that failed in them.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(signed(failed)).encode(metric)
    }
}

/// Upper bounds in seconds, each with what is between it and the one before.
fn buckets(latency: &[u64]) -> Vec<(f64, u64)> {
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    let chunks = latency.chunks(BUCKET_STEP);
    let last = chunks.len().saturating_sub(1);
    for (index, counts) in chunks.enumerate() {
        // Bucket n holds what is below 2^n microseconds; the last one has no bound.
        let exponent = (index * BUCKET_STEP + BUCKET_STEP - 1) as f64;
        let bound = if index == last { f64::INFINITY } else { exponent.exp2() / 1e6 };
        buckets.push((bound, counts.iter().sum()));
    }
    buckets
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_keep_every_request_and_end_without_a_bound() {
        let latency: Vec<u64> = (1..=backlot_runtime::LATENCY_BUCKETS as u64).collect();
        let buckets = buckets(&latency);
        assert_eq!(buckets[0], (2e-6, 3), "below 1 µs and below 2 µs");
        assert_eq!(buckets.last().unwrap().0, f64::INFINITY);
        let told: u64 = buckets.iter().map(|bucket| bucket.1).sum();
        assert_eq!(told, latency.iter().sum::<u64>());
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0));
    }
}
