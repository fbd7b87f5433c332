//! Sound, against ffmpeg's PCM.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use backlot_media::{AudioDecoder, ChannelLayout, Index, Input};
use support::{indexed, make, read};

/// A sound that is different in each channel, with a picture track beside it.
fn source(channels: u32, rate: u32, seconds: &str) -> String {
    let tones: Vec<String> = (0..channels)
        .map(|n| format!("0.3*sin(2*PI*t*{})+0.05*sin(2*PI*t*{})", 200 + 130 * n, 1900 + 70 * n))
        .collect();
    let layout = match channels {
        1 => "mono",
        2 => "stereo",
        3 => "3.0",
        4 => "4.0",
        5 => "5.0",
        6 => "5.1",
        7 => "6.1",
        _ => "7.1",
    };
    format!(
        "-f lavfi -i testsrc2=s=64x64:r=25:d={seconds} -f lavfi -i \
         'aevalsrc={}:s={rate}:d={seconds}:c={layout}' -c:v libx264",
        tones.join("|")
    )
}

struct Decoded {
    rate: u32,
    layout: ChannelLayout,
    start: u64,
    samples: Vec<f32>,
}

fn decode(index: &Index, input: &dyn Input) -> Decoded {
    let track = index.audio_tracks().next().unwrap();
    let mut decoder = AudioDecoder::open(track, input).unwrap();
    let mut samples = Vec::new();
    while let Some(block) = decoder.next_block().unwrap() {
        assert_eq!(block.start as usize * decoder.channels() as usize, samples.len());
        samples.extend(block.samples);
    }
    let (rate, layout, start) = (decoder.sample_rate(), decoder.layout(), decoder.start());
    Decoded { rate, layout, start, samples }
}

