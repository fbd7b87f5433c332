//! HEVC: `hvcC` and what a sample says about itself. The parameter set is in `hevc_sps`.

pub(crate) use super::hevc_sps::sequence;
use super::nal;
use crate::{bytes::Bytes, error::MediaError};

/// Video, sequence and picture parameter sets.
pub(crate) const VPS: u8 = 32;
/// Sequence parameter set.
pub(crate) const SPS: u8 = 33;
/// Picture parameter set.
pub(crate) const PPS: u8 = 34;
/// Leading pictures that refer to what comes before their random access point.
const RASL: std::ops::RangeInclusive<u8> = 8..=9;
/// Random access points.
const IRAP: std::ops::RangeInclusive<u8> = 16..=23;

/// The hvcC record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) length_size: usize,
    /// Parameter sets, as NAL units.
    pub(crate) sets: Vec<Vec<u8>>,
}

/// Type of a NAL unit.
pub(crate) fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte >> 1 & 63)
}

/// Layer of a NAL unit; only the base layer, 0, is decoded.
pub(crate) fn layer(unit: &[u8]) -> u8 {
    match unit {
        [first, second, ..] => (first & 1) << 5 | second >> 3,
        _ => 0,
    }
}

/// Reads hvcC (ISO/IEC 14496-15, 8.3.3.1).
pub(crate) fn config(record: &[u8]) -> Result<Config, MediaError> {
    let mut bytes = Bytes::new(record);
    bytes.skip(21)?;
    let length_size = usize::from(bytes.u8()? & 3) + 1;
    let mut sets = Vec::new();
    for _ in 0..bytes.u8()? {
        bytes.skip(1)?;
        for _ in 0..bytes.u16()? {
            let len = bytes.u16()?;
            let unit = bytes.take(usize::from(len))?;
            if [VPS, SPS, PPS].contains(&kind(unit)) {
                sets.push(unit.to_vec());
            }
        }
    }
    Ok(Config { length_size, sets })
}

/// Type of the first slice of a sample's base layer, if it has a slice.
pub(crate) fn slice_kind(sample: &[u8], length_size: usize) -> Result<Option<u8>, MediaError> {
    for unit in nal::units(sample, length_size) {
        let unit = unit?;
        if kind(unit) < VPS && layer(unit) == 0 {
            return Ok(Some(kind(unit)));
        }
    }
    Ok(None)
}

/// Whether a slice of this type is a random access point.
pub(crate) fn is_start(kind: u8) -> bool {
    IRAP.contains(&kind)
}

/// Whether a slice of this type refers to pictures before its random access point.
pub(crate) fn is_skipped_leading(kind: u8) -> bool {
    RASL.contains(&kind)
}

/// Whether a slice of this type is never referred to within its sub-layer (table 7-1).
pub(crate) fn is_disposable(kind: u8) -> bool {
    kind < 15 && kind.is_multiple_of(2)
}
