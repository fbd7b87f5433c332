//! `stsd`: how a track is coded. Only the first description counts; the tables refuse others.

use super::boxes::{Boxes, FourCc, full, name};
use crate::{
    bytes::Bytes,
    error::MediaError,
    model::{AudioInfo, Chroma, Codec, Colour, Rotation, TrackKind, VideoInfo},
    syntax::opus,
};

/// A sample description.
pub(super) struct Entry {
    pub(super) kind: TrackKind,
    pub(super) codec: Codec,
    pub(super) config: Vec<u8>,
}

pub(super) fn parse(stsd: &[u8], is_video: bool) -> Result<Entry, MediaError> {
    let mut bytes = full(stsd)?.2;
    if bytes.u32()? == 0 {
        return Err(MediaError::damaged("a track without a sample description"));
    }
    let (kind, body) = Boxes::new(bytes.rest())
        .next()
        .unwrap_or_else(|| Err(MediaError::damaged("a track without a sample description")))?;
    if is_video { video(kind, body) } else { audio(kind, body) }
}

fn video(kind: FourCc, body: &[u8]) -> Result<Entry, MediaError> {
    let mut bytes = Bytes::new(body);
    bytes.skip(24)?;
    let (width, height) = (u32::from(bytes.u16()?), u32::from(bytes.u16()?));
    bytes.skip(50)?;
    let inner = Boxes::new(bytes.rest());
    let (codec, record): (Codec, Option<&FourCc>) = match &kind {
        b"avc1" | b"avc3" => (Codec::H264, Some(b"avcC")),
        b"hvc1" | b"hev1" => (Codec::Hevc, Some(b"hvcC")),
        b"vp09" => (Codec::Vp9, None),
        _ => (Codec::Other(video_name(kind)), None),
    };
    let config = match (&codec, record) {
        (_, Some(record)) => inner.need(record)?.to_vec(),
        (Codec::Vp9, _) => inner.find(b"vpcC")?.map(<[u8]>::to_vec).unwrap_or_default(),
        _ => Vec::new(),
    };
    let known = !matches!(codec, Codec::Other(_));
    let codec = if known && interlaced(inner)? { Codec::Other("interlaced".into()) } else { codec };
    let (pixel_aspect, colour) =
        if known { (pixel_aspect(inner)?, colour(inner)?) } else { ((1, 1), None) };
    let info = VideoInfo {
        width,
        height,
        rotation: Rotation::default(),
        pixel_aspect,
        colour,
        bit_depth: 8,
        chroma: Chroma::Yuv420,
        frame_rate: None,
    };
    Ok(Entry { kind: TrackKind::Video(info), codec, config })
}

/// `fiel`, QuickTime's note of fields.
fn interlaced(inner: Boxes<'_>) -> Result<bool, MediaError> {
    Ok(inner.find(b"fiel")?.is_some_and(|body| body.first() == Some(&2)))
}

/// `pasp`; (0, 0) where there is none, so that the stream's own counts.
fn pixel_aspect(inner: Boxes<'_>) -> Result<(u32, u32), MediaError> {
    let Some(body) = inner.find(b"pasp")? else { return Ok((0, 0)) };
    let mut bytes = Bytes::new(body);
    Ok((bytes.u32()?, bytes.u32()?))
}

/// `colr` with code points; ICC profiles are left out.
fn colour(inner: Boxes<'_>) -> Result<Option<Colour>, MediaError> {
    let Some(body) = inner.find(b"colr")? else { return Ok(None) };
    let mut bytes = Bytes::new(body);
    let kind = bytes.fourcc()?;
    if kind != *b"nclx" && kind != *b"nclc" {
        return Ok(None);
    }
    let [primaries, transfer, matrix] =
        [bytes.u16()?, bytes.u16()?, bytes.u16()?].map(|code| u8::try_from(code).unwrap_or(2));
    let full_range = kind == *b"nclx" && bytes.u8()? & 0x80 != 0;
    Ok(Some(Colour { primaries, transfer, matrix, full_range }))
}

fn video_name(kind: FourCc) -> String {
    match &kind {
        b"av01" => "AV1".into(),
        b"apcn" | b"apch" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes".into(),
        b"mp4v" => "MPEG-4 Part 2".into(),
        b"encv" => "encrypted".into(),
        b"dvh1" | b"dvhe" | b"dva1" | b"dvav" => "Dolby Vision".into(),
        b"vp08" => "VP8".into(),
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG".into(),
        b"s263" | b"h263" => "H.263".into(),
        b"AVdn" => "DNxHD".into(),
        b"CFHD" => "CineForm".into(),
        b"vvc1" | b"vvi1" => "VVC".into(),
        _ => name(kind),
    }
}

