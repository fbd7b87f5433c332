//! Decoding a range of presented frames, whatever the codec.

mod h264;
mod hevc;
mod raw;
mod vp9;

use std::{collections::BTreeMap, ops::Range};

use crate::{
    error::{MediaError, at_most},
    frame::Frame,
    input::Input,
    limits::Limits,
    model::{Codec, Track, VideoInfo},
    plan::VideoPlan,
    reader::Reader,
};

/// Frames held back at most until an earlier one is decoded. H.264 and HEVC reorder over at
/// most 16 pictures; twice that leaves room for odd time stamps.
const HELD_FRAMES_MAX: usize = 32;
/// Random access points gone back over at most, to find one that a decoder can start at.
const BACK_MAX: usize = 1000;

/// What one codec must do: take samples in decode order and give the picture of each.
trait Core {
    /// Whether decoding can start at this sample.
    fn can_start(&self, sample: &[u8]) -> Result<bool, MediaError>;

    /// Decodes a sample. `wanted` says whether the picture will be presented: if not, a core may
    /// leave out what nothing refers to. Gives nothing if the sample holds no picture.
    fn decode(&mut self, sample: Vec<u8>, wanted: bool) -> Result<Option<Frame>, MediaError>;

    /// A core to try from the start of the range after [`Core::decode`] failed, if there is one.
    fn fallback(&self) -> Option<Box<dyn Core>> {
        None
    }
}

/// Decodes the frames of a video track, range by range.
///
/// Memory: the codec's references, at most 32 pictures out of order, and at most 4 MiB of input.
pub struct VideoDecoder<'a> {
    track: &'a Track,
    info: &'a VideoInfo,
    input: &'a dyn Input,
    limits: Limits,
    plan: VideoPlan,
    /// Number of the presented frame of each sample; `u32::MAX` where not presented.
    shown_as: Vec<u32>,
    run: Option<Run<'a>>,
}

/// A range being decoded.
struct Run<'a> {
    core: Box<dyn Core>,
    reader: Reader<'a>,
    samples: Range<u32>,
    /// Sample to decode next.
    next_sample: u32,
    /// Frames still to be given, and the end.
    frames: Range<u64>,
    held: BTreeMap<u64, Frame>,
}

impl std::fmt::Debug for VideoDecoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VideoDecoder").field("track", &self.track.id).finish_non_exhaustive()
    }
}

impl<'a> VideoDecoder<'a> {
    /// Opens a track with the default limits.
    ///
    /// # Errors
    /// [`MediaError::Unsupported`] if it cannot be decoded.
    pub fn open(track: &'a Track, input: &'a dyn Input) -> Result<Self, MediaError> {
        Self::with_limits(track, input, Limits::default())
    }

    /// Opens a track.
    ///
    /// # Errors
    /// [`MediaError::Unsupported`] if it cannot be decoded.
    pub fn with_limits(
        track: &'a Track,
        input: &'a dyn Input,
        limits: Limits,
    ) -> Result<Self, MediaError> {
        let info = track.video().ok_or_else(|| MediaError::request("not a video track"))?;
        let samples = u64::from(info.width) * u64::from(info.height);
        at_most("luma samples of a picture", samples, limits.picture_samples)?;
        let plan = VideoPlan::new(track)?;
        let mut shown_as = vec![u32::MAX; track.samples.len()];
        for n in 0..plan.frames() {
            let place = plan.sample(n).and_then(|number| shown_as.get_mut(number as usize));
            if let (Some(place), Ok(n)) = (place, u32::try_from(n)) {
                *place = n;
            }
        }
        core(track, info, &limits)?;
        Ok(Self { track, info, input, limits, plan, shown_as, run: None })
    }

    /// The presented frames and their times.
    #[must_use]
    pub fn plan(&self) -> &VideoPlan {
        &self.plan
    }

    /// Starts to decode the presented frames `frames`. What was left of an earlier range is
    /// dropped.
    ///
    /// # Errors
    /// [`MediaError::Request`] for a range that is empty or past the end; errors of reading.
    pub fn decode_range(&mut self, frames: Range<u64>) -> Result<(), MediaError> {
        let core = core(self.track, self.info, &self.limits)?;
        let range = self.plan.range(frames.start, frames.end)?;
        let start = self.start(core.as_ref(), range.samples.start)?;
        let reader = Reader::new(self.track, self.input, self.limits, range.samples.end);
        self.run = Some(Run {
            core,
            reader,
            next_sample: start,
            samples: start..range.samples.end,
            frames,
            held: BTreeMap::new(),
        });
        Ok(())
    }

