//! What is counted of a version's requests: in memory, without a lock, from the version's deploy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::trial::CallEnd;

/// Buckets of the latency histogram: bucket `n` counts answers in less than 2^n microseconds, and
/// the last one all slower ones. 2^26 µs is a little over a minute.
pub const LATENCY_BUCKETS: usize = 28;
/// Most that one request adds to the sum of times, so that it does not overflow: a day.
const LATENCY_MICROS_MAX: u64 = 86_400 * 1_000_000;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest answered all of it, with this status.
    Answered(u16),
    /// The guest trapped, or gave no answer.
    Failed,
    /// The guest took too long.
    TimedOut,
    /// The client went away, or stopped reading.
    Gone,
    /// The guest's answer was longer than it may be.
    TooLong,
}

impl End {
    /// What it says about the version; nothing when the client went away.
    pub(crate) fn of_version(self) -> Option<CallEnd> {
        match self {
            Self::Answered(..500) => Some(CallEnd::Answered),
            Self::Answered(_) => Some(CallEnd::Failed),
            Self::Failed | Self::TimedOut | Self::TooLong => Some(CallEnd::Trapped),
            Self::Gone => None,
        }
    }
}

/// Counters of one version.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    answered: [AtomicU64; 4],
    failed: AtomicU64,
    timed_out: AtomicU64,
    gone: AtomicU64,
    too_long: AtomicU64,
    refused: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_micros: AtomicU64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HttpCounts {
    /// Requests that reached the function and ended: all but `running` and `refused`.
    pub requests: u64,
    /// Requests whose guest is at work.
    pub running: u64,
    /// Answers of status 200 to 299, 300 to 399, 400 to 499, 500 to 599.
    pub answered: [u64; 4],
    /// The guest trapped, or gave no answer.
    pub failed: u64,
    /// The guest took longer than `http.timeout_secs`, or computed longer than `limits.cpu_ms`.
    pub timed_out: u64,
    /// The client went away before the end of the answer.
    pub gone: u64,
    /// The answer was longer than `http.response_megabytes`.
    pub too_long: u64,
    /// Over `http.requests_max`, or over what the host serves at once.
    pub refused: u64,
    /// Requests by time to the end of the answer: number `n` took less than 2^n µs and no less
    /// than half of that; the last one all slower ones.
    pub latency: Vec<u64>,
    /// Sum of those times, in microseconds.
    pub latency_micros: u64,
}

impl HttpCounts {
    /// The time that this share of the requests did not take (`0.99` for the 99th percentile), taken
    /// as evenly spread within its bucket, so off by less than half; None without requests. The
    /// lower bound of the last bucket for what is in there.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.latency.iter().sum();
        if all == 0 {
            return None;
        }
        let mut left = share.clamp(0.0, 1.0) * all as f64;
        for (bucket, count) in (0u32..).zip(&self.latency) {
            let (count, upper) = (*count as f64, f64::from(bucket).exp2());
            if 0.0 < count && left <= count {
                let lower = if bucket == 0 { 0.0 } else { upper / 2.0 };
                let last = self.latency.len() <= bucket as usize + 1;
                let within = if last { 0.0 } else { left / count };
                return Some(Duration::from_secs_f64((lower + (upper - lower) * within) / 1e6));
            }
            left -= count;
        }
        None
    }
}

impl Counters {
    pub(crate) fn end(&self, end: End, took: Duration) {
        let counter = match end {
            End::Answered(status) => {
                let class = usize::from(status / 100).saturating_sub(2).min(3);
                self.answered.get(class).unwrap_or(&self.failed)
            }
            End::Failed => &self.failed,
            End::TimedOut => &self.timed_out,
            End::Gone => &self.gone,
            End::TooLong => &self.too_long,
        };
        add(counter);
        let bits = u128::BITS - took.as_micros().leading_zeros();
        let bucket = usize::try_from(bits).unwrap_or(usize::MAX).min(LATENCY_BUCKETS - 1);
        self.latency.get(bucket).map(add);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.fetch_add(micros.min(LATENCY_MICROS_MAX), Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self) {
        add(&self.refused);
    }

    /// What was counted, while so many requests run.
    pub(crate) fn counts(&self, running: u64) -> HttpCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answered = self.answered.each_ref().map(read);
        let [failed, timed_out, gone, too_long] =
            [&self.failed, &self.timed_out, &self.gone, &self.too_long].map(read);
        HttpCounts {
            requests: answered.iter().sum::<u64>() + failed + timed_out + gone + too_long,
            running,
            answered,
            failed,
            timed_out,
            gone,
            too_long,
            refused: read(&self.refused),
            latency: self.latency.iter().map(read).collect(),
            latency_micros: read(&self.latency_micros),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_counted_once() {
        let counters = Counters::default();
        for end in [
            End::Answered(200),
            End::Answered(304),
            End::Answered(404),
            End::Answered(503),
            End::Failed,
            End::TimedOut,
            End::Gone,
            End::TooLong,
        ] {
            counters.end(end, Duration::from_micros(100));
        }
        counters.end(End::Answered(200), Duration::ZERO);
        counters.end(End::Answered(200), Duration::MAX);
        counters.refuse();
        let counts = counters.counts(0);
        assert_eq!((counts.requests, counts.refused), (10, 1));
        assert_eq!(counts.answered, [3, 1, 1, 1]);
        assert_eq!(counts.latency.iter().sum::<u64>(), 10);
        assert_eq!((counts.latency[0], counts.latency[7], counts.latency[27]), (1, 8, 1));
        assert_eq!(counts.latency_micros, 800 + LATENCY_MICROS_MAX);
    }

    #[test]
    fn quantiles_are_within_their_bucket() {
        let micros = |counts: &HttpCounts, share| {
            counts.quantile(share).map(|time| time.as_micros()).unwrap_or_default()
        };
        let counters = Counters::default();
        assert_eq!(counters.counts(0).quantile(0.5), None);
        for _ in 0..99 {
            counters.end(End::Answered(200), Duration::from_micros(100));
        }
        counters.end(End::Answered(200), Duration::from_micros(3_000));
        let counts = counters.counts(0);
        assert!((64..=128).contains(&micros(&counts, 0.5)), "{}", micros(&counts, 0.5));
        assert!((64..=128).contains(&micros(&counts, 0.99)), "{}", micros(&counts, 0.99));
        assert!((2_048..=4_096).contains(&micros(&counts, 1.0)), "{}", micros(&counts, 1.0));
        counters.end(End::TimedOut, Duration::MAX);
        assert_eq!(micros(&counters.counts(0), 1.0), 1 << 26);
    }
}
