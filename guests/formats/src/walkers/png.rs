//! PNG and APNG: W3C "Portable Network Graphics (PNG) Specification (Third Edition)".
//!
//! Every byte is under a CRC, and the picture under an Adler-32 besides. What cannot be known:
//! whether the pixels are those that were meant.

use crate::{
    checksum::CRC_32,
    inflate::{Budget, Inflater},
    scan::Scan,
    stop::{Stop, ensure, invalid},
    walk::printable,
};

/// Section 5.2.
const SIGNATURE_BYTES: u64 = 8;
/// Section 5.3: length, type and CRC around the data of a chunk.
const FRAME_BYTES: u64 = 12;
/// Section 5.3: lengths do not use the sign bit.
const LENGTH_MAX: u32 = (1 << 31) - 1;

/// The fields of IHDR that the picture's size follows from (section 11.2.1).
#[derive(Debug, Clone, Copy)]
struct Header {
    width_px: u32,
    height_px: u32,
    depth_bits: u8,
    colour: u8,
    interlaced: bool,
}

/// What of the order of the chunks (section 5.6) has been seen.
struct Order {
    header: Header,
    palette: bool,
    data: bool,
    data_ended: bool,
    picture: Inflater,
    budget: Budget,
    /// APNG: number of the next frame control or frame data chunk.
    sequence: u32,
    frames: u32,
    frames_declared: Option<u32>,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let mut at = SIGNATURE_BYTES;
    let (kind, len) = chunk(scan, at)?;
    ensure(&kind == b"IHDR" && len == 13, at, || "the first chunk is not a header".to_owned())?;
    let header = header(scan, at + 8)?;
    scan.fact("pixels", format!("{}x{}", header.width_px, header.height_px));
    let mut order = Order {
        header,
        palette: false,
        data: false,
        data_ended: false,
        picture: Inflater::zlib(),
        budget: Budget::any_ratio(&scan.limits),
        sequence: 0,
        frames: 0,
        frames_declared: None,
    };
    at += FRAME_BYTES + u64::from(len);
    loop {
        let (kind, len) = chunk(scan, at)?;
        order.accept(scan, at, kind, len)?;
        at += FRAME_BYTES + u64::from(len);
        if &kind == b"IEND" {
            order.finish(scan, at)?;
            return Ok(at);
        }
    }
}

/// The type and length of the chunk at `at`, whose CRC agrees.
fn chunk(scan: &mut Scan<'_>, at: u64) -> Result<([u8; 4], u32), Stop> {
    let len = scan.reader.u32_be(at, "the length of a chunk")?;
    let kind = scan.reader.fourcc(at + 4, "the type of a chunk")?;
    let letters = kind.iter().all(u8::is_ascii_alphabetic) && kind[2].is_ascii_uppercase();
    ensure(letters, at + 4, || format!("{} is not the type of a chunk", printable(&kind)))?;
    let name = printable(&kind);
    ensure(len <= LENGTH_MAX, at, || format!("chunk {name} claims {len} bytes"))?;
    let end = at + 8 + u64::from(len);
    ensure(end + 4 <= scan.len(), scan.len(), || format!("chunk {name} is cut off"))?;
    let mut digest = CRC_32.digest();
    scan.reader.feed(at + 4, end, &name, |piece| digest.update(piece))?;
    let stated = scan.reader.u32_be(end, "a CRC")?;
    ensure(digest.finalize() == stated, end, || format!("the CRC of chunk {name} is wrong"))?;
    scan.proved(0, &name, at, FRAME_BYTES + u64::from(len))?;
    Ok((kind, len))
}

fn header(scan: &mut Scan<'_>, at: u64) -> Result<Header, Stop> {
    let width_px = scan.reader.u32_be(at, "the width")?;
    let height_px = scan.reader.u32_be(at + 4, "the height")?;
    let fields = scan.reader.bytes(at + 8, 5, "the header")?;
    let [depth_bits, colour, compression, filter, interlace] = fields else {
        return Err(invalid(at, "the header is too short"));
    };
    let (depth_bits, colour, interlace) = (*depth_bits, *colour, *interlace);
    let rest = (*compression, *filter);
    let sized = (1..=LENGTH_MAX).contains(&width_px) && (1..=LENGTH_MAX).contains(&height_px);
    ensure(sized, at, || format!("a picture of {width_px}x{height_px}"))?;
    // Table 11.1.
    let depths: &[u8] = match colour {
        0 => &[1, 2, 4, 8, 16],
        3 => &[1, 2, 4, 8],
        2 | 4 | 6 => &[8, 16],
        _ => &[],
    };
    ensure(depths.contains(&depth_bits), at + 8, || {
        format!("colour type {colour} with {depth_bits} bits")
    })?;
    ensure(rest == (0, 0) && interlace <= 1, at + 10, || "an unknown method".to_owned())?;
    Ok(Header { width_px, height_px, depth_bits, colour, interlaced: interlace == 1 })
}

