//! YUV4MPEG2: the manual page yuv4mpeg(5) of mjpegtools, with FFmpeg's names of pixel formats.
//!
//! What cannot be known: flipped bits in pictures, and frames that are missing at the end.

use crate::{
    scan::Scan,
    stop::{Stop, ensure, invalid, unsupported},
};

/// Bytes of a header line. Real ones stay under 200.
const LINE_BYTES_MAX: u64 = 4096;

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let (header, mut at) = line(scan, 0)?;
    let frame_bytes = frame_bytes(&header)?;
    scan.met(0, "header", 0, at)?;
    scan.fact("bytes of a frame", frame_bytes);
    let (mut frames, total) = (0_u64, scan.len());
    while at < total && (frames == 0 || scan.reader.peek(at, 5)? == b"FRAME") {
        let (frame, start) = line(scan, at)?;
        ensure(frame == "FRAME" || frame.starts_with("FRAME "), at, || {
            "no frame begins here".to_owned()
        })?;
        let end = start.checked_add(frame_bytes).filter(|end| *end <= total);
        let end = end.ok_or_else(|| invalid(total, "the last frame is cut off"))?;
        scan.met(0, "frame", at, end - at)?;
        frames += 1;
        at = end;
    }
    // Five bytes tell a cut frame from something else.
    let rest = scan.reader.peek(at, 5)?;
    ensure(rest.is_empty() || !b"FRAME".starts_with(rest), total, || {
        "the last frame is cut off".to_owned()
    })?;
    ensure(0 < frames, at, || "there is no frame".to_owned())?;
    scan.fact("frames", frames);
    Ok(at)
}

/// A line of text, and the offset behind it.
fn line(scan: &mut Scan<'_>, at: u64) -> Result<(String, u64), Stop> {
    let found = scan.reader.find(b"\n", at, at.saturating_add(LINE_BYTES_MAX))?;
    let total = scan.len();
    let place = total.min(at + LINE_BYTES_MAX);
    let end = found.ok_or_else(|| invalid(place, "a header is cut off, or has no end"))?;
    let text = scan.reader.bytes(at, (end - at) as usize, "a header")?;
    let text = std::str::from_utf8(text).map_err(|_| invalid(at, "a header is not text"))?;
    Ok((text.to_owned(), end + 1))
}

/// Bytes of a picture, from its size and the sampling of its colours.
fn frame_bytes(header: &str) -> Result<u64, Stop> {
    let field = |tag: char| header.split(' ').skip(1).find_map(|word| word.strip_prefix(tag));
    let pixels = |tag: char| field(tag).and_then(|text| text.parse::<u32>().ok());
    let (width, height) = match (pixels('W'), pixels('H')) {
        (Some(width), Some(height)) if 0 < width && 0 < height => {
            (u64::from(width), u64::from(height))
        }
        _ => return Err(invalid(0, "the header has no size")),
    };
    let colours = field('C').unwrap_or("420jpeg");
    let (sampling, bits) =
        match colours.split_once('p').filter(|(_, bits)| bits.parse::<u8>().is_ok()) {
            Some((sampling, bits)) => (sampling, bits),
            None if colours == "mono16" => ("mono", "16"),
            None => (colours, "8"),
        };
    let sample_bytes = if bits == "8" { 1 } else { 2 };
    let planes = match sampling {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => {
            width * height + 2 * width.div_ceil(2) * height.div_ceil(2)
        }
        "422" => width * height + 2 * width.div_ceil(2) * height,
        "411" => width * height + 2 * width.div_ceil(4) * height,
        "444" => width * height * 3,
        "444alpha" => width * height * 4,
        "mono" | "mono9" | "mono10" | "mono12" => width * height,
        other => return Err(unsupported(0, format!("pixel format {other} is not known"))),
    };
    let sample_bytes =
        if sampling.starts_with("mono1") || sampling == "mono9" { 2 } else { sample_bytes };
    Ok(planes.saturating_mul(sample_bytes))
}
