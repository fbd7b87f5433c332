//! Damaged and hostile inputs: an error or frames, in bounded time and memory, never a panic.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

mod support;

use std::time::{Duration, Instant};

use backlot_media::{AudioDecoder, Index, Input, Limits, MediaError, VideoDecoder, index};
use proptest::prelude::*;
use support::{make, read};

/// Small inputs of every container and codec.
fn corpus() -> Vec<Vec<u8>> {
    let source = "-f lavfi -i testsrc2=s=64x48:r=25:d=0.6 -f lavfi -i sine=d=0.6";
    [
        ("-c:v libx264 -g 5 -bf 2 -c:a aac", "mp4"),
        ("-c:v libx264 -g 5 -bf 2 -c:a aac -movflags +frag_keyframe+empty_moov", "mp4"),
        ("-c:v libx264 -pix_fmt yuv420p10le -g 5 -c:a libopus", "mkv"),
        ("-c:v libx265 -x265-params log-level=error:keyint=5 -c:a aac", "mkv"),
        ("-c:v libvpx-vp9 -b:v 100k -g 5 -c:a libopus", "webm"),
        ("-pix_fmt yuv420p -map 0:v", "y4m"),
    ]
    .iter()
    .map(|(words, extension)| {
        let (_dir, path) = make(&format!("{source} {words}"), extension);
        read(&path).bytes
    })
    .collect()
}

/// Seconds that one broken input of this size may take.
const EACH_MAX: Duration = Duration::from_secs(10);

/// Indexes and decodes as far as it goes.
fn exercise(bytes: &[u8]) -> Result<u64, MediaError> {
    let started = Instant::now();
    let done = decode_all(&bytes.to_vec());
    assert!(started.elapsed() < EACH_MAX, "took {:?}", started.elapsed());
    done
}

fn decode_all(input: &dyn Input) -> Result<u64, MediaError> {
    let limits = Limits { samples: 10_000, picture_samples: 1 << 20, ..Limits::default() };
    let found: Index = index(input, &limits)?;
    let track = found.main_video()?;
    let mut decoder = VideoDecoder::with_limits(track, input, limits)?;
    let frames = decoder.plan().frames();
    decoder.decode_range(0..frames.min(50))?;
    let mut given = 0;
    while let Some(frame) = decoder.next_frame()? {
        assert_eq!(frame.index, given);
        given += 1;
    }
    assert_eq!(given, frames.min(50), "no frame is left out in silence");
    for track in found.audio_tracks() {
        let mut decoder = AudioDecoder::open(track, input)?;
        let mut blocks = 0;
        while let (Some(_), true) = (decoder.next_block()?, blocks < 200) {
            blocks += 1;
        }
    }
    Ok(given)
}

/// A small random number generator: seeded, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

#[test]
fn truncated_anywhere() {
    for bytes in corpus() {
        assert!(exercise(&bytes).unwrap() > 0, "the input is good");
        let mut random = Random(7);
        for _ in 0..60 {
            let len = random.below(bytes.len());
            // A cut at the end of a cluster or a picture is a shorter film; all others are errors.
            if let Err(error) = exercise(&bytes[..len]) {
                assert!(!matches!(error, MediaError::Request { .. }), "{error}");
            }
        }
        assert!(exercise(&bytes[..bytes.len() / 2]).is_err());
    }
}

#[test]
fn flipped_bits() {
    let mut random = Random(42);
    for bytes in corpus() {
        for _ in 0..60 {
            let mut broken = bytes.clone();
            for _ in 0..=random.below(8) {
                let at = random.below(broken.len());
                broken[at] ^= 1 << random.below(8);
            }
            let _outcome = exercise(&broken);
        }
    }
}

#[test]
fn broken_headers() {
    // The first and the last kilobytes hold the headers; there each mutation counts.
    let mut random = Random(4711);
    for bytes in corpus() {
        for round in 0..400 {
            let mut broken = bytes.clone();
            for _ in 0..=random.below(3) {
                let span = broken.len().min(3000);
                let at = random.below(span);
                let at = if round % 2 == 0 { at } else { broken.len() - 1 - at };
                let value = [0, 1, 0x7F, 0x80, 0xFF, random.below(256) as u8][random.below(6)];
                let run = 1 << random.below(4);
                for byte in broken.iter_mut().skip(at).take(run) {
                    *byte = value;
                }
            }
            let _outcome = exercise(&broken);
        }
    }
}

