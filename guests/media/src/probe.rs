//! The last step of indexing: what only the streams themselves tell, of every video track.

use crate::{
    error::{MediaError, at_most},
    input::{Input, read_exact},
    limits::Limits,
    model::{Chroma, Codec, Colour, Index, Track, TrackKind, VideoInfo},
    syntax::{h264, hevc, nal, vp9, vui::Sequence},
};

/// Transfer characteristics of H.273 that mean high dynamic range.
const PQ: u8 = 16;
const HLG: u8 = 18;
/// Leading pictures looked at after the first random access point. Real streams have up to 16.
const LEADING_MAX: usize = 64;

/// Fills in sizes, depth and colour, and gives tracks that cannot be decoded the name of what
/// is in the way ([`Codec::Other`]).
///
/// # Errors
/// [`MediaError::OverLimit`] for pictures too large, [`MediaError::Damaged`] for broken headers.
pub(crate) fn complete(
    index: &mut Index,
    input: &dyn Input,
    limits: &Limits,
) -> Result<(), MediaError> {
    for track in &mut index.tracks {
        let done = match track.codec {
            Codec::H264 => h264_track(track, input, limits),
            Codec::Hevc => hevc_track(track, input, limits),
            Codec::Vp9 => vp9_track(track, input, limits),
            _ => continue,
        };
        match done {
            Err(MediaError::Unsupported { what }) => track.codec = Codec::Other(what),
            other => other?,
        }
    }
    Ok(())
}

/// The bytes of a sample, with its prefix.
pub(crate) fn read_sample(
    track: &Track,
    number: usize,
    input: &dyn Input,
    limits: &Limits,
) -> Result<Vec<u8>, MediaError> {
    let Some(sample) = track.samples.get(number) else { return Ok(Vec::new()) };
    at_most("bytes of one sample", u64::from(sample.size), limits.sample_bytes)?;
    let bytes = read_exact(input, sample.offset, sample.size as usize, "a sample")?;
    Ok(if track.prefix.is_empty() { bytes } else { [track.prefix.as_slice(), &bytes].concat() })
}

/// Hides what comes before the first random access point, and says where that is.
fn first_key(track: &mut Track) -> Result<usize, MediaError> {
    let first = track.samples.iter().position(|sample| sample.key);
    let first = first.ok_or_else(|| MediaError::damaged("the video has no key frame"))?;
    for sample in track.samples.iter_mut().take(first) {
        sample.shown = false;
    }
    Ok(first)
}

/// Samples after the first random access point that are presented before it.
fn leading(track: &Track, first: usize) -> Vec<usize> {
    let Some(start) = track.samples.get(first).map(|key| key.pts) else { return Vec::new() };
    let after = track.samples.iter().enumerate().skip(first + 1).take(LEADING_MAX);
    after.filter(|(_, sample)| sample.pts < start).map(|(number, _)| number).collect()
}

fn hide(track: &mut Track, number: usize) {
    if let Some(sample) = track.samples.get_mut(number) {
        sample.shown = false;
    }
}

fn h264_track(track: &mut Track, input: &dyn Input, limits: &Limits) -> Result<(), MediaError> {
    let config = h264::config(&track.config)?;
    let first = first_key(track)?;
    let key = read_sample(track, first, input, limits)?;
    let set = config.sets.iter().find(|unit| h264::kind(unit) == h264::SPS).cloned();
    let set = match set {
        Some(set) => set,
        None => in_band(&key, config.length_size, |unit| h264::kind(unit) == h264::SPS)?,
    };
    // Leading pictures of an open GOP refer to what is not there.
    for number in leading(track, first) {
        hide(track, number);
    }
    let (sequence, _) = h264::sequence(&set)?;
    describe(track, "H.264", &sequence, limits)
}

fn hevc_track(track: &mut Track, input: &dyn Input, limits: &Limits) -> Result<(), MediaError> {
    let config = hevc::config(&track.config)?;
    let first = first_key(track)?;
    let key = read_sample(track, first, input, limits)?;
    let is_set = |unit: &[u8]| hevc::kind(unit) == hevc::SPS && hevc::layer(unit) == 0;
    let set = match config.sets.iter().find(|unit| is_set(unit)).cloned() {
        Some(set) => set,
        None => in_band(&key, config.length_size, is_set)?,
    };
    for number in leading(track, first) {
        let sample = read_sample(track, number, input, limits)?;
        if hevc::slice_kind(&sample, config.length_size)?.is_some_and(hevc::is_skipped_leading) {
            hide(track, number);
        }
    }
    describe(track, "HEVC", &hevc::sequence(&set)?.sequence, limits)
}

