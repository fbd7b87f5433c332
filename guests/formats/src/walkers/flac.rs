//! FLAC: RFC 9639, with an ID3v1 or ID3v2 tag around it.
//!
//! Frames do not say how long they are: one ends where the next header fits and the CRC-16 over
//! all of its bytes comes out at zero. What cannot be known: flipped bits in metadata, and the MD5
//! of the samples, which only a decoder can compute; and up to two zero bytes behind the last
//! frame, with which the sum stays zero: they may be the CRC-16 itself.

use crate::{
    checksum::{CRC_8_FLAC, CRC_16_FLAC},
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

/// Section 8.1: header of a metadata block.
const BLOCK_HEAD_BYTES: u64 = 4;
/// Section 9.1: the longest frame header.
const FRAME_HEAD_BYTES: usize = 16;
/// Most bytes of one frame: a block of 65,535 samples in 8 channels of 32 bits, verbatim.
const FRAME_BYTES_MAX: u64 = 4 << 20;

/// Zero bytes at the end of a frame that may be its CRC-16.
const ZEROS_MAX: u64 = 2;

/// The parts of STREAMINFO (section 8.2) that frames are compared with.
#[derive(Debug, Clone, Copy)]
struct StreamInfo {
    block_max: u16,
    samples: u64,
}

/// A frame header (section 9.1) whose CRC-8 agrees.
#[derive(Debug, Clone, Copy)]
struct FrameHeader {
    variable: bool,
    samples: u32,
    /// Number of the frame, or with variable block sizes of its first sample.
    number: u64,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let (info, start) = metadata(scan)?;
    let total = scan.len();
    let tag = super::mp3::id3v1_start(&mut scan.reader)?.unwrap_or(total);
    let (mut at, mut frames, mut samples) = (start, 0_u64, 0_u64);
    while at < tag {
        let header = frame_header(scan, at)?;
        let header = header.ok_or_else(|| invalid(at, "no frame begins here"))?;
        let expected = if header.variable { samples } else { frames };
        ensure(header.number == expected, at, || {
            format!("frame {} instead of {expected}", header.number)
        })?;
        ensure(header.samples <= u32::from(info.block_max), at, || {
            format!("a frame of {} samples", header.samples)
        })?;
        samples += u64::from(header.samples);
        frames += 1;
        let last = info.samples != 0 && info.samples <= samples;
        let next = if header.variable { samples } else { frames };
        let end = frame_end(scan, at, tag, header.variable, next, last)?;
        scan.proved(0, "frame", at, end - at)?;
        at = end;
        if last {
            break;
        }
    }
    ensure(info.samples == 0 || samples == info.samples, at, || {
        format!("{samples} of {} samples are there", info.samples)
    })?;
    ensure(0 < frames, at, || "there is no frame".to_owned())?;
    scan.fact("frames", frames);
    scan.fact("samples", samples);
    Ok(if at == tag { total } else { at })
}

/// Walks the metadata blocks (section 8); gives the first frame.
fn metadata(scan: &mut Scan<'_>) -> Result<(StreamInfo, u64), Stop> {
    let (mut at, mut info, total) = (4, None, scan.len());
    loop {
        let word = scan.reader.u32_be(at, "a metadata block")?;
        let (kind, len) = (word >> 24 & 0x7F, u64::from(word & 0xFF_FFFF));
        let (body, end) = (at + BLOCK_HEAD_BYTES, at + BLOCK_HEAD_BYTES + len);
        ensure(end <= total, total, || "a metadata block is cut off".to_owned())?;
        ensure(kind != 127 && (kind == 0) == info.is_none(), at, || {
            format!("metadata block {kind} cannot stand here")
        })?;
        if kind == 0 {
            ensure(len == 34, at, || format!("STREAMINFO of {len} bytes"))?;
            let block_min = scan.reader.u16_be(body, "STREAMINFO")?;
            let block_max = scan.reader.u16_be(body + 2, "STREAMINFO")?;
            let packed = scan.reader.u64_be(body + 10, "STREAMINFO")?;
            ensure(16 <= block_min && block_min <= block_max && 0 < packed >> 44, body, || {
                "STREAMINFO is not possible".to_owned()
            })?;
            scan.fact("rate", format!("{} Hz", packed >> 44));
            info = Some(StreamInfo { block_max, samples: packed & 0xF_FFFF_FFFF });
        }
        ensure(kind != 3 || len % 18 == 0, at, || format!("a seek table of {len} bytes"))?;
        let names = [
            "STREAMINFO",
            "padding",
            "application",
            "seek table",
            "comment",
            "cue sheet",
            "picture",
        ];
        let name = names.get(kind as usize).copied().unwrap_or("metadata");
        scan.met(0, name, at, end - at)?;
        at = end;
        if let (true, Some(info)) = (word >> 31 == 1, info) {
            return Ok((info, at));
        }
    }
}

/// The frame header at `at`, or `None` where there is none.
fn frame_header(scan: &mut Scan<'_>, at: u64) -> Result<Option<FrameHeader>, Stop> {
    Ok(parse(scan.reader.peek(at, FRAME_HEAD_BYTES)?))
}

fn parse(head: &[u8]) -> Option<FrameHeader> {
    let &[0xFF, second, sizes, layout, first, ..] = head else { return None };
    if second & 0xFE != 0xF8 || layout & 1 != 0 {
        return None;
    }
    // The number is coded as UTF-8 once was, in up to 7 bytes (section 9.1.5).
    let ones = first.leading_ones() as usize;
    if ones == 1 || ones == 8 {
        return None;
    }
    let more = ones.saturating_sub(1);
    let mut number =
        if ones == 0 { first.into() } else { u64::from(first) & ((1 << (7 - ones)) - 1) };
    for byte in head.get(5..5 + more)? {
        if byte & 0xC0 != 0x80 {
            return None;
        }
        number = number << 6 | u64::from(byte & 0x3F);
    }
    let mut at = 5 + more;
    let mut take = |bytes: usize| {
        let found = head.get(at..at + bytes)?;
        at += bytes;
        Some(found.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)))
    };
    // Table 14.
    let samples = match sizes >> 4 {
        0 => return None,
        1 => 192,
        code @ 2..=5 => 144 << code,
        6 => take(1)? + 1,
        7 => take(2)? + 1,
        code => 1 << code,
    };
    match sizes & 15 {
        12 => drop(take(1)?),
        13 | 14 => drop(take(2)?),
        15 => return None,
        _ => {}
    }
    let (covered, rest) = head.split_at_checked(at)?;
    let agrees = CRC_8_FLAC.checksum(covered) == *rest.first()?;
    agrees.then_some(FrameHeader { variable: second & 1 == 1, samples, number })
}

