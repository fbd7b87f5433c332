//! MP4 and MOV with H.264, against ffmpeg.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use backlot_media::{Chroma, Codec, TrackKind};
use support::{check_video, make};

const MOTION: &str = "-f lavfi -i testsrc2=s=160x120:r=25:d=2";

fn check(words: &str, extension: &str) -> backlot_media::Index {
    let (_dir, path) = make(&format!("{MOTION} {words}"), extension);
    check_video(&path)
}

#[test]
fn progressive_with_header_at_the_end_and_at_the_front() {
    let index = check("-c:v libx264 -g 12 -bf 3", "mp4");
    let info = index.main_video().unwrap().video().unwrap().clone();
    assert_eq!((info.width, info.height, info.bit_depth), (160, 120, 8));
    assert_eq!((info.chroma, info.frame_rate), (Chroma::Yuv420, Some((25, 1))));
    check("-c:v libx264 -g 12 -bf 3 -movflags +faststart", "mp4");
}

#[test]
fn quicktime() {
    check("-c:v libx264 -g 12 -bf 2", "mov");
}

#[test]
fn fragmented() {
    check("-c:v libx264 -g 10 -bf 2 -movflags +frag_keyframe+empty_moov", "mp4");
    check("-c:v libx264 -g 10 -bf 2 -movflags +frag_keyframe+default_base_moof", "mp4");
    // Negative composition offsets make the film start at 0; ffmpeg, only in fragments, adds the
    // largest of them to all times.
    let words =
        format!("{MOTION} -c:v libx264 -g 10 -bf 2 -movflags +cmaf+frag_keyframe+delay_moov");
    let (_dir, path) = make(&words, "mp4");
    let index = support::check_video_within(&path, 0.041);
    let start = index.main_video().unwrap().samples.iter().map(|sample| sample.pts).min();
    assert_eq!(start, Some(0));
}

#[test]
fn baseline_without_reordering_and_many_references() {
    check("-c:v libx264 -profile:v baseline -g 30", "mp4");
    check("-c:v libx264 -preset veryslow -g 50 -bf 8 -b_strategy 2", "mp4");
    check("-c:v libx264 -g 20 -x264-params slices=4:weightp=2:8x8dct=1", "mp4");
}

#[test]
fn open_gop_cut_anywhere() {
    check("-c:v libx264 -g 10 -bf 3 -x264-params open-gop=1:b-pyramid=normal:scenecut=0", "mp4");
    check(
        "-c:v libx264 -g 10 -bf 3 -x264-params open-gop=1:b-pyramid=none:ref=4:scenecut=0",
        "mp4",
    );
}

#[test]
fn intra_refresh_has_no_key_frame_to_start_at_but_the_first() {
    check("-c:v libx264 -g 10 -x264-params intra-refresh=1", "mp4");
}

#[test]
fn ten_bits_and_422() {
    let index = check("-c:v libx264 -pix_fmt yuv420p10le -g 12", "mp4");
    assert_eq!(index.main_video().unwrap().video().unwrap().bit_depth, 10);
    let index = check("-c:v libx264 -pix_fmt yuv422p -g 12", "mp4");
    assert_eq!(index.main_video().unwrap().video().unwrap().chroma, Chroma::Yuv422);
    check("-c:v libx264 -pix_fmt yuv422p10le -g 12", "mp4");
}

#[test]
fn lossless_and_pcm_macroblocks() {
    // A quantizer this low makes x264 write raw macroblocks, which the fast decoder gives up on.
    let noise = "-f lavfi -i nullsrc=s=64x64:r=25:d=1,geq=random(1)*255:128:128";
    let (_dir, path) = make(&format!("{noise} -c:v libx264 -qp 1 -pix_fmt yuv420p -g 12"), "mp4");
    check_video(&path);
}

#[test]
fn odd_sizes_are_cropped() {
    let (_dir, path) =
        make("-f lavfi -i testsrc2=s=178x102:r=25:d=1 -c:v libx264 -pix_fmt yuv420p -g 9", "mp4");
    let index = check_video(&path);
    let info = index.main_video().unwrap().video().unwrap().clone();
    assert_eq!((info.width, info.height), (178, 102));
}

