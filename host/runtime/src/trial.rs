//! A canary beside what is live: what both achieved since it began, and what follows from that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::manifest::{ManifestError, within};

/// Most `calls`.
pub(crate) const CALLS_MAX: u64 = 1_000_000;

/// Most `latency_percent`: a hundred times as long.
pub(crate) const LATENCY_PERCENT_MAX: u64 = 10_000;

/// Calls of what is live without which it is no measure: fewer, and the canary is measured against
/// one that never fails, and its latency against nothing.
pub const BASELINE_CALLS_MIN: u64 = 10;

/// A p99 below this is fast enough beside anything: what is so short is noise.
const LATENCY_FLOOR: Duration = Duration::from_millis(10);

/// What a version must achieve as a canary to become live: `[canary]` of its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CanaryRule {
    /// Calls after which it is decided: 1 to 1,000,000; 100 by default.
    pub calls: u64,
    /// By how much of all calls it may fail, and trap, more often than what is live: 0 to 100 %; 1
    /// by default. One that has used up what all its calls may fail is withdrawn at once.
    pub error_percent: u64,
    /// By how much its 99th percentile may be longer than that of what is live: 0 to 10,000 %; 50
    /// by default.
    pub latency_percent: u64,
}

impl Default for CanaryRule {
    fn default() -> Self {
        Self { calls: 100, error_percent: 1, latency_percent: 50 }
    }
}

impl CanaryRule {
    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        let Self { calls, error_percent, latency_percent } = *self;
        within("canary.calls", calls, 1, CALLS_MAX)?;
        within("canary.error_percent", error_percent, 0, 100)?;
        within("canary.latency_percent", latency_percent, 0, LATENCY_PERCENT_MAX)
    }
}

/// How a call of a function ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// As it should.
    Answered,
    /// With a failure of its own: rejected, to be tried again, an HTTP status of 500 and above.
    Failed,
    /// The guest trapped, or a limit ended it.
    Trapped,
}

/// A canary and what is live, since the canary began. It begins anew when the host starts.
#[derive(Debug)]
pub(crate) struct Trial {
    rule: CanaryRule,
    pub(crate) canary: Tally,
    pub(crate) live: Tally,
}

/// What is decided about a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Promote,
    /// The text says why.
    Withdraw(String),
}

/// Figures of both sides, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrialFigures {
    /// What was asked for.
    pub rule: CanaryRule,
    /// The canary's.
    pub canary: Figures,
    /// Those of what is live, in the same time.
    pub live: Figures,
}

/// Figures of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Calls that ended.
    pub calls: u64,
    /// Of those, the ones that failed by themselves.
    pub errors: u64,
    /// Of those, the ones that trapped or reached a limit.
    pub traps: u64,
    /// 99 of 100 took at most so many milliseconds; within an eighth.
    pub p99_ms: u64,
}

impl Trial {
    pub(crate) fn new(rule: CanaryRule) -> Self {
        Self { rule, canary: Tally::default(), live: Tally::default() }
    }

    pub(crate) fn figures(&self) -> TrialFigures {
        TrialFigures { rule: self.rule, canary: self.canary.figures(), live: self.live.figures() }
    }

    /// What is to be done, as soon as that is clear.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let TrialFigures { rule, canary, live } = self.figures();
        let is_measure = BASELINE_CALLS_MIN <= live.calls;
        for (what, bad, bad_live) in
            [("failed", canary.errors, live.errors), ("trapped", canary.traps, live.traps)]
        {
            // In hundredths of calls, so that nothing is lost to rounding.
            let as_live = if is_measure { 100 * bad_live * rule.calls / live.calls } else { 0 };
            let allowed = as_live + rule.error_percent * rule.calls;
            if allowed < 100 * bad {
                return Some(Verdict::Withdraw(format!(
                    "{bad} of {} calls {what}, of {} of the live version {bad_live}",
                    canary.calls, live.calls
                )));
            }
        }
        if canary.calls < rule.calls {
            return None;
        }
        let floor = u64::try_from(LATENCY_FLOOR.as_millis()).unwrap_or(u64::MAX);
        let allowed = (live.p99_ms * (100 + rule.latency_percent) / 100).max(floor);
        if is_measure && allowed < canary.p99_ms {
            return Some(Verdict::Withdraw(format!(
                "99 of 100 calls took up to {} ms, of the live version {} ms",
                canary.p99_ms, live.p99_ms
            )));
        }
        Some(Verdict::Promote)
    }
}

/// Eighths of each power of two are told apart.
const STEPS: u64 = 8;
/// Of microseconds: up to 2^40, which is twelve days.
const POWERS: u64 = 40;
/// Buckets of latency.
const BUCKETS: usize = (STEPS * POWERS) as usize;

