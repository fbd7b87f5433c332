//! WebP: RFC 9649.
//!
//! What cannot be known: WebP has no checksums. A flipped bit in compressed data is another
//! picture.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid},
    walk::printable,
};

/// `RIFF`, the size, `WEBP` (section 2.4).
const HEAD_BYTES: u64 = 12;

/// Which chunks were met, to compare with the flags of `VP8X` (section 2.7.1).
#[derive(Debug, Default)]
struct Met {
    flags: Option<u8>,
    profile: bool,
    alpha: bool,
    exif: bool,
    xmp: bool,
    animation: bool,
    pictures: u64,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let size = u64::from(scan.reader.u32_le(4, "the size")?);
    let (end, total) = (8 + size, scan.len());
    ensure(end <= total, total, || format!("the file claims {end} bytes"))?;
    ensure(size.is_multiple_of(2) && HEAD_BYTES < end, 4, || format!("a size of {size} bytes"))?;
    scan.met(0, "RIFF", 0, end)?;
    let mut met = Met::default();
    chunks(scan, &mut met, HEAD_BYTES, end, 1)?;
    ensure(0 < met.pictures, end, || "there is no picture".to_owned())?;
    let Some(flags) = met.flags else {
        ensure(met.pictures == 1, end, || "several pictures without VP8X".to_owned())?;
        return Ok(end);
    };
    let claims = |bit: u8| flags & bit != 0;
    let agrees = claims(0x20) == met.profile
        && claims(0x08) == met.exif
        && claims(0x04) == met.xmp
        && claims(0x02) == met.animation
        && (claims(0x10) || !met.alpha)
        && (claims(0x02) || met.pictures == 1);
    ensure(agrees, HEAD_BYTES, || "the flags of VP8X do not agree with the chunks".to_owned())?;
    scan.fact("frames", met.pictures);
    Ok(end)
}

fn chunks(
    scan: &mut Scan<'_>,
    met: &mut Met,
    start: u64,
    limit: u64,
    depth: u32,
) -> Result<(), Stop> {
    let mut at = start;
    while at < limit {
        let kind = scan.reader.fourcc(at, "a chunk")?;
        let size = u64::from(scan.reader.u32_le(at + 4, "a chunk")?);
        let (body, name) = (at + 8, printable(&kind));
        let end = body + size;
        let padded = end + size % 2;
        ensure(padded <= limit, at + 4, || format!("chunk {name} claims {size} bytes"))?;
        if end < padded {
            let padding = scan.reader.u8(end, "padding")?;
            ensure(padding == 0, end, || format!("padding of {padding:02X}"))?;
        }
        scan.met(depth, &name, at, padded - at)?;
        accept(scan, met, kind, (at, body, end), depth)?;
        at = padded;
    }
    Ok(())
}

fn accept(
    scan: &mut Scan<'_>,
    met: &mut Met,
    kind: [u8; 4],
    (at, body, end): (u64, u64, u64),
    depth: u32,
) -> Result<(), Stop> {
    let wrong = || invalid(at, format!("chunk {} cannot be read", printable(&kind)));
    match &kind {
        // RFC 6386, 9.1: three bytes of tag, a start code, the size.
        b"VP8 " => {
            let head = scan.reader.bytes(body, 10, "a picture")?;
            let &[t0, t1, t2, s0, s1, s2, ..] = head else { return Err(wrong()) };
            let tag = u32::from_le_bytes([t0, t1, t2, 0]);
            let first_partition = u64::from(tag >> 5);
            let key_frame = tag & 1 == 0 && tag >> 1 & 7 <= 3;
            let started = [s0, s1, s2] == [0x9D, 0x01, 0x2A];
            ensure(key_frame && started && body + 10 + first_partition <= end, at, || {
                "chunk VP8 holds no picture".to_owned()
            })?;
            met.pictures += 1;
        }
        // Section 3.4: a signature, 28 bits of size, one of alpha, three of version.
        b"VP8L" => {
            let signature = scan.reader.u8(body, "a picture")?;
            let bits = scan.reader.u32_le(body + 1, "a picture")?;
            ensure(signature == 0x2F && bits >> 29 == 0 && body + 5 < end, at, || {
                "chunk VP8L holds no picture".to_owned()
            })?;
            met.pictures += 1;
        }
        b"VP8X" => {
            ensure(at == HEAD_BYTES && end - body == 10, at, || {
                "chunk VP8X is not the first, or has the wrong size".to_owned()
            })?;
            met.flags = Some(scan.reader.u8(body, "VP8X")?);
        }
        b"ANIM" => {
            ensure(end - body == 6, at, || "chunk ANIM has the wrong size".to_owned())?;
            met.animation = true;
        }
        b"ANMF" => {
            ensure(depth == 1 && body + 16 < end && met.animation, at, || {
                "a frame where none can be".to_owned()
            })?;
            let before = met.pictures;
            chunks(scan, met, body + 16, end, depth + 1)?;
            ensure(met.pictures == before + 1, at, || "a frame without a picture".to_owned())?;
        }
        b"ALPH" => met.alpha = true,
        b"ICCP" => met.profile = true,
        b"EXIF" => met.exif = true,
        b"XMP " => met.xmp = true,
        _ => {}
    }
    Ok(())
}
