//! YUV4MPEG2: a header line, then for each picture a line `FRAME` and the planes.

use crate::{
    error::{MediaError, at_most},
    input::{Input, Window},
    limits::Limits,
    model::{
        Chroma, Codec, Colour, Container, Edit, Index, Rotation, Sample, Track, TrackKind,
        VideoInfo,
    },
    probe::reduced,
};

const MAGIC: &[u8] = b"YUV4MPEG2";
/// Longest header line, and longest line before a picture.
const LINE_BYTES_MAX: usize = 1024;
const FRAME_LINE_BYTES: usize = 128;

pub(crate) fn is_y4m(head: &[u8]) -> bool {
    head.starts_with(MAGIC) && head.get(MAGIC.len()).is_some_and(|&byte| byte == b' ')
}

/// Reads the header line, then each frame's line: one short read a picture.
pub(crate) fn index(input: &dyn Input, head: &[u8], limits: &Limits) -> Result<Index, MediaError> {
    let line = head.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n');
    let line = line.ok_or_else(|| MediaError::damaged("the header line has no end"))?;
    let header = head.get(..line).unwrap_or_default();
    let (info, rate) = parse(header)?;
    let luma = u64::from(info.width) * u64::from(info.height);
    at_most("luma samples of a picture", luma, limits.picture_samples)?;
    let (chroma_width, chroma_height) = info.chroma.plane(info.width, info.height);
    let chroma = u64::from(chroma_width) * u64::from(chroma_height);
    let bytes = (luma + 2 * chroma) * if info.bit_depth == 8 { 1 } else { 2 };
    // A rate of a/b frames a second: a ticks a second, b ticks a frame.
    let (timescale, duration) = rate;
    let samples = frames(input, line as u64 + 1, bytes, duration, limits)?;
    let track = Track {
        id: 1,
        kind: TrackKind::Video(info),
        codec: Codec::Raw,
        config: header.to_vec(),
        timescale,
        samples,
        language: None,
        default: true,
        edit: Edit::default(),
        prefix: Vec::new(),
    };
    Ok(Index { container: Container::Y4m, tracks: vec![track] })
}

fn frames(
    input: &dyn Input,
    start: u64,
    bytes: u64,
    duration: u32,
    limits: &Limits,
) -> Result<Vec<Sample>, MediaError> {
    let size = u32::try_from(bytes).map_err(|_| MediaError::damaged("picture size"))?;
    let window = Window::new(input, FRAME_LINE_BYTES);
    let mut samples: Vec<Sample> = Vec::new();
    let mut at = start;
    while at < input.len() {
        let (line, found) = window.peek::<FRAME_LINE_BYTES>(at)?;
        let line = line.get(..found).unwrap_or_default();
        let end = line.iter().position(|&byte| byte == b'\n');
        let Some(end) = end.filter(|_| line.starts_with(b"FRAME")) else {
            return Err(MediaError::damaged_at("a picture does not start with FRAME", at));
        };
        let offset = at + end as u64 + 1;
        at = offset.saturating_add(bytes);
        if input.len() < at {
            return Err(MediaError::damaged_at("the last picture is cut off", offset));
        }
        at_most("samples", samples.len() as u64 + 1, limits.samples)?;
        let dts = (samples.len() as i64).saturating_mul(i64::from(duration));
        samples.push(Sample { offset, size, dts, pts: dts, duration, key: true, shown: true });
    }
    Ok(samples)
}

