//! WAV: RIFF ("Multimedia Programming Interface and Data Specifications 1.0"), and RF64 or BW64
//! for more than 4 GiB (ITU-R BS.2088).
//!
//! What cannot be known: WAV has no checksums. A flipped bit in samples is another sound.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid},
    walk::printable,
};

/// Outer header: kind, size, `WAVE`.
const HEAD_BYTES: u64 = 12;
/// In RF64 a 32-bit size of all ones is in chunk `ds64`.
const WIDE: u64 = 0xFFFF_FFFF;

/// What `fmt ` says.
#[derive(Debug, Clone, Copy)]
struct Layout {
    block_bytes: u16,
    pcm: bool,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let wide = &scan.reader.fourcc(0, "the header")? != b"RIFF";
    let mut size = u64::from(scan.reader.u32_le(4, "the size")?);
    let mut data_size = None;
    if wide {
        let first = scan.reader.fourcc(HEAD_BYTES, "chunk ds64")?;
        ensure(&first == b"ds64", HEAD_BYTES, || "chunk ds64 is missing".to_owned())?;
        size = scan.reader.u64_le(HEAD_BYTES + 8, "chunk ds64")?;
        data_size = Some(scan.reader.u64_le(HEAD_BYTES + 16, "chunk ds64")?);
    }
    let total = scan.len();
    let end = size.checked_add(8).filter(|end| *end <= total);
    let end = end.ok_or_else(|| invalid(total, format!("the file claims {size} bytes")))?;
    scan.met(0, if wide { "RF64" } else { "RIFF" }, 0, end)?;
    let (mut at, mut layout, mut data) = (HEAD_BYTES, None, None);
    while at < end {
        let kind = scan.reader.fourcc(at, "a chunk")?;
        let (body, name) = (at + 8, printable(&kind));
        let mut size = u64::from(scan.reader.u32_le(at + 4, "a chunk")?);
        if let (b"data", WIDE, Some(wide)) = (&kind, size, data_size) {
            size = wide;
        }
        let chunk_end = body.checked_add(size).filter(|chunk_end| *chunk_end <= end);
        let chunk_end = chunk_end
            .ok_or_else(|| invalid(at + 4, format!("chunk {name} claims {size} bytes")))?;
        match &kind {
            b"fmt " => {
                ensure(layout.is_none(), at, || "a second chunk fmt".to_owned())?;
                layout = Some(format(scan, body, chunk_end)?);
            }
            b"data" => {
                ensure(data.is_none(), at, || "a second chunk data".to_owned())?;
                data = Some(size);
            }
            _ => {}
        }
        scan.met(1, &name, at, chunk_end - at)?;
        // Chunks begin at even offsets; some writers leave out the last padding byte.
        at = if chunk_end < end { chunk_end + size % 2 } else { chunk_end };
    }
    let layout = layout.ok_or_else(|| invalid(end, "chunk fmt is missing"))?;
    let data = data.ok_or_else(|| invalid(end, "chunk data is missing"))?;
    let block = u64::from(layout.block_bytes);
    ensure(!layout.pcm || data.is_multiple_of(block), end, || {
        format!("{data} bytes of samples are not in blocks of {block}")
    })?;
    scan.fact("data bytes", data);
    Ok(end)
}

/// `fmt `: for PCM and floats the sizes follow from each other.
fn format(scan: &mut Scan<'_>, body: u64, end: u64) -> Result<Layout, Stop> {
    ensure(body + 16 <= end, body, || "chunk fmt is too small".to_owned())?;
    let tag = scan.reader.u16_le(body, "chunk fmt")?;
    let channels = scan.reader.u16_le(body + 2, "chunk fmt")?;
    let rate = scan.reader.u32_le(body + 4, "chunk fmt")?;
    let byte_rate = scan.reader.u32_le(body + 8, "chunk fmt")?;
    let block_bytes = scan.reader.u16_le(body + 12, "chunk fmt")?;
    let bits = scan.reader.u16_le(body + 14, "chunk fmt")?;
    let tag = if tag == 0xFFFE { scan.reader.u16_le(body + 24, "chunk fmt")? } else { tag };
    let pcm = matches!(tag, 1 | 3);
    let block = u32::from(channels) * u32::from(bits.div_ceil(8));
    let agrees = u64::from(byte_rate) == u64::from(rate) * u64::from(block_bytes)
        && u32::from(block_bytes) == block;
    ensure(0 < channels && 0 < rate && 0 < block_bytes && (!pcm || agrees), body, || {
        format!("{channels} channels of {bits} bits at {rate} Hz in blocks of {block_bytes}")
    })?;
    scan.fact("sound", format!("{channels} channels at {rate} Hz"));
    Ok(Layout { block_bytes, pcm })
}
