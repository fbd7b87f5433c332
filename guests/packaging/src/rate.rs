//! Rates, measured on the stored fragments.

use crate::fragment::Fragment;

/// Average and peak rate of a track, in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// All bits over all time.
    pub average: u64,
    /// Largest rate of any run of segments as long as 0.5 to 1.5 target durations (RFC 8216,
    /// section 4.1); never below `average`.
    pub peak: u64,
}

/// Longest fragment in whole seconds, rounded: what a playlist declares as its target duration.
pub fn target_secs(fragments: &[Fragment], timescale: u32) -> u64 {
    let longest = fragments.iter().map(|fragment| fragment.duration).max().unwrap_or(0);
    let timescale = u64::from(timescale.max(1));
    ((longest + timescale / 2) / timescale).max(1)
}

/// Measure.
pub fn measure(fragments: &[Fragment], timescale: u32) -> Rates {
    let timescale = u64::from(timescale.max(1));
    let rate = |bytes: u64, ticks: u64| match ticks {
        0 => 0,
        _ => u64::try_from(u128::from(bytes) * 8 * u128::from(timescale) / u128::from(ticks))
            .unwrap_or(u64::MAX),
    };
    let target = target_secs(fragments, u32::try_from(timescale).unwrap_or(u32::MAX)) * timescale;
    let bytes = fragments.iter().map(|fragment| fragment.bytes).sum();
    let average = rate(bytes, fragments.iter().map(|fragment| fragment.duration).sum());
    let mut peak = average;
    for begin in 0..fragments.len() {
        let (mut bytes, mut ticks) = (0, 0);
        for fragment in fragments.iter().skip(begin) {
            bytes += fragment.bytes;
            ticks += fragment.duration;
            if target * 3 < ticks * 2 {
                break;
            }
            if target <= ticks * 2 {
                peak = peak.max(rate(bytes, ticks));
            }
        }
    }
    Rates { average, peak }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragments(shape: &[(u64, u64)]) -> Vec<Fragment> {
        shape
            .iter()
            .map(|&(duration, bytes)| Fragment { start: 0, duration, samples: 1, offset: 0, bytes })
            .collect()
    }

    #[test]
    fn a_short_last_segment_does_not_make_the_peak() {
        let rates = measure(&fragments(&[(2000, 1000), (2000, 2000), (10, 500)]), 1000);
        assert_eq!(rates.average, 3500 * 8 * 1000 / 4010);
        assert_eq!(rates.peak, 2500 * 8 * 1000 / 2010);
    }

    #[test]
    fn one_short_segment_is_its_own_peak() {
        let rates = measure(&fragments(&[(40, 100)]), 1000);
        assert_eq!(rates, Rates { average: 20_000, peak: 20_000 });
        assert_eq!(measure(&[], 1000), Rates { average: 0, peak: 0 });
    }
}