/// The description and the frame rate.
fn parse(header: &[u8]) -> Result<(VideoInfo, (u32, u32)), MediaError> {
    let text = std::str::from_utf8(header).map_err(|_| MediaError::damaged("header line"))?;
    let (mut width, mut height) = (0, 0);
    let mut rate = (25, 1);
    let mut info = VideoInfo {
        width: 0,
        height: 0,
        rotation: Rotation::default(),
        pixel_aspect: (1, 1),
        colour: None,
        bit_depth: 8,
        chroma: Chroma::Yuv420,
        frame_rate: None,
    };
    for field in text.split(' ').skip(1) {
        let mut rest = field.chars();
        let Some(tag) = rest.next() else { continue };
        let value = rest.as_str();
        match tag {
            'W' => width = number(value)?,
            'H' => height = number(value)?,
            'F' => rate = ratio(value)?,
            'A' => {
                let (a, b) = ratio(value)?;
                info.pixel_aspect = if a == 0 || b == 0 { (1, 1) } else { reduced((a, b)) };
            }
            'I' if !matches!(value, "p" | "?" | "") => {
                return Err(MediaError::unsupported("interlaced Y4M video"));
            }
            'C' => (info.chroma, info.bit_depth) = sampling(value)?,
            'X' if value == "COLORRANGE=FULL" => {
                info.colour =
                    Some(Colour { primaries: 2, transfer: 2, matrix: 2, full_range: true });
            }
            _ => {}
        }
    }
    if width == 0 || height == 0 {
        return Err(MediaError::damaged("the header line gives no picture size"));
    }
    if rate.0 == 0 || rate.1 == 0 {
        return Err(MediaError::damaged("the header line gives no frame rate"));
    }
    (info.width, info.height) = (width, height);
    let rate = reduced(rate);
    info.frame_rate = Some(rate);
    Ok((info, rate))
}

fn number(text: &str) -> Result<u32, MediaError> {
    // The sizes of pictures; far below where products would overflow.
    text.parse::<u32>()
        .ok()
        .filter(|&number| number <= 65_536)
        .ok_or_else(|| MediaError::damaged(format!("the header line says size {text:?}")))
}

fn ratio(text: &str) -> Result<(u32, u32), MediaError> {
    let parts = text.split_once(':').and_then(|(a, b)| a.parse().ok().zip(b.parse().ok()));
    parts.ok_or_else(|| MediaError::damaged(format!("the header line says ratio {text:?}")))
}

fn sampling(text: &str) -> Result<(Chroma, u8), MediaError> {
    Ok(match text {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => (Chroma::Yuv420, 8),
        "422" => (Chroma::Yuv422, 8),
        "444" => (Chroma::Yuv444, 8),
        "420p10" => (Chroma::Yuv420, 10),
        "422p10" => (Chroma::Yuv422, 10),
        "444p10" => (Chroma::Yuv444, 10),
        other => return Err(MediaError::unsupported(format!("Y4M in {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Index, MediaError> {
        index(&bytes.to_vec(), bytes, &Limits::default())
    }

    #[test]
    fn frames_are_found_and_cut_files_refused() {
        let mut file =
            b"YUV4MPEG2 W3 H3 F30000:1001 Ip A128:117 C420jpeg XCOLORRANGE=FULL\n".to_vec();
        for _ in 0..2 {
            file.extend_from_slice(b"FRAME Ip\n");
            file.extend_from_slice(&[7; 9 + 4 + 4]);
        }
        let found = read(&file).unwrap();
        let track = &found.tracks[0];
        let info = track.video().unwrap();
        assert_eq!((track.samples.len(), track.timescale), (2, 30000));
        assert_eq!((info.pixel_aspect, info.colour.unwrap().full_range), ((128, 117), true));
        assert!(read(&file[..file.len() - 1]).unwrap_err().to_string().contains("cut off"));
    }

    #[test]
    fn interlaced_and_huge_are_refused() {
        assert!(read(b"YUV4MPEG2 W2 H2 It\n").unwrap_err().to_string().contains("interlaced"));
        let huge = read(b"YUV4MPEG2 W65536 H65536\n").unwrap_err();
        assert!(matches!(huge, MediaError::OverLimit { .. }), "{huge}");
        assert!(read(b"YUV4MPEG2 W99999999999 H2\n").is_err());
    }
}
