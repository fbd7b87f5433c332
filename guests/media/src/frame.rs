//! A decoded picture, and turning it upright.

use crate::model::{Chroma, Colour, Rotation};

/// One presented picture: three tightly packed planes, cropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Width in luma samples.
    pub width: u32,
    /// Height in luma samples.
    pub height: u32,
    /// Bits a sample: 8, or 10 (then two bytes a sample, little-endian).
    pub bit_depth: u8,
    /// Chroma sampling.
    pub chroma: Chroma,
    /// Luma.
    pub y: Vec<u8>,
    /// Cb.
    pub u: Vec<u8>,
    /// Cr.
    pub v: Vec<u8>,
    /// Colour description, where known.
    pub colour: Option<Colour>,
    /// Number of the frame in presentation order, from 0.
    pub index: u64,
}

/// Turns a picture upright. 4:2:2 turned by 90° or 270° becomes 4:4:4, because its chroma would
/// else be subsampled vertically only, which no one encodes.
///
/// A picture that is upright is passed through without a copy.
#[must_use]
pub fn rotate(frame: Frame, rotation: Rotation) -> Frame {
    if rotation.is_none() {
        return frame;
    }
    let frame = if frame.chroma == Chroma::Yuv422 && rotation.swaps_sides() {
        widen_chroma(frame)
    } else {
        frame
    };
    let (chroma_width, chroma_height) = frame.chroma.plane(frame.width, frame.height);
    let turn = |plane: &[u8], width: u32, height: u32| -> Vec<u8> {
        if frame.bit_depth == 8 {
            turn_plane::<1>(plane, width as usize, height as usize, rotation)
        } else {
            turn_plane::<2>(plane, width as usize, height as usize, rotation)
        }
    };
    let y = turn(&frame.y, frame.width, frame.height);
    let u = turn(&frame.u, chroma_width, chroma_height);
    let v = turn(&frame.v, chroma_width, chroma_height);
    let (width, height) = if rotation.swaps_sides() {
        (frame.height, frame.width)
    } else {
        (frame.width, frame.height)
    };
    Frame { width, height, y, u, v, ..frame }
}

/// Repeats each chroma sample of 4:2:2 once, to the full width.
fn widen_chroma(frame: Frame) -> Frame {
    let bytes = if frame.bit_depth == 8 { 1 } else { 2 };
    let chroma_row = frame.width.div_ceil(2) as usize * bytes;
    let full_row = frame.width as usize * bytes;
    let widen = |plane: &[u8]| -> Vec<u8> {
        let mut out = Vec::with_capacity(full_row * frame.height as usize);
        for row in plane.chunks_exact(chroma_row.max(1)) {
            let start = out.len();
            for sample in row.chunks_exact(bytes) {
                out.extend_from_slice(sample);
                out.extend_from_slice(sample);
            }
            out.truncate(start + full_row);
        }
        out
    };
    let (u, v) = (widen(&frame.u), widen(&frame.v));
    Frame { chroma: Chroma::Yuv444, u, v, ..frame }
}

/// Turns a plane of `N`-byte samples. Rows and columns are read by stepping, so that one loop
/// serves all eight ways to lay a picture.
fn turn_plane<const N: usize>(
    plane: &[u8],
    width: usize,
    height: usize,
    rotation: Rotation,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(plane.len());
    let (out_width, out_height) =
        if rotation.swaps_sides() { (height, width) } else { (width, height) };
    for row in 0..out_height {
        for column in 0..out_width {
            // Where this output sample comes from, undoing the rotation, then the mirror.
            let (x, y) = match rotation.degrees {
                90 => (row, height - 1 - column),
                180 => (width - 1 - column, height - 1 - row),
                270 => (width - 1 - row, column),
                _ => (column, row),
            };
            let x = if rotation.mirrored { width - 1 - x } else { x };
            let at = (y * width + x) * N;
            out.extend_from_slice(plane.get(at..at + N).unwrap_or(&[0; N]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        // 1 2
        // 3 4
        // 5 6
        Frame {
            width: 2,
            height: 3,
            bit_depth: 8,
            chroma: Chroma::Yuv420,
            y: vec![1, 2, 3, 4, 5, 6],
            u: vec![7, 8],
            v: vec![9, 10],
            colour: None,
            index: 0,
        }
    }

    fn luma(degrees: u16, mirrored: bool) -> (u32, u32, Vec<u8>) {
        let turned = rotate(frame(), Rotation { degrees, mirrored });
        (turned.width, turned.height, turned.y)
    }

    #[test]
    fn rotations_are_clockwise_after_mirroring() {
        assert_eq!(luma(0, false), (2, 3, vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(luma(90, false), (3, 2, vec![5, 3, 1, 6, 4, 2]));
        assert_eq!(luma(180, false), (2, 3, vec![6, 5, 4, 3, 2, 1]));
        assert_eq!(luma(270, false), (3, 2, vec![2, 4, 6, 1, 3, 5]));
        assert_eq!(luma(0, true), (2, 3, vec![2, 1, 4, 3, 6, 5]));
        assert_eq!(luma(90, true), (3, 2, vec![6, 4, 2, 5, 3, 1]));
    }

    #[test]
    fn turning_422_sideways_makes_444() {
        let frame = Frame {
            chroma: Chroma::Yuv422,
            width: 3,
            height: 1,
            y: vec![1, 2, 3],
            u: vec![4, 5],
            v: vec![6, 7],
            ..frame()
        };
        let turned = rotate(frame, Rotation { degrees: 90, mirrored: false });
        assert_eq!((turned.chroma, turned.width, turned.height), (Chroma::Yuv444, 1, 3));
        assert_eq!(turned.u, [4, 4, 5]);
    }
}
