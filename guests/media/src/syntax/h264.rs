//! H.264: `avcC`, the sequence parameter set, and what a sample says about itself.

use super::{bits::Bits, nal, vui, vui::Sequence};
use crate::{bytes::Bytes, error::MediaError};

const SLICE: u8 = 1;
const IDR: u8 = 5;
const SEI: u8 = 6;
/// Sequence parameter set.
pub(crate) const SPS: u8 = 7;
/// Bytes of a parameter set or slice header that are looked at.
const HEADER_BYTES_MAX: usize = 4096;

/// The avcC record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) length_size: usize,
    /// Parameter sets, as NAL units.
    pub(crate) sets: Vec<Vec<u8>>,
}

/// Type of a NAL unit.
pub(crate) fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 31)
}

/// Reads avcC (ISO/IEC 14496-15, 5.3.3.1).
pub(crate) fn config(record: &[u8]) -> Result<Config, MediaError> {
    let mut bytes = Bytes::new(record);
    if bytes.u8()? != 1 {
        return Err(MediaError::damaged("the H.264 configuration has an unknown version"));
    }
    bytes.skip(3)?;
    let length_size = usize::from(bytes.u8()? & 3) + 1;
    let mut sets = Vec::new();
    for mask in [31, 255] {
        for _ in 0..bytes.u8()? & mask {
            let len = bytes.u16()?;
            sets.push(bytes.take(usize::from(len))?.to_vec());
        }
    }
    Ok(Config { length_size, sets })
}

