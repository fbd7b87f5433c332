//! What comes out is AV1 that another decoder understands: `dav1d` (Debian's) gives back as many
//! frames as went in, and they look like them.
#![allow(clippy::unwrap_used, reason = "also in functions that tests call")]

mod common;

use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use backlot_encoding::testing::{moving_frame, psnr, squared_error, write_ivf};
use backlot_encoding::{Chroma, Frame, Packet, Picture, Settings};
use common::{encode_range, encoder, picture, settings};

/// Decode with `dav1d` into planes, frame after frame.
fn dav1d(ivf: &Path, bytes_a_frame: usize) -> Vec<Vec<u8>> {
    let output = ivf.with_extension("yuv");
    let decoded = Command::new("dav1d")
        .args(["--quiet", "--muxer", "yuv", "--input"])
        .arg(ivf)
        .arg("--output")
        .arg(&output)
        .output()
        .expect("dav1d is required: apt-get install dav1d");
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    assert_eq!(String::from_utf8_lossy(&decoded.stderr), "", "dav1d warned");
    let samples = std::fs::read(output).unwrap();
    assert_eq!(samples.len() % bytes_a_frame, 0);
    samples.chunks_exact(bytes_a_frame).map(<[u8]>::to_vec).collect()
}

/// The 4:2:0 frame that a rung should show: the generator's scene drawn at the rung's size.
fn expected(rung: &Picture, number: u64) -> Vec<u8> {
    let Frame { mut y, u, v } = moving_frame(rung, number);
    y.extend(u);
    y.extend(v);
    y
}

/// Encode, decode each rung and compare it with the scene drawn at its size: the least PSNR of a
/// frame must reach `floor_db`.
async fn check(settings: Settings, frames: u64, floor_db: &[f64]) {
    let packets = encode_range(&encoder(2), &settings, 0..frames).await;
    let folder = tempfile::tempdir().unwrap();
    for (index, (rung, &floor_db)) in settings.rungs.iter().zip(floor_db).enumerate() {
        let size = (rung.width_px, rung.height_px);
        let shape = picture(size.0, size.1, settings.picture.bit_depth, Chroma::Yuv420);
        let packets: Vec<&Packet> =
            packets.iter().filter(|packet| packet.rung as usize == index).collect();
        let ivf = folder.path().join(format!("{index}.ivf"));
        let file = BufWriter::new(std::fs::File::create(&ivf).unwrap());
        let rate = (settings.frame_rate_num, settings.frame_rate_den);
        write_ivf(file, size, rate, &packets).unwrap();
        let decoded = dav1d(&ivf, shape.frame_bytes());
        assert_eq!(decoded.len() as u64, frames, "frames of {}", rung.name);
        for (number, decoded) in decoded.iter().enumerate() {
            let wanted = expected(&shape, number as u64);
            let error = squared_error(decoded, &wanted, shape.bit_depth);
            let samples = wanted.len() / shape.sample_bytes();
            let likeness = psnr(error, samples as f64, shape.bit_depth);
            assert!(
                floor_db <= likeness,
                "frame {number} of {}: {likeness:.1} dB under {floor_db}",
                rung.name
            );
        }
    }
}

#[tokio::test]
async fn eight_bits_at_the_inputs_size() {
    let input = picture(320, 180, 8, Chroma::Yuv420);
    check(settings(input, &[(320, 180)], 10, 12), 30, &[33.0]).await;
}

#[tokio::test]
async fn a_ladder_from_an_odd_size() {
    let input = picture(641, 359, 8, Chroma::Yuv420);
    check(settings(input, &[(320, 180), (160, 90)], 10, 12), 14, &[31.0, 29.0]).await;
}

#[tokio::test]
async fn ten_bits_from_422_and_444() {
    for chroma in [Chroma::Yuv422, Chroma::Yuv444] {
        let input = picture(384, 216, 10, chroma);
        check(settings(input, &[(384, 216), (192, 108)], 10, 8), 9, &[33.0, 30.0]).await;
    }
}

#[tokio::test]
async fn portrait_and_the_smallest_rung() {
    let input = picture(90, 160, 8, Chroma::Yuv444);
    check(settings(input, &[(90, 160), (16, 16)], 10, 5), 6, &[30.0, 20.0]).await;
}

/// A frame in another's place is caught by the floor, so that the tests above mean something.
#[test]
fn neighbours_are_told_apart() {
    let shape = picture(320, 180, 8, Chroma::Yuv420);
    let (a, b) = (expected(&shape, 5), expected(&shape, 6));
    let likeness = psnr(squared_error(&a, &b, 8), a.len() as f64, 8);
    assert!(likeness < 31.0, "{likeness}");
}
