//! From the pushed picture to a rung's: each plane resampled once, straight into rav1e's frame.
//!
//! Chroma is taken to be where H.264, HEVC and MPEG-2 have it unless they say otherwise (beside the
//! left luma column, and between two rows where it is halved vertically), and is put to the same
//! place relative to the smaller luma. The left column's offset is a shift of the source window
//! by a fraction of a sample; where that reaches beyond the picture, the edge is repeated.
//! Levels are kept: no conversion of range or matrix.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U16};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use rav1e::prelude::{Frame, Pixel, Plane};

use crate::settings::{Chroma, Picture, Rung};

/// A sample type that rav1e encodes and fast_image_resize scales.
pub(crate) trait Sample: Pixel {
    /// The same sample for fast_image_resize.
    type Resized: PixelTrait;

    fn into_resized(self) -> Self::Resized;

    /// Back, clamped to `max`: a filter with negative lobes overshoots.
    fn from_resized(resized: Self::Resized, max: u16) -> Self;
}

impl Sample for u8 {
    type Resized = U8;

    fn into_resized(self) -> U8 {
        U8::new(self)
    }

    fn from_resized(resized: U8, _max: u16) -> u8 {
        resized.0
    }
}

impl Sample for u16 {
    type Resized = U16;

    fn into_resized(self) -> U16 {
        U16::new(self)
    }

    fn from_resized(resized: U16, max: u16) -> u16 {
        resized.0.min(max)
    }
}

/// Where one axis of a plane is read: window `start..start + len` of the source samples, in
/// samples, becomes the whole of the target's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    source: u32,
    target: u32,
    start: f64,
    len: f64,
}

impl Axis {
    /// Sample centres at the middle of equal cells: luma, and chroma that is not shifted.
    fn centred(source: u32, target: u32, len: f64) -> Axis {
        Axis { source, target, start: 0.0, len }
    }

    fn is_copy(&self) -> bool {
        self.source == self.target && self.start == 0.0 && self.len == f64::from(self.source)
    }

    /// Samples to repeat before and after the source so that the window is inside.
    fn padding(&self) -> (usize, usize) {
        let before = (-self.start).max(0.0).ceil();
        let after = (self.start + self.len - f64::from(self.source)).max(0.0).ceil();
        (before as usize, after as usize)
    }
}

/// How the three planes of one rung are made.
#[derive(Debug)]
pub(crate) struct Scaler {
    luma: [Axis; 2],
    chroma: [Axis; 2],
    sample_max: u16,
    resizer: Resizer,
}

impl Scaler {
    pub(crate) fn new(picture: &Picture, rung: &Rung) -> Scaler {
        let (chroma_width, chroma_height) = picture.chroma_size();
        let (source_width, source_height) =
            (f64::from(picture.width_px), f64::from(picture.height_px));
        let ratio = source_width / f64::from(rung.width_px);
        // A target chroma sample j sits at luma 2j + 0.5 (its left column's centre), which is
        // ratio × (2j + 0.5) in the source's luma. In cells of source chroma, where sample i is
        // centred at i + 0.5, luma p is p / 2 + 0.25 if chroma is halved and left, else p.
        let (start, len) = match picture.chroma {
            Chroma::Yuv420 | Chroma::Yuv422 => (0.25 * (1.0 - ratio), source_width / 2.0),
            Chroma::Yuv444 => (-0.5 * ratio, source_width),
        };
        let across = Axis { source: chroma_width, target: rung.width_px / 2, start, len };
        let rows = match picture.chroma {
            Chroma::Yuv420 => source_height / 2.0,
            Chroma::Yuv422 | Chroma::Yuv444 => source_height,
        };
        Scaler {
            luma: [
                Axis::centred(picture.width_px, rung.width_px, source_width),
                Axis::centred(picture.height_px, rung.height_px, source_height),
            ],
            chroma: [across, Axis::centred(chroma_height, rung.height_px / 2, rows)],
            sample_max: if picture.bit_depth == 8 { 255 } else { 1_023 },
            resizer: Resizer::new(),
        }
    }