fn vp9_track(track: &mut Track, input: &dyn Input, limits: &Limits) -> Result<(), MediaError> {
    let first = first_key(track)?;
    let key = read_sample(track, first, input, limits)?;
    let frame = vp9::frames(&key).into_iter().next().unwrap_or_default();
    let Some(intra) = vp9::header(frame)?.intra else {
        return Err(MediaError::damaged("the first VP9 frame is not a key frame"));
    };
    let samples = u64::from(intra.width) * u64::from(intra.height);
    at_most("luma samples of a picture", samples, limits.picture_samples)?;
    let info = VideoInfo {
        width: intra.width,
        height: intra.height,
        bit_depth: intra.bit_depth,
        chroma: intra.chroma,
        ..video(track)?.clone()
    };
    // VP9 has no word for the transfer, so the container's colour comes first.
    let container = info.colour.or_else(|| vp9::record_colour(&track.config));
    let colour = merged(container, Some(intra.colour));
    settle(track, info, None, colour, None)
}

fn in_band(
    sample: &[u8],
    length_size: usize,
    is_set: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, MediaError> {
    for unit in nal::units(sample, length_size) {
        let unit = unit?;
        if is_set(unit) {
            return Ok(unit.to_vec());
        }
    }
    Err(MediaError::damaged("the video has no parameter set"))
}

fn video(track: &Track) -> Result<&VideoInfo, MediaError> {
    track.video().ok_or_else(|| MediaError::damaged("a video codec in a sound track"))
}

/// Checks a parameter set against what the decoders do exactly, and the limits.
pub(crate) fn check(
    codec: &str,
    sequence: &Sequence,
    picture_samples: u64,
) -> Result<(u8, Chroma), MediaError> {
    let samples = u64::from(sequence.coded.0) * u64::from(sequence.coded.1);
    at_most("luma samples of a picture", samples, picture_samples)?;
    if !sequence.progressive {
        return Err(MediaError::unsupported(format!("interlaced {codec}")));
    }
    let depth = match sequence.bit_depth {
        8 => 8,
        10 => 10,
        other => return Err(MediaError::unsupported(format!("{codec} with {other} bits"))),
    };
    if sequence.chroma_bit_depth != sequence.bit_depth && sequence.chroma_idc != 0 {
        return Err(MediaError::unsupported(format!("{codec} with chroma of another depth")));
    }
    let chroma = match (codec, sequence.chroma_idc) {
        (_, 1) => Chroma::Yuv420,
        ("H.264", 2) => Chroma::Yuv422,
        ("HEVC", 3) => Chroma::Yuv444,
        (_, 0) => return Err(MediaError::unsupported(format!("monochrome {codec}"))),
        (_, 2) => return Err(MediaError::unsupported(format!("{codec} with 4:2:2 chroma"))),
        _ => return Err(MediaError::unsupported(format!("{codec} with 4:4:4 chroma"))),
    };
    Ok((depth, chroma))
}

fn describe(
    track: &mut Track,
    codec: &str,
    sequence: &Sequence,
    limits: &Limits,
) -> Result<(), MediaError> {
    let (bit_depth, chroma) = check(codec, sequence, limits.picture_samples)?;
    let info = VideoInfo {
        width: sequence.width,
        height: sequence.height,
        bit_depth,
        chroma,
        ..video(track)?.clone()
    };
    settle(track, info, sequence.pixel_aspect, sequence.colour, sequence.frame_rate)
}

/// Merges what the container says with what the stream says.
fn settle(
    track: &mut Track,
    mut info: VideoInfo,
    aspect: Option<(u32, u32)>,
    colour: Option<Colour>,
    rate: Option<(u32, u32)>,
) -> Result<(), MediaError> {
    let is_ratio = |&(a, b): &(u32, u32)| a != 0 && b != 0;
    let found = Some(info.pixel_aspect).filter(is_ratio).or(aspect.filter(is_ratio));
    info.pixel_aspect = found.map_or((1, 1), reduced);
    info.colour = merged(colour, info.colour);
    match info.colour.map(|colour| colour.transfer) {
        Some(PQ) => return Err(MediaError::unsupported("HDR (PQ)")),
        Some(HLG) => return Err(MediaError::unsupported("HDR (HLG)")),
        _ => {}
    }
    info.frame_rate =
        info.frame_rate.or(constant_rate(track)).or(rate).filter(is_ratio).map(reduced);
    track.kind = TrackKind::Video(info);
    Ok(())
}

/// The stream's colour, with the container's where the stream leaves it open.
fn merged(stream: Option<Colour>, container: Option<Colour>) -> Option<Colour> {
    let (Some(stream), Some(container)) = (stream, container) else {
        return stream.or(container);
    };
    let either = |ours: u8, theirs: u8| if ours == 2 || ours == 0 { theirs } else { ours };
    Some(Colour {
        primaries: either(stream.primaries, container.primaries),
        transfer: either(stream.transfer, container.transfer),
        matrix: either(stream.matrix, container.matrix),
        full_range: stream.full_range || container.full_range,
    })
}

/// The rate, if all samples but the last have the same duration.
fn constant_rate(track: &Track) -> Option<(u32, u32)> {
    let (_, before) = track.samples.split_last()?;
    let duration = before.first()?.duration;
    let constant = before.iter().all(|sample| sample.duration == duration) && duration != 0;
    constant.then_some((track.timescale, duration))
}

pub(crate) fn reduced((a, b): (u32, u32)) -> (u32, u32) {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1), b / x.max(1))
}
