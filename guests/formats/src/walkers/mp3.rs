//! MP3: ISO/IEC 11172-3 and 13818-3 (layers II and III), with ID3 and APE tags, and the tag with
//! the number of frames that Xing invented and LAME and FFmpeg write.
//!
//! What cannot be known: where that tag is missing, flipped bits in frames, and frames that are
//! missing at the end.

use crate::{
    checksum::CRC_16_LAME,
    input::Reader,
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

/// ID3v1: a tag of this size at the end.
const ID3V1_BYTES: u64 = 128;
/// APEv2: header and footer.
const APE_BYTES: u64 = 32;

/// A frame header (11172-3, 2.4.2.3) with what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Version, layer and rate: the same in all frames of a file.
    kind: (u8, u8, u8),
    mono: bool,
    bytes: usize,
}

impl FrameHeader {
    /// Layers II and III; `None` for bit patterns that are no header.
    fn parse(head: &[u8]) -> Option<Self> {
        let &[0xFF, second, third, fourth, ..] = head else { return None };
        let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
        let (rate, bits) = (third >> 2 & 3, usize::from(third >> 4));
        if second < 0xE0 || version == 1 || !matches!(layer, 1 | 2) || rate == 3 || fourth & 3 == 2
        {
            return None;
        }
        let first_version = version == 3;
        // Kilobits a second; 0 is the free format, which no encoder writes.
        const LAYER_2: [usize; 15] =
            [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384];
        const LAYER_3: [usize; 15] =
            [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
        const LOWER: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        let table = match (first_version, layer) {
            (true, 2) => LAYER_2,
            (true, _) => LAYER_3,
            (false, _) => LOWER,
        };
        let kilobits = *table.get(bits).filter(|kilobits| 0 < **kilobits)?;
        let full = *[44_100, 48_000, 32_000].get(usize::from(rate))?;
        let hertz = match version {
            3 => full,
            2 => full / 2,
            _ => full / 4,
        };
        // 1,152 samples of a frame are 144 bytes for each bit a sample; layer III of the lower
        // rates has half as many.
        let factor = if layer == 1 && !first_version { 72_000 } else { 144_000 };
        let padding = usize::from(third >> 1 & 1);
        let bytes = factor * kilobits / hertz + padding;
        Some(Self { kind: (version, layer, rate), mono: fourth >> 6 == 3, bytes })
    }

    /// Whether `head` begins with a frame and another of the same kind follows it.
    pub(crate) fn chained(head: &[u8]) -> bool {
        let Some(first) = Self::parse(head) else { return false };
        let next = head.get(first.bytes..).unwrap_or_default();
        next.is_empty() || Self::parse(next).is_some_and(|next| next.kind == first.kind)
    }
}

/// What the tag in the first frame promises.
#[derive(Debug, Default)]
struct Promise {
    frames: Option<u64>,
    bytes: Option<u64>,
    /// Length and CRC-16 of the music behind the first frame.
    music: Option<(u64, u16)>,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let start = id3v2(scan)?;
    let total = scan.len();
    let (mut at, mut frames, mut first) = (start, 0_u64, None);
    let mut promise = Promise::default();
    while at < total {
        let Some(header) = FrameHeader::parse(scan.reader.peek(at, 4)?) else { break };
        let bytes = header.bytes as u64;
        let cut = total < at + bytes;
        match first {
            None => {
                ensure(!cut, total, || "the first frame is cut off".to_owned())?;
                first = Some(header);
                promise = info_tag(scan, at, header)?;
                frames += u64::from(promise.frames.is_none());
            }
            Some(first) => {
                ensure(header.kind == first.kind, at, || "a frame of another kind".to_owned())?;
                ensure(!cut, total, || "the last frame is cut off".to_owned())?;
                frames += 1;
            }
        }
        scan.met(0, "frame", at, bytes)?;
        at += bytes;
        // What is promised tells the end from bytes that only look like another frame.
        if promise.frames == Some(frames) {
            break;
        }
    }
    ensure(first.is_some() && 0 < frames, at, || "there is no frame".to_owned())?;
    check(scan, &promise, start, at, frames)?;
    scan.fact("frames", frames);
    tags(scan, at)
}

/// Compares what was found with what was promised.
fn check(
    scan: &mut Scan<'_>,
    promise: &Promise,
    start: u64,
    end: u64,
    frames: u64,
) -> Result<(), Stop> {
    if let Some(promised) = promise.frames {
        ensure(frames == promised, end, || format!("{frames} of {promised} frames are there"))?;
    }
    if let Some(promised) = promise.bytes {
        let found = end - start;
        ensure(found == promised, end, || format!("{found} of {promised} bytes are there"))?;
    }
    if let Some((len, crc)) = promise.music {
        let first = FrameHeader::parse(scan.reader.peek(start, 4)?).map_or(0, |head| head.bytes);
        let (from, to) = (start + first as u64, start.saturating_add(len));
        let mut digest = CRC_16_LAME.digest();
        ensure(from <= to && to <= end, end, || "the music is shorter than promised".to_owned())?;
        scan.reader.feed(from, to, "music", |piece| digest.update(piece))?;
        ensure(digest.finalize() == crc, from, || "the CRC of the music is wrong".to_owned())?;
        scan.proved(0, "music", from, to - from)?;
    }
    Ok(())
}

/// ID3v2.4.0, 3.1: a size in 4 times 7 bits, and perhaps a footer of 10 bytes.
fn id3v2(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let mut at = 0;
    while scan.reader.peek(at, 3)? == b"ID3" {
        let head = scan.reader.bytes(at, 10, "the tag")?;
        let &[_, _, _, version, _, flags, s0, s1, s2, s3] = head else {
            return Err(invalid(at, "the tag is cut off"));
        };
        let size = [s0, s1, s2, s3];
        let plain = size.iter().all(|byte| byte & 0x80 == 0);
        ensure(plain && (2..=4).contains(&version), at, || "the tag cannot be read".to_owned())?;
        let bytes = size.iter().fold(0, |value, byte| value << 7 | u64::from(*byte));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        let end = at + 10 + bytes + footer;
        let total = scan.len();
        ensure(end <= total, total, || "the tag is cut off".to_owned())?;
        scan.met(0, "ID3v2", at, end - at)?;
        at = end;
    }
    Ok(at)
}

/// The tag in place of the first frame's sound: Xing's fields, then LAME's 36 bytes.
fn info_tag(scan: &mut Scan<'_>, frame: u64, header: FrameHeader) -> Result<Promise, Stop> {
    // Behind the header and the side information (2.4.1.7).
    let side = match (header.kind.0 == 3, header.mono) {
        (true, false) => 32,
        (true, true) | (false, false) => 17,
        (false, true) => 9,
    };
    let tag = 4 + side;
    let body = scan.reader.bytes(frame, header.bytes, "the first frame")?.to_vec();
    let field = |at: usize| {
        let found = body.get(at..at + 4)?;
        found.try_into().ok().map(u32::from_be_bytes)
    };
    let mut promise = Promise::default();
    if !matches!(body.get(tag..tag + 4), Some(b"Xing" | b"Info")) {
        return Ok(promise);
    }
    let flags = field(tag + 4).unwrap_or(0);
    let mut at = tag + 8;
    if flags & 1 != 0 {
        promise.frames = field(at).map(u64::from);
        at += 4;
    }
    if flags & 2 != 0 {
        promise.bytes = field(at).map(u64::from);
        at += 4;
    }
    at += if flags & 4 != 0 { 100 } else { 0 };
    at += if flags & 8 != 0 { 4 } else { 0 };
    let named = body.get(at..at + 4);
    let Some(b"LAME" | b"Lavf" | b"Lavc") = named else { return Ok(promise) };
    let Some((covered, rest)) = body.split_at_checked(at + 34) else { return Ok(promise) };
    let stated =
        rest.get(..2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
    if stated != 0 {
        // FFmpeg always sums 190 bytes, as if the tag were that of stereo at a full rate; the sum
        // itself, and what lies behind a shorter frame, is zero then (mp3enc.c, mp3_update_xing).
        let mut all = body.clone();
        all.iter_mut().skip(at + 34).take(2).for_each(|byte| *byte = 0);
        all.resize(190, 0);
        let by_ffmpeg = CRC_16_LAME.checksum(&all);
        let agrees = CRC_16_LAME.checksum(covered) == stated || by_ffmpeg == stated;
        ensure(agrees, frame, || "the CRC of the first frame's tag is wrong".to_owned())?;
        // Without its names and flags nothing would tell that there is a sum.
        for (from, to) in [(tag + 8, at), (at + 4, at + 36)] {
            scan.proved(1, "info tag", frame + from as u64, (to - from) as u64)?;
        }
        let len = field(at + 28).map(u64::from);
        let crc = field(at + 30).map(|word| (word & 0xFFFF) as u16);
        promise.music = len.zip(crc).filter(|(len, crc)| 0 < *len && *crc != 0);
    }
    Ok(promise)
}

/// Where an ID3v1 tag at the end begins.
pub(super) fn id3v1_start(reader: &mut Reader<'_>) -> Result<Option<u64>, Stop> {
    let Some(at) = reader.len().checked_sub(ID3V1_BYTES) else { return Ok(None) };
    Ok((reader.peek(at, 3)? == b"TAG").then_some(at))
}

/// Walks the tags behind the last frame; gives their end.
fn tags(scan: &mut Scan<'_>, start: u64) -> Result<u64, Stop> {
    let mut at = start;
    if scan.reader.peek(at, 8)? == b"APETAGEX" {
        // The size counts all but the header (APEv2, tag header).
        let size = u64::from(scan.reader.u32_le(at + 12, "the tag")?);
        let (end, total) = (at + APE_BYTES + size, scan.len());
        ensure(end <= total, total, || "the tag is cut off".to_owned())?;
        scan.met(0, "APEv2", at, end - at)?;
        at = end;
    }
    if scan.reader.peek(at, 3)? == b"TAG" && scan.len() == at + ID3V1_BYTES {
        scan.met(0, "ID3v1", at, ID3V1_BYTES)?;
        at += ID3V1_BYTES;
    }
    Ok(at)
}
