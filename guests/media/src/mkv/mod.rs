//! Matroska and WebM: elements to a sample index, without reading the media.
//!
//! Clusters are walked block by block, because only the blocks say where each frame is; their
//! cues name some of them at most.

mod blocks;
mod clusters;
mod ebml;
mod tracks;

use ebml::{element_at, elements, text, unsigned};

use crate::{
    error::{MediaError, at_most},
    input::{Input, Window, read_exact},
    limits::Limits,
    model::{Container, Index},
    probe,
};

const EBML: u32 = 0x1A45_DFA3;
const DOC_TYPE: u32 = 0x4282;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
const TRACKS: u32 = 0x1654_AE6B;
const CLUSTER: u32 = 0x1F43_B675;

/// Bytes read at a time while walking: some blocks of sound, or the front of one of video.
const WINDOW_BYTES: usize = 16 << 10;
/// Nanoseconds a tick, where the file does not say.
const SCALE_DEFAULT: u64 = 1_000_000;

pub(crate) fn is_matroska(head: &[u8]) -> bool {
    head.starts_with(&EBML.to_be_bytes())
}

/// Reads the index of a file.
pub(crate) fn index(input: &dyn Input, limits: &Limits) -> Result<Index, MediaError> {
    let window = Window::new(input, WINDOW_BYTES);
    let mut at = 0;
    let mut seen = 0;
    let mut scale = SCALE_DEFAULT;
    let mut clusters: Option<clusters::Clusters> = None;
    while let Some(found) = element_at(&window, at)? {
        seen += 1;
        at_most("elements in the file", seen, limits.elements)?;
        let end = found.end.unwrap_or(input.len());
        if input.len() < end {
            return Err(MediaError::damaged_at("it ends too early: the upload is incomplete", at));
        }
        let body = || -> Result<Vec<u8>, MediaError> {
            let len = end - found.body;
            at_most("bytes of the file's header", len, limits.header_bytes)?;
            let len = usize::try_from(len).map_err(|_| MediaError::damaged("element size"))?;
            read_exact(input, found.body, len, "the header")
        };
        at = end;
        match found.id {
            EBML => check_type(&body()?)?,
            // Their elements follow one another here, so that an unknown size is no matter.
            SEGMENT => at = found.body,
            INFO => scale = timestamp_scale(&body()?)?,
            TRACKS if clusters.is_none() => {
                let (ticks, factor) = time_base(scale)?;
                let tracks = tracks::parse(&body()?, ticks, limits)?;
                clusters = Some(clusters::Clusters::new(tracks, scale, factor));
            }
            CLUSTER => {
                let Some(clusters) = &mut clusters else {
                    return Err(MediaError::damaged_at("media comes before the tracks", at));
                };
                at = clusters.add(&window, found.body, found.end, &mut seen, limits)?;
            }
            _ => {}
        }
    }
    let clusters = clusters.ok_or_else(|| MediaError::damaged("it has no tracks"))?;
    let mut index = Index { container: Container::Matroska, tracks: clusters.finish() };
    probe::complete(&mut index, input, limits)?;
    Ok(index)
}

fn check_type(header: &[u8]) -> Result<(), MediaError> {
    for found in elements(header) {
        let (id, body) = found?;
        let kind = text(body);
        if id == DOC_TYPE && kind != "matroska" && kind != "webm" {
            return Err(MediaError::unsupported("an EBML file that is not Matroska"));
        }
    }
    Ok(())
}

fn timestamp_scale(info: &[u8]) -> Result<u64, MediaError> {
    for found in elements(info) {
        let (id, body) = found?;
        if id == TIMESTAMP_SCALE {
            return unsigned(body);
        }
    }
    Ok(SCALE_DEFAULT)
}

/// Ticks a second of the video tracks, and how many of them a tick of the file is.
fn time_base(scale: u64) -> Result<(u32, i64), MediaError> {
    const SECOND: u64 = 1_000_000_000;
    if scale == 0 || SECOND < scale {
        return Err(MediaError::damaged(format!("a tick of {scale} nanoseconds")));
    }
    let (ticks, factor) =
        if SECOND.is_multiple_of(scale) { (SECOND / scale, 1) } else { (SECOND, scale) };
    u32::try_from(ticks)
        .ok()
        .zip(i64::try_from(factor).ok())
        .ok_or_else(|| MediaError::damaged("time scale"))
}