fn audio(kind: FourCc, body: &[u8]) -> Result<Entry, MediaError> {
    let mut bytes = Bytes::new(body);
    bytes.skip(8)?;
    let version = bytes.u16()?;
    bytes.skip(6)?;
    let channels = u32::from(bytes.u16()?);
    bytes.skip(6)?;
    let sample_rate = bytes.u32()? >> 16;
    // QuickTime's longer forms; in MP4 the version is 0.
    bytes.skip(match version {
        1 => 16,
        2 => 36,
        _ => 0,
    })?;
    let inner = Boxes::new(bytes.rest());
    let mut entry = Entry {
        kind: TrackKind::Audio(AudioInfo { sample_rate, channels }),
        codec: Codec::Other(audio_name(kind)),
        config: Vec::new(),
    };
    match &kind {
        b"mp4a" => {
            let descriptor = match inner.find(b"esds")? {
                Some(body) => Some(body),
                None => match inner.find(b"wave")? {
                    Some(wave) => Boxes::new(wave).find(b"esds")?,
                    None => None,
                },
            };
            if let Some(body) = descriptor {
                (entry.codec, entry.config) = elementary_stream(body)?;
            }
        }
        b"Opus" => {
            entry.codec = Codec::Opus;
            entry.config = opus::head_from_dops(inner.need(b"dOps")?)?;
        }
        _ => {}
    }
    Ok(entry)
}

fn audio_name(kind: FourCc) -> String {
    match &kind {
        b"mp4a" => "MPEG-4 audio without a description".into(),
        b"ac-3" => "AC-3".into(),
        b"ec-3" => "E-AC-3".into(),
        b"ac-4" => "AC-4".into(),
        b"alac" => "ALAC".into(),
        b"fLaC" => "FLAC".into(),
        b".mp3" => "MP3".into(),
        b"lpcm" | b"sowt" | b"twos" | b"in24" | b"in32" | b"fl32" | b"ipcm" => "PCM".into(),
        b"samr" | b"sawb" => "AMR".into(),
        b"enca" => "encrypted".into(),
        _ => name(kind),
    }
}

/// `esds` (ISO/IEC 14496-1, 7.2.6): the object type, and AAC's AudioSpecificConfig.
fn elementary_stream(body: &[u8]) -> Result<(Codec, Vec<u8>), MediaError> {
    let mut bytes = descriptor(&mut full(body)?.2, 3)?;
    bytes.skip(2)?;
    let flags = bytes.u8()?;
    if flags & 0x80 != 0 {
        bytes.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let len = bytes.u8()?;
        bytes.skip(usize::from(len))?;
    }
    if flags & 0x20 != 0 {
        bytes.skip(2)?;
    }
    let mut decoder = descriptor(&mut bytes, 4)?;
    let object = decoder.u8()?;
    decoder.skip(12)?;
    Ok(match object {
        0x40 | 0x66..=0x68 => (Codec::Aac, descriptor(&mut decoder, 5)?.rest().to_vec()),
        0x69 | 0x6B => (Codec::Other("MP3".into()), Vec::new()),
        0xA5 => (Codec::Other("AC-3".into()), Vec::new()),
        0xA6 => (Codec::Other("E-AC-3".into()), Vec::new()),
        0xA9 => (Codec::Other("DTS".into()), Vec::new()),
        0xDD => (Codec::Other("Vorbis".into()), Vec::new()),
        other => (Codec::Other(format!("MPEG-4 object type {other:#x}")), Vec::new()),
    })
}

/// The body of the next descriptor, which must have this tag. Others before it are skipped.
fn descriptor<'a>(bytes: &mut Bytes<'a>, tag: u8) -> Result<Bytes<'a>, MediaError> {
    loop {
        let found = bytes.u8()?;
        let mut len = 0_usize;
        for _ in 0..4 {
            let byte = bytes.u8()?;
            len = len << 7 | usize::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                break;
            }
        }
        // Writers are careless with this length; what is there is what counts.
        let body = bytes.take(len.min(bytes.rest().len()))?;
        if found == tag {
            return Ok(Bytes::new(body));
        }
    }
}
