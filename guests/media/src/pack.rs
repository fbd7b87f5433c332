//! Compact serialized form of a sample table: differences to the sample before, as varints.
//!
//! Postcard writes varints, so that a typical sample takes about 8 bytes instead of 38.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::SerializeSeq};

use crate::model::Sample;

/// (offset after the end of the sample before, size, dts step, pts - dts, duration, flags)
type Packed = (i64, u32, i64, i64, u32, u8);

const KEY: u8 = 1;
const SHOWN: u8 = 2;

pub(crate) fn serialize<S: Serializer>(samples: &[Sample], to: S) -> Result<S::Ok, S::Error> {
    let mut seq = to.serialize_seq(Some(samples.len()))?;
    let (mut end, mut dts) = (0_i64, 0_i64);
    for sample in samples {
        let flags = if sample.key { KEY } else { 0 } | if sample.shown { SHOWN } else { 0 };
        let offset = sample.offset.cast_signed();
        let packed: Packed = (
            offset.wrapping_sub(end),
            sample.size,
            sample.dts.wrapping_sub(dts),
            sample.pts.wrapping_sub(sample.dts),
            sample.duration,
            flags,
        );
        seq.serialize_element(&packed)?;
        end = offset.wrapping_add(i64::from(sample.size));
        dts = sample.dts;
    }
    seq.end()
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Sample>, D::Error> {
    let packed = Vec::<Packed>::deserialize(from)?;
    let (mut end, mut dts) = (0_i64, 0_i64);
    packed
        .into_iter()
        .map(|(gap, size, step, reorder, duration, flags)| {
            let offset = end.wrapping_add(gap);
            dts = dts.wrapping_add(step);
            end = offset
                .checked_add(i64::from(size))
                .ok_or_else(|| D::Error::custom("sample past the largest offset"))?;
            Ok(Sample {
                offset: offset.cast_unsigned(),
                size,
                dts,
                pts: dts.wrapping_add(reorder),
                duration,
                key: flags & KEY != 0,
                shown: flags & SHOWN != 0,
            })
        })
        .collect()
}
