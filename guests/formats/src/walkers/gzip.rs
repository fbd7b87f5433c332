//! gzip: RFC 1952, any number of members.
//!
//! What cannot be known: flipped bits in the time, the name and the comment of a header, unless it
//! has a CRC of its own, and members that are missing at the end.

use crate::{
    checksum::CRC_32,
    inflate::{Budget, Inflater},
    scan::Scan,
    stop::{Stop, at_most, ensure},
};

/// Flags of a member's header (section 2.3.1).
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xE0;

/// Bytes of a name or comment in a header. File systems end at 4,096 for a path.
const TEXT_BYTES_MAX: u64 = 64 << 10;

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let (mut at, mut members, mut inflated) = (0, 0_u64, 0);
    let mut budget = Budget::new(&scan.limits);
    while members == 0 || scan.reader.peek(at, 2)? == b"\x1F\x8B" {
        let start = header(scan, at)?;
        let mut inflater = Inflater::raw();
        let mut digest = CRC_32.digest();
        let (total, mut next) = (scan.len(), start);
        while !inflater.ended() {
            let piece = scan.reader.piece(next, total, "compressed data")?;
            let used = inflater.push(piece, next, &mut budget, |bytes| {
                digest.update(bytes);
                Ok(())
            })?;
            next += used as u64;
            ensure(0 < used || inflater.ended(), next, || "the data does not go on".to_owned())?;
        }
        let crc = scan.reader.u32_le(next, "the CRC")?;
        ensure(crc == digest.finalize(), next, || "the CRC is wrong".to_owned())?;
        let size = u64::from(scan.reader.u32_le(next + 4, "the size")?);
        ensure(size == inflater.given & 0xFFFF_FFFF, next + 4, || {
            format!("{} bytes instead of {size}", inflater.given)
        })?;
        scan.met(0, "member", at, next + 8 - at)?;
        // The last byte of Deflate may hold bits that nothing covers.
        scan.proved(1, "data", start, (next - start).saturating_sub(1))?;
        scan.proved(1, "trailer", next, 8)?;
        inflated += inflater.given;
        members += 1;
        at = next + 8;
    }
    scan.fact("members", members);
    scan.fact("inflated bytes", inflated);
    Ok(at)
}

/// Checks the header of a member; gives the offset of its data.
fn header(scan: &mut Scan<'_>, start: u64) -> Result<u64, Stop> {
    let method = scan.reader.u8(start + 2, "the header")?;
    let flags = scan.reader.u8(start + 3, "the header")?;
    ensure(method == 8, start + 2, || format!("compression method {method}"))?;
    ensure(flags & RESERVED == 0, start + 3, || "reserved flags are set".to_owned())?;
    scan.reader.bytes(start, 10, "the header")?;
    let mut at = start + 10;
    if flags & FEXTRA != 0 {
        at += 2 + u64::from(scan.reader.u16_le(at, "the extra field")?);
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let total = scan.len();
            let limit = at.saturating_add(TEXT_BYTES_MAX);
            let end = scan.reader.find(&[0], at, limit)?;
            ensure(end.is_some() || limit < total, total, || "the header is cut off".to_owned())?;
            let end = end.unwrap_or(limit);
            at_most("bytes of a name in a header", end - at, TEXT_BYTES_MAX - 1, at)?;
            at = end + 1;
        }
    }
    if flags & FHCRC != 0 {
        let mut digest = CRC_32.digest();
        scan.reader.feed(start, at, "the header", |piece| digest.update(piece))?;
        let crc = u32::from(scan.reader.u16_le(at, "the header's CRC")?);
        ensure(crc == digest.finalize() & 0xFFFF, at, || "the header's CRC is wrong".to_owned())?;
        at += 2;
    }
    Ok(at)
}
