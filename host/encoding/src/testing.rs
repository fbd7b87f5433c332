//! Moving pictures, a minimal IVF writer and a measure of likeness: for the tests of this and
//! other crates, and for measuring. Nothing in production uses it.

use std::io::{self, Write};

use crate::{Chroma, Frame, Packet, Picture};

/// Frame `number` of an endless film: drifting waves and a texture, with a disc that crosses them
/// and noise in a band, so that there is motion, detail and something new in every frame. The same
/// number gives the same frame.
pub fn moving_frame(picture: &Picture, number: u64) -> Frame {
    let (chroma_width, chroma_height) = picture.chroma_size();
    let halved_across = matches!(picture.chroma, Chroma::Yuv420 | Chroma::Yuv422);
    let halved_down = picture.chroma == Chroma::Yuv420;
    let scale = |halved: bool| if halved { 2.0 } else { 1.0 };
    let plane = |which: u32, width: u32, height: u32, across: f64, down: f64| {
        let mut samples = Vec::with_capacity((width * height) as usize * picture.sample_bytes());
        for row in 0..height {
            for column in 0..width {
                // Positions are in pictures, so that all sizes show the same scene.
                let x = f64::from(column) * across / f64::from(picture.width_px);
                let y = f64::from(row) * down / f64::from(picture.height_px);
                let value = scene(which, x, y, number) + grain(which, column, row, number, y);
                put_sample(&mut samples, value, picture.bit_depth);
            }
        }
        samples
    };
    Frame {
        y: plane(0, picture.width_px, picture.height_px, 1.0, 1.0),
        u: plane(1, chroma_width, chroma_height, scale(halved_across), scale(halved_down)),
        v: plane(2, chroma_width, chroma_height, scale(halved_across), scale(halved_down)),
    }
}

/// A value between 0 and 1 within studio range.
fn scene(which: u32, x: f64, y: f64, number: u64) -> f64 {
    let time = number as f64 / 25.0;
    let wave = (x * 9.0 + time * 2.0).sin() * (y * 7.0 - time).cos();
    let texture = ((x * 90.0 + time * 3.0).sin() * (y * 60.0).sin()) * 0.08;
    let (centre_x, centre_y) = ((time * 0.4).fract(), 0.5 + 0.3 * (time * 1.7).sin());
    let in_disc = (x - centre_x).hypot(y - centre_y) < 0.12;
    match (which, in_disc) {
        (0, true) => 0.85,
        (0, false) => 0.45 + 0.2 * wave + texture,
        (1, true) => 0.3,
        (_, true) => 0.7,
        (1, false) => 0.5 + 0.15 * wave,
        (_, false) => 0.5 - 0.15 * wave,
    }
}

/// Noise in the lowest eighth of luma.
fn grain(which: u32, column: u32, row: u32, number: u64, y: f64) -> f64 {
    if which != 0 || y < 0.875 {
        return 0.0;
    }
    let mut hash = u64::from(column) << 40 ^ u64::from(row) << 20 ^ number;
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    ((hash >> 40) as f64 / f64::from(1 << 24) - 0.5) * 0.1
}

fn put_sample(samples: &mut Vec<u8>, value: f64, bit_depth: u8) {
    let value = value.clamp(16.0 / 255.0, 235.0 / 255.0);
    if bit_depth == 8 {
        samples.push((value * 255.0).round() as u8);
    } else {
        samples.extend(((value * 1_023.0).round() as u16).to_le_bytes());
    }
}

/// Write one rung's packets as IVF, which `dav1d` and `ffmpeg` read.
///
/// # Errors
/// Those of the writer.
pub fn write_ivf(
    mut to: impl Write,
    (width_px, height_px): (u32, u32),
    (rate_num, rate_den): (u32, u32),
    packets: &[&Packet],
) -> io::Result<()> {
    to.write_all(b"DKIF\0\0\x20\0AV01")?;
    to.write_all(&(width_px as u16).to_le_bytes())?;
    to.write_all(&(height_px as u16).to_le_bytes())?;
    to.write_all(&rate_num.to_le_bytes())?;
    to.write_all(&rate_den.to_le_bytes())?;
    to.write_all(&(packets.len() as u32).to_le_bytes())?;
    to.write_all(&[0; 4])?;
    for packet in packets {
        // IVF wants whole temporal units: the delimiter that our packets go without is put back.
        let delimiter = [0x12, 0x00];
        let bytes = delimiter.len() + packet.data.len();
        to.write_all(&(bytes as u32).to_le_bytes())?;
        to.write_all(&packet.frame.to_le_bytes())?;
        to.write_all(&delimiter)?;
        to.write_all(&packet.data)?;
    }
    Ok(())
}

/// Sum of squared differences of samples, for [`psnr`].
pub fn squared_error(a: &[u8], b: &[u8], bit_depth: u8) -> f64 {
    let square = |x: u16, y: u16| f64::from(x.abs_diff(y)) * f64::from(x.abs_diff(y));
    if bit_depth == 8 {
        a.iter().zip(b).map(|(x, y)| square(u16::from(*x), u16::from(*y))).sum()
    } else {
        let (a, b) = (a.as_chunks::<2>().0, b.as_chunks::<2>().0);
        let sample = |pair: &[u8; 2]| u16::from_le_bytes(*pair);
        a.iter().zip(b).map(|(x, y)| square(sample(x), sample(y))).sum()
    }
}

/// Peak signal to noise ratio in dB of `samples` samples; 100 where there is no difference.
pub fn psnr(squared_error: f64, samples: f64, bit_depth: u8) -> f64 {
    if squared_error == 0.0 {
        return 100.0;
    }
    let peak = f64::from((1u32 << bit_depth) - 1);
    10.0 * (peak * peak * samples / squared_error).log10()
}
