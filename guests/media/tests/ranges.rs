//! Any range of frames is the same frames as in the whole film.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use backlot_media::{Index, VideoDecoder};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use support::{Counted, decode, hash, indexed, make, read};

/// Films whose groups are open, layered, cut by an edit list, or that start with hidden frames.
fn films() -> Vec<(Counted, Index)> {
    let source = "-f lavfi -i testsrc2=s=96x64:r=25:d=3";
    let mut films: Vec<_> = [
        ("-c:v libx264 -g 12 -bf 5 -x264-params open-gop=1:b-pyramid=normal:scenecut=0", "mp4"),
        ("-c:v libx264 -pix_fmt yuv420p10le -g 9 -bf 3 -x264-params open-gop=1:scenecut=0", "mkv"),
        (
            "-c:v libx265 -x265-params log-level=error:keyint=11:open-gop=1:bframes=5:scenecut=0",
            "mp4",
        ),
        ("-c:v libvpx-vp9 -b:v 100k -g 17 -auto-alt-ref 1 -lag-in-frames 20", "webm"),
    ]
    .iter()
    .map(|(words, extension)| make(&format!("{source} {words}"), extension))
    .collect();
    let cut = films[0].1.with_file_name("cut.mp4");
    support::run(
        "ffmpeg",
        &format!("-v error -ss 0.7 -i INPUT -c copy {}", cut.display()),
        &films[0].1,
    );
    films.push((tempfile::tempdir().unwrap(), cut));
    films
        .iter()
        .map(|(_, path)| {
            let input = read(path);
            let index = indexed(&input);
            (input, index)
        })
        .collect()
}

#[test]
fn any_range_is_a_piece_of_the_whole() {
    let films = films();
    let wholes: Vec<Vec<String>> = films
        .iter()
        .map(|(input, index)| {
            let frames = decode(index.main_video().unwrap(), input, 1).unwrap();
            frames.iter().map(hash).collect()
        })
        .collect();
    let mut runner = TestRunner::new(Config { cases: 120, ..Config::default() });
    let ranges = (0..films.len(), any::<prop::sample::Index>(), 1..20_usize);
    runner
        .run(&ranges, |(film, first, len)| {
            let whole = &wholes[film];
            let first = first.index(whole.len());
            let last = (first + len).min(whole.len());
            let (input, index) = &films[film];
            let mut decoder = VideoDecoder::open(index.main_video().unwrap(), input).unwrap();
            decoder.decode_range(first as u64..last as u64).unwrap();
            for (n, expected) in whole.iter().enumerate().take(last).skip(first) {
                let frame = decoder.next_frame().unwrap().unwrap();
                prop_assert_eq!(frame.index, n as u64);
                prop_assert_eq!(&hash(&frame), expected);
            }
            prop_assert!(decoder.next_frame().unwrap().is_none());
            Ok(())
        })
        .unwrap();
}

#[test]
fn ranges_outside_the_film_are_refused_and_ranges_can_be_left() {
    let (_dir, path) = make("-f lavfi -i testsrc2=s=64x48:r=25:d=1 -c:v libx264", "mp4");
    let input = read(&path);
    let index = indexed(&input);
    let mut decoder = VideoDecoder::open(index.main_video().unwrap(), &input).unwrap();
    assert_eq!(decoder.plan().frames(), 25);
    assert!(decoder.decode_range(0..26).is_err());
    assert!(decoder.decode_range(5..5).is_err());
    assert!(decoder.decode_range(u64::MAX - 1..u64::MAX).is_err());
    decoder.decode_range(3..9).unwrap();
    assert_eq!(decoder.next_frame().unwrap().unwrap().index, 3);
    decoder.decode_range(1..2).unwrap();
    assert_eq!(decoder.next_frame().unwrap().unwrap().index, 1);
    assert!(decoder.next_frame().unwrap().is_none());
}
