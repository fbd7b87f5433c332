//! HEVC's sequence parameter set (7.3.2.2), as far as the VUI's timing.

use super::{bits::Bits, nal, vui, vui::Sequence};
use crate::error::MediaError;

/// Bytes of a parameter set that are looked at.
const HEADER_BYTES_MAX: usize = 4096;

/// What a sequence parameter set says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SequenceSet {
    pub(crate) sequence: Sequence,
    /// Temporal sub-layers, at least 1.
    pub(crate) sub_layers: u32,
}

/// Reads a sequence parameter set of the base layer.
pub(crate) fn sequence(unit: &[u8]) -> Result<SequenceSet, MediaError> {
    let rbsp = nal::unescape(unit.get(2..).unwrap_or_default(), HEADER_BYTES_MAX);
    let bits = &mut Bits::new(&rbsp);
    bits.skip(4)?;
    let sub_layers = bits.bits(3)? + 1;
    bits.skip(1)?;
    let frames_only = profile_tier_level(bits, sub_layers)?;
    bits.ue_at_most(15)?;
    let chroma_idc = bits.ue_at_most(3)?;
    if chroma_idc == 3 && bits.bit()? {
        return Err(MediaError::unsupported("HEVC with separate colour planes"));
    }
    let coded = (bits.ue_at_most(16888)?, bits.ue_at_most(16888)?);
    let (width, height) = window(bits, coded, chroma_idc)?;
    let bit_depth = 8 + bits.ue_at_most(8)?;
    let chroma_bit_depth = 8 + bits.ue_at_most(8)?;
    let order_bits = 4 + bits.ue_at_most(12)?;
    let each = bits.bit()?;
    for _ in 0..if each { sub_layers } else { 1 } {
        skip_numbers(bits, 3)?;
    }
    for _ in 0..6 {
        bits.ue_at_most(32)?;
    }
    if bits.bit()? && bits.bit()? {
        scaling_lists(bits)?;
    }
    bits.skip(2)?;
    if bits.bit()? {
        bits.skip(8)?;
        skip_numbers(bits, 2)?;
        bits.skip(1)?;
    }
    reference_sets(bits)?;
    if bits.bit()? {
        for _ in 0..bits.ue_at_most(32)? {
            bits.skip(order_bits + 1)?;
        }
    }
    bits.skip(2)?;
    let mut sequence = Sequence {
        width,
        height,
        coded,
        chroma_idc,
        bit_depth,
        chroma_bit_depth,
        progressive: frames_only,
        pixel_aspect: None,
        colour: None,
        frame_rate: None,
    };
    if bits.bit()? {
        usability(bits, &mut sequence)?;
    }
    Ok(SequenceSet { sequence, sub_layers })
}

fn skip_numbers(bits: &mut Bits<'_>, count: u32) -> Result<(), MediaError> {
    for _ in 0..count {
        bits.ue()?;
    }
    Ok(())
}

/// Returns whether the stream may hold frames: false if the source was interlaced only.
fn profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Result<bool, MediaError> {
    bits.skip(8 + 32)?;
    let (progressive, interlaced) = (bits.bit()?, bits.bit()?);
    bits.skip(46 + 8)?;
    let mut present = Vec::new();
    for _ in 1..sub_layers {
        present.push((bits.bit()?, bits.bit()?));
    }
    if 1 < sub_layers {
        bits.skip(2 * (9 - sub_layers))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
    }
    Ok(progressive || !interlaced)
}

fn window(
    bits: &mut Bits<'_>,
    coded: (u32, u32),
    chroma_idc: u32,
) -> Result<(u32, u32), MediaError> {
    if !bits.bit()? {
        return Ok(coded);
    }
    let unit_x = if chroma_idc == 1 || chroma_idc == 2 { 2 } else { 1 };
    let unit_y = if chroma_idc == 1 { 2 } else { 1 };
    let mut edge = || bits.ue_at_most(16888);
    let (left, right, top, bottom) = (edge()?, edge()?, edge()?, edge()?);
    let width = coded.0.checked_sub((left + right) * unit_x).filter(|&width| 0 < width);
    let height = coded.1.checked_sub((top + bottom) * unit_y).filter(|&height| 0 < height);
    width.zip(height).ok_or_else(|| MediaError::damaged("a picture is cropped to nothing"))
}

fn scaling_lists(bits: &mut Bits<'_>) -> Result<(), MediaError> {
    for size in 0..4_u32 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.bit()? {
                bits.ue()?;
                continue;
            }
            if 1 < size {
                bits.se()?;
            }
            for _ in 0..64.min(1 << (4 + (size << 1))) {
                bits.se()?;
            }
        }
    }
    Ok(())
}

/// Short-term reference picture sets (7.3.7); only their sizes matter here.
fn reference_sets(bits: &mut Bits<'_>) -> Result<(), MediaError> {
    let mut before = 0;
    for number in 0..bits.ue_at_most(64)? {
        if number != 0 && bits.bit()? {
            bits.skip(1)?;
            bits.ue()?;
            let mut kept = 0;
            for _ in 0..=before {
                let used = bits.bit()?;
                if used || bits.bit()? {
                    kept += 1;
                }
            }
            before = kept;
            continue;
        }
        let (negative, positive) = (bits.ue_at_most(16)?, bits.ue_at_most(16)?);
        for _ in 0..negative + positive {
            bits.ue()?;
            bits.skip(1)?;
        }
        before = negative + positive;
    }
    Ok(())
}

fn usability(bits: &mut Bits<'_>, sequence: &mut Sequence) -> Result<(), MediaError> {
    (sequence.pixel_aspect, sequence.colour) = vui::common(bits)?;
    bits.skip(1)?;
    let fields = bits.bit()?;
    if fields {
        sequence.progressive = false;
    }
    bits.skip(1)?;
    if bits.bit()? {
        skip_numbers(bits, 4)?;
    }
    if bits.bit()? {
        let (unit, scale) = (bits.bits(32)?, bits.bits(32)?);
        sequence.frame_rate = (0 < unit).then_some((scale, unit));
    }
    Ok(())
}
