//! `Tracks`: what each track is (RFC 9559, section 5.1.4).

use super::ebml::{elements, float, text, unsigned};
use crate::{
    error::{MediaError, at_most},
    limits::Limits,
    model::{AudioInfo, Chroma, Codec, Colour, Edit, Rotation, Track, TrackKind, VideoInfo},
    probe::reduced,
};

/// Ticks a second of sound tracks: nanoseconds, so that codec delays stay exact.
const NANOSECONDS: u32 = 1_000_000_000;

/// A track and what the blocks need to know of it.
pub(super) struct Entry {
    pub(super) track: Track,
    /// Nanoseconds a frame, where the file says so.
    pub(super) default_duration: Option<u64>,
    /// Nanoseconds to take off each time stamp.
    pub(super) delay: u64,
}

/// Fields of a `TrackEntry`, before they are judged.
#[derive(Default)]
struct Fields {
    number: u64,
    kind: u64,
    disabled: bool,
    not_default: bool,
    default_duration: Option<u64>,
    language: Option<String>,
    codec: String,
    config: Vec<u8>,
    delay: u64,
    video: Option<VideoInfo>,
    interlaced: bool,
    audio: Option<AudioInfo>,
    prefix: Vec<u8>,
    /// What was done to the samples that we cannot undo.
    coded: Option<&'static str>,
}

/// Reads all tracks; `ticks` is the time scale of video tracks.
pub(super) fn parse(body: &[u8], ticks: u32, limits: &Limits) -> Result<Vec<Entry>, MediaError> {
    const TRACK_ENTRY: u32 = 0xAE;
    let mut tracks = Vec::new();
    for found in elements(body) {
        let (id, body) = found?;
        if id == TRACK_ENTRY {
            at_most("tracks", tracks.len() as u64 + 1, limits.tracks)?;
            tracks.extend(entry(fields(body)?, ticks));
        }
    }
    Ok(tracks)
}

fn fields(body: &[u8]) -> Result<Fields, MediaError> {
    let mut fields = Fields::default();
    for found in elements(body) {
        let (id, body) = found?;
        match id {
            0xD7 => fields.number = unsigned(body)?,
            0x83 => fields.kind = unsigned(body)?,
            0xB9 => fields.disabled = unsigned(body)? == 0,
            0x88 => fields.not_default = unsigned(body)? == 0,
            0x23_E383 => fields.default_duration = Some(unsigned(body)?).filter(|&ns| ns != 0),
            0x22_B59C if fields.language.is_none() => fields.language = Some(text(body)),
            0x22_B59D => fields.language = Some(text(body)),
            0x86 => fields.codec = text(body),
            0x63A2 => fields.config = body.to_vec(),
            0x56AA => fields.delay = unsigned(body)?,
            0xE0 => video(body, &mut fields)?,
            0xE1 => fields.audio = Some(audio(body)?),
            0x6D80 => encodings(body, &mut fields)?,
            _ => {}
        }
    }
    Ok(fields)
}

/// A track of sound or pictures; nothing for other kinds.
fn entry(fields: Fields, ticks: u32) -> Option<Entry> {
    let (kind, timescale) = match (fields.kind, fields.video, fields.audio) {
        (1, Some(mut info), _) => {
            let rate = fields.default_duration.and_then(|ns| u32::try_from(ns).ok());
            info.frame_rate = rate.map(|ns| reduced((NANOSECONDS, ns)));
            (TrackKind::Video(info), ticks)
        }
        (2, _, Some(info)) => (TrackKind::Audio(info), NANOSECONDS),
        _ => return None,
    };
    let mut codec = match fields.codec.as_str() {
        "V_MPEG4/ISO/AVC" => Codec::H264,
        "V_MPEGH/ISO/HEVC" => Codec::Hevc,
        "V_VP9" => Codec::Vp9,
        "A_OPUS" => Codec::Opus,
        "A_AAC" => Codec::Aac,
        other => Codec::Other(name(other)),
    };
    if let Some(coded) = fields.coded {
        codec = Codec::Other(coded.into());
    } else if fields.interlaced && !matches!(codec, Codec::Other(_)) {
        codec = Codec::Other("interlaced".into());
    }
    // The format's default is English; what was left undetermined on purpose says so.
    let language = fields.language.unwrap_or_else(|| "eng".into());
    let track = Track {
        id: fields.number,
        kind,
        codec,
        config: fields.config,
        timescale,
        samples: Vec::new(),
        language: (language != "und" && !language.is_empty()).then_some(language),
        default: !fields.disabled && !fields.not_default,
        edit: Edit::default(),
        prefix: fields.prefix,
    };
    Some(Entry { track, default_duration: fields.default_duration, delay: fields.delay })
}

fn name(codec: &str) -> String {
    match codec {
        "V_AV1" => "AV1".into(),
        "V_VP8" => "VP8".into(),
        "V_MPEG2" | "V_MPEG1" => "MPEG-2".into(),
        "V_PRORES" => "ProRes".into(),
        "V_THEORA" => "Theora".into(),
        "V_FFV1" => "FFV1".into(),
        "V_MS/VFW/FOURCC" => "Video for Windows".into(),
        "A_AC3" => "AC-3".into(),
        "A_EAC3" => "E-AC-3".into(),
        "A_DTS" => "DTS".into(),
        "A_FLAC" => "FLAC".into(),
        "A_VORBIS" => "Vorbis".into(),
        "A_MPEG/L3" => "MP3".into(),
        "A_PCM/INT/LIT" | "A_PCM/INT/BIG" | "A_PCM/FLOAT/IEEE" => "PCM".into(),
        "A_TRUEHD" => "TrueHD".into(),
        other if other.starts_with("V_MPEG4/ISO/") => "MPEG-4 Part 2".into(),
        other => other.chars().filter(|c| c.is_ascii_graphic()).take(40).collect(),
    }
}

