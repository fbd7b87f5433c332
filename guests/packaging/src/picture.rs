//! Small pictures out of decoded frames: thumbnails and posters.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::PackagingError;

/// Width and height that JPEG can say, at most.
const JPEG_SIDE_MAX: u32 = 65_535;

/// A decoded frame: three planes without padding.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// Luma.
    pub y: &'a [u8],
    /// Cb.
    pub u: &'a [u8],
    /// Cr.
    pub v: &'a [u8],
    /// Width of luma in samples.
    pub width: u32,
    /// Height of luma in samples.
    pub height: u32,
    /// Width and height of chroma in samples.
    pub chroma: (u32, u32),
    /// 8, or more: then samples are 16 bits, little-endian.
    pub bit_depth: u8,
    /// MatrixCoefficients (ITU-T H.273); 2 is taken for BT.709 from 720 lines on, else BT.601.
    pub matrix: u8,
    /// Full range rather than studio range.
    pub full_range: bool,
}

/// Red, green and blue, a byte each, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Three bytes a pixel.
    pub data: Vec<u8>,
}

/// Weight of red and of blue in luma (ITU-T H.273, table 4).
fn luma_weights(matrix: u8, height: u32) -> (f32, f32) {
    match matrix {
        1 => (0.2126, 0.0722),
        4 => (0.30, 0.11),
        5 | 6 => (0.299, 0.114),
        7 => (0.212, 0.087),
        9 | 10 => (0.2627, 0.0593),
        _ if 720 <= height => (0.2126, 0.0722),
        _ => (0.299, 0.114),
    }
}

/// Mean of the samples of each cell of a `columns` × `rows` grid over a plane, in units of 8 bits.
fn shrink_plane(
    plane: &[u8],
    (width, height): (u32, u32),
    (columns, rows): (u32, u32),
    bit_depth: u8,
) -> Vec<f32> {
    let bytes = if bit_depth == 8 { 1 } else { 2 };
    let scale = 1.0 / f32::from(1u16 << (bit_depth.clamp(8, 16) - 8));
    // Cell n of `cells` over `side` samples; never empty, also where there are more cells.
    let cell = |n: u32, cells: u32, side: u32| {
        let at = |n: u32| (u64::from(n) * u64::from(side) / u64::from(cells.max(1))) as usize;
        at(n)..at(n + 1).max(at(n) + 1).min(side as usize)
    };
    let mut means = Vec::with_capacity(columns as usize * rows as usize);
    for row in 0..rows {
        for column in 0..columns {
            let (mut sum, mut count) = (0u64, 0u64);
            let across = cell(column, columns, width);
            for line in cell(row, rows, height) {
                let begin = (line * width as usize + across.start) * bytes;
                let samples = plane.get(begin..begin + across.len() * bytes).unwrap_or_default();
                sum += match bytes {
                    1 => samples.iter().map(|&sample| u64::from(sample)).sum::<u64>(),
                    _ => samples
                        .chunks_exact(2)
                        .map(|pair| match pair {
                            [low, high] => u64::from(u16::from_le_bytes([*low, *high])),
                            _ => 0,
                        })
                        .sum(),
                };
                count += across.len() as u64;
            }
            means.push(sum as f32 / count.max(1) as f32 * scale);
        }
    }
    means
}

impl Rgb {
    /// A black picture.
    pub fn black(width: u32, height: u32) -> Self {
        Self { width, height, data: vec![0; width as usize * height as usize * 3] }
    }

