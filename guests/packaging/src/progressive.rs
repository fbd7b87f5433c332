//! A progressive MP4: one file with all tables in front, for download and for old players.
//!
//! The samples are those of the track files. This module says what to write in front and in which
//! order the fragments' payloads follow; the copying is the caller's.

use std::num::NonZeroU32;

use shiguredo_mp4::boxes::{
    Brand, Co64Box, ElstEntry, FtypBox, MoovBox, StcoBox, StscBox, StscEntry, StssBox, StszBox,
    SttsBox, SttsEntry,
};
use shiguredo_mp4::{Either, Encode, FixedPointNumber};

use crate::fragment::Sample;
use crate::track::{SampleTables, Track, edit_entry};
use crate::{PackagingError, narrow};

/// Ticks a second of the movie as a whole.
const MOVIE_TIMESCALE: u32 = 1_000;
/// Bytes of `mdat`'s header in its long form, which is used throughout.
const MDAT_HEADER_BYTES: u64 = 16;

/// One track of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the track is.
    pub track: Track,
    /// Decode time of the first sample, in the track's timescale.
    pub start: u64,
    /// The samples by fragment: each becomes one chunk.
    pub chunks: Vec<Vec<Sample>>,
}

/// The file's begin, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `ftyp`, `moov` and the header of `mdat`.
    pub header: Vec<u8>,
    /// The payloads that follow: track and chunk, both from 0.
    pub order: Vec<(usize, usize)>,
}

/// Lay out a file of these tracks.
pub fn layout(sources: &[Source]) -> Result<Layout, PackagingError> {
    let order = interleave(sources);
    let chunk_bytes = |&(track, chunk): &(usize, usize)| -> u64 {
        sources
            .get(track)
            .and_then(|source| source.chunks.get(chunk))
            .map_or(0, |samples| samples.iter().map(|sample| u64::from(sample.size)).sum())
    };
    let payload_bytes: u64 = order.iter().map(chunk_bytes).sum();
    let ftyp = FtypBox {
        major_brand: Brand::new(*b"isom"),
        minor_version: 512,
        compatible_brands: vec![
            Brand::new(*b"isom"),
            Brand::new(*b"iso2"),
            Brand::AV01,
            Brand::new(*b"mp41"),
        ],
    }
    .encode_to_vec()?;
    // The offsets' width follows from the size of the payload alone, with room for the tables, so
    // the size of moov is known before the offsets are.
    let long = u64::from(u32::MAX / 2) < payload_bytes;
    let mut offsets: Vec<Vec<u64>> =
        sources.iter().map(|source| vec![0; source.chunks.len()]).collect();
    let moov_bytes = moov(sources, &offsets, long)?.encode_to_vec()?.len() as u64;
    let mut at = ftyp.len() as u64 + moov_bytes + MDAT_HEADER_BYTES;
    for place in &order {
        if let Some(offset) = offsets.get_mut(place.0).and_then(|track| track.get_mut(place.1)) {
            *offset = at;
        }
        at += chunk_bytes(place);
    }
    let mut header = ftyp;
    header.extend(moov(sources, &offsets, long)?.encode_to_vec()?);
    header.extend_from_slice(&1u32.to_be_bytes());
    header.extend_from_slice(b"mdat");
    header.extend_from_slice(&(payload_bytes + MDAT_HEADER_BYTES).to_be_bytes());
    Ok(Layout { header, order })
}

/// All chunks by the time at which they begin.
fn interleave(sources: &[Source]) -> Vec<(usize, usize)> {
    let mut timed = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let mut ticks = u128::from(source.start);
        for (chunk, samples) in source.chunks.iter().enumerate() {
            let micros = ticks * 1_000_000 / u128::from(source.track.timescale.max(1));
            timed.push((micros, number, chunk));
            ticks += samples.iter().map(|sample| u128::from(sample.duration)).sum::<u128>();
        }
    }
    timed.sort_unstable();
    timed.into_iter().map(|(_, number, chunk)| (number, chunk)).collect()
}

