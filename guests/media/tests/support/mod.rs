//! Inputs made by ffmpeg, and ffmpeg as the oracle of what must come out.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

use std::{path::PathBuf, process::Command};

use backlot_media::{Frame, Index, Input, Limits, MediaError, Track, VideoDecoder, index};
use md5::{Digest, Md5};

/// Runs ffmpeg with these words, writing a file that is returned with its folder.
pub(crate) fn make(words: &str, extension: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("input.{extension}"));
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-nostdin"]).args(split(words)).arg(&path);
    let output = command.current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    (dir, path)
}

/// Splits at spaces; a word in single quotes may hold spaces.
fn split(words: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (n, piece) in words.split('\'').enumerate() {
        if n % 2 == 1 {
            out.push(piece.to_owned());
        } else {
            out.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    out
}

pub(crate) fn run(program: &str, words: &str, path: &std::path::Path) -> String {
    let words = words.replace("INPUT", path.to_str().unwrap());
    let output = Command::new(program).args(split(&words)).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Times and hashes of the frames that ffmpeg presents: (seconds, md5).
pub(crate) fn expected_frames(path: &std::path::Path) -> Vec<(f64, String)> {
    let hashes = hashes(path, "-noautorotate");
    let words = "-v error -select_streams v:0 -show_entries frame=best_effort_timestamp_time \
                 -of csv=p=0 INPUT";
    let times = run("ffprobe", words, path);
    // Side data adds empty fields and lines.
    let fields = times.lines().map(|line| line.split(',').next().unwrap().trim());
    let times: Vec<f64> =
        fields.filter(|field| !field.is_empty()).map(|field| field.parse().unwrap()).collect();
    assert_eq!(times.len(), hashes.len(), "ffprobe and ffmpeg agree");
    times.into_iter().zip(hashes).collect()
}

/// Hashes of the frames that ffmpeg presents.
pub(crate) fn hashes(path: &std::path::Path, options: &str) -> Vec<String> {
    let words = format!(
        "-v error {options} -copyts -i INPUT -map 0:v:0 -fps_mode passthrough -f framemd5 -"
    );
    let text = run("ffmpeg", &words, path);
    let frames = text.lines().filter(|line| !line.starts_with('#'));
    frames.map(|line| line.split(',').nth(5).unwrap().trim().to_owned()).collect()
}

/// The hash of a frame in ffmpeg's layout.
pub(crate) fn hash(frame: &Frame) -> String {
    let mut md5 = Md5::new();
    for plane in [&frame.y, &frame.u, &frame.v] {
        md5.update(plane);
    }
    md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An input that counts its reads and refuses those that are too large.
pub(crate) struct Counted {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reads: std::cell::Cell<u64>,
}

impl Counted {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, reads: std::cell::Cell::new(0) }
    }
}

impl Input for Counted {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, MediaError> {
        assert!(len <= backlot_media::READ_BYTES_MAX, "a read of {len} bytes");
        self.reads.set(self.reads.get() + 1);
        self.bytes.read_at(offset, len)
    }
}

pub(crate) fn read(path: &std::path::Path) -> Counted {
    Counted::new(std::fs::read(path).unwrap())
}

pub(crate) fn indexed(input: &dyn Input) -> Index {
    let found = index(input, &Limits::default()).unwrap();
    // What is stored for the children is the same index.
    let stored = found.to_bytes().unwrap();
    assert_eq!(Index::from_bytes(&stored).unwrap(), found);
    found
}

/// Decodes the presented frames in `parts` ranges of about the same length.
pub(crate) fn decode(
    track: &Track,
    input: &dyn Input,
    parts: u64,
) -> Result<Vec<Frame>, MediaError> {
    let mut decoder = VideoDecoder::open(track, input)?;
    let total = decoder.plan().frames();
    let mut frames = Vec::new();
    for part in 0..parts.min(total) {
        let range = total * part / parts.min(total)..total * (part + 1) / parts.min(total);
        decoder.decode_range(range.clone())?;
        let mut expected = range.start;
        while let Some(frame) = decoder.next_frame()? {
            assert_eq!(frame.index, expected);
            expected += 1;
            frames.push(frame);
        }
        assert_eq!(expected, range.end, "the range is complete");
    }
    Ok(frames)
}

/// Compares frames and times with ffmpeg, for decoding in 1, 2 and 7 ranges.
pub(crate) fn check_video(path: &std::path::Path) -> Index {
    check_video_within(path, 0.000_6)
}

/// The same, where ffmpeg moves all frames by up to `shift_max` seconds.
pub(crate) fn check_video_within(path: &std::path::Path, shift_max: f64) -> Index {
    let input = read(path);
    let found = indexed(&input);
    let track = found.main_video().unwrap();
    let expected = expected_frames(path);
    let decoder = VideoDecoder::open(track, &input).unwrap();
    let plan = decoder.plan();
    assert_eq!(plan.frames(), expected.len() as u64, "number of frames");
    let time = |n| plan.pts(n).unwrap() as f64 / f64::from(plan.timescale());
    let shift = time(0) - expected[0].0;
    assert!(shift.abs() < shift_max, "starts at {}, ffmpeg at {}", time(0), expected[0].0);
    for (n, (seconds, _)) in (0..).zip(&expected) {
        let ours = time(n) - shift;
        assert!((ours - seconds).abs() < 0.000_6, "frame {n} at {ours}, ffmpeg at {seconds}");
    }
    for parts in [1, 2, 7] {
        let frames = decode(track, &input, parts).unwrap();
        for (n, (frame, (_, md5))) in frames.iter().zip(&expected).enumerate() {
            assert_eq!(&hash(frame), md5, "frame {n} of {parts} parts");
        }
    }
    found
}
