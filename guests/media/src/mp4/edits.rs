//! Edit lists: which stretch of the media is presented, and when.

use super::boxes::full;
use crate::{
    error::{MediaError, at_most},
    model::{Edit, Sample},
};

/// Entries of an edit list. Real ones have one or two; each is compared with every sample.
const ENTRIES_MAX: u64 = 64;

/// A stretch of media that is presented, in ticks of the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Presentation time of its first tick.
    start: i64,
    /// Media time of its first tick.
    media: i64,
    /// Length; nothing: to the end of the media.
    duration: Option<i64>,
}

impl Segment {
    fn holds(&self, time: i64) -> bool {
        self.media <= time && self.duration.is_none_or(|length| time - self.media < length)
    }

    fn present(&self, time: i64) -> i64 {
        time.saturating_sub(self.media).saturating_add(self.start)
    }
}

/// Reads `elst`. Empty edits at the front become the start of the first segment.
pub(super) fn parse(
    body: &[u8],
    movie_scale: u32,
    timescale: u32,
) -> Result<Vec<Segment>, MediaError> {
    let (version, _, mut bytes) = full(body)?;
    let count = bytes.u32()?;
    at_most("entries of an edit list", u64::from(count), ENTRIES_MAX)?;
    if movie_scale == 0 && 0 < count {
        return Err(MediaError::damaged("the movie's time scale is 0"));
    }
    // Summed in the movie's ticks, so that rounding does not add up.
    let mut at = 0_u64;
    let mut segments: Vec<Segment> = Vec::new();
    for _ in 0..count {
        let (duration, media) = if version == 1 {
            (bytes.u64()?, bytes.i64()?)
        } else {
            (u64::from(bytes.u32()?), i64::from(bytes.i32()?))
        };
        let rate = bytes.u32()?;
        let start = rescale(at, timescale, movie_scale)?;
        at = at.checked_add(duration).ok_or_else(too_long)?;
        if media < 0 {
            continue;
        }
        if rate != 0x1_0000 {
            return Err(MediaError::unsupported("an edit list that changes the speed"));
        }
        let length = rescale(at, timescale, movie_scale)? - start;
        let segment = Segment { start, media, duration: (0 < duration).then_some(length) };
        match segments.last_mut() {
            Some(last) if follows(last, &segment) => {
                last.duration = segment.duration.and_then(|more| last.duration?.checked_add(more));
            }
            Some(last)
                if last
                    .duration
                    .is_none_or(|length| segment.media < last.media.saturating_add(length)) =>
            {
                return Err(MediaError::unsupported("an edit list that repeats or reorders"));
            }
            _ => segments.push(segment),
        }
    }
    Ok(segments)
}

/// Whether a segment goes on where the last one stopped, in media and presentation. One tick
/// of rounding is allowed.
fn follows(last: &Segment, next: &Segment) -> bool {
    let Some(length) = last.duration else { return false };
    let gap = next.media.saturating_sub(last.media.saturating_add(length));
    gap.abs() <= 1 && last.start.saturating_add(length) == next.start
}

/// Movie ticks to track ticks, rounded up: a frame that starts before the end is shown.
fn rescale(ticks: u64, to: u32, from: u32) -> Result<i64, MediaError> {
    let scaled = (u128::from(ticks) * u128::from(to)).div_ceil(u128::from(from));
    i64::try_from(scaled).ok().filter(|&scaled| scaled <= i64::MAX / 4).ok_or_else(too_long)
}

fn too_long() -> MediaError {
    MediaError::damaged("an edit is longer than any film")
}

/// Turns composition times into presentation times, and marks what is not shown.
pub(super) fn apply_to_video(
    segments: &[Segment],
    samples: &mut [Sample],
) -> Result<Edit, MediaError> {
    let Some(first) = segments.first() else {
        // Times before 0 without an edit list would not be presented at all; players move them.
        let shift = samples.iter().map(|sample| sample.pts).min().unwrap_or(0).min(0);
        for sample in samples {
            sample.pts = sample.pts.saturating_sub(shift);
        }
        return Ok(Edit::default());
    };
    for sample in samples {
        let time = sample.pts;
        let holding = segments.iter().find(|segment| segment.holds(time));
        // What is cut away keeps a place in time, because decoding may have to start there.
        let nearest = segments.iter().rev().find(|segment| segment.media <= time);
        sample.shown = holding.is_some();
        sample.pts = holding.or(nearest).unwrap_or(first).present(time);
    }
    let end = segments
        .iter()
        .try_fold(0_u64, |sum, segment| sum.checked_add(segment.duration?.unsigned_abs()));
    Ok(Edit { start: first.start, skip: first.media, duration: end, padding: 0 })
}

/// Turns composition times into presentation times; what is cut is told in the [`Edit`].
pub(super) fn apply_to_audio(
    segments: &[Segment],
    samples: &mut [Sample],
) -> Result<Edit, MediaError> {
    let segment = match segments {
        [] => return Ok(Edit::default()),
        [one] => one,
        _ => return Err(MediaError::unsupported("a sound track cut into several pieces")),
    };
    for sample in samples {
        sample.pts = segment.present(sample.pts);
    }
    let duration = segment.duration.map(i64::unsigned_abs);
    Ok(Edit { start: segment.start, skip: segment.media, duration, padding: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u32, i32)]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 0];
        body.extend_from_slice(&(entries.len() as u32).to_be_bytes());
        for (duration, media) in entries {
            body.extend_from_slice(&duration.to_be_bytes());
            body.extend_from_slice(&media.to_be_bytes());
            body.extend_from_slice(&0x1_0000_u32.to_be_bytes());
        }
        body
    }

    #[test]
    fn empty_edits_delay_and_media_times_cut() {
        let found = parse(&list(&[(500, -1), (1000, 200)]), 1000, 100).unwrap();
        assert_eq!(found, [Segment { start: 50, media: 200, duration: Some(100) }]);
        let mut samples = [190, 200, 299, 300].map(|pts| Sample {
            offset: 0,
            size: 0,
            dts: 0,
            pts,
            duration: 0,
            key: true,
            shown: true,
        });
        apply_to_video(&found, &mut samples).unwrap();
        assert_eq!(
            samples.map(|s| (s.pts, s.shown)),
            [(40, false), (50, true), (149, true), (150, false)]
        );
    }

    #[test]
    fn pieces_that_go_on_are_one_and_pieces_that_go_back_are_refused() {
        let found = parse(&list(&[(1000, 0), (1000, 100), (0, 200)]), 1000, 100).unwrap();
        assert_eq!(found, [Segment { start: 0, media: 0, duration: None }]);
        assert!(parse(&list(&[(1000, 100), (1000, 0)]), 1000, 100).is_err());
        assert_eq!(parse(&list(&[(1000, 0), (1000, 500)]), 1000, 100).unwrap().len(), 2);
        assert!(parse(&list(&[(1000, 0)]), 0, 100).is_err());
    }
}