/// Counts of the calls of one version. To count takes four additions and no lock.
#[derive(Debug)]
pub(crate) struct Tally {
    calls: AtomicU64,
    errors: AtomicU64,
    traps: AtomicU64,
    latencies: Box<[AtomicU64]>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            latencies: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Tally {
    pub(crate) fn count(&self, end: CallEnd, latency: Duration) {
        match end {
            CallEnd::Answered => {}
            CallEnd::Failed => drop(self.errors.fetch_add(1, Ordering::Relaxed)),
            CallEnd::Trapped => drop(self.traps.fetch_add(1, Ordering::Relaxed)),
        }
        if let Some(bucket) = self.latencies.get(bucket(latency)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        // Last, so that whoever sees the call sees how it ended.
        self.calls.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn figures(&self) -> Figures {
        let calls = self.calls.load(Ordering::Acquire);
        Figures {
            calls,
            errors: self.errors.load(Ordering::Relaxed),
            traps: self.traps.load(Ordering::Relaxed),
            p99_ms: self.percentile_us(99).div_ceil(1_000),
        }
    }

    /// Upper end of the bucket below which so many of a hundred calls are.
    fn percentile_us(&self, percent: u64) -> u64 {
        let counts: Vec<u64> =
            self.latencies.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let mut left = (total * percent).div_ceil(100);
        for (bucket, count) in (0..).zip(counts) {
            if left <= count {
                return if total == 0 { 0 } else { upper_us(bucket) };
            }
            left -= count;
        }
        0
    }
}

/// Microseconds below 8 have a bucket each; above, each power of two has [`STEPS`].
fn bucket(latency: Duration) -> usize {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    let power = u64::from(us.ilog2());
    let step = if power < 3 { us << (3 - power) } else { us >> (power - 3) } - STEPS;
    usize::try_from(power * STEPS + step).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

fn upper_us(bucket: u64) -> u64 {
    let (power, step) = (bucket / STEPS, bucket % STEPS);
    ((STEPS + step + 1) << power) / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn fill(tally: &Tally, answered: u64, failed: u64, trapped: u64, latency_ms: u64) {
        for (end, times) in
            [(CallEnd::Answered, answered), (CallEnd::Failed, failed), (CallEnd::Trapped, trapped)]
        {
            for _ in 0..times {
                tally.count(end, ms(latency_ms));
            }
        }
    }

    #[test]
    fn a_percentile_is_right_within_an_eighth() {
        let tally = Tally::default();
        assert_eq!(tally.figures().p99_ms, 0);
        for latency in 1..=1_000 {
            tally.count(CallEnd::Answered, ms(latency));
        }
        let p99 = tally.figures().p99_ms;
        assert!((990..=990 * 9 / 8).contains(&p99), "{p99}");
        let p50 = tally.percentile_us(50);
        assert!((500_000..=500_000 * 9 / 8).contains(&p50), "{p50}");
        for us in [0, 1, 2, 3, 7, 8, 9, 1_000, 123_456, 1 << 39, u64::MAX] {
            let bucket = bucket(Duration::from_micros(us)) as u64;
            assert!(us.min(1 << 39) <= upper_us(bucket), "{us}");
        }
    }

    #[test]
    fn a_canary_that_is_as_good_is_promoted_and_not_before_its_calls() {
        let trial = Trial::new(CanaryRule::default());
        fill(&trial.live, 97, 2, 1, 20);
        fill(&trial.canary, 97, 2, 0, 25);
        assert_eq!(trial.verdict(), None);
        fill(&trial.canary, 0, 0, 1, 25);
        assert_eq!(trial.verdict(), Some(Verdict::Promote));
    }

    #[test]
    fn what_is_worse_is_withdrawn_as_soon_as_that_is_clear() {
        let withdrawn = |fill_both: &dyn Fn(&Trial)| {
            let trial =
                Trial::new(CanaryRule { calls: 100, error_percent: 2, latency_percent: 50 });
            fill_both(&trial);
            match trial.verdict() {
                Some(Verdict::Withdraw(reason)) => Some(reason),
                _ => None,
            }
        };
        // Two of a hundred may fail: the third does not wait for the others.
        assert_eq!(withdrawn(&|trial| fill(&trial.canary, 0, 2, 0, 1)), None);
        let reason = withdrawn(&|trial| fill(&trial.canary, 0, 3, 0, 1)).unwrap();
        assert!(reason.contains("3 of 3 calls failed"), "{reason}");
        // Twenty more may where the live version fails as often.
        let failing = |canary_fails| {
            withdrawn(&move |trial| {
                fill(&trial.live, 40, 10, 0, 1);
                fill(&trial.canary, 0, canary_fails, 0, 1);
            })
        };
        assert_eq!(failing(22), None);
        assert!(failing(23).is_some());
        let reason = withdrawn(&|trial| fill(&trial.canary, 50, 0, 3, 1)).unwrap();
        assert!(reason.contains("3 of 53 calls trapped"), "{reason}");
        // Half as long again is allowed, and not more; below 10 ms anything is.
        let slow = |live, canary| {
            withdrawn(&move |trial| {
                fill(&trial.live, 20, 0, 0, live);
                fill(&trial.canary, 100, 0, 0, canary);
            })
        };
        assert_eq!(slow(100, 130), None);
        assert!(slow(100, 200).unwrap().contains("99 of 100"));
        assert_eq!(slow(1, 8), None);
    }
}