fn video(body: &[u8], fields: &mut Fields) -> Result<(), MediaError> {
    let (mut width, mut height) = (0, 0);
    let (mut display_width, mut display_height, mut unit) = (0, 0, 0);
    let (mut colour, mut rotation) = (None, Rotation::default());
    for found in elements(body) {
        let (id, body) = found?;
        match id {
            0x9A => fields.interlaced = unsigned(body)? == 1,
            0xB0 => width = unsigned(body)?,
            0xBA => height = unsigned(body)?,
            0x54B0 => display_width = unsigned(body)?,
            0x54BA => display_height = unsigned(body)?,
            0x54B2 => unit = unsigned(body)?,
            0x55B0 => colour = Some(colours(body)?),
            0x7670 => rotation = projection(body)?,
            _ => {}
        }
    }
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    // Units 0 to 3 are pixels, centimetres, inches and an aspect ratio: a ratio each.
    let pixel_aspect =
        if unit <= 3 { aspect([display_width, display_height, width, height]) } else { (0, 0) };
    fields.video = Some(VideoInfo {
        width: small(width),
        height: small(height),
        rotation,
        pixel_aspect,
        colour,
        bit_depth: 8,
        chroma: Chroma::Yuv420,
        frame_rate: None,
    });
    Ok(())
}

/// (display width × height) : (display height × width), or (0, 0) where it is not given.
fn aspect([display_width, display_height, width, height]: [u64; 4]) -> (u32, u32) {
    let products = display_width.checked_mul(height).zip(display_height.checked_mul(width));
    let Some((mut a, mut b)) = products.filter(|&(a, b)| a != 0 && b != 0) else { return (0, 0) };
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a, b) = (a / x, b / x);
    u32::try_from(a).ok().zip(u32::try_from(b).ok()).unwrap_or((0, 0))
}

fn colours(body: &[u8]) -> Result<Colour, MediaError> {
    let mut colour = Colour { primaries: 2, transfer: 2, matrix: 2, full_range: false };
    for found in elements(body) {
        let (id, body) = found?;
        let code = |body| unsigned(body).map(|code| u8::try_from(code).unwrap_or(2));
        match id {
            0x55B1 => colour.matrix = code(body)?,
            0x55B9 => colour.full_range = unsigned(body)? == 2,
            0x55BA => colour.transfer = code(body)?,
            0x55BB => colour.primaries = code(body)?,
            _ => {}
        }
    }
    Ok(colour)
}

/// The roll of a flat projection, which is counter-clockwise.
fn projection(body: &[u8]) -> Result<Rotation, MediaError> {
    let (mut kind, mut roll) = (0, 0.0);
    for found in elements(body) {
        let (id, body) = found?;
        match id {
            0x7671 => kind = unsigned(body)?,
            0x7675 => roll = float(body),
            _ => {}
        }
    }
    let degrees = match (-roll).rem_euclid(360.0) {
        turn if (45.0..135.0).contains(&turn) => 90,
        turn if (135.0..225.0).contains(&turn) => 180,
        turn if (225.0..315.0).contains(&turn) => 270,
        _ => 0,
    };
    Ok(Rotation { degrees: if kind == 0 { degrees } else { 0 }, mirrored: false })
}

fn audio(body: &[u8]) -> Result<AudioInfo, MediaError> {
    let (mut rate, mut output, mut channels) = (8000.0, 0.0, 1);
    for found in elements(body) {
        let (id, body) = found?;
        match id {
            0xB5 => rate = float(body),
            0x78B5 => output = float(body),
            0x9F => channels = unsigned(body)?,
            _ => {}
        }
    }
    let rate = if 0.0 < output { output } else { rate };
    // In range, so that the cast does not cut.
    let sample_rate = if (1.0..1_000_000.0).contains(&rate) { rate.round() as u32 } else { 0 };
    Ok(AudioInfo { sample_rate, channels: u32::try_from(channels).unwrap_or(u32::MAX) })
}

fn encodings(body: &[u8], fields: &mut Fields) -> Result<(), MediaError> {
    for found in elements(body) {
        let (id, body) = found?;
        if id == 0x6240 {
            encoding(body, fields)?;
        }
    }
    Ok(())
}

fn encoding(body: &[u8], fields: &mut Fields) -> Result<(), MediaError> {
    const FRAMES: u64 = 1;
    const HEADER_STRIPPING: u64 = 3;
    let (mut scope, mut kind) = (FRAMES, 0);
    let (mut method, mut settings) = (0, Vec::new());
    for found in elements(body) {
        let (id, body) = found?;
        match id {
            0x5032 => scope = unsigned(body)?,
            0x5033 => kind = unsigned(body)?,
            0x5034 => {
                for found in elements(body) {
                    let (id, body) = found?;
                    match id {
                        0x4254 => method = unsigned(body)?,
                        0x4255 => settings = body.to_vec(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if scope & FRAMES == 0 {
        return Ok(());
    }
    if kind != 0 {
        fields.coded = Some("encrypted");
    } else if method != HEADER_STRIPPING || !fields.prefix.is_empty() {
        fields.coded = Some("compressed (inside Matroska)");
    } else {
        at_most("bytes before each sample", settings.len() as u64, 4096)?;
        fields.prefix = settings;
    }
    Ok(())
}
