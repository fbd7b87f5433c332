//! GIF87a and GIF89a: CompuServe's specification of 1990.
//!
//! What cannot be known: GIF has no checksums. A flipped bit in a colour table or in compressed
//! data is another picture.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

/// Header and logical screen descriptor (sections 17 and 18).
const HEAD_BYTES: u64 = 13;

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let width_px = scan.reader.u16_le(6, "the screen")?;
    let height_px = scan.reader.u16_le(8, "the screen")?;
    let packed = scan.reader.u8(10, "the screen")?;
    scan.reader.bytes(0, HEAD_BYTES as usize, "the screen")?;
    scan.met(0, "screen", 0, HEAD_BYTES)?;
    scan.fact("pixels", format!("{width_px}x{height_px}"));
    let mut at = colour_table(scan, HEAD_BYTES, packed)?;
    let mut pictures = 0_u64;
    loop {
        let start = at;
        match scan.reader.u8(at, "a block")? {
            0x2C => {
                at = picture(scan, at)?;
                pictures += 1;
                scan.met(0, "image", start, at - start)?;
            }
            0x21 => {
                at = extension(scan, at)?;
                scan.met(0, "extension", start, at - start)?;
            }
            0x3B => {
                ensure(0 < pictures, at, || "there is no picture".to_owned())?;
                scan.met(0, "trailer", at, 1)?;
                scan.fact("frames", pictures);
                return Ok(at + 1);
            }
            other => return Err(invalid(at, format!("{other:02X} where a block must begin"))),
        }
    }
}

/// Skips the colour table whose size is in the packed fields (sections 19 and 21), if there is one.
fn colour_table(scan: &mut Scan<'_>, at: u64, packed: u8) -> Result<u64, Stop> {
    if packed & 0x80 == 0 {
        return Ok(at);
    }
    let bytes = 3 << ((packed & 7) + 1);
    scan.reader.bytes(at, bytes, "a colour table")?;
    scan.met(1, "colour table", at, bytes as u64)?;
    Ok(at + bytes as u64)
}

/// Section 20 and appendix F: descriptor, table, code size, data.
fn picture(scan: &mut Scan<'_>, at: u64) -> Result<u64, Stop> {
    let width_px = scan.reader.u16_le(at + 5, "an image")?;
    let height_px = scan.reader.u16_le(at + 7, "an image")?;
    ensure(0 < width_px && 0 < height_px, at + 5, || "an image without pixels".to_owned())?;
    let packed = scan.reader.u8(at + 9, "an image")?;
    ensure(packed & 0x18 == 0, at + 9, || "reserved bits are set".to_owned())?;
    let at = colour_table(scan, at + 10, packed)?;
    let code_bits = scan.reader.u8(at, "a code size")?;
    ensure((2..=8).contains(&code_bits), at, || format!("codes of {code_bits} bits"))?;
    let end = sub_blocks(scan, at + 1)?;
    ensure(at + 2 < end, at, || "an image without data".to_owned())?;
    Ok(end)
}

/// Sections 23 to 26. The first block of each known kind has a fixed size.
fn extension(scan: &mut Scan<'_>, at: u64) -> Result<u64, Stop> {
    let label = scan.reader.u8(at + 1, "an extension")?;
    let size = scan.reader.u8(at + 2, "an extension")?;
    let expected = match label {
        0x01 => Some(12),
        0xF9 => Some(4),
        0xFF => Some(11),
        _ => None,
    };
    ensure(expected.is_none_or(|expected| expected == size), at + 2, || {
        format!("extension {label:02X} begins with {size} bytes")
    })?;
    sub_blocks(scan, at + 2)
}

/// Section 15: blocks of up to 255 bytes, and an empty one at the end.
fn sub_blocks(scan: &mut Scan<'_>, start: u64) -> Result<u64, Stop> {
    let mut at = start;
    loop {
        let size = u64::from(scan.reader.u8(at, "a block of data")?);
        at += 1 + size;
        if size == 0 {
            return Ok(at);
        }
    }
}