    /// Fill `target` from `source`, whose planes have the size the scaler was made for.
    ///
    /// # Errors
    /// A text if the planes do not; that is a bug of ours.
    pub(crate) fn scale<S: Sample>(
        &mut self,
        source: &[Vec<S>; 3],
        target: &mut Frame<S>,
    ) -> Result<(), String> {
        let axes = [self.luma, self.chroma, self.chroma];
        for ((samples, plane), axes) in source.iter().zip(target.planes.iter_mut()).zip(axes) {
            if axes.iter().all(Axis::is_copy) {
                copy_rows(samples, axes[0].source as usize, plane);
            } else {
                self.resample(samples, axes, plane)?;
            }
        }
        Ok(())
    }

    fn resample<S: Sample>(
        &mut self,
        samples: &[S],
        [across, down]: [Axis; 2],
        plane: &mut Plane<S>,
    ) -> Result<(), String> {
        let (before, after) = across.padding();
        let width = across.source as usize + before + after;
        let padded = padded_rows(samples, across.source as usize, before, after);
        let source =
            TypedImageRef::<S::Resized>::new(width as u32, down.source, &padded).map_err(text)?;
        let mut scaled = TypedImage::<S::Resized>::new(across.target, down.target);
        let left = across.start + before as f64;
        // Rounding must not push the window's end over the edge, which is an error.
        let len = across.len.min(width as f64 - left);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
            .use_alpha(false)
            .crop(left, down.start, len, down.len);
        self.resizer.resize_typed(&source, &mut scaled, &options).map_err(text)?;
        let max = self.sample_max;
        let rows = scaled.pixels().chunks_exact(across.target as usize);
        for (row, target) in rows.zip(plane_rows(plane)) {
            for (sample, target) in row.iter().zip(target) {
                *target = S::from_resized(*sample, max);
            }
        }
        Ok(())
    }
}

/// The samples for fast_image_resize, each row's first and last repeated.
fn padded_rows<S: Sample>(
    samples: &[S],
    width: usize,
    before: usize,
    after: usize,
) -> Vec<S::Resized> {
    let height = samples.len() / width.max(1);
    let mut padded = Vec::with_capacity((width + before + after) * height);
    for row in samples.chunks_exact(width) {
        if let [first, .., last] | [first @ last] = row {
            padded.extend(std::iter::repeat_n(first.into_resized(), before));
            padded.extend(row.iter().map(|sample| sample.into_resized()));
            padded.extend(std::iter::repeat_n(last.into_resized(), after));
        }
    }
    padded
}

fn copy_rows<S: Sample>(samples: &[S], width: usize, plane: &mut Plane<S>) {
    for (row, target) in samples.chunks_exact(width).zip(plane_rows(plane)) {
        for (sample, target) in row.iter().zip(target) {
            *target = *sample;
        }
    }
}

/// Rows from the plane's first visible sample, each as long as the stride allows.
fn plane_rows<S: Sample>(plane: &mut Plane<S>) -> impl Iterator<Item = &mut [S]> {
    let stride = plane.cfg.stride;
    plane.data_origin_mut().chunks_mut(stride)
}

