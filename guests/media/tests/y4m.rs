//! Y4M, against ffmpeg.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use backlot_media::{Chroma, Container};
use support::{check_video, make};

#[test]
fn every_sampling_and_depth() {
    for (format, chroma, depth) in [
        ("yuv420p", Chroma::Yuv420, 8),
        ("yuv422p", Chroma::Yuv422, 8),
        ("yuv444p", Chroma::Yuv444, 8),
        ("yuv420p10le", Chroma::Yuv420, 10),
        ("yuv422p10le", Chroma::Yuv422, 10),
        ("yuv444p10le", Chroma::Yuv444, 10),
    ] {
        // ffmpeg itself writes wrong planes for odd widths with more than 8 bits.
        let width = if depth == 8 { 65 } else { 66 };
        let words = format!(
            "-f lavfi -i testsrc=s={width}x49:r=30000/1001:d=0.5 -pix_fmt {format} -strict -1"
        );
        let (_dir, path) = make(&words, "y4m");
        let index = check_video(&path);
        let info = index.main_video().unwrap().video().unwrap().clone();
        assert_eq!((index.container, info.chroma, info.bit_depth), (Container::Y4m, chroma, depth));
        assert_eq!((info.width, info.height, info.frame_rate), (width, 49, Some((30_000, 1001))));
    }
}

#[test]
fn aspect_and_range() {
    let words = "-f lavfi -i testsrc=s=64x48:d=0.2 -vf scale=out_range=full,setsar=12/11 \
                 -pix_fmt yuv420p -color_range pc";
    let (_dir, path) = make(words, "y4m");
    let index = check_video(&path);
    let info = index.main_video().unwrap().video().unwrap().clone();
    assert_eq!(info.pixel_aspect, (12, 11));
    assert!(info.colour.unwrap().full_range);
}
