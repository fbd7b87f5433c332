//! How fast the guests of a version may log, all together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Gives out the bytes of each second.
#[derive(Debug)]
pub(crate) struct LogRate {
    bytes_per_sec: usize,
    second: Mutex<Second>,
}

#[derive(Debug)]
struct Second {
    began: Instant,
    left_bytes: usize,
}

impl LogRate {
    pub(crate) fn new(bytes_per_sec: usize) -> Self {
        let second = Second { began: Instant::now(), left_bytes: bytes_per_sec };
        Self { bytes_per_sec, second: Mutex::new(second) }
    }

    /// How many bytes of `wanted` may be kept now.
    pub(crate) fn take(&self, wanted: usize) -> usize {
        // What a panicking holder left is still a second.
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if Duration::from_secs(1) <= now.duration_since(second.began) {
            *second = Second { began: now, left_bytes: self.bytes_per_sec };
        }
        let given = wanted.min(second.left_bytes);
        second.left_bytes -= given;
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_bytes_and_the_next_one_too() {
        let rate = LogRate::new(100);
        assert_eq!([rate.take(60), rate.take(60), rate.take(60)], [60, 40, 0]);
        rate.second.lock().unwrap().began -= Duration::from_secs(1);
        assert_eq!(rate.take(usize::MAX), 100);
    }
}
