//! Ogg: RFC 3533. Every page is under a CRC.
//!
//! What cannot be known: links that are missing at the end of a chain of streams.

use crate::{
    checksum::CRC_32_OGG,
    scan::Scan,
    stop::{Stop, at_most, ensure},
};

/// Section 6: the header before the table of segments.
const HEAD_BYTES: u64 = 27;
/// Streams that are open at once; films have a handful.
const STREAMS_MAX: u64 = 256;
/// Header type flags (section 6, field 3).
const BEGINS: u8 = 2;
const ENDS: u8 = 4;

/// A logical stream that has begun and not ended.
#[derive(Debug)]
struct Stream {
    serial: u32,
    next_page: u32,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let (mut at, mut pages, mut begun) = (0, 0_u64, 0_u64);
    let mut open: Vec<Stream> = Vec::new();
    while scan.reader.peek(at, 4)? == b"OggS" {
        let flags = scan.reader.u8(at + 5, "a page")?;
        let serial = scan.reader.u32_le(at + 14, "a page")?;
        let number = scan.reader.u32_le(at + 18, "a page")?;
        let end = check_page(scan, at)?;
        let place = open.iter().position(|stream| stream.serial == serial);
        let begins = flags & BEGINS != 0;
        ensure(begins == place.is_none(), at + 5, || {
            let verb = if begins { "begins again" } else { "has not begun" };
            format!("stream {serial} {verb}")
        })?;
        if begins {
            open.push(Stream { serial, next_page: number });
            begun += 1;
            at_most("open streams", open.len() as u64, STREAMS_MAX, at)?;
        }
        let place = place.unwrap_or(open.len().saturating_sub(1));
        if let Some(stream) = open.get_mut(place) {
            let expected = stream.next_page;
            ensure(number == expected, at + 18, || format!("page {number} instead of {expected}"))?;
            stream.next_page = number.wrapping_add(1);
        }
        if flags & ENDS != 0 {
            open.swap_remove(place);
        }
        scan.proved(0, "page", at, end - at)?;
        pages += 1;
        at = end;
    }
    ensure(open.is_empty(), at, || {
        let serial = open.first().map_or(0, |stream| stream.serial);
        format!("stream {serial} has not ended")
    })?;
    scan.fact("streams", begun);
    scan.fact("pages", pages);
    Ok(at)
}

/// The end of the page, whose CRC agrees; it is computed with its own field as zero.
fn check_page(scan: &mut Scan<'_>, at: u64) -> Result<u64, Stop> {
    let version = scan.reader.u8(at + 4, "a page")?;
    ensure(version == 0, at + 4, || format!("a page of version {version}"))?;
    let segments = u64::from(scan.reader.u8(at + 26, "a page")?);
    let table = scan.reader.bytes(at + HEAD_BYTES, segments as usize, "a page")?;
    let body: u64 = table.iter().map(|bytes| u64::from(*bytes)).sum();
    let (end, total) = (at + HEAD_BYTES + segments + body, scan.len());
    ensure(end <= total, total, || "a page is cut off".to_owned())?;
    let stated = scan.reader.u32_le(at + 22, "a page")?;
    let mut digest = CRC_32_OGG.digest();
    scan.reader.feed(at, at + 22, "a page", |piece| digest.update(piece))?;
    digest.update(&[0; 4]);
    scan.reader.feed(at + 26, end, "a page", |piece| digest.update(piece))?;
    ensure(digest.finalize() == stated, at, || "the CRC of a page is wrong".to_owned())?;
    Ok(end)
}
