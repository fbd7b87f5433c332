//! What is not supported is refused by its name, with the list of what is.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use backlot_media::{Limits, MediaError, index};
use support::{make, read};

fn refusal(words: &str, extension: &str) -> String {
    let (_dir, path) = make(words, extension);
    let error = index(&read(&path), &Limits::default()).unwrap_err();
    assert!(matches!(error, MediaError::Unsupported { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("supported are MP4, MOV, Matroska and WebM with H.264"), "{text}");
    text.split(" is not supported").next().unwrap().to_owned()
}

const SOURCE: &str = "-f lavfi -i testsrc2=s=128x96:r=25:d=0.4";

#[test]
fn codecs() {
    let check = |words: &str, extension| refusal(&format!("{SOURCE} {words}"), extension);
    assert_eq!(check("-c:v libaom-av1 -cpu-used 8", "mp4"), "AV1 video");
    assert_eq!(check("-c:v libaom-av1 -cpu-used 8", "webm"), "AV1 video");
    assert_eq!(check("-c:v prores_ks", "mov"), "ProRes video");
    assert_eq!(check("-c:v mpeg4", "mp4"), "MPEG-4 Part 2 video");
    assert_eq!(check("-c:v mpeg2video", "mkv"), "MPEG-2 video");
    assert_eq!(check("-c:v libvpx", "webm"), "VP8 video");
    assert_eq!(check("-c:v mjpeg", "mov"), "Motion JPEG video");
    assert_eq!(check("-pix_fmt yuv444p -c:v libx264", "mp4"), "H.264 with 4:4:4 chroma video");
}

#[test]
fn containers() {
    let check = |words: &str, extension| refusal(&format!("{SOURCE} {words}"), extension);
    assert_eq!(check("-c:v mpeg4", "avi"), "a file of type AVI");
    assert_eq!(check("-c:v libx264", "ts"), "a file of type MPEG transport stream");
    assert_eq!(check("-c:v libx264", "flv"), "a file of type Flash video");
    assert_eq!(check("-c:v libx264", "h264"), "a file of type raw H.264 or HEVC stream");
    assert_eq!(refusal("-f lavfi -i sine=d=0.2 -c:a aac", "mp4"), "a file without video");
    assert_eq!(refusal("-f lavfi -i sine=d=0.2 -c:a flac", "flac"), "a file of type FLAC");
}

#[test]
fn interlaced() {
    let check = |words: &str, extension| refusal(&format!("{SOURCE} {words}"), extension);
    let x264 = "-c:v libx264 -flags +ilme+ildct -x264-params tff=1";
    assert_eq!(check(x264, "mp4"), "interlaced H.264 video");
    assert_eq!(check(x264, "mkv"), "interlaced H.264 video");
    let x265 = "-c:v libx265 -x265-params log-level=error:interlace=tff";
    assert_eq!(check(x265, "mp4"), "interlaced HEVC video");
}

#[test]
fn high_dynamic_range() {
    let colours = "-color_primaries bt2020 -colorspace bt2020nc -pix_fmt yuv420p10le";
    let check = |words: &str, extension| refusal(&format!("{SOURCE} {colours} {words}"), extension);
    let pq = "-color_trc smpte2084 -c:v libx265 -x265-params log-level=error";
    assert_eq!(check(pq, "mp4"), "HDR (PQ) video");
    let hlg = "-color_trc arib-std-b67 -c:v libx264";
    assert_eq!(check(hlg, "mp4"), "HDR (HLG) video");
    let vp9 = "-color_trc smpte2084 -c:v libvpx-vp9 -b:v 200k";
    assert_eq!(check(vp9, "webm"), "HDR (PQ) video");
    assert_eq!(check(vp9, "mp4"), "HDR (PQ) video");
}

#[test]
fn encrypted() {
    let words = "-c:v libx264 -encryption_scheme cenc-aes-ctr -encryption_key \
                 76a6c65c5ea762046bd749a2e632ccbb -encryption_kid a7e61c373e219033c21091fa607bf3b8";
    assert_eq!(refusal(&format!("{SOURCE} {words}"), "mp4"), "encrypted video");
}

#[test]
fn pictures_too_large() {
    let (_dir, path) = make(&format!("{SOURCE} -c:v libx264"), "mp4");
    let limits = Limits { picture_samples: 128 * 96 - 1, ..Limits::default() };
    let error = index(&read(&path), &limits).unwrap_err();
    assert_eq!(error.to_string(), "luma samples of a picture: 12288 is over the limit of 12287");
    let limits = Limits { samples: 9, ..Limits::default() };
    let error = index(&read(&path), &limits).unwrap_err();
    assert_eq!(error.to_string(), "samples: 10 is over the limit of 9");
}
