//! HEVC.

use std::borrow::Cow;

use rust_h265::{DecodeLimits, Decoder, NalUnit, NalUnitType, PixelData, parse_nal};

use super::Core;
use crate::{
    error::MediaError,
    frame::Frame,
    limits::Limits,
    model::Chroma,
    probe,
    syntax::{hevc, nal},
};

/// Bytes of state for one picture: planes, motion and transform data of 8.9 M samples.
const PICTURE_BYTES_MAX: u64 = 256 << 20;

/// Decodes HEVC sample by sample.
pub(super) struct Hevc {
    config: hevc::Config,
    picture_samples: u64,
    decoder: Decoder,
    /// Temporal sub-layers of the stream; with one, disposable pictures can be told.
    sub_layers: u32,
    /// Leading pictures of the random access point that decoding started at are left out.
    skip_leading: Option<bool>,
}

impl Hevc {
    pub(super) fn open(record: &[u8], limits: &Limits) -> Result<Self, MediaError> {
        let config = hevc::config(record)?;
        let decoder = Decoder::with_limits(DecodeLimits {
            max_picture_pixels: limits.picture_samples,
            max_picture_memory_bytes: PICTURE_BYTES_MAX,
        });
        let sets = config.sets.clone();
        let picture_samples = limits.picture_samples;
        let mut this = Self { config, picture_samples, decoder, sub_layers: 7, skip_leading: None };
        for unit in &sets {
            this.feed(unit)?;
        }
        Ok(this)
    }

    fn feed(&mut self, unit: &[u8]) -> Result<Option<rust_h265::Frame>, MediaError> {
        if hevc::layer(unit) != 0 {
            return Ok(None);
        }
        if hevc::kind(unit) == hevc::SPS {
            let set = hevc::sequence(unit)?;
            probe::check("HEVC", &set.sequence, self.picture_samples)?;
            self.sub_layers = set.sub_layers;
        }
        let Some(unit) = parse_nal(unit) else {
            return Err(MediaError::damaged("HEVC: a unit without a header"));
        };
        self.decoder
            .decode_nal(&unit)
            .map_err(|error| MediaError::damaged(format!("HEVC: {error}")))
    }
}

impl Core for Hevc {
    fn can_start(&self, sample: &[u8]) -> Result<bool, MediaError> {
        let kind = hevc::slice_kind(sample, self.config.length_size)?;
        Ok(kind.is_some_and(hevc::is_start))
    }

    fn decode(&mut self, sample: Vec<u8>, wanted: bool) -> Result<Option<Frame>, MediaError> {
        if let Some(kind) = hevc::slice_kind(&sample, self.config.length_size)? {
            if hevc::is_start(kind) {
                self.skip_leading = Some(self.skip_leading.is_none());
            }
            let skipped = hevc::is_skipped_leading(kind) && self.skip_leading == Some(true);
            if skipped || (!wanted && self.sub_layers == 1 && hevc::is_disposable(kind)) {
                return Ok(None);
            }
        }
        let mut picture = None;
        for unit in nal::units(&sample, self.config.length_size) {
            picture = self.feed(unit?)?.or(picture);
        }
        // A delimiter ends the picture, which else may wait for the next one.
        let end = NalUnit {
            nal_unit_type: NalUnitType::Aud,
            nuh_layer_id: 0,
            temporal_id: 0,
            rbsp: Cow::Borrowed(&[]),
            epb_positions: Vec::new(),
        };
        let ended = self.decoder.decode_nal(&end);
        let ended = ended.map_err(|error| MediaError::damaged(format!("HEVC: {error}")))?;
        ended.or(picture).map(frame).transpose()
    }
}

fn frame(picture: rust_h265::Frame) -> Result<Frame, MediaError> {
    let chroma = match picture.chroma_format_idc {
        1 => Chroma::Yuv420,
        2 => Chroma::Yuv422,
        3 => Chroma::Yuv444,
        other => return Err(MediaError::unsupported(format!("HEVC chroma format {other}"))),
    };
    Ok(Frame {
        width: picture.width,
        height: picture.height,
        bit_depth: picture.bit_depth,
        chroma,
        y: plane(picture.y),
        u: plane(picture.u),
        v: plane(picture.v),
        colour: None,
        index: 0,
    })
}

fn plane(data: PixelData) -> Vec<u8> {
    match data {
        PixelData::U8(bytes) => bytes,
        PixelData::U16(samples) => samples.into_iter().flat_map(u16::to_le_bytes).collect(),
    }
}
