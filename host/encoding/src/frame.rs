//! A frame as it was pushed: planes of checked size, shared by the rungs.

use crate::error::EncodeError;
use crate::settings::Picture;

/// One frame's samples as they cross the boundary: planes without padding, row by row; 16 bits
/// little-endian at 10 bits.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Luma.
    pub y: Vec<u8>,
    /// First chroma plane.
    pub u: Vec<u8>,
    /// Second chroma plane.
    pub v: Vec<u8>,
}

/// Names of the planes in errors, in order.
const PLANES: [&str; 3] = ["frame plane y", "frame plane u", "frame plane v"];

/// Largest 10-bit sample.
const SAMPLE_10_BIT_MAX: u16 = 1_023;

/// A frame whose planes have exactly the size that the picture says, and whose samples are within
/// the bit depth.
#[derive(Debug)]
pub(crate) enum CheckedFrame {
    /// 8 bits.
    Eight([Vec<u8>; 3]),
    /// 10 bits.
    Ten([Vec<u16>; 3]),
}

impl Frame {
    /// Check sizes and samples. Reads every sample at 10 bits, none at 8.
    pub(crate) fn check(self, picture: &Picture) -> Result<CheckedFrame, EncodeError> {
        let luma = (picture.width_px as usize) * (picture.height_px as usize);
        let (chroma_width, chroma_height) = picture.chroma_size();
        let chroma = (chroma_width as usize) * (chroma_height as usize);
        let planes = [self.y, self.u, self.v];
        for ((what, plane), samples) in PLANES.iter().zip(&planes).zip([luma, chroma, chroma]) {
            let expected = samples * picture.sample_bytes();
            if plane.len() != expected {
                let why = format!("{} bytes instead of {expected}", plane.len());
                return Err(EncodeError::invalid(what, why));
            }
        }
        if picture.bit_depth == 8 {
            return Ok(CheckedFrame::Eight(planes));
        }
        let [y, u, v] = planes;
        let [y_name, u_name, v_name] = PLANES;
        Ok(CheckedFrame::Ten([ten_bits(y_name, &y)?, ten_bits(u_name, &u)?, ten_bits(v_name, &v)?]))
    }
}

fn ten_bits(what: &'static str, bytes: &[u8]) -> Result<Vec<u16>, EncodeError> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let samples: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    // One comparison for all keeps the loop without branches.
    let all_bits = samples.iter().fold(0, |bits, sample| bits | sample);
    if SAMPLE_10_BIT_MAX < all_bits {
        let why = format!("a sample is over {SAMPLE_10_BIT_MAX}, the largest of 10 bits");
        return Err(EncodeError::invalid(what, why));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Chroma;

    fn picture(bit_depth: u8) -> Picture {
        Picture { width_px: 3, height_px: 3, bit_depth, chroma: Chroma::Yuv420 }
    }

    #[test]
    fn planes_must_have_their_exact_size() {
        let frame = |y, u, v| Frame { y: vec![0; y], u: vec![0; u], v: vec![0; v] };
        assert!(frame(9, 4, 4).check(&picture(8)).is_ok());
        let error = frame(9, 4, 5).check(&picture(8)).unwrap_err().to_string();
        assert_eq!(error, "frame plane v: 5 bytes instead of 4");
        let error = frame(9, 4, 4).check(&picture(10)).unwrap_err().to_string();
        assert_eq!(error, "frame plane y: 9 bytes instead of 18");
        assert!(Frame::default().check(&picture(8)).is_err());
    }

    #[test]
    fn ten_bit_samples_over_the_range_are_refused() {
        let mut frame = Frame { y: vec![0xff; 18], u: vec![0; 8], v: vec![0; 8] };
        for pair in frame.y.chunks_exact_mut(2) {
            pair.copy_from_slice(&1_023u16.to_le_bytes());
        }
        assert!(frame.clone().check(&picture(10)).is_ok());
        frame.u[6..].copy_from_slice(&1_024u16.to_le_bytes());
        let error = frame.check(&picture(10)).unwrap_err().to_string();
        assert_eq!(error, "frame plane u: a sample is over 1023, the largest of 10 bits");
    }
}
