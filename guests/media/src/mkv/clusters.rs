//! Clusters: the samples of all tracks, gathered block by block.

use super::{
    CLUSTER,
    blocks::{self, Block, HEAD_BYTES},
    ebml::{element_at, signed, unsigned},
    tracks::Entry,
};
use crate::{
    error::{MediaError, at_most},
    input::Window,
    limits::Limits,
    model::{Codec, Sample, Track},
    syntax::vp9,
};

const TIMESTAMP: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const BLOCK_DURATION: u32 = 0x9B;
const REFERENCE_BLOCK: u32 = 0xFB;
const DISCARD_PADDING: u32 = 0x75A2;
/// Elements that end a cluster of unknown size: those of the segment's own level have four-byte
/// numbers, those of a cluster have shorter ones.
const SEGMENT_LEVEL_MIN: u32 = 0x1000_0000;
/// Times beyond this many ticks are no film's; sums of times stay in range.
const TIME_MAX: u64 = 1 << 60;

/// A block where it lies, with what its group says of it.
struct Placed {
    block: Block,
    body: u64,
    duration: Option<u64>,
    key: bool,
    padding: i64,
}

/// Tracks while their samples are being gathered.
pub(super) struct Clusters {
    entries: Vec<Entry>,
    /// Nanoseconds a tick of the file.
    scale: u64,
    /// Ticks of the video tracks in a tick of the file.
    factor: i64,
    /// Time of the current cluster, in the file's ticks.
    time: i64,
    samples: u64,
}

impl Clusters {
    pub(super) fn new(entries: Vec<Entry>, scale: u64, factor: i64) -> Self {
        Self { entries, scale, factor, time: 0, samples: 0 }
    }

    /// Adds a cluster and returns where it ends.
    pub(super) fn add(
        &mut self,
        window: &Window<'_>,
        body: u64,
        end: Option<u64>,
        seen: &mut u64,
        limits: &Limits,
    ) -> Result<u64, MediaError> {
        let mut at = body;
        let limit = end.unwrap_or(window.len());
        while at < limit {
            let Some(found) = element_at(window, at)? else { return Ok(limit) };
            *seen += 1;
            at_most("elements in the file", *seen, limits.elements)?;
            if end.is_none() && (found.id == CLUSTER || SEGMENT_LEVEL_MIN <= found.id) {
                return Ok(at);
            }
            let found_end = found.end.filter(|&end| end <= limit);
            let found_end = found_end.ok_or_else(|| {
                MediaError::damaged_at("a block ends too late: the upload is incomplete", at)
            })?;
            match found.id {
                TIMESTAMP => {
                    let time = number(window, found.body, found_end)?;
                    if TIME_MAX / self.scale < time {
                        return Err(MediaError::damaged_at("a time past any film's", at));
                    }
                    self.time = time.cast_signed();
                }
                SIMPLE_BLOCK => {
                    let block = block_at(window, found.body, found_end)?;
                    let key = block.key;
                    let body = found.body;
                    let placed = Placed { block, body, duration: None, key, padding: 0 };
                    self.place(window, &placed, limits)?;
                }
                BLOCK_GROUP => self.group(window, found.body, found_end, seen, limits)?,
                _ => {}
            }
            at = found_end;
        }
        Ok(limit)
    }

    fn group(
        &mut self,
        window: &Window<'_>,
        body: u64,
        end: u64,
        seen: &mut u64,
        limits: &Limits,
    ) -> Result<(), MediaError> {
        let mut at = body;
        let mut placed: Option<Placed> = None;
        let (mut duration, mut key, mut padding) = (None, true, 0);
        while at < end {
            let Some(found) = element_at(window, at)? else { break };
            *seen += 1;
            at_most("elements in the file", *seen, limits.elements)?;
            let found_end = found.end.filter(|&found_end| found_end <= end);
            let found_end =
                found_end.ok_or_else(|| MediaError::damaged_at("a block group overflows", at))?;
            match found.id {
                BLOCK => {
                    let block = block_at(window, found.body, found_end)?;
                    let body = found.body;
                    placed = Some(Placed { block, body, duration: None, key: false, padding: 0 });
                }
                BLOCK_DURATION => duration = Some(number(window, found.body, found_end)?),
                REFERENCE_BLOCK => key = false,
                DISCARD_PADDING => {
                    let (bytes, len) = short(window, found.body, found_end)?;
                    padding = signed(bytes.get(..len).unwrap_or_default())?;
                }
                _ => {}
            }
            at = found_end;
        }
        if let Some(placed) = placed {
            self.place(window, &Placed { duration, key, padding, ..placed }, limits)?;
        }
        Ok(())
    }