impl Header {
    /// Bytes of the filtered picture (sections 7.2, 8 and 9): a filter byte before each row.
    fn picture_bytes(self) -> u64 {
        let channels = match self.colour {
            2 => 3,
            4 => 2,
            6 => 4,
            _ => 1,
        };
        let pixel_bits = channels * u64::from(self.depth_bits);
        let pass = |x0: u32, y0: u32, dx: u32, dy: u32| {
            let columns = u64::from(self.width_px.saturating_sub(x0).div_ceil(dx));
            let rows = u64::from(self.height_px.saturating_sub(y0).div_ceil(dy));
            let row_bytes = (columns * pixel_bits).div_ceil(8) + 1;
            if columns == 0 { 0 } else { rows.saturating_mul(row_bytes) }
        };
        if !self.interlaced {
            return pass(0, 0, 1, 1);
        }
        // Adam7, section 8.1.
        let passes = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ];
        passes
            .into_iter()
            .fold(0, |sum: u64, (x, y, dx, dy)| sum.saturating_add(pass(x, y, dx, dy)))
    }
}

impl Order {
    /// Checks that a chunk may come here, and looks into those that matter.
    fn accept(
        &mut self,
        scan: &mut Scan<'_>,
        at: u64,
        kind: [u8; 4],
        len: u32,
    ) -> Result<(), Stop> {
        let name = printable(&kind);
        if self.data && &kind != b"IDAT" {
            self.data_ended = true;
        }
        match &kind {
            b"IHDR" => return Err(invalid(at, "a second header")),
            b"PLTE" => {
                let entries = len / 3;
                let most = if self.header.colour == 3 { 1 << self.header.depth_bits } else { 256 };
                let fits = len.is_multiple_of(3) && (1..=most).contains(&entries);
                let allowed = !matches!(self.header.colour, 0 | 4);
                ensure(fits && allowed && !self.palette && !self.data, at, || {
                    format!("a palette of {len} bytes is not possible here")
                })?;
                self.palette = true;
            }
            b"IDAT" => {
                ensure(!self.data_ended, at, || "picture data is not in one piece".to_owned())?;
                ensure(self.palette || self.header.colour != 3, at, || {
                    "picture data before the palette".to_owned()
                })?;
                self.data = true;
                self.inflate(scan, at + 8, at + 8 + u64::from(len))?;
            }
            b"IEND" => ensure(len == 0, at, || "the last chunk is not empty".to_owned())?,
            b"acTL" => {
                ensure(len == 8 && !self.data && self.frames_declared.is_none(), at, || {
                    "an animation control that is not possible here".to_owned()
                })?;
                self.frames_declared = Some(scan.reader.u32_be(at + 8, "the number of frames")?);
            }
            b"fcTL" | b"fdAT" => {
                let number = scan.reader.u32_be(at + 8, "a sequence number")?;
                ensure(4 <= len && number == self.sequence, at + 8, || {
                    format!("{name} has number {number} instead of {}", self.sequence)
                })?;
                self.sequence = self.sequence.wrapping_add(1);
                self.frames += u32::from(&kind == b"fcTL");
            }
            // Section 5.4: the first letter of a chunk that decoders must know is a capital.
            _ if kind[0].is_ascii_uppercase() => {
                return Err(invalid(at, format!("the necessary chunk {name} is unknown")));
            }
            _ => {}
        }
        Ok(())
    }

    fn inflate(&mut self, scan: &mut Scan<'_>, mut at: u64, end: u64) -> Result<(), Stop> {
        let most = self.header.picture_bytes();
        while at < end && !self.picture.ended() {
            let piece = scan.reader.piece(at, end, "picture data")?;
            let used = self.picture.push(piece, at, &mut self.budget, |_| Ok(()))?;
            ensure(self.picture.given <= most, at, || {
                format!("more picture data than the {most} bytes of its size")
            })?;
            at += used.max(1) as u64;
        }
        ensure(at == end, at, || "picture data goes on behind its end".to_owned())
    }

    fn finish(&mut self, scan: &mut Scan<'_>, at: u64) -> Result<(), Stop> {
        ensure(self.data, at, || "there is no picture data".to_owned())?;
        let (given, most) = (self.picture.given, self.header.picture_bytes());
        ensure(self.picture.ended() && given == most, at, || {
            format!("{given} of {most} bytes of the picture are there")
        })?;
        if let Some(declared) = self.frames_declared {
            let frames = self.frames;
            ensure(frames == declared, at, || format!("{frames} of {declared} frames are there"))?;
            scan.fact("frames", frames);
        }
        Ok(())
    }
}