    /// The last sample at or before `planned` at which the codec can start: containers also mark
    /// pictures from which a stream only recovers after a while.
    fn start(&self, core: &dyn Core, planned: u32) -> Result<u32, MediaError> {
        let mut first = planned;
        for key in self.plan.keys_back_from(planned).take(BACK_MAX) {
            let sample = Reader::new(self.track, self.input, self.limits, key + 1).read(key)?;
            if core.can_start(&sample)? {
                return Ok(key);
            }
            first = key;
        }
        // There is nothing before; errors are for the decoder to find.
        Ok(first)
    }

    /// The next frame of the range, in presentation order; nothing when the range is done.
    ///
    /// # Errors
    /// [`MediaError::Damaged`] if a frame of the range cannot be decoded: frames are never left
    /// out in silence.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, MediaError> {
        let Some(run) = &mut self.run else { return Ok(None) };
        loop {
            if run.frames.is_empty() {
                self.run = None;
                return Ok(None);
            }
            if let Some(mut frame) = run.held.remove(&run.frames.start) {
                frame.index = run.frames.start;
                frame.colour = self.info.colour;
                run.frames.start += 1;
                return Ok(Some(frame));
            }
            if run.samples.end <= run.next_sample || HELD_FRAMES_MAX < run.held.len() {
                let missing = self.plan.sample(run.frames.start).unwrap_or(0) as usize;
                let at = self.track.samples.get(missing).map(|sample| sample.offset);
                let what = format!("frame {} cannot be decoded", run.frames.start);
                return Err(MediaError::Damaged { what, at });
            }
            run.step(self.info, &self.shown_as)?;
        }
    }
}

impl Run<'_> {
    /// Decodes one sample, and starts the range again with the fallback core if that fails.
    fn step(&mut self, info: &VideoInfo, shown_as: &[u32]) -> Result<(), MediaError> {
        let number = self.next_sample;
        let shown = shown_as.get(number as usize).copied().unwrap_or(u32::MAX);
        let frame = u64::from(shown);
        let wanted = shown != u32::MAX && self.frames.contains(&frame);
        let sample = self.reader.read(number)?;
        self.next_sample += 1;
        match self.core.decode(sample, wanted) {
            Ok(Some(picture)) if wanted => {
                check_size(&picture, info)?;
                self.held.insert(frame, picture);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                let Some(core) = self.core.fallback() else {
                    return Err(error.at(self.reader.offset(number)));
                };
                self.core = core;
                self.held.clear();
                self.next_sample = self.samples.start;
                Ok(())
            }
        }
    }
}

fn check_size(picture: &Frame, info: &VideoInfo) -> Result<(), MediaError> {
    let expected = (info.width, info.height, info.bit_depth, info.chroma);
    if (picture.width, picture.height, picture.bit_depth, picture.chroma) != expected {
        return Err(MediaError::unsupported("video whose picture size or format changes"));
    }
    let (chroma_width, chroma_height) = info.chroma.plane(info.width, info.height);
    let bytes = if info.bit_depth == 8 { 1 } else { 2 };
    let luma = info.width as usize * info.height as usize * bytes;
    let chroma = chroma_width as usize * chroma_height as usize * bytes;
    if (picture.y.len(), picture.u.len(), picture.v.len()) != (luma, chroma, chroma) {
        return Err(MediaError::damaged("a decoded picture has planes of the wrong size"));
    }
    Ok(())
}

fn core(track: &Track, info: &VideoInfo, limits: &Limits) -> Result<Box<dyn Core>, MediaError> {
    Ok(match &track.codec {
        Codec::H264 => h264::open(&track.config, limits)?,
        Codec::Hevc => Box::new(hevc::Hevc::open(&track.config, limits)?),
        Codec::Vp9 => Box::new(vp9::Vp9::new(limits)),
        Codec::Raw => Box::new(raw::Raw::new(info)),
        Codec::Other(name) => return Err(MediaError::unsupported(format!("{name} video"))),
        Codec::Aac | Codec::Opus => return Err(MediaError::request("not a video codec")),
    })
}
