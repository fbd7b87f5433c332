//! VP9: the uncompressed header (VP9 bitstream specification, 6.2), and superframes (Annex B).

use super::bits::Bits;
use crate::{
    error::MediaError,
    model::{Chroma, Colour},
};

/// What the header of a coded frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) key: bool,
    /// This frame, or one decoded earlier, is shown.
    pub(crate) shown: bool,
    /// Size, depth and colour, in key frames.
    pub(crate) intra: Option<Intra>,
}

/// What a key frame says about the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intra {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bit_depth: u8,
    pub(crate) chroma: Chroma,
    pub(crate) colour: Colour,
}

/// Reads the header of a coded frame.
pub(crate) fn header(frame: &[u8]) -> Result<Header, MediaError> {
    let bits = &mut Bits::new(frame);
    if bits.bits(2)? != 2 {
        return Err(MediaError::damaged("a VP9 frame does not start with its marker"));
    }
    let profile = bits.bits(1)? | bits.bits(1)? << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    if bits.bit()? {
        return Ok(Header { key: false, shown: true, intra: None });
    }
    let key = !bits.bit()?;
    let shown = bits.bit()?;
    bits.skip(1)?;
    if !key {
        return Ok(Header { key, shown, intra: None });
    }
    if bits.bits(24)? != 0x49_8342 {
        return Err(MediaError::damaged("a VP9 key frame lacks its sync code"));
    }
    let bit_depth = match (2 <= profile, 2 <= profile && bits.bit()?) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => return Err(MediaError::unsupported("VP9 with 12 bits")),
    };
    let space = bits.bits(3)?;
    if space == 7 {
        return Err(MediaError::unsupported("VP9 in RGB"));
    }
    let full_range = bits.bit()?;
    let chroma = if profile & 1 == 0 {
        Chroma::Yuv420
    } else {
        match (bits.bit()?, bits.bit()?) {
            (true, false) => Chroma::Yuv422,
            (false, false) => Chroma::Yuv444,
            _ => return Err(MediaError::unsupported("VP9 with 4:4:0 chroma")),
        }
    };
    if profile & 1 == 1 {
        bits.skip(1)?;
    }
    let width = bits.bits(16)? + 1;
    let height = bits.bits(16)? + 1;
    let colour = colour(space, full_range);
    Ok(Header { key, shown, intra: Some(Intra { width, height, bit_depth, chroma, colour }) })
}

/// The colour spaces of `color_space` as H.273 code points: primaries, transfer, matrix.
fn colour(space: u32, full_range: bool) -> Colour {
    let (primaries, transfer, matrix) = match space {
        1 => (6, 6, 6),
        2 => (1, 1, 1),
        3 => (6, 6, 6),
        4 => (7, 7, 7),
        5 => (9, 14, 9),
        _ => (2, 2, 2),
    };
    Colour { primaries, transfer, matrix, full_range }
}

/// The colour that vpcC states, if that is what the record is (its layout in MP4).
pub(crate) fn record_colour(record: &[u8]) -> Option<Colour> {
    let [1, _, _, _, _, _, layout, primaries, transfer, matrix, ..] = *record else { return None };
    Some(Colour { primaries, transfer, matrix, full_range: layout & 1 == 1 })
}

/// The coded frames of a packet: those of a superframe, or the packet itself.
pub(crate) fn frames(packet: &[u8]) -> Vec<&[u8]> {
    superframe(packet).unwrap_or_else(|| vec![packet])
}

fn superframe(packet: &[u8]) -> Option<Vec<&[u8]>> {
    let marker = *packet.last()?;
    if marker & 0xE0 != 0xC0 {
        return None;
    }
    let count = usize::from(marker & 7) + 1;
    let width = usize::from(marker >> 3 & 3) + 1;
    let start = packet.len().checked_sub(2 + count * width)?;
    if *packet.get(start)? != marker {
        return None;
    }
    let mut rest = packet;
    let mut frames = Vec::new();
    for size in packet.get(start + 1..packet.len() - 1)?.chunks_exact(width) {
        let size = size.iter().rev().fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
        let (frame, after) = rest.split_at_checked(size)?;
        rest = after;
        if !frame.is_empty() {
            frames.push(frame);
        }
    }
    Some(frames)
}

/// Whether a packet shows a picture, and whether decoding can start at it.
pub(crate) fn packet(packet: &[u8]) -> Result<(bool, bool), MediaError> {
    let mut shown = false;
    let mut key = false;
    for (number, frame) in frames(packet).into_iter().enumerate() {
        let header = header(frame)?;
        shown |= header.shown;
        key |= number == 0 && header.key;
    }
    Ok((shown, key))
}