    /// Adds the frames of a block to its track.
    fn place(
        &mut self,
        window: &Window<'_>,
        placed: &Placed,
        limits: &Limits,
    ) -> Result<(), MediaError> {
        let Placed { block, body, duration, key, padding } = placed;
        let entry = self.entries.iter_mut().find(|entry| entry.track.id == block.track);
        let Some(entry) = entry else { return Ok(()) };
        let is_video = entry.track.video().is_some();
        // The file's ticks to the track's: sound is in nanoseconds.
        let factor = if is_video { self.factor } else { self.scale.cast_signed() };
        let count = block.sizes.len() as u64;
        let whole = duration.map(|ticks| ticks.saturating_mul(factor.unsigned_abs()) / count);
        let each = whole.or(entry.default_duration.map(|ns| {
            if is_video { ns * u64::from(entry.track.timescale) / 1_000_000_000 } else { ns }
        }));
        let time = self.time.saturating_add(i64::from(block.time)).saturating_mul(factor);
        let delay = if is_video { 0 } else { entry.delay.min(TIME_MAX).cast_signed() };
        let mut pts = time.saturating_sub(delay);
        let mut offset = body + block.header as u64;
        for &size in &block.sizes {
            self.samples += 1;
            at_most("samples", self.samples, limits.samples)?;
            at_most("bytes of one sample", size, limits.sample_bytes)?;
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            let duration = u32::try_from(each.unwrap_or(0)).unwrap_or(u32::MAX);
            let mut sample = Sample {
                offset,
                size,
                dts: pts,
                pts,
                duration,
                key: *key,
                shown: !block.invisible,
            };
            if entry.track.codec == Codec::Vp9 && entry.track.prefix.is_empty() {
                inspect_vp9(window, &mut sample)?;
            }
            entry.track.samples.push(sample);
            offset += u64::from(size);
            pts = pts.saturating_add(i64::from(duration));
        }
        entry.track.edit.padding = (*padding).clamp(0, TIME_MAX.cast_signed());
        Ok(())
    }

    /// Ends the gathering: decode times, delays.
    pub(super) fn finish(self) -> Vec<Track> {
        self.entries
            .into_iter()
            .map(|mut entry| {
                if entry.track.audio().is_some() {
                    entry.track.edit.skip = entry.delay.min(TIME_MAX).cast_signed();
                } else {
                    decode_times(&mut entry.track.samples);
                }
                entry.track
            })
            .collect()
    }
}

/// A packet without a picture to show (an alternative reference frame on its own) is legal in
/// old files; and the flags of blocks are not always right.
fn inspect_vp9(window: &Window<'_>, sample: &mut Sample) -> Result<(), MediaError> {
    let (front, found) = window.peek::<16>(sample.offset)?;
    let front = front.get(..found.min(sample.size as usize)).unwrap_or_default();
    let Ok(header) = vp9::header(front) else { return Ok(()) };
    sample.key = header.key;
    if !header.shown && sample.size != 0 {
        // In a superframe, another frame is shown; its index ends with a marker.
        let (last, _) = window.peek::<1>(sample.offset + u64::from(sample.size) - 1)?;
        sample.shown = last.iter().any(|byte| byte & 0xE0 == 0xC0);
    }
    Ok(())
}

/// Matroska stores no decode times: the sorted presentation times, moved to before those.
fn decode_times(samples: &mut [Sample]) {
    let mut times: Vec<i64> = samples.iter().map(|sample| sample.pts).collect();
    times.sort_unstable();
    let late = samples.iter().zip(&times).map(|(sample, time)| time.saturating_sub(sample.pts));
    let shift = late.max().unwrap_or(0).max(0);
    for (sample, time) in samples.iter_mut().zip(times) {
        sample.dts = time.saturating_sub(shift);
    }
}

fn block_at(window: &Window<'_>, body: u64, end: u64) -> Result<Block, MediaError> {
    let (head, found) = window.peek::<HEAD_BYTES>(body)?;
    let len = end - body;
    let front = found.min(usize::try_from(len).unwrap_or(usize::MAX));
    blocks::parse(head.get(..front).unwrap_or_default(), len).map_err(|error| error.at(body))
}

fn short(window: &Window<'_>, body: u64, end: u64) -> Result<([u8; 8], usize), MediaError> {
    let len = usize::try_from(end - body).unwrap_or(usize::MAX);
    let (bytes, found) = window.peek::<8>(body)?;
    if 8 < len || found < len {
        return Err(MediaError::damaged_at("a number of more than eight bytes", body));
    }
    Ok((bytes, len))
}

fn number(window: &Window<'_>, body: u64, end: u64) -> Result<u64, MediaError> {
    let (bytes, len) = short(window, body, end)?;
    unsigned(bytes.get(..len).unwrap_or_default())
}
