//! One fragment: `moof` and `mdat` of one track, written and read.

use serde::{Deserialize, Serialize};
use shiguredo_mp4::boxes::{MfhdBox, MoofBox, TfdtBox, TfhdBox, TrafBox, TrunBox, TrunSample};
use shiguredo_mp4::{Decode, Encode, SampleFlags};

use crate::track::TRACK_ID;
use crate::{PackagingError, narrow};

/// Bytes of `mdat`'s header in its short form.
const MDAT_HEADER_BYTES: u64 = 8;
/// A sample that nothing depends on being before it (ISO/IEC 14496-12, 8.8.3.1: depends on none).
const SYNC: SampleFlags = SampleFlags::from_fields(0, 2, 0, 0, 0, false, 0);
/// Any other sample: depends on others, not a place to begin.
const NON_SYNC: SampleFlags = SampleFlags::from_fields(0, 1, 0, 0, 0, true, 0);

/// One sample of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// In units of the track's timescale.
    pub duration: u32,
    /// In bytes.
    pub size: u32,
    /// Decoding can begin here.
    pub key: bool,
}

/// Where one stored fragment is and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// Decode time of its first sample, in units of the track's timescale.
    pub start: u64,
    /// Of all its samples together, in the same units.
    pub duration: u64,
    /// How many samples it holds.
    pub samples: u32,
    /// Where its `moof` begins, in bytes from the begin of the object that holds it.
    pub offset: u64,
    /// Of `moof` and `mdat` together.
    pub bytes: u64,
}

/// A fragment's `moof`, as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentHead {
    /// The samples in their order.
    pub samples: Vec<Sample>,
    /// Where the samples' bytes begin, from the begin of the fragment.
    pub payload_offset: u64,
}

/// Write the fragment with this number (from 1, counted over the whole track), whose first sample
/// is decoded at `start`. `data` holds the samples end to end.
pub fn write(
    sequence: u32,
    start: u64,
    samples: &[Sample],
    data: &[u8],
) -> Result<Vec<u8>, PackagingError> {
    let mdat_bytes = MDAT_HEADER_BYTES + data.len() as u64;
    let mdat_size: u32 = narrow("bytes of a fragment", mdat_bytes, u64::from(u32::MAX))?;
    let first = samples.first().copied();
    let durations =
        samples.windows(2).all(|pair| matches!(pair, [a, b] if a.duration == b.duration));
    let all_key = samples.iter().all(|sample| sample.key);
    let keys_first = !all_key && samples.iter().skip(1).all(|sample| !sample.key);
    let flags_of = |key| if key { SYNC } else { NON_SYNC };
    let default_flags = if all_key { SYNC } else { NON_SYNC };
    let trun = TrunBox {
        data_offset: Some(0),
        first_sample_flags: keys_first.then(|| flags_of(first.is_some_and(|sample| sample.key))),
        samples: samples
            .iter()
            .map(|sample| TrunSample {
                duration: (!durations).then_some(sample.duration),
                size: Some(sample.size),
                flags: (!all_key && !keys_first).then(|| flags_of(sample.key)),
                composition_time_offset: None,
            })
            .collect(),
    };
    let mut moof = MoofBox {
        mfhd_box: MfhdBox { sequence_number: sequence },
        traf_boxes: vec![TrafBox {
            tfhd_box: TfhdBox {
                track_id: TRACK_ID,
                base_data_offset: None,
                sample_description_index: None,
                default_sample_duration: first.map(|sample| sample.duration),
                default_sample_size: None,
                default_sample_flags: Some(default_flags),
                duration_is_empty: false,
                default_base_is_moof: true,
            },
            tfdt_box: Some(TfdtBox { version: 1, base_media_decode_time: start }),
            trun_boxes: vec![trun],
            unknown_boxes: Vec::new(),
        }],
        unknown_boxes: Vec::new(),
    };
    let moof_bytes = moof.encode_to_vec()?.len() as u64;
    let data_offset = narrow("bytes of moof", moof_bytes + MDAT_HEADER_BYTES, i32::MAX as u64)?;
    for trun in moof.traf_boxes.iter_mut().flat_map(|traf| &mut traf.trun_boxes) {
        trun.data_offset = Some(data_offset);
    }
    let mut fragment = moof.encode_to_vec()?;
    fragment.reserve(data.len() + 8);
    fragment.extend_from_slice(&mdat_size.to_be_bytes());
    fragment.extend_from_slice(b"mdat");
    fragment.extend_from_slice(data);
    Ok(fragment)
}

/// Bytes of the `moof` at the begin of a fragment, of which at least eight are given.
pub fn moof_bytes(begin: &[u8]) -> Result<u64, PackagingError> {
    match begin {
        [a, b, c, d, b'm', b'o', b'o', b'f', ..] => {
            Ok(u64::from(u32::from_be_bytes([*a, *b, *c, *d])))
        }
        _ => Err(PackagingError::Box("a fragment does not begin with moof".to_owned())),
    }
}

/// Read the `moof` of a fragment that [`write`] wrote.
pub fn read_head(moof: &[u8]) -> Result<FragmentHead, PackagingError> {
    let (moof, moof_bytes) = MoofBox::decode(moof)?;
    let missing = || PackagingError::Box("a fragment without traf or trun".to_owned());
    let traf = moof.traf_boxes.first().ok_or_else(missing)?;
    let trun = traf.trun_boxes.first().ok_or_else(missing)?;
    let samples = trun
        .samples
        .iter()
        .enumerate()
        .map(|(position, sample)| {
            let first = if position == 0 { trun.first_sample_flags } else { None };
            let flags = first.or(sample.flags).or(traf.tfhd_box.default_sample_flags);
            Sample {
                duration: sample
                    .duration
                    .or(traf.tfhd_box.default_sample_duration)
                    .unwrap_or_default(),
                size: sample.size.unwrap_or_default(),
                key: !flags.is_some_and(SampleFlags::sample_is_non_sync_sample),
            }
        })
        .collect();
    Ok(FragmentHead { samples, payload_offset: moof_bytes as u64 + MDAT_HEADER_BYTES })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let constant = [(40, 3, true), (40, 2, false), (40, 1, false)];
        let variable = [(40, 3, true), (39, 2, false), (1, 1, false)];
        let audio = [(960, 3, true), (960, 2, true), (960, 1, true)];
        for shape in [constant, variable, audio] {
            let samples = shape.map(|(duration, size, key)| Sample { duration, size, key });
            let bytes = write(7, u64::from(u32::MAX) + 5, &samples, b"abcdef").unwrap();
            let moof = moof_bytes(&bytes).unwrap() as usize;
            let head = read_head(&bytes[..moof]).unwrap();
            assert_eq!(head.samples, samples);
            assert_eq!(&bytes[head.payload_offset as usize..], b"abcdef");
        }
    }

    #[test]
    fn something_else_is_not_taken_for_a_fragment() {
        assert!(moof_bytes(b"\0\0\0\x10mdat").is_err());
        assert!(moof_bytes(b"").is_err());
        assert!(read_head(&[0; 16]).is_err());
    }
}