#[test]
fn edit_lists_cut_and_delay() {
    // Cut in the middle of a group: the media starts at a key frame before, the edit list hides.
    let (dir, whole) = make(&format!("{MOTION} -c:v libx264 -g 25 -bf 2"), "mp4");
    let path = dir.path().join("cut.mp4");
    support::run(
        "ffmpeg",
        &format!("-v error -ss 0.5 -i INPUT -c copy {}", path.display()),
        &whole,
    );
    // ffmpeg moves the first frame, which starts half a frame after the cut, to 0.
    let index = support::check_video_within(&path, 0.04);
    let track = index.main_video().unwrap();
    assert!(track.samples.iter().any(|sample| !sample.shown), "the edit list hides frames");
    let late = dir.path().join("late.mp4");
    support::run(
        "ffmpeg",
        &format!("-v error -itsoffset 0.4 -i INPUT -c copy {}", late.display()),
        &whole,
    );
    let index = check_video(&late);
    let track = index.main_video().unwrap();
    assert_eq!(track.edit.start * 10, 4 * i64::from(track.timescale));
}

#[test]
fn negative_composition_offsets() {
    check("-c:v libx264 -g 12 -bf 3 -movflags +negative_cts_offsets", "mp4");
}

#[test]
fn variable_frame_rate() {
    let words = "-f lavfi -i testsrc2=s=160x120:r=60:d=2 -vf \
                 select=not(mod(n\\,7))+not(mod(n\\,5)) -fps_mode vfr -c:v libx264 -bf 2 -g 12";
    let (_dir, path) = make(words, "mp4");
    let index = check_video(&path);
    assert_eq!(
        index.main_video().unwrap().video().unwrap().frame_rate.map(|r| r.0 / r.1),
        Some(60)
    );
}

#[test]
fn aspect_and_colour() {
    let words = "-vf setsar=4/3 -c:v libx264 -color_primaries bt709 -color_trc bt709 \
                 -colorspace bt709 -color_range pc -g 25";
    let index = check(words, "mp4");
    let info = index.main_video().unwrap().video().unwrap().clone();
    assert_eq!(info.pixel_aspect, (4, 3));
    let colour = info.colour.unwrap();
    assert_eq!((colour.primaries, colour.transfer, colour.matrix), (1, 1, 1));
    assert!(colour.full_range);
}

#[test]
fn turned_pictures_are_as_ffmpeg_turns_them() {
    let (dir, whole) = make(&format!("{MOTION} -frames:v 3 -c:v libx264 -pix_fmt yuv420p"), "mp4");
    for degrees in [90, 180, 270] {
        let path = dir.path().join(format!("turned-{degrees}.mp4"));
        let words =
            format!("-v error -i INPUT -c copy -metadata:s:v rotate={degrees} {}", path.display());
        support::run("ffmpeg", &words, &whole);
        let input = support::read(&path);
        let index = support::indexed(&input);
        let track = index.main_video().unwrap();
        let rotation = track.video().unwrap().rotation;
        assert!(rotation.degrees % 180 == degrees % 180 && rotation.degrees != 0);
        let frames = support::decode(track, &input, 1).unwrap();
        let turned: Vec<String> = frames
            .into_iter()
            .map(|frame| support::hash(&backlot_media::rotate(frame, rotation)))
            .collect();
        assert_eq!(turned, support::hashes(&path, ""), "{degrees}");
    }
}

#[test]
fn several_tracks_with_languages() {
    let words = "-f lavfi -i sine=d=2 -f lavfi -i sine=f=880:d=2 -map 0 -map 1 -map 2 \
                 -c:v libx264 -c:a aac -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu";
    let index = check(words, "mp4");
    let audio: Vec<_> = index.audio_tracks().collect();
    let languages: Vec<_> = audio.iter().map(|track| track.language.as_deref()).collect();
    assert_eq!(languages, [Some("eng"), Some("deu")]);
    assert!(audio[0].default && !audio[1].default);
    assert!(audio.iter().all(|track| track.codec == Codec::Aac));
    assert!(matches!(&audio[0].kind, TrackKind::Audio(info) if info.sample_rate == 44_100));
}

#[test]
fn few_reads() {
    let (_dir, path) = make(&format!("{MOTION} -c:v libx264 -g 12"), "mp4");
    let input = support::read(&path);
    let index = support::indexed(&input);
    let header = input.reads.get();
    assert!(header < 12, "{header} reads for the index");
    support::decode(index.main_video().unwrap(), &input, 1).unwrap();
    assert!(input.reads.get() - header < 6, "{} reads for the frames", input.reads.get());
}
