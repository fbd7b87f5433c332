//! Open bitstream units: walking over those that rav1e made, and the sequence header written
//! before there is a first packet.
//!
//! rav1e gives its sequence header only inside key frames, and its `container_sequence_header` is
//! four bytes with a fixed level of 31. A muxer wants `av1C` before the first packet, with the
//! header in it, so it is written here from the same settings. [`crate::rung`] compares it with the
//! one in every key frame and fails the session if they differ.

use crate::level::Level;
use crate::settings::CheckedSettings;

/// OBU_SEQUENCE_HEADER (AV1 specification 6.2.2).
pub(crate) const SEQUENCE_HEADER: u8 = 1;
/// OBU_TEMPORAL_DELIMITER.
pub(crate) const TEMPORAL_DELIMITER: u8 = 2;

/// chroma_sample_position CSP_VERTICAL (6.4.2): as in H.264 and MPEG-2, chroma is beside the left
/// luma column and between rows. [`crate::scale`] keeps it there.
const CSP_VERTICAL: u8 = 1;

/// The OBUs of a temporal unit in low-overhead format.
pub(crate) struct Obus<'a> {
    rest: &'a [u8],
}

/// One OBU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obu<'a> {
    /// obu_type.
    pub kind: u8,
    /// Header, size and payload.
    pub whole: &'a [u8],
}

/// Walk over `data`, which rav1e or [`sequence_header`] made. Ends early where it is malformed.
pub(crate) fn obus(data: &[u8]) -> Obus<'_> {
    Obus { rest: data }
}

impl<'a> Iterator for Obus<'a> {
    type Item = Obu<'a>;

    fn next(&mut self) -> Option<Obu<'a>> {
        let header = *self.rest.first()?;
        let kind = (header >> 3) & 0b1111;
        let has_extension = header & 0b100 != 0;
        let has_size = header & 0b10 != 0;
        if !has_size {
            return None;
        }
        let mut at = 1 + usize::from(has_extension);
        let mut size = 0usize;
        // leb128 (4.10.5): at most 8 bytes; more than 4 would not fit any packet.
        for shift in (0..28).step_by(7) {
            let byte = *self.rest.get(at)?;
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let (whole, rest) = self.rest.split_at_checked(at + size)?;
                self.rest = rest;
                return Some(Obu { kind, whole });
            }
        }
        None
    }
}

/// `data` without its temporal delimiter, as ISO-BMFF (AV1-ISOBMFF 2.4) and Matroska want it.
pub(crate) fn without_delimiter(data: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(data.len());
    for obu in obus(data).filter(|obu| obu.kind != TEMPORAL_DELIMITER) {
        kept.extend_from_slice(obu.whole);
    }
    kept
}

/// The sequence header OBU (5.5.1) that rav1e writes for a rung with these settings.
pub(crate) fn sequence_header(
    settings: &CheckedSettings,
    width_px: u32,
    height_px: u32,
    level: Level,
    filters: Filters,
) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(3, 0); // seq_profile: Main, 4:2:0 at 8 or 10 bits.
    bits.put(1, 0); // still_picture
    bits.put(1, 0); // reduced_still_picture_header
    bits.put(1, 0); // timing_info_present_flag: the container has the times.
    bits.put(1, 0); // initial_display_delay_present_flag
    bits.put(5, 0); // operating_points_cnt_minus_1
    bits.put(12, 0); // operating_point_idc
    bits.put(5, u32::from(level.index));
    if 7 < level.index {
        bits.put(1, 0); // seq_tier: Main
    }
    let (width, height) = (width_px - 1, height_px - 1);
    let (width_bits, height_bits) = (bits_of(width), bits_of(height));
    bits.put(4, width_bits - 1);
    bits.put(4, height_bits - 1);
    bits.put(width_bits, width);
    bits.put(height_bits, height);
    bits.put(1, 0); // frame_id_numbers_present_flag
    bits.put(1, 0); // use_128x128_superblock
    bits.put(1, 0); // enable_filter_intra
    bits.put(1, 1); // enable_intra_edge_filter
    bits.put(4, 0); // interintra, masked compound, warped motion, dual filter
    bits.put(1, 1); // enable_order_hint
    bits.put(2, 0); // jnt_comp, ref_frame_mvs
    bits.put(2, 0); // seq_choose_screen_content_tools, seq_force_screen_content_tools
    bits.put(3, 5); // order_hint_bits_minus_1
    bits.put(1, 0); // enable_superres
    bits.put(1, u32::from(filters.cdef));
    bits.put(1, u32::from(filters.restoration));
    put_colour(&mut bits, settings);
    bits.put(1, 0); // film_grain_params_present
    bits.put(1, 1); // trailing_one_bit (5.3.4)
    let payload = bits.bytes;
    // The payload is at most 20 bytes, so that its size is one leb128 byte.
    let mut obu = vec![(SEQUENCE_HEADER << 3) | 0b10, payload.len() as u8];
    obu.extend(payload);
    obu
}

