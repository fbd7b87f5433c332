//! When each frame is shown.

use backlot_media::{MediaError, Track, VideoPlan};

/// Times of a film's frames on the clock of its video track; 0 is the begin of the film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Ticks in a second.
    pub timescale: u32,
    /// For each frame its begin, and one entry more: the end of the last.
    times: Vec<u64>,
}

impl Timeline {
    /// The timeline of a track.
    pub fn new(track: &Track) -> Result<Self, MediaError> {
        let plan = VideoPlan::new(track)?;
        let times = (0..=plan.frames()).filter_map(|frame| plan.pts(frame));
        Ok(Self::of_times(plan.timescale(), times))
    }

    /// A timeline of these times. They are kept as they are but for two faults that some files
    /// have: a time before 0 is 0, and a frame that is not after the one before it is a tick after.
    pub fn of_times(timescale: u32, times: impl IntoIterator<Item = i64>) -> Self {
        let mut clean: Vec<u64> = Vec::new();
        for time in times {
            let time = u64::try_from(time).unwrap_or(0);
            clean.push(clean.last().map_or(time, |&before| time.max(before + 1)));
        }
        Self { timescale, times: clean }
    }

    /// How many frames.
    pub fn frames(&self) -> u64 {
        (self.times.len() as u64).saturating_sub(1)
    }

    /// When a frame begins to be shown; for the number of frames, when the last one ends.
    pub fn start(&self, frame: u64) -> u64 {
        let at = usize::try_from(frame).unwrap_or(usize::MAX);
        self.times.get(at).or(self.times.last()).copied().unwrap_or(0)
    }

    /// When the last frame ends.
    pub fn end(&self) -> u64 {
        self.times.last().copied().unwrap_or(0)
    }

    /// How long a frame is shown. No frame is shown for more than the format can say, which is
    /// hours at the least.
    pub fn duration(&self, frame: u64) -> u32 {
        u32::try_from(self.start(frame + 1).saturating_sub(self.start(frame))).unwrap_or(u32::MAX)
    }

    /// In milliseconds.
    pub fn ms(&self, ticks: u64) -> u64 {
        let ms = u128::from(ticks) * 1_000 / u128::from(self.timescale.max(1));
        u64::try_from(ms).unwrap_or(u64::MAX)
    }

    /// Up to `most` frames, evenly spread over the film and at least a second apart.
    pub fn spread(&self, most: u64) -> Vec<u64> {
        let begin = self.start(0);
        let length = self.end().saturating_sub(begin);
        let second = u64::from(self.timescale.max(1));
        let count = (length / second).clamp(1, most.max(1));
        let shown = self.times.get(..self.times.len().saturating_sub(1)).unwrap_or_default();
        let mut frames: Vec<u64> = (0..count)
            .map(|tile| {
                begin
                    + u64::try_from(u128::from(length) * u128::from(tile) / u128::from(count))
                        .unwrap_or(0)
            })
            .map(|time| (shown.partition_point(|&start| start <= time).max(1) - 1) as u64)
            .collect();
        frames.dedup();
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_exact_and_faults_are_mended() {
        let line = Timeline::of_times(1000, [40, 80, 80, 200, 240]);
        assert_eq!((line.frames(), line.end()), (4, 240));
        assert_eq!([0, 1, 2, 3].map(|frame| line.start(frame)), [40, 80, 81, 200]);
        assert_eq!([0, 1, 2, 3].map(|frame| line.duration(frame)), [40, 1, 119, 40]);
        assert_eq!(Timeline::of_times(1000, [-5, 0, 1]).start(1), 1);
    }

    #[test]
    fn spread_frames_are_on_the_film() {
        let line = Timeline::of_times(25, 0..=2500);
        let tiles = line.spread(100);
        assert_eq!(tiles, (0..100).map(|n| n * 25).collect::<Vec<_>>());
        assert_eq!(Timeline::of_times(25, 0..=10).spread(100), [0]);
        // One frame in the middle that stays for long is not taken twice.
        assert_eq!(Timeline::of_times(1, [0, 1, 50, 51]).spread(100), [0, 1, 2]);
    }
}
