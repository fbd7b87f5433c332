//! Decoded frames, one after another.

use std::ops::Range;

use backlot_media::{Frame, Input, Track, VideoDecoder, rotate};

use crate::fault::Fault;

/// Give each presented frame of a range, upright, to `each`.
pub fn each_frame(
    input: &dyn Input,
    track: &Track,
    frames: Range<u64>,
    mut each: impl FnMut(Frame) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let rotation = track.video().map(|info| info.rotation).unwrap_or_default();
    each_raw_frame(input, track, frames, |frame| each(rotate(frame, rotation)))
}

/// Give each presented frame of a range, as it is stored, to `each`.
pub fn each_raw_frame(
    input: &dyn Input,
    track: &Track,
    frames: Range<u64>,
    mut each: impl FnMut(Frame) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut decoder = VideoDecoder::open(track, input)?;
    decoder.decode_range(frames.clone())?;
    let mut next = frames.start;
    while let Some(frame) = decoder.next_frame()? {
        if frame.index != next {
            return Err(Fault::Passing(format!("frame {} instead of {next}", frame.index)));
        }
        next += 1;
        each(frame)?;
    }
    if next != frames.end {
        return Err(Fault::Passing(format!("{next} frames instead of {}", frames.end)));
    }
    Ok(())
}