    /// Shrink a frame to this size: each pixel is the mean of what it covers.
    pub fn shrink(planes: &Planes<'_>, width: u32, height: u32) -> Self {
        let size = (width, height);
        let luma_size = (planes.width, planes.height);
        let y = shrink_plane(planes.y, luma_size, size, planes.bit_depth);
        let u = shrink_plane(planes.u, planes.chroma, size, planes.bit_depth);
        let v = shrink_plane(planes.v, planes.chroma, size, planes.bit_depth);
        let (red, blue) = luma_weights(planes.matrix, planes.height);
        let green = 1.0 - red - blue;
        let (black, luma_range, chroma_range) =
            if planes.full_range { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
        let mut data = Vec::with_capacity(y.len() * 3);
        for ((y, u), v) in y.iter().zip(&u).zip(&v) {
            let y = (y - black) / luma_range;
            let (u, v) = ((u - 128.0) / chroma_range, (v - 128.0) / chroma_range);
            let r = y + 2.0 * (1.0 - red) * v;
            let b = y + 2.0 * (1.0 - blue) * u;
            let g = (y - red * r - blue * b) / green;
            // A float to integer cast saturates.
            data.extend([r, g, b].map(|channel| (channel * 255.0).round() as u8));
        }
        Self { width, height, data }
    }

    /// How much there is to see: the variance of brightness. 0 for black, white or any flat
    /// colour; a few thousand for a picture of something.
    pub fn interest(&self) -> f64 {
        let luma: Vec<f64> = self
            .data
            .chunks_exact(3)
            .map(|pixel| pixel.iter().map(|&channel| f64::from(channel)).sum::<f64>() / 3.0)
            .collect();
        let count = luma.len().max(1) as f64;
        let mean = luma.iter().sum::<f64>() / count;
        luma.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count
    }

    /// Put a smaller picture at this place; what would be outside is left off.
    pub fn place(&mut self, tile: &Self, left: u32, top: u32) {
        let row_bytes = self.width as usize * 3;
        let begin = left as usize * 3;
        let tile_bytes = tile.width as usize * 3;
        for (line, pixels) in tile.data.chunks_exact(tile_bytes.max(1)).enumerate() {
            let row = (top as usize + line) * row_bytes;
            let end = (begin + tile_bytes).min(row_bytes);
            if let Some(place) = self.data.get_mut(row + begin.min(end)..row + end) {
                for (to, from) in place.iter_mut().zip(pixels) {
                    *to = *from;
                }
            }
        }
    }

    /// As JPEG of this quality (1 to 100).
    pub fn jpeg(&self, quality: u8) -> Result<Vec<u8>, PackagingError> {
        let width = crate::narrow("pixels", u64::from(self.width), u64::from(JPEG_SIDE_MAX))?;
        let height = crate::narrow("pixels", u64::from(self.height), u64::from(JPEG_SIDE_MAX))?;
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder
            .encode(&self.data, width, height, ColorType::Rgb)
            .map_err(|error| PackagingError::Picture(error.to_string()))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(y: u8, full_range: bool) -> Vec<u8> {
        let (luma, chroma) = (vec![y; 64], vec![128; 16]);
        let planes = Planes {
            y: &luma,
            u: &chroma,
            v: &chroma,
            width: 8,
            height: 8,
            chroma: (4, 4),
            bit_depth: 8,
            matrix: 1,
            full_range,
        };
        Rgb::shrink(&planes, 1, 1).data
    }

    #[test]
    fn ranges_map_to_black_and_white() {
        assert_eq!(grey(16, false), [0, 0, 0]);
        assert_eq!(grey(235, false), [255, 255, 255]);
        assert_eq!(grey(16, true), [16, 16, 16]);
        assert_eq!(grey(255, false), [255, 255, 255]);
    }

    #[test]
    fn colour_follows_the_matrix() {
        // Pure red in BT.709 studio range (ITU-R BT.709, section 3).
        let planes = Planes {
            y: &[63],
            u: &[102],
            v: &[240],
            width: 1,
            height: 1,
            chroma: (1, 1),
            bit_depth: 8,
            matrix: 1,
            full_range: false,
        };
        let red = Rgb::shrink(&planes, 2, 2);
        assert!(red.data.chunks(3).all(|pixel| 250 < pixel[0] && pixel[1] < 5 && pixel[2] < 5));
    }

    #[test]
    fn ten_bits_shrink_like_eight() {
        let ten: Vec<u8> = std::iter::repeat_n(940u16.to_le_bytes(), 4).flatten().collect();
        let chroma = 512u16.to_le_bytes();
        let planes = Planes {
            y: &ten,
            u: &chroma,
            v: &chroma,
            width: 2,
            height: 2,
            chroma: (1, 1),
            bit_depth: 10,
            matrix: 1,
            full_range: false,
        };
        assert_eq!(Rgb::shrink(&planes, 1, 1).data, [255, 255, 255]);
    }

    #[test]
    fn flat_pictures_are_of_no_interest() {
        let mut picture = Rgb::black(4, 4);
        assert_eq!(picture.interest(), 0.0);
        picture.place(&Rgb { width: 2, height: 2, data: vec![255; 12] }, 3, 3);
        assert_eq!(picture.data.iter().filter(|&&byte| byte == 255).count(), 3);
        assert!(1000.0 < picture.interest());
        assert_eq!(&picture.jpeg(80).unwrap()[..2], b"\xff\xd8");
    }
}