#[test]
fn indexes_of_thousands_of_mutants_are_errors_or_within_the_file() {
    let limits = Limits { samples: 10_000, ..Limits::default() };
    let mut random = Random(99);
    let mut good = 0_u32;
    for bytes in corpus() {
        for _ in 0..1500 {
            let mut broken = bytes.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(broken.len());
                match random.below(4) {
                    0 => broken[at] = random.below(256) as u8,
                    1 => broken[at] ^= 1 << random.below(8),
                    2 => {
                        drop(broken.drain(at..(at + random.below(9)).min(bytes.len().min(at + 1))))
                    }
                    _ => broken.insert(at, random.below(256) as u8),
                }
            }
            let Ok(found) = index(&broken, &limits) else { continue };
            good += 1;
            for sample in found.tracks.iter().flat_map(|track| &track.samples) {
                assert!(sample.offset + u64::from(sample.size) <= broken.len() as u64);
            }
            assert_eq!(Index::from_bytes(&found.to_bytes().unwrap()).unwrap(), found);
        }
    }
    assert!(100 < good, "most mutants hit the media, which the index does not read");
}

#[test]
fn hostile_mp4_boxes() {
    let boxed = |kind: &[u8], body: &[u8]| -> Vec<u8> {
        let size = (body.len() as u32 + 8).to_be_bytes();
        [size.as_slice(), kind, body].concat()
    };
    let refused =
        |bytes: &[u8]| index(&bytes.to_vec(), &Limits::default()).unwrap_err().to_string();
    let head = boxed(b"ftyp", b"isom\0\0\0\0");
    // A box that is larger than the file, by its long size.
    let huge = [&head, [0, 0, 0, 1].as_slice(), b"moov", &[0xFF; 8]].concat();
    assert!(refused(&huge).contains("ends inside box moov"));
    // A header of more than the limit never gets allocated.
    let limits = Limits { header_bytes: 100, ..Limits::default() };
    let large = [head.clone(), boxed(b"moov", &[0; 200])].concat();
    assert!(matches!(index(&large, &limits), Err(MediaError::OverLimit { .. })));
    // A box smaller than its own header would never end.
    let tiny = [&head, [0, 0, 0, 3].as_slice(), b"free"].concat();
    assert!(refused(&tiny).contains("size 3"));
    // A file of nothing but boxes ends at the limit.
    let limits = Limits { elements: 50, ..Limits::default() };
    let many = [head.clone(), boxed(b"free", &[]).repeat(60)].concat();
    assert!(matches!(index(&many, &limits), Err(MediaError::OverLimit { .. })));
    assert!(refused(&[head.clone(), boxed(b"mdat", b"abc")].concat()).contains("not finished"));
}

#[test]
fn tables_that_lie_about_their_length() {
    let (_dir, path) = make("-f lavfi -i testsrc2=s=64x48:d=0.4 -c:v libx264", "mp4");
    let bytes = read(&path).bytes;
    for kind in [b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"stss", b"stsd", b"elst"] {
        let Some(at) = bytes.windows(4).position(|window| window == kind) else { continue };
        for count_at in [at + 8, at + 12] {
            for count in [u32::MAX, 0x7FFF_FFFF, 4 << 20, 0] {
                let mut broken = bytes.clone();
                broken[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
                let _outcome = exercise(&broken);
            }
        }
    }
}

#[test]
fn not_media_at_all() {
    assert!(exercise(&[]).is_err());
    assert!(exercise(&[0; 100_000]).is_err());
    assert!(exercise(b"Dear sir or madam,\nplease find attached\n").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn anything_after_a_magic_number(kind in 0..3_usize, body in prop::collection::vec(any::<u8>(), 0..600)) {
        let magic: [&[u8]; 3] =
            [b"\0\0\0\x10ftypisom\0\0\0\0", &[0x1A, 0x45, 0xDF, 0xA3, 0x80], b"YUV4MPEG2 W16 H16\n"];
        let bytes = [magic[kind], &body].concat();
        let _outcome = index(&bytes, &Limits::default());
    }
}
