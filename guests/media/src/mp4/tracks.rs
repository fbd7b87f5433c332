//! `moov`: the movie's tracks, gathered with their fragments and finished into the index.

use std::collections::BTreeMap;

use super::{
    boxes::{Boxes, full},
    edits::{self, Segment},
    entry::{self, Entry},
    tables,
};
use crate::{
    bytes::Bytes,
    error::{MediaError, at_most},
    limits::Limits,
    model::{Rotation, Sample, Track, TrackKind},
};

/// What `trex` says about the samples of a track's fragments where they do not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Defaults {
    pub(super) description: u32,
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// A track while it is being gathered. Its samples' `pts` is their composition time until
/// [`Movie::finish`].
pub(super) struct Gathered {
    pub(super) id: u32,
    entry: Entry,
    timescale: u32,
    language: Option<String>,
    enabled: bool,
    rotation: Rotation,
    edits: Vec<Segment>,
    pub(super) samples: Vec<Sample>,
    pub(super) defaults: Defaults,
    /// Decode time of the next fragment without a `tfdt`.
    pub(super) next_dts: i64,
}

/// A movie while it is being gathered.
pub(super) struct Movie {
    pub(super) tracks: Vec<Gathered>,
    /// Samples of all tracks, for the limit.
    pub(super) samples: u64,
}

impl Movie {
    pub(super) fn parse(moov: &[u8], limits: &Limits) -> Result<Self, MediaError> {
        let (version, _, mut header) = full(Boxes::new(moov).need(b"mvhd")?)?;
        header.skip(if version == 1 { 16 } else { 8 })?;
        let movie_scale = header.u32()?;
        let mut movie = Self { tracks: Vec::new(), samples: 0 };
        let mut count = 0;
        for found in Boxes::new(moov) {
            let (kind, body) = found?;
            if kind == *b"trak" {
                count += 1;
                at_most("tracks", count, limits.tracks)?;
                let room = limits.samples - movie.samples;
                if let Some(track) = parse_track(body, movie_scale, room, limits)? {
                    movie.samples += track.samples.len() as u64;
                    movie.tracks.push(track);
                }
            } else if kind == *b"cmov" {
                return Err(MediaError::unsupported("a compressed QuickTime header"));
            }
        }
        if let Some(extends) = Boxes::new(moov).find(b"mvex")? {
            let defaults = parse_defaults(extends)?;
            for track in &mut movie.tracks {
                track.defaults = defaults.get(&track.id).copied().unwrap_or_default();
            }
        }
        Ok(movie)
    }

    /// Applies the edit lists and checks that every sample lies in the file.
    pub(super) fn finish(self, file_len: u64) -> Result<Vec<Track>, MediaError> {
        self.tracks.into_iter().map(|track| track.finish(file_len)).collect()
    }
}

impl Gathered {
    fn finish(mut self, file_len: u64) -> Result<Track, MediaError> {
        for sample in &self.samples {
            let end = sample.offset.checked_add(u64::from(sample.size));
            if end.is_none_or(|end| file_len < end) {
                return Err(MediaError::damaged_at(
                    "a sample lies past the end: the upload is incomplete",
                    sample.offset,
                ));
            }
        }
        let mut entry = self.entry;
        let edit = match &mut entry.kind {
            TrackKind::Video(info) => {
                info.rotation = self.rotation;
                edits::apply_to_video(&self.edits, &mut self.samples)?
            }
            TrackKind::Audio(_) => edits::apply_to_audio(&self.edits, &mut self.samples)?,
        };
        Ok(Track {
            id: u64::from(self.id),
            kind: entry.kind,
            codec: entry.codec,
            config: entry.config,
            timescale: self.timescale,
            samples: self.samples,
            language: self.language,
            default: self.enabled,
            edit,
            prefix: Vec::new(),
        })
    }
}

/// A track of sound or pictures; nothing for other kinds (subtitles, time code, chapters).
fn parse_track(
    trak: &[u8],
    movie_scale: u32,
    samples_max: u64,
    limits: &Limits,
) -> Result<Option<Gathered>, MediaError> {
    let media = Boxes::new(Boxes::new(trak).need(b"mdia")?);
    let (_, _, mut handler) = full(media.need(b"hdlr")?)?;
    handler.skip(4)?;
    let is_video = match &handler.fourcc()? {
        b"vide" => true,
        b"soun" => false,
        _ => return Ok(None),
    };
    let (id, enabled, rotation) = parse_header(Boxes::new(trak).need(b"tkhd")?)?;
    let (timescale, language) = parse_media_header(media.need(b"mdhd")?)?;
    let table = Boxes::new(Boxes::new(media.need(b"minf")?).need(b"stbl")?);
    let entry = entry::parse(table.need(b"stsd")?, is_video)?;
    let samples = tables::samples(table, samples_max, limits)?;
    let edits = match Boxes::new(trak).find(b"edts")? {
        Some(edts) => match Boxes::new(edts).find(b"elst")? {
            Some(list) => edits::parse(list, movie_scale, timescale)?,
            None => Vec::new(),
        },
        None => Vec::new(),
    };
    let next_dts =
        samples.last().map_or(0, |last| last.dts.saturating_add(i64::from(last.duration)));
    Ok(Some(Gathered {
        id,
        entry,
        timescale,
        language,
        enabled,
        rotation,
        edits,
        samples,
        defaults: Defaults::default(),
        next_dts,
    }))
}