fn moov(sources: &[Source], offsets: &[Vec<u64>], long: bool) -> Result<MoovBox, PackagingError> {
    let mut traks = Vec::new();
    let mut longest = 0;
    for ((id, source), offsets) in (1..).zip(sources).zip(offsets) {
        let media: u64 =
            source.chunks.iter().flatten().map(|sample| u64::from(sample.duration)).sum();
        let track = &source.track;
        let delay = in_movie_time(source.start, track.timescale);
        let shown = in_movie_time(media.saturating_sub(track.skip), track.timescale);
        let edits = match (delay, track.skip) {
            (0, 0) => None,
            (0, skip) => Some(vec![edit_entry(shown, skip)?]),
            (delay, skip) => Some(vec![empty_edit(delay), edit_entry(shown, skip)?]),
        };
        longest = longest.max(delay + shown);
        traks.push(track.trak(id, delay + shown, media, edits, tables(source, offsets, long)?)?);
    }
    let first = sources.first().ok_or_else(|| PackagingError::Box("no track".to_owned()))?;
    let next = narrow("tracks", sources.len() as u64 + 1, u64::from(u32::MAX))?;
    let mut mvhd_box = first.track.mvhd(longest, next)?;
    mvhd_box.timescale = NonZeroU32::new(MOVIE_TIMESCALE).unwrap_or(NonZeroU32::MIN);
    Ok(MoovBox { mvhd_box, trak_boxes: traks, mvex_box: None, unknown_boxes: Vec::new() })
}

fn in_movie_time(ticks: u64, timescale: u32) -> u64 {
    let scaled = u128::from(ticks) * u128::from(MOVIE_TIMESCALE) / u128::from(timescale.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// An edit that presents nothing for so long.
fn empty_edit(duration: u64) -> ElstEntry {
    ElstEntry { edit_duration: duration, media_time: -1, media_rate: FixedPointNumber::new(1, 0) }
}

fn tables(source: &Source, offsets: &[u64], long: bool) -> Result<SampleTables, PackagingError> {
    let mut stts: Vec<SttsEntry> = Vec::new();
    let mut sizes = Vec::new();
    let mut keys = Vec::new();
    for (number, sample) in (1..).zip(source.chunks.iter().flatten()) {
        match stts.last_mut() {
            Some(entry) if entry.sample_delta == sample.duration => entry.sample_count += 1,
            _ => stts.push(SttsEntry { sample_count: 1, sample_delta: sample.duration }),
        }
        sizes.push(sample.size);
        if sample.key {
            keys.extend(NonZeroU32::new(number));
        }
    }
    let mut stsc: Vec<StscEntry> = Vec::new();
    for (chunk, samples) in (1..).zip(&source.chunks) {
        let count = narrow("samples of a chunk", samples.len() as u64, u64::from(u32::MAX))?;
        if stsc.last().is_none_or(|entry| entry.sample_per_chunk != count) {
            stsc.push(StscEntry {
                first_chunk: NonZeroU32::new(chunk).unwrap_or(NonZeroU32::MIN),
                sample_per_chunk: count,
                sample_description_index: NonZeroU32::MIN,
            });
        }
    }
    let all_key = keys.len() == sizes.len();
    let offsets = if long {
        Either::B(Co64Box { chunk_offsets: offsets.to_vec() })
    } else {
        let short = offsets
            .iter()
            .map(|&offset| narrow("bytes of the file", offset, u64::from(u32::MAX)))
            .collect::<Result<_, _>>()?;
        Either::A(StcoBox { chunk_offsets: short })
    };
    Ok(SampleTables {
        stts: SttsBox { entries: stts },
        stsc: StscBox { entries: stsc },
        stsz: StszBox::Variable { entry_sizes: sizes },
        offsets,
        stss: (!all_key).then_some(StssBox { sample_numbers: keys }),
    })
}
