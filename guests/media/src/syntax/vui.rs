//! The part of the video usability information that H.264 and HEVC share (H.264 E.1.1, HEVC
//! E.2.1): sample aspect ratio and colour.

use super::bits::Bits;
use crate::{error::MediaError, model::Colour};

/// What a sequence parameter set says about a picture, whichever the codec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Size after cropping.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Size before cropping.
    pub(crate) coded: (u32, u32),
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub(crate) chroma_idc: u32,
    pub(crate) bit_depth: u32,
    pub(crate) chroma_bit_depth: u32,
    pub(crate) progressive: bool,
    pub(crate) pixel_aspect: Option<(u32, u32)>,
    pub(crate) colour: Option<Colour>,
    /// Frame rate as a fraction, where the stream has timing.
    pub(crate) frame_rate: Option<(u32, u32)>,
}

/// The sample aspect ratios of table E-1, from 1.
const ASPECTS: [(u32, u32); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// Sample aspect ratio and colour, where they are stated.
type Usability = (Option<(u32, u32)>, Option<Colour>);

/// Reads up to and including the chroma location.
pub(crate) fn common(bits: &mut Bits<'_>) -> Result<Usability, MediaError> {
    let mut aspect = None;
    if bits.bit()? {
        let code = bits.bits(8)?;
        aspect = if code == 255 {
            Some((bits.bits(16)?, bits.bits(16)?))
        } else {
            (code as usize).checked_sub(1).and_then(|n| ASPECTS.get(n)).copied()
        };
    }
    if bits.bit()? {
        bits.skip(1)?;
    }
    let mut colour = None;
    if bits.bit()? {
        bits.skip(3)?;
        let full_range = bits.bit()?;
        let mut found = Colour { primaries: 2, transfer: 2, matrix: 2, full_range };
        if bits.bit()? {
            let mut code = || bits.bits(8).map(|code| u8::try_from(code).unwrap_or(2));
            (found.primaries, found.transfer, found.matrix) = (code()?, code()?, code()?);
        }
        colour = Some(found);
    }
    if bits.bit()? {
        bits.ue()?;
        bits.ue()?;
    }
    Ok((aspect, colour))
}