fn text(error: impl std::fmt::Display) -> String {
    format!("scaling: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width_px: u32, height_px: u32, bit_depth: u8, chroma: Chroma) -> Picture {
        Picture { width_px, height_px, bit_depth, chroma }
    }

    /// The visible samples of each plane after scaling.
    fn scaled<S: Sample>(
        picture: Picture,
        (width_px, height_px): (u32, u32),
        source: &[Vec<S>; 3],
    ) -> [Vec<Vec<S>>; 3] {
        let rung = Rung { name: String::new(), width_px, height_px, quantizer: 1 };
        let (width, height) = (width_px as usize, height_px as usize);
        let chroma = rav1e::prelude::ChromaSampling::Cs420;
        let mut target = Frame::<S>::new_with_padding(width, height, chroma, 88);
        Scaler::new(&picture, &rung).scale(source, &mut target).unwrap();
        let mut sizes =
            [(width, height), (width / 2, height / 2), (width / 2, height / 2)].into_iter();
        target.planes.map(|mut plane| {
            let (width, height) = sizes.next().unwrap();
            plane_rows(&mut plane).take(height).map(|row| row[..width].to_vec()).collect()
        })
    }

    fn planes<S: Copy>(picture: &Picture, value: impl Fn(usize, u32, u32) -> S) -> [Vec<S>; 3] {
        let (chroma_width, chroma_height) = picture.chroma_size();
        let luma = (picture.width_px, picture.height_px);
        let mut which = 0;
        [luma, (chroma_width, chroma_height), (chroma_width, chroma_height)].map(|(w, h)| {
            let plane = which;
            which += 1;
            (0..h)
                .flat_map(|y| (0..w).map(move |x| (x, y)))
                .map(|(x, y)| value(plane, x, y))
                .collect()
        })
    }

    #[test]
    fn the_same_size_is_passed_on_untouched() {
        let shape = picture(32, 16, 8, Chroma::Yuv420);
        let source = planes(&shape, |plane, x, y| (plane as u32 * 80 + x * 3 + y * 5) as u8);
        let target = scaled(shape, (32, 16), &source);
        for (source, target) in source.iter().zip(target) {
            assert_eq!(*source, target.concat());
        }
    }

    #[test]
    fn flat_stays_flat_whatever_the_shape() {
        for chroma in [Chroma::Yuv420, Chroma::Yuv422, Chroma::Yuv444] {
            for size in [(1, 1), (2, 3), (15, 17), (641, 359), (7_680, 20)] {
                let shape = picture(size.0, size.1, 8, chroma);
                let source = planes(&shape, |plane, _, _| [16u8, 128, 240][plane]);
                for target in [(16, 16), (64, 18), (640, 16)] {
                    let target = scaled(shape, target, &source);
                    for (plane, value) in target.iter().zip([16u8, 128, 240]) {
                        assert!(plane.concat().iter().all(|sample| *sample == value), "{size:?}");
                    }
                }
            }
        }
    }

    /// A ramp along the luma columns, sampled where chroma is, must be the same ramp sampled where
    /// the smaller chroma is. A scaler that ignores the siting is off by up to 5 levels here.
    #[test]
    fn chroma_keeps_its_place_beside_the_left_column() {
        let slope = 3.5;
        for (chroma, place) in [
            // Position of source chroma sample x in luma columns.
            (Chroma::Yuv420, (|x| 2.0 * x + 0.5) as fn(f64) -> f64),
            (Chroma::Yuv422, |x| 2.0 * x + 0.5),
            (Chroma::Yuv444, |x| x + 0.5),
        ] {
            let shape = picture(256, 64, 10, chroma);
            let source =
                planes(&shape, |_, x, _| (slope * place(f64::from(x)) + 60.0).round() as u16);
            let [_, u, _] = scaled(shape, (64, 16), &source);
            // Away from the edges, where there is nothing to extrapolate from.
            for (column, sample) in u[4].iter().enumerate().skip(6).take(20) {
                let expected = slope * 4.0 * (2.0 * column as f64 + 0.5) + 60.0;
                let off = (f64::from(*sample) - expected).abs();
                assert!(off <= 1.0, "{chroma:?} column {column}: {sample}, expected {expected}");
            }
        }
    }

    #[test]
    fn overshoot_stays_within_ten_bits() {
        let shape = picture(64, 64, 10, Chroma::Yuv444);
        let source = planes(&shape, |_, x, _| if x < 32 { 0 } else { 1_023u16 });
        for plane in scaled(shape, (48, 48), &source) {
            let samples = plane.concat();
            assert!(samples.iter().all(|sample| *sample <= 1_023));
            assert!(samples.contains(&1_023) && samples.contains(&0));
        }
    }
}
