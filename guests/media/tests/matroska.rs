//! Matroska and WebM, against ffmpeg.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use backlot_media::{Chroma, Codec};
use support::{check_video, make};

const MOTION: &str = "-f lavfi -i testsrc2=s=160x120:r=25:d=2";

fn check(words: &str, extension: &str) -> backlot_media::Index {
    let (_dir, path) = make(&format!("{MOTION} {words}"), extension);
    check_video(&path)
}

#[test]
fn h264_with_sound() {
    let index = check(
        "-f lavfi -i sine=d=2 -c:v libx264 -g 12 -bf 2 -c:a aac -metadata:s:a language=fra",
        "mkv",
    );
    let audio = index.audio_tracks().next().unwrap();
    assert_eq!((&audio.codec, audio.language.as_deref()), (&Codec::Aac, Some("fra")));
}

#[test]
fn h264_open_gop() {
    check("-c:v libx264 -g 10 -bf 3 -x264-params open-gop=1:scenecut=0", "mkv");
}

#[test]
fn hevc() {
    check("-c:v libx265 -x265-params log-level=error:keyint=12", "mkv");
    check("-c:v libx265 -x265-params log-level=error:keyint=12", "mp4");
    check("-c:v libx265 -tag:v hvc1 -x265-params log-level=error:keyint=12:bframes=0", "mp4");
}

#[test]
fn hevc_open_gop_and_temporal_layers() {
    check(
        "-c:v libx265 -x265-params log-level=error:keyint=10:open-gop=1:bframes=4:scenecut=0",
        "mp4",
    );
    check(
        "-c:v libx265 -x265-params log-level=error:keyint=10:open-gop=1:bframes=4:temporal-layers=2",
        "mkv",
    );
}

#[test]
fn hevc_ten_bits_and_444() {
    let index = check("-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=error", "mkv");
    assert_eq!(index.main_video().unwrap().video().unwrap().bit_depth, 10);
    let index = check("-c:v libx265 -pix_fmt yuv444p -x265-params log-level=error", "mp4");
    assert_eq!(index.main_video().unwrap().video().unwrap().chroma, Chroma::Yuv444);
}

#[test]
fn hevc_cut_at_an_open_group() {
    // The file starts with a clean random access picture whose leading pictures are lost.
    let words =
        "-c:v libx265 -x265-params log-level=error:keyint=10:open-gop=1:bframes=4:scenecut=0";
    let (dir, whole) = make(&format!("{MOTION} {words}"), "mp4");
    let path = dir.path().join("cut.mkv");
    support::run(
        "ffmpeg",
        &format!("-v error -ss 0.5 -i INPUT -c copy {}", path.display()),
        &whole,
    );
    check_video(&path);
}

#[test]
fn vp9() {
    let index = check("-c:v libvpx-vp9 -g 20 -b:v 200k -auto-alt-ref 1 -lag-in-frames 16", "webm");
    assert_eq!(index.main_video().unwrap().codec, Codec::Vp9);
    check("-c:v libvpx-vp9 -g 20 -b:v 200k", "mp4");
    check("-c:v libvpx-vp9 -g 20 -b:v 200k -pix_fmt yuv420p10le", "webm");
    check("-c:v libvpx-vp9 -g 20 -b:v 200k -pix_fmt yuv444p", "webm");
}

#[test]
fn odd_sizes() {
    let odd = "-f lavfi -i testsrc=s=161x99:r=25:d=1";
    for words in [
        "-c:v libvpx-vp9 -pix_fmt yuv420p",
        "-c:v libx265 -pix_fmt yuv444p -x265-params log-level=error",
    ] {
        let (_dir, path) = make(&format!("{odd} {words}"), "mkv");
        let index = check_video(&path);
        let info = index.main_video().unwrap().video().unwrap().clone();
        assert_eq!((info.width, info.height), (161, 99));
    }
}

#[test]
fn live_clusters_of_unknown_size() {
    check("-c:v libvpx-vp9 -g 20 -b:v 200k -f webm -live 1", "webm");
    let (_dir, path) = make(&format!("{MOTION} -c:v libx264 -g 12 -f matroska -live 1"), "mkv");
    check_video(&path);
}

#[test]
fn aspect_and_colour() {
    let words = "-vf setsar=4/3 -c:v libvpx-vp9 -b:v 200k -color_primaries bt709 -color_trc bt709 \
                 -colorspace bt709 -color_range tv";
    let index = check(words, "webm");
    let info = index.main_video().unwrap().video().unwrap().clone();
    // The file holds the display size in whole pixels: 213 by 120.
    assert_eq!(info.pixel_aspect, (213, 160));
    let colour = info.colour.unwrap();
    assert_eq!((colour.primaries, colour.transfer, colour.matrix), (1, 1, 1));
    assert!(!colour.full_range);
}

#[test]
fn variable_frame_rate() {
    let words = "-f lavfi -i testsrc2=s=160x120:r=60:d=2 -vf \
                 select=not(mod(n\\,7))+not(mod(n\\,5)) -fps_mode vfr -c:v libx264 -bf 2 -g 12";
    let (_dir, path) = make(words, "mkv");
    check_video(&path);
}
