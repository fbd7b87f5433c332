//! IVF, the container of libvpx (ivfenc.c and ivfdec.c).
//!
//! What cannot be known: flipped bits in frames, and in files whose header has no number of
//! frames, those that are missing at the end.

use crate::{
    scan::Scan,
    stop::{Stop, ensure},
    walk::printable,
};

const HEAD_BYTES: u64 = 32;
/// Size and time before each frame.
const FRAME_HEAD_BYTES: u64 = 12;

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    scan.reader.bytes(0, HEAD_BYTES as usize, "the header")?;
    let version = scan.reader.u16_le(4, "the header")?;
    let head = scan.reader.u16_le(6, "the header")?;
    ensure(version == 0 && u64::from(head) == HEAD_BYTES, 4, || {
        format!("version {version} with a header of {head} bytes")
    })?;
    let codec = scan.reader.fourcc(8, "the header")?;
    let promised = u64::from(scan.reader.u32_le(24, "the header")?);
    scan.fact("codec", printable(&codec));
    scan.met(0, "header", 0, HEAD_BYTES)?;
    let (mut at, mut frames, mut last, mut step) = (HEAD_BYTES, 0_u64, 0_u64, 1);
    let total = scan.len();
    // Writers promise the number of frames, or the time behind the last; both end the file.
    while at < total && (promised == 0 || frames < promised.div_ceil(step)) {
        let size = u64::from(scan.reader.u32_le(at, "a frame")?);
        let time = scan.reader.u64_le(at + 4, "a frame")?;
        let end = at + FRAME_HEAD_BYTES + size;
        ensure(end <= total, total, || format!("a frame claims {size} bytes"))?;
        ensure(frames == 0 || last < time, at + 4, || format!("time {time} behind {last}"))?;
        if frames == 1 {
            step = (time - last).max(1);
        }
        scan.met(0, "frame", at, end - at)?;
        (last, at) = (time, end);
        frames += 1;
    }
    ensure(0 < frames, at, || "there is no frame".to_owned())?;
    let whole = promised == 0 || frames == promised || promised <= last.saturating_add(step);
    ensure(whole, total, || format!("{frames} of {promised} frames are there"))?;
    scan.fact("frames", frames);
    Ok(at)
}
