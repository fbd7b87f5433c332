//! `moof`: the samples of one fragment (ISO/IEC 14496-12, section 8.8).

use super::{
    boxes::{Boxes, full},
    tracks::{Defaults, Gathered, Movie},
};
use crate::{
    error::{MediaError, at_most},
    limits::Limits,
    model::Sample,
};

/// Adds a fragment, whose box starts at `start` in the file, to the movie.
pub(super) fn add(
    movie: &mut Movie,
    moof: &[u8],
    start: u64,
    limits: &Limits,
) -> Result<(), MediaError> {
    // Where data goes on that says neither its offset nor that it is relative to the fragment.
    let mut data_end = start;
    for found in Boxes::new(moof) {
        let (kind, traf) = found?;
        if kind == *b"traf" {
            data_end = add_track(movie, traf, start, data_end, limits)?;
        }
    }
    Ok(())
}

/// What the fragment header of one track says.
struct Header {
    track: u32,
    base: u64,
    defaults: Defaults,
}

fn header(movie: &Movie, body: &[u8], start: u64, data_end: u64) -> Result<Header, MediaError> {
    let (_, flags, mut bytes) = full(body)?;
    let track = bytes.u32()?;
    let mut base = if flags & 0x02_0000 != 0 { start } else { data_end };
    if flags & 0x01 != 0 {
        base = bytes.u64()?;
    }
    let known = movie.tracks.iter().find(|known| known.id == track);
    let mut defaults = known.map(|known| known.defaults).unwrap_or_default();
    if flags & 0x02 != 0 {
        defaults.description = bytes.u32()?;
    }
    if flags & 0x08 != 0 {
        defaults.duration = bytes.u32()?;
    }
    if flags & 0x10 != 0 {
        defaults.size = bytes.u32()?;
    }
    if flags & 0x20 != 0 {
        defaults.flags = bytes.u32()?;
    }
    Ok(Header { track, base, defaults })
}

/// Returns where the data of this track's last run ends.
fn add_track(
    movie: &mut Movie,
    traf: &[u8],
    start: u64,
    data_end: u64,
    limits: &Limits,
) -> Result<u64, MediaError> {
    let boxes = Boxes::new(traf);
    let header = header(movie, boxes.need(b"tfhd")?, start, data_end)?;
    let mut count = movie.samples;
    let Some(track) = movie.tracks.iter_mut().find(|track| track.id == header.track) else {
        return Ok(data_end);
    };
    if 1 < header.defaults.description {
        return Err(MediaError::unsupported("a track whose codec changes in the middle"));
    }
    if let Some(body) = boxes.find(b"tfdt")? {
        let (version, _, mut bytes) = full(body)?;
        let time = if version == 1 { bytes.u64()? } else { u64::from(bytes.u32()?) };
        // Far above any real time, so that sums of times cannot overflow.
        track.next_dts = i64::try_from(time)
            .ok()
            .filter(|&time| time <= i64::MAX / 4)
            .ok_or_else(|| MediaError::damaged("a fragment's decode time is past any film's"))?;
    }
    let mut at = header.base;
    for found in boxes {
        let (kind, body) = found?;
        if kind == *b"trun" {
            at = add_run(track, body, &header, at, &mut count, limits)?;
        }
    }
    movie.samples = count;
    Ok(at)
}

/// Adds one run of samples and returns where its data ends.
fn add_run(
    track: &mut Gathered,
    body: &[u8],
    header: &Header,
    at: u64,
    count: &mut u64,
    limits: &Limits,
) -> Result<u64, MediaError> {
    let (_, flags, mut bytes) = full(body)?;
    let samples = bytes.u32()?;
    *count = count.saturating_add(u64::from(samples));
    at_most("samples", *count, limits.samples)?;
    let mut at = at;
    if flags & 0x01 != 0 {
        at = header
            .base
            .checked_add_signed(i64::from(bytes.i32()?))
            .ok_or_else(|| MediaError::damaged("a fragment's data lies before the file"))?;
    }
    let first_flags = if flags & 0x04 != 0 { Some(bytes.u32()?) } else { None };
    for number in 0..samples {
        let mut sample = header.defaults;
        if flags & 0x100 != 0 {
            sample.duration = bytes.u32()?;
        }
        if flags & 0x200 != 0 {
            sample.size = bytes.u32()?;
        }
        if flags & 0x400 != 0 {
            sample.flags = bytes.u32()?;
        }
        if let (0, Some(first)) = (number, first_flags) {
            sample.flags = first;
        }
        // Signed in version 1; version 0 holds negative numbers in practice, too.
        let shift = if flags & 0x800 != 0 { bytes.i32()? } else { 0 };
        at_most("bytes of one sample", u64::from(sample.size), limits.sample_bytes)?;
        let dts = track.next_dts;
        track.samples.push(Sample {
            offset: at,
            size: sample.size,
            dts,
            pts: dts.saturating_add(i64::from(shift)),
            duration: sample.duration,
            key: sample.flags & 0x1_0000 == 0,
            shown: true,
        });
        at = at
            .checked_add(u64::from(sample.size))
            .ok_or_else(|| MediaError::damaged("a fragment's data lies past any file"))?;
        track.next_dts = dts.saturating_add(i64::from(sample.duration));
    }
    Ok(at)
}
