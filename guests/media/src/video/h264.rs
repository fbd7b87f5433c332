//! H.264 with one of two decoders: the faster one for what it does exactly (8 bit, 4:2:0, one of
//! the common picture orders), the complete one for the rest and where the faster one gives up.

use rust_h264::{
    decoder::{ChromaFormat, Decoder as Complete},
    nal::{NalUnit, parse_avcc},
};
use rusty_h264_decoder::Decoder as Fast;

use super::Core;
use crate::{
    error::MediaError,
    frame::Frame,
    limits::Limits,
    model::Chroma,
    probe,
    syntax::{h264, nal},
};

/// A core for a stream with this avcC record.
pub(super) fn open(record: &[u8], limits: &Limits) -> Result<Box<dyn Core>, MediaError> {
    let set = Setup { config: h264::config(record)?, picture_samples: limits.picture_samples };
    let mut fast = true;
    for unit in &set.config.sets {
        fast &= set.check(unit)?;
    }
    if fast { Ok(Box::new(FastCore::new(set)?)) } else { Ok(Box::new(CompleteCore::new(set)?)) }
}

/// What both cores need to start.
#[derive(Clone)]
struct Setup {
    config: h264::Config,
    picture_samples: u64,
}

impl Setup {
    /// Checks a unit before a decoder sees it: only parameter sets ask for memory. Says whether
    /// the fast decoder is exact for it.
    fn check(&self, unit: &[u8]) -> Result<bool, MediaError> {
        if h264::kind(unit) != h264::SPS {
            return Ok(true);
        }
        let (sequence, order_type) = h264::sequence(unit)?;
        let (depth, chroma) = probe::check("H.264", &sequence, self.picture_samples)?;
        Ok(depth == 8 && chroma == Chroma::Yuv420 && order_type != 1)
    }
}

/// The complete decoder: also 10 bit and 4:2:2.
struct CompleteCore {
    setup: Setup,
    decoder: Complete,
}

impl CompleteCore {
    fn new(setup: Setup) -> Result<Self, MediaError> {
        let mut decoder = Complete::new();
        for unit in &setup.config.sets {
            let length = u32::try_from(unit.len()).unwrap_or(0).to_be_bytes();
            for unit in parse_avcc(&[length.as_slice(), unit].concat(), 4) {
                feed(&mut decoder, &unit)?;
            }
        }
        Ok(Self { setup, decoder })
    }
}

fn feed(decoder: &mut Complete, unit: &NalUnit<'_>) -> Result<(), MediaError> {
    decoder
        .decode_nal(unit)
        .map(|_| ())
        .map_err(|error| MediaError::damaged(format!("H.264: {error}")))
}

impl Core for CompleteCore {
    fn can_start(&self, sample: &[u8]) -> Result<bool, MediaError> {
        h264::can_start(sample, self.setup.config.length_size)
    }

    fn decode(&mut self, sample: Vec<u8>, wanted: bool) -> Result<Option<Frame>, MediaError> {
        let length_size = self.setup.config.length_size;
        if !wanted && h264::is_disposable(&sample, length_size) {
            return Ok(None);
        }
        for unit in nal::units(&sample, length_size) {
            let unit = unit?;
            self.setup.check(unit)?;
            let length = u32::try_from(unit.len()).unwrap_or(0).to_be_bytes();
            for unit in parse_avcc(&[length.as_slice(), unit].concat(), 4) {
                feed(&mut self.decoder, &unit)?;
            }
        }
        // Ends the picture, which else waits for the next one.
        let Some(picture) = self.decoder.flush() else { return Ok(None) };
        let chroma = match picture.chroma_format {
            ChromaFormat::Yuv420 => Chroma::Yuv420,
            ChromaFormat::Yuv422 => Chroma::Yuv422,
        };
        Ok(Some(Frame {
            width: picture.width,
            height: picture.height,
            bit_depth: picture.bit_depth,
            chroma,
            y: picture.y,
            u: picture.u,
            v: picture.v,
            colour: None,
            index: 0,
        }))
    }
}

/// The fast decoder. It takes Annex B, so lengths become start codes.
struct FastCore {
    setup: Setup,
    decoder: Fast,
}

impl FastCore {
    fn new(setup: Setup) -> Result<Self, MediaError> {
        let mut decoder = Fast::new();
        let mut sets = Vec::new();
        for unit in &setup.config.sets {
            sets.extend_from_slice(&[0, 0, 0, 1]);
            sets.extend_from_slice(unit);
        }
        decoder.decode(&sets).map_err(|error| MediaError::damaged(format!("H.264: {error}")))?;
        Ok(Self { setup, decoder })
    }
}

impl Core for FastCore {
    fn can_start(&self, sample: &[u8]) -> Result<bool, MediaError> {
        h264::can_start(sample, self.setup.config.length_size)
    }

    fn decode(&mut self, sample: Vec<u8>, wanted: bool) -> Result<Option<Frame>, MediaError> {
        let length_size = self.setup.config.length_size;
        if !wanted && h264::is_disposable(&sample, length_size) {
            return Ok(None);
        }
        let mut stream = Vec::with_capacity(sample.len() + 64);
        for unit in nal::units(&sample, length_size) {
            let unit = unit?;
            if !self.setup.check(unit)? {
                return Err(MediaError::damaged("H.264: the stream's format changes"));
            }
            stream.extend_from_slice(&[0, 0, 0, 1]);
            stream.extend_from_slice(unit);
        }
        let picture = self
            .decoder
            .decode(&stream)
            .map_err(|error| MediaError::damaged(format!("H.264: {error}")))?;
        let Some(picture) = picture else {
            // The caller wants a picture of every sample; the complete decoder may give it.
            return Err(MediaError::damaged("H.264: a sample without a whole picture"));
        };
        Ok(Some(Frame {
            width: u32::try_from(picture.width).unwrap_or(0),
            height: u32::try_from(picture.height).unwrap_or(0),
            bit_depth: 8,
            chroma: Chroma::Yuv420,
            y: picture.y,
            u: picture.u,
            v: picture.v,
            colour: None,
            index: 0,
        }))
    }

    fn fallback(&self) -> Option<Box<dyn Core>> {
        let core = CompleteCore::new(self.setup.clone()).ok()?;
        Some(Box::new(core))
    }
}