/// Where the frame ends: the sum over all of it, with its CRC-16, is zero there.
fn frame_end(
    scan: &mut Scan<'_>,
    start: u64,
    limit: u64,
    variable: bool,
    next: u64,
    last: bool,
) -> Result<u64, Stop> {
    let mut digest = CRC_16_FLAC.digest();
    let mut at = start;
    let far = limit.min(start.saturating_add(FRAME_BYTES_MAX));
    let mut candidate_from = start + 2;
    while at < far {
        // Up to the next place where a header may begin.
        let found = if last { None } else { next_sync(scan, candidate_from.max(at), far)? };
        let stop = found.unwrap_or(far);
        scan.reader.feed(at, stop, "a frame", |piece| digest.update(piece))?;
        at = stop;
        if digest.clone().finalize() == 0 {
            let follows = match frame_header(scan, at)? {
                Some(header) => header.number == next && header.variable == variable,
                None => false,
            };
            if follows || (at == limit && !zeros_follow(scan, start, limit)?) {
                return Ok(at);
            }
        }
        candidate_from = at + 1;
    }
    if last { shorter_end(scan, start, far) } else { Err(damaged(start)) }
}

/// Whether the last frame is followed by more zero bytes than its CRC-16 may have.
fn zeros_follow(scan: &mut Scan<'_>, start: u64, limit: u64) -> Result<bool, Stop> {
    let before = limit.saturating_sub(ZEROS_MAX + 1).max(start);
    let mut digest = CRC_16_FLAC.digest();
    scan.reader.feed(start, before, "a frame", |piece| digest.update(piece))?;
    let rest = scan.reader.peek(before, (limit - before) as usize)?;
    Ok(digest.finalize() == 0 && rest.iter().all(|byte| *byte == 0))
}

/// The last frame is followed by something else: it ends where the sum is zero.
fn shorter_end(scan: &mut Scan<'_>, start: u64, far: u64) -> Result<u64, Stop> {
    let mut digest = CRC_16_FLAC.digest();
    let mut at = start;
    while at < far {
        let piece = scan.reader.piece(at, far, "a frame")?;
        for byte in piece {
            digest.update(&[*byte]);
            at += 1;
            if digest.clone().finalize() == 0 && start + 8 < at {
                return Ok(at);
            }
        }
    }
    Err(damaged(start))
}

fn damaged(start: u64) -> Stop {
    invalid(start, "a frame is damaged or cut off: no end agrees with its CRC-16")
}

/// Offset of the next sync code (section 9.1) from `from` on, before `limit`.
fn next_sync(scan: &mut Scan<'_>, from: u64, limit: u64) -> Result<Option<u64>, Stop> {
    let mut at = from;
    while at < limit {
        let piece = scan.reader.piece(at, limit, "a frame")?;
        let Some(found) = memchr::memchr(0xFF, piece) else {
            at += piece.len() as u64;
            continue;
        };
        at += found as u64;
        if matches!(scan.reader.peek(at, 2)?, [0xFF, 0xF8 | 0xF9]) {
            return Ok(Some(at));
        }
        at += 1;
    }
    Ok(None)
}
