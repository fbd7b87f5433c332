//! What the encoder answered: its configuration record, read and named, and each packet, checked.
//!
//! The packets come from native code on the other side of a host call. They are checked before they
//! are stored, so that a fault shows as a failed part and never as a film that does not play.

use serde::{Deserialize, Serialize};
use shiguredo_mp4::Uint;
use shiguredo_mp4::bitstream::av1::{
    Av1FrameHeaderPrefix, Av1FrameType, Av1ObuParseContext, Av1ObuType, Av1SequenceHeader,
    parse_frame_header_prefix, parse_obus, parse_sequence_header,
};
use shiguredo_mp4::boxes::Av1cBox;

use crate::PackagingError;

/// Bytes of `av1C` before its OBUs (AV1 Codec ISO Media File Format Binding, section 2.3.3).
const AV1C_FIXED_BYTES: usize = 4;
/// Marker bit and version 1, the first byte of `av1C`.
const AV1C_MARKER_VERSION: u8 = 0x81;

/// Colour as code points of ITU-T H.273.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Colour {
    /// ColourPrimaries; 2 is unspecified.
    pub primaries: u8,
    /// TransferCharacteristics; 2 is unspecified.
    pub transfer: u8,
    /// MatrixCoefficients; 2 is unspecified.
    pub matrix: u8,
    /// Full range rather than studio range.
    pub full_range: bool,
}

impl Colour {
    /// Nothing is known.
    pub const UNSPECIFIED: Self = Self { primaries: 2, transfer: 2, matrix: 2, full_range: false };
    /// ITU-R BT.709, studio range: what a codec string without a colour suffix means.
    pub const BT709: Self = Self { primaries: 1, transfer: 1, matrix: 1, full_range: false };
}

/// The configuration of one AV1 stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Av1Config {
    pub(crate) av1c: Av1cBox,
    sequence: Av1SequenceHeader,
    sequence_payload: Vec<u8>,
}

impl Av1Config {
    /// Read the content of an `av1C` box, which must hold the sequence header.
    pub fn parse(content: &[u8]) -> Result<Self, PackagingError> {
        let fault =
            |why: &str| PackagingError::Encoder { what: "configuration", why: why.to_owned() };
        let (&[first, second, third, fourth], obus) =
            content.split_first_chunk::<AV1C_FIXED_BYTES>().ok_or_else(|| fault("too short"))?;
        if first != AV1C_MARKER_VERSION {
            return Err(fault("its marker and version are not 0x81"));
        }
        let parsed = parse_obus(obus, Av1ObuParseContext::ConfigObus)
            .map_err(|error| fault(&error.reason))?;
        let header = parsed
            .iter()
            .find(|obu| obu.obu_type == Av1ObuType::SequenceHeader)
            .ok_or_else(|| fault("it has no sequence header"))?;
        let sequence =
            parse_sequence_header(header.payload).map_err(|error| fault(&error.reason))?;
        let delay = Uint::<u8, 4, 0>::from_bits(fourth);
        let av1c = Av1cBox {
            seq_profile: Uint::from_bits(second),
            seq_level_idx_0: Uint::from_bits(second),
            seq_tier_0: Uint::from_bits(third),
            high_bitdepth: Uint::from_bits(third),
            twelve_bit: Uint::from_bits(third),
            monochrome: Uint::from_bits(third),
            chroma_subsampling_x: Uint::from_bits(third),
            chroma_subsampling_y: Uint::from_bits(third),
            chroma_sample_position: Uint::from_bits(third),
            initial_presentation_delay_minus_one: (fourth & 0x10 != 0).then_some(delay),
            config_obus: obus.to_vec(),
        };
        Ok(Self { av1c, sequence_payload: header.payload.to_vec(), sequence })
    }

    /// Width and height that the sequence header declares, in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.sequence.max_frame_width, self.sequence.max_frame_height)
    }

    /// The codec string for CODECS and `codecs` (AV1 binding, section 5): profile, level, tier and
    /// depth, and the colour where it says something else than BT.709 in studio range. Colour of
    /// which nothing is known is left out too: the defaults are what players then assume anyway.
    pub fn codec_string(&self, colour: &Colour) -> String {
        let av1c = &self.av1c;
        let tier = if av1c.seq_tier_0.get() == 0 { 'M' } else { 'H' };
        let depth = match (av1c.high_bitdepth.get(), av1c.twelve_bit.get()) {
            (0, _) => 8,
            (_, 0) => 10,
            _ => 12,
        };
        let mut codec = format!(
            "av01.{}.{:02}{tier}.{depth:02}",
            av1c.seq_profile.get(),
            av1c.seq_level_idx_0.get()
        );
        if *colour != Colour::BT709 && *colour != Colour::UNSPECIFIED {
            let (x, y) = (av1c.chroma_subsampling_x.get(), av1c.chroma_subsampling_y.get());
            let position = if x == 1 && y == 1 { av1c.chroma_sample_position.get() } else { 0 };
            codec.push_str(&format!(
                ".{}.{x}{y}{position}.{:02}.{:02}.{:02}.{}",
                av1c.monochrome.get(),
                colour.primaries,
                colour.transfer,
                colour.matrix,
                u8::from(colour.full_range)
            ));
        }
        codec
    }

    /// Check one temporal unit: whole OBUs, no temporal delimiter, exactly one shown frame. One
    /// that is meant as `key` begins with the configuration's sequence header and a shown key
    /// frame; no other has a key frame or a sequence header that differs.
    pub fn check_unit(&self, data: &[u8], key: bool) -> Result<(), PackagingError> {
        let fault = |why: String| PackagingError::Encoder { what: "packet", why };
        let obus = parse_obus(data, Av1ObuParseContext::Sample)
            .map_err(|error| fault(error.reason.clone()))?;
        let (mut shown, mut keys, mut sequence_first) = (0, 0, false);
        for (position, obu) in obus.iter().enumerate() {
            match obu.obu_type {
                Av1ObuType::TemporalDelimiter => {
                    return Err(fault("it holds a temporal delimiter".to_owned()));
                }
                Av1ObuType::SequenceHeader => {
                    if obu.payload != self.sequence_payload {
                        return Err(fault("its sequence header is another".to_owned()));
                    }
                    sequence_first |= position == 0;
                }
                Av1ObuType::Frame | Av1ObuType::FrameHeader => {
                    let prefix = parse_frame_header_prefix(obu.payload, &self.sequence)
                        .map_err(|error| fault(error.reason.clone()))?;
                    match prefix {
                        Av1FrameHeaderPrefix::ShowExistingFrame => shown += 1,
                        Av1FrameHeaderPrefix::NewFrame { frame_type, show_frame } => {
                            shown += u32::from(show_frame);
                            keys += u32::from(frame_type == Av1FrameType::Key);
                        }
                    }
                }
                _ => {}
            }
        }
        if shown != 1 {
            return Err(fault(format!("it shows {shown} frames instead of one")));
        }
        match (key, keys) {
            (true, 1) if sequence_first => Ok(()),
            (false, 0) => Ok(()),
            (true, _) => Err(fault("no random access where a group of pictures begins".to_owned())),
            (false, _) => Err(fault("a key frame inside a group of pictures".to_owned())),
        }
    }
}