/// `tkhd`: number, whether it is enabled, and the matrix's rotation.
fn parse_header(body: &[u8]) -> Result<(u32, bool, Rotation), MediaError> {
    let (version, flags, mut bytes) = full(body)?;
    bytes.skip(if version == 1 { 16 } else { 8 })?;
    let id = bytes.u32()?;
    // Reserved, duration, reserved, layer, alternate group, volume, reserved.
    bytes.skip(4 + if version == 1 { 8 } else { 4 } + 8 + 8)?;
    let mut matrix = [0_i32; 9];
    for value in &mut matrix {
        *value = bytes.i32()?;
    }
    let [a, b, _, c, d, ..] = matrix;
    Ok((id, flags & 1 == 1, rotation(a, b, c, d)))
}

/// The nearest of the eight ways to lay a picture, from the 16.16 matrix that maps a point to
/// (ax + cy, bx + dy), y downwards.
fn rotation(a: i32, b: i32, c: i32, d: i32) -> Rotation {
    let [a, b, c, d] = [a, b, c, d].map(i64::from);
    let mirrored = a * d - b * c < 0;
    // Mirroring comes first and turns x around, so the first column is undone.
    let (a, b) = if mirrored { (-a, -b) } else { (a, b) };
    let degrees = if a.abs() < b.abs() {
        if 0 < b { 90 } else { 270 }
    } else if a < 0 {
        180
    } else {
        0
    };
    Rotation { degrees, mirrored }
}

/// `mdhd`: time scale and language.
fn parse_media_header(body: &[u8]) -> Result<(u32, Option<String>), MediaError> {
    let (version, _, mut bytes) = full(body)?;
    bytes.skip(if version == 1 { 16 } else { 8 })?;
    let timescale = bytes.u32()?;
    if timescale == 0 {
        return Err(MediaError::damaged("a track's time scale is 0"));
    }
    bytes.skip(if version == 1 { 8 } else { 4 })?;
    Ok((timescale, bytes.u16().ok().and_then(language)))
}

/// Three letters of five bits each; values under 0x400 are Macintosh codes, which we leave out.
fn language(packed: u16) -> Option<String> {
    let letters: String = [packed >> 10, packed >> 5, packed]
        .into_iter()
        .filter_map(|letter| u8::try_from(letter & 31).ok())
        .map(|letter| char::from(letter + 0x60))
        .collect();
    (0x400 <= packed && letters != "und" && letters.chars().all(|c| c.is_ascii_lowercase()))
        .then_some(letters)
}

fn parse_defaults(mvex: &[u8]) -> Result<BTreeMap<u32, Defaults>, MediaError> {
    let mut defaults = BTreeMap::new();
    for found in Boxes::new(mvex) {
        let (kind, body) = found?;
        if kind == *b"trex" {
            let mut bytes: Bytes<'_> = full(body)?.2;
            let id = bytes.u32()?;
            let [description, duration, size, flags] =
                [bytes.u32()?, bytes.u32()?, bytes.u32()?, bytes.u32()?];
            defaults.insert(id, Defaults { description, duration, size, flags });
        }
    }
    Ok(defaults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_become_rotations() {
        let check = |a, b, c, d| {
            let found = rotation(a, b, c, d);
            (found.degrees, found.mirrored)
        };
        assert_eq!(check(65536, 0, 0, 65536), (0, false));
        assert_eq!(check(0, 65536, -65536, 0), (90, false));
        assert_eq!(check(-65536, 0, 0, -65536), (180, false));
        assert_eq!(check(0, -65536, 65536, 0), (270, false));
        assert_eq!(check(-65536, 0, 0, 65536), (0, true));
        // Mirrored top to bottom is mirrored left to right, then upside down.
        assert_eq!(check(65536, 0, 0, -65536), (180, true));
        assert_eq!(check(i32::MIN, i32::MIN, i32::MIN, i32::MAX), (0, true));
    }

    #[test]
    fn languages_are_three_letters() {
        assert_eq!(language(0x15C7), Some("eng".into()));
        assert_eq!(language(0x55C4), None, "und");
        assert_eq!(language(0), None, "Macintosh English");
        assert_eq!(language(0x7FFF), None);
    }
}