/// Reads a sequence parameter set (7.3.2.1.1), and its order type: (set, pic_order_cnt_type).
pub(crate) fn sequence(unit: &[u8]) -> Result<(Sequence, u32), MediaError> {
    let rbsp = nal::unescape(unit.get(1..).unwrap_or_default(), HEADER_BYTES_MAX);
    let bits = &mut Bits::new(&rbsp);
    let profile = bits.bits(8)?;
    bits.skip(16)?;
    bits.ue_at_most(31)?;
    let (mut chroma_idc, mut depth, mut chroma_depth) = (1, 8, 8);
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma_idc = bits.ue_at_most(3)?;
        if chroma_idc == 3 {
            bits.skip(1)?;
        }
        depth = 8 + bits.ue_at_most(6)?;
        chroma_depth = 8 + bits.ue_at_most(6)?;
        bits.skip(1)?;
        if bits.bit()? {
            for list in 0..if chroma_idc == 3 { 12 } else { 8 } {
                if bits.bit()? {
                    scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.ue_at_most(12)?;
    let order_type = bits.ue_at_most(2)?;
    if order_type == 0 {
        bits.ue_at_most(12)?;
    } else if order_type == 1 {
        bits.skip(1)?;
        bits.se()?;
        bits.se()?;
        for _ in 0..bits.ue_at_most(255)? {
            bits.se()?;
        }
    }
    bits.ue_at_most(16)?;
    bits.skip(1)?;
    let mbs_wide = bits.ue_at_most(4095)? + 1;
    let map_units = bits.ue_at_most(4095)? + 1;
    let progressive = bits.bit()?;
    if !progressive {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let coded = (mbs_wide * 16, map_units * if progressive { 16 } else { 32 });
    let (width, height) = crop(bits, coded, chroma_idc, progressive)?;
    let mut sequence = Sequence {
        width,
        height,
        coded,
        chroma_idc,
        bit_depth: depth,
        chroma_bit_depth: chroma_depth,
        progressive,
        pixel_aspect: None,
        colour: None,
        frame_rate: None,
    };
    if bits.bit()? {
        (sequence.pixel_aspect, sequence.colour) = vui::common(bits)?;
        if bits.bit()? {
            let (unit, scale) = (bits.bits(32)?, bits.bits(32)?);
            // Two ticks make a frame.
            sequence.frame_rate = unit.checked_mul(2).filter(|&u| 0 < u).map(|u| (scale, u));
        }
    }
    Ok((sequence, order_type))
}

fn scaling_list(bits: &mut Bits<'_>, size: u32) -> Result<(), MediaError> {
    let (mut last, mut next) = (8_i32, 8_i32);
    for _ in 0..size {
        if next != 0 {
            next = (last.wrapping_add(bits.se()?)) & 255;
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

fn crop(
    bits: &mut Bits<'_>,
    coded: (u32, u32),
    chroma_idc: u32,
    progressive: bool,
) -> Result<(u32, u32), MediaError> {
    if !bits.bit()? {
        return Ok(coded);
    }
    let unit_x = if chroma_idc == 1 || chroma_idc == 2 { 2 } else { 1 };
    let unit_y = if chroma_idc == 1 { 2 } else { 1 } * if progressive { 1 } else { 2 };
    let mut edge = || bits.ue_at_most(65535);
    let (left, right, top, bottom) = (edge()?, edge()?, edge()?, edge()?);
    let width = coded.0.checked_sub((left + right) * unit_x).filter(|&width| 0 < width);
    let height = coded.1.checked_sub((top + bottom) * unit_y).filter(|&height| 0 < height);
    width.zip(height).ok_or_else(|| MediaError::damaged("a picture is cropped to nothing"))
}

/// Whether a decoder can start at this sample and give it and all that are presented after it.
///
/// An IDR always can. Another picture can if its recovery point is at itself (D.2.8), or if it
/// has no recovery point but only intra slices.
pub(crate) fn can_start(sample: &[u8], length_size: usize) -> Result<bool, MediaError> {
    let mut recovery = None;
    for unit in nal::units(sample, length_size) {
        let unit = unit?;
        match kind(unit) {
            IDR => return Ok(true),
            SEI => recovery = recovery.or(recovery_point(unit)?),
            SLICE if recovery.is_some() => break,
            SLICE if !is_intra(unit)? => return Ok(false),
            _ => {}
        }
    }
    Ok(recovery.is_none_or(|frames| frames == 0))
}

/// Whether no other picture refers to this one.
pub(crate) fn is_disposable(sample: &[u8], length_size: usize) -> bool {
    nal::units(sample, length_size).all(|unit| {
        unit.is_ok_and(|unit| match kind(unit) {
            SLICE => unit.first().is_some_and(|byte| byte & 0x60 == 0),
            IDR | 2..=4 | SPS | 8 => false,
            _ => true,
        })
    })
}

fn is_intra(unit: &[u8]) -> Result<bool, MediaError> {
    let rbsp = nal::unescape(unit.get(1..).unwrap_or_default(), 16);
    let mut bits = Bits::new(&rbsp);
    bits.ue()?;
    Ok(matches!(bits.ue()?, 2 | 7))
}

/// Frames to recovery, if the unit has that message.
fn recovery_point(unit: &[u8]) -> Result<Option<u32>, MediaError> {
    const RECOVERY_POINT: u32 = 6;
    let rbsp = nal::unescape(unit.get(1..).unwrap_or_default(), HEADER_BYTES_MAX);
    let mut bytes = Bytes::new(&rbsp);
    // A message has at least two bytes; the trailing bits are one byte.
    while 2 < bytes.rest().len() {
        let kind = extended(&mut bytes)?;
        let len = extended(&mut bytes)? as usize;
        let Ok(body) = bytes.take(len) else { return Ok(None) };
        if kind == RECOVERY_POINT {
            return Bits::new(body).ue().map(Some);
        }
    }
    Ok(None)
}

fn extended(bytes: &mut Bytes<'_>) -> Result<u32, MediaError> {
    let mut sum = 0_u32;
    loop {
        let byte = bytes.u8()?;
        sum = sum.saturating_add(u32::from(byte));
        if byte != 255 {
            return Ok(sum);
        }
    }
}