/// Loop filters that the sequence header announces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filters {
    /// enable_cdef.
    pub cdef: bool,
    /// enable_restoration.
    pub restoration: bool,
}

/// color_config (5.5.2).
fn put_colour(bits: &mut Bits, settings: &CheckedSettings) {
    bits.put(1, u32::from(settings.picture().bit_depth == 10)); // high_bitdepth
    bits.put(1, 0); // mono_chrome
    let colour = settings.colour();
    bits.put(1, u32::from(colour.is_some()));
    if let Some(colour) = colour {
        bits.put(8, colour.color_primaries as u32);
        bits.put(8, colour.transfer_characteristics as u32);
        bits.put(8, colour.matrix_coefficients as u32);
    }
    bits.put(1, u32::from(settings.range() == rav1e::color::PixelRange::Full));
    bits.put(2, u32::from(CSP_VERTICAL));
    bits.put(1, 1); // separate_uv_delta_q
}

/// The content of `av1C` (AV1 Codec ISO Media File Format Binding 2.3.3).
pub(crate) fn av1c(settings: &CheckedSettings, level: Level, sequence_header: &[u8]) -> Vec<u8> {
    let high_bit_depth = u8::from(settings.picture().bit_depth == 10);
    let mut record = vec![
        0x81,        // marker, version 1
        level.index, // seq_profile 0
        // seq_tier 0, high_bitdepth, twelve_bit 0, monochrome 0, subsampling 1 and 1, position
        (high_bit_depth << 6) | 0b1100 | CSP_VERTICAL,
        0, // no initial_presentation_delay
    ];
    record.extend_from_slice(sequence_header);
    record
}

/// Bits needed to write `value`, at least one.
fn bits_of(value: u32) -> u32 {
    (u32::BITS - value.leading_zeros()).max(1)
}

/// Most significant bit first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, count: u32, value: u32) {
        for at in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = ((value >> at) & 1) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_apart_and_the_delimiter_dropped() {
        let data = [0x12, 0x00, 0x0a, 0x02, 7, 8, 0x32, 0x81, 0x00, 9];
        let found: Vec<_> = obus(&data).map(|obu| (obu.kind, obu.whole.len())).collect();
        assert_eq!(found, [(2, 2), (1, 4), (6, 4)]);
        assert_eq!(without_delimiter(&data), data[2..]);
    }

    #[test]
    fn damage_ends_the_walk() {
        assert_eq!(obus(&[0x0a, 0x05, 1]).count(), 0, "longer than the data");
        assert_eq!(obus(&[0x08, 0x05]).count(), 0, "no size");
        assert_eq!(obus(&[0x0a, 0x80, 0x80, 0x80, 0x80, 0x01]).count(), 0, "endless size");
        assert_eq!(obus(&[0x0a]).count(), 0);
    }

    #[test]
    fn bits_are_packed_from_the_top() {
        let mut bits = Bits::default();
        bits.put(3, 0b101);
        bits.put(7, 0b1);
        assert_eq!(bits.bytes, [0b1010_0000, 0b0100_0000]);
        assert_eq!((bits_of(0), bits_of(1), bits_of(639), bits_of(1_023)), (1, 1, 10, 10));
    }
}