/// ffmpeg's PCM of the first sound track.
fn expected(path: &std::path::Path) -> Vec<f32> {
    let output = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i", path.to_str().unwrap()])
        .args(["-map", "0:a:0", "-f", "f32le", "-"])
        .output()
        .unwrap();
    output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Decodes, compares with ffmpeg, and checks the exact number of samples.
fn check(words: &str, extension: &str, channels: u32, samples: usize) -> Decoded {
    let (_dir, path) = make(words, extension);
    let input = read(&path);
    let decoded = decode(&indexed(&input), &input);
    assert_eq!(decoded.layout.channels(), channels);
    assert_eq!(decoded.samples.len(), samples * channels as usize, "number of samples");
    let expected = expected(&path);
    assert!(samples * channels as usize <= expected.len(), "ffmpeg gives {}", expected.len());
    let difference: f64 = decoded
        .samples
        .iter()
        .zip(&expected)
        .map(|(ours, theirs)| f64::from(ours - theirs).powi(2))
        .sum();
    let rms = (difference / decoded.samples.len() as f64).sqrt();
    assert!(rms < 1e-4, "rms difference {rms}");
    let loud = decoded.samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
    assert!(0.1 < (loud / decoded.samples.len() as f64).sqrt(), "there is sound");
    decoded
}

#[test]
fn aac_in_mp4_loses_its_priming() {
    let decoded = check(&format!("{} -c:a aac", source(2, 48_000, "2")), "mp4", 2, 96_000);
    assert_eq!((decoded.rate, decoded.start), (48_000, 0));
    check(&format!("{} -c:a aac", source(1, 44_100, "1")), "mp4", 1, 44_100);
    check(&format!("{} -c:a aac", source(2, 22_050, "1")), "mov", 2, 22_050);
}

#[test]
fn aac_to_seven_channels_and_one() {
    let decoded = check(&format!("{} -c:a aac", source(6, 48_000, "1")), "mp4", 6, 48_000);
    assert_eq!(decoded.layout, ChannelLayout::Surround51);
    check(&format!("{} -c:a aac", source(3, 48_000, "1")), "mp4", 3, 48_000);
    check(&format!("{} -c:a aac", source(5, 48_000, "1")), "mp4", 5, 48_000);
    let decoded = check(&format!("{} -c:a aac", source(8, 48_000, "1")), "mp4", 8, 48_000);
    assert_eq!(decoded.layout, ChannelLayout::Surround71);
}

#[test]
fn aac_in_matroska_is_whole_where_the_file_notes_no_delay() {
    // ffmpeg writes no delay for AAC but moves the picture: all 95 packets of 1,024 are heard.
    check(&format!("{} -c:a aac", source(2, 48_000, "2")), "mkv", 2, 95 * 1024);
}

#[test]
fn opus_loses_its_pre_skip_and_padding() {
    check(&format!("{} -c:a libopus", source(2, 48_000, "1")), "mp4", 2, 48_000);
    check(&format!("{} -c:a libopus", source(1, 48_000, "1")), "mkv", 1, 48_000);
    let words = source(2, 48_000, "1").replace("libx264", "libvpx-vp9");
    check(&format!("{words} -c:a libopus"), "webm", 2, 48_000);
}

#[test]
fn opus_surround_is_in_the_usual_order() {
    let words = source(6, 48_000, "1");
    check(&format!("{words} -c:a libopus -mapping_family 1"), "mkv", 6, 48_000);
    let words = source(8, 48_000, "1");
    check(&format!("{words} -c:a libopus -mapping_family 1"), "mp4", 8, 48_000);
}

#[test]
fn a_late_track_says_when_it_starts() {
    let (dir, path) = make(&format!("{} -c:a aac", source(2, 48_000, "1")), "mp4");
    for extension in ["mp4", "mkv"] {
        let late = dir.path().join(format!("late.{extension}"));
        let words = format!(
            "-v error -i INPUT -itsoffset 0.5 -i INPUT -map 0:v -map 1:a -c copy {}",
            late.display()
        );
        support::run("ffmpeg", &words.replace("INPUT", path.to_str().unwrap()), &path);
        let input = read(&late);
        let decoded = decode(&indexed(&input), &input);
        let start = i64::try_from(decoded.start).unwrap();
        // The copied packets begin with 1,024 samples of priming, which start as much earlier.
        assert!((22_900..24_100).contains(&start), "{extension} starts at {start}");
    }
}

#[test]
fn gaps_are_filled_with_silence() {
    let tone = source(2, 48_000, "2");
    let words = format!("{tone} -af aselect=not(between(t\\,0.5\\,1.2)) -c:a libopus");
    let (_dir, path) = make(&words, "mkv");
    let input = read(&path);
    let decoded = decode(&indexed(&input), &input);
    let frames = decoded.samples.len() / 2;
    assert!((frames as i64 - 96_000).abs() < 4_000, "{frames} samples");
}

#[test]
fn a_gap_of_a_few_packets_keeps_sound_with_the_picture() {
    // With B-frames and without edit lists, this muxer delays picture and sound by 80 ms, but for
    // the first packet of the sound.
    let words = format!(
        "{} -shortest -bf 2 -movflags +frag_keyframe+empty_moov -c:a aac",
        source(2, 48_000, "1")
    );
    let (_dir, path) = make(&words, "mp4");
    let input = read(&path);
    let index = indexed(&input);
    let track = index.audio_tracks().next().unwrap();
    let last = track.samples.last().unwrap();
    let ends = (last.pts - track.samples[0].pts) as usize + 1_024;
    assert!(track.samples.len() * 1_024 + 1_024 < ends, "this file has no gap to test with");
    let frames = decode(&index, &input).samples.len() / 2;
    assert!(frames.abs_diff(ends) < 1_024, "{frames} samples instead of {ends}");
}

#[test]
fn other_sound_is_named() {
    let (_dir, path) = make(&format!("{} -c:a ac3", source(2, 48_000, "1")), "mp4");
    let input = read(&path);
    let index = indexed(&input);
    let error = AudioDecoder::open(index.audio_tracks().next().unwrap(), &input).unwrap_err();
    assert!(error.to_string().starts_with("AC-3 sound is not supported"), "{error}");
}
