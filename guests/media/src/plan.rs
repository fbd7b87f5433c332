//! Frames in presentation order, and what must be read to decode some of them.

use std::ops::Range;

use crate::{error::MediaError, model::Track};

/// The presented frames of a video track, numbered from 0 in presentation order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoPlan {
    /// For each presented frame its sample, by number in decode order.
    order: Vec<u32>,
    /// For each presented frame its time, with one entry more: the end of the last frame.
    times: Vec<i64>,
    /// Random access points: sample number, presentation time; in decode order.
    keys: Vec<(u32, i64)>,
    timescale: u32,
}

/// What to read and decode for a range of presented frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePlan {
    /// Samples to read, by number in decode order. The first is a random access point.
    pub samples: Range<u32>,
    /// Presented frames that come out of it and are wanted.
    pub frames: Range<u64>,
}

impl VideoPlan {
    /// Plans a track.
    ///
    /// # Errors
    /// [`MediaError::Damaged`] if the track has no frame to present or none to start at.
    pub fn new(track: &Track) -> Result<Self, MediaError> {
        let samples = &track.samples;
        let mut order: Vec<u32> = (0_u32..)
            .zip(samples)
            .filter_map(|(number, sample)| sample.shown.then_some(number))
            .collect();
        let pts = |number: u32| samples.get(number as usize).map_or(0, |sample| sample.pts);
        // Stable: frames of equal time keep their decode order.
        order.sort_by_key(|&number| pts(number));
        let Some(&last) = order.last() else {
            return Err(MediaError::damaged("the video track has no frames to present"));
        };
        let mut times: Vec<i64> = order.iter().map(|&number| pts(number)).collect();
        let end = samples.get(last as usize).map_or(1, |sample| i64::from(sample.duration));
        let step = match times.as_slice() {
            [.., before, last] if end == 0 => last.saturating_sub(*before),
            _ => end,
        };
        times.push(pts(last).saturating_add(step.max(1)));
        let keys: Vec<(u32, i64)> = (0_u32..)
            .zip(samples)
            .filter_map(|(number, sample)| sample.key.then_some((number, sample.pts)))
            .collect();
        if keys.is_empty() {
            return Err(MediaError::damaged("the video track has no key frame to start at"));
        }
        Ok(Self { order, times, keys, timescale: track.timescale })
    }

    /// Number of presented frames. At least 1.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.order.len() as u64
    }

    /// Ticks a second of [`VideoPlan::pts`] and [`VideoPlan::duration`].
    #[must_use]
    pub fn timescale(&self) -> u32 {
        self.timescale
    }

    /// Presentation time of frame `n`, in ticks; for `n == frames()` the end of the last frame.
    #[must_use]
    pub fn pts(&self, n: u64) -> Option<i64> {
        self.times.get(usize::try_from(n).ok()?).copied()
    }

    /// Ticks that frame `n` stays: up to the next frame's time.
    #[must_use]
    pub fn duration(&self, n: u64) -> Option<u64> {
        let step = self.pts(n.checked_add(1)?)?.checked_sub(self.pts(n)?)?;
        u64::try_from(step).ok()
    }

    /// The frame that is presented at `pts`: the last whose time is not after it, or frame 0.
    #[must_use]
    pub fn frame_at(&self, pts: i64) -> u64 {
        let shown = self.times.get(..self.order.len()).unwrap_or_default();
        (shown.partition_point(|&time| time <= pts).max(1) - 1) as u64
    }

    /// Presented frames at which decoding can start without a lead-in, in order.
    pub fn key_frames(&self) -> impl Iterator<Item = u64> + '_ {
        let keys: std::collections::HashSet<u32> = self.keys.iter().map(|key| key.0).collect();
        (0_u64..).zip(&self.order).filter_map(move |(n, number)| keys.contains(number).then_some(n))
    }

    /// Random access points at or before sample `start`, backwards.
    pub(crate) fn keys_back_from(&self, start: u32) -> impl Iterator<Item = u32> + '_ {
        let upto = self.keys.partition_point(|key| key.0 <= start);
        self.keys.iter().take(upto).rev().map(|key| key.0)
    }

    /// The sample of presented frame `n`.
    pub(crate) fn sample(&self, n: u64) -> Option<u32> {
        self.order.get(usize::try_from(n).ok()?).copied()
    }

    /// What to read for frames `first..last`.
    ///
    /// A frame is decoded from the last random access point that is not presented after it: so
    /// leading frames of an open GOP, which refer back, belong to the point before.
    ///
    /// # Errors
    /// [`MediaError::Request`] if the range is empty or past the end.
    pub fn range(&self, first: u64, last: u64) -> Result<RangePlan, MediaError> {
        if last <= first || self.frames() < last {
            return Err(MediaError::request(format!(
                "frames {first}..{last} of {}",
                self.frames()
            )));
        }
        let (Some(number), Some(pts)) = (self.sample(first), self.pts(first)) else {
            return Err(MediaError::request("frame number"));
        };
        let wanted = self
            .order
            .get(usize::try_from(first).unwrap_or(0)..usize::try_from(last).unwrap_or(0))
            .unwrap_or_default();
        let earliest = wanted.iter().copied().min().unwrap_or(number);
        let latest = wanted.iter().copied().max().unwrap_or(number);
        let upto = self.keys.partition_point(|key| key.0 <= earliest);
        let before = self.keys.get(..upto).unwrap_or_default();
        let found = before.iter().rposition(|key| key.1 <= pts).unwrap_or(0);
        let start = self.keys.get(found).map_or(0, |key| key.0);
        Ok(RangePlan {
            samples: start.min(earliest)..latest.saturating_add(1),
            frames: first..last,
        })
    }
}
