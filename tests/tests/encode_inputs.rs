//! Awkward films give right results; damaged ones a clear reason, and the host stays up.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the failure")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backlot_tests::server::Server;
use backlot_tests::{film, run};

const ENCODE_MAX: Duration = Duration::from_secs(300);

/// Encode at the fast preset; the folder with the result.
fn encoded(source: &Path) -> PathBuf {
    let out = source.with_extension("out");
    run(&mut backlot_tests::encode(source, &out)).unwrap();
    out
}

/// The video track file of the highest rung.
fn video(out: &Path) -> PathBuf {
    let lines = |entry: &fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        name.strip_prefix("video-")?.strip_suffix("p.mp4")?.parse::<u32>().ok()
    };
    let entries = fs::read_dir(out).unwrap().map(Result::unwrap);
    entries.filter(|entry| lines(entry).is_some()).max_by_key(lines).unwrap().path()
}

/// Make the film, encode it, and check what holds for every film: as many frames as ffmpeg counts,
/// each like its source, and a playlist that ffmpeg reads without a warning.
fn check(name: &str, arguments: &str, psnr_floor: f64) -> PathBuf {
    let folder = tempfile::tempdir().unwrap().keep();
    let source = folder.join(name);
    film::make(arguments, &source).unwrap();
    let out = encoded(&source);
    let lowest = film::psnr_min(&video(&out), &source).unwrap();
    assert!(psnr_floor < lowest, "{name}: the worst frame has {lowest} dB");
    film::decodes_cleanly(&out.join("master.m3u8")).unwrap();
    film::decodes_cleanly(&video(&out)).unwrap();
    fs::remove_file(&source).unwrap();
    out
}

const PICTURE: &str = "-f lavfi -i testsrc2=size=256x144:rate=25:duration=2";
const SOUND: &str = "-f lavfi -i sine=sample_rate=48000:duration=2";
const H264: &str = "-c:v libx264 -preset veryfast -pix_fmt yuv420p";

#[test]
fn containers_and_codecs() {
    for (name, video, audio) in [
        ("h264.mp4", H264, "-c:a aac"),
        ("moov-first.mp4", "-c:v libx264 -pix_fmt yuv420p -movflags +faststart", "-c:a aac"),
        (
            "fragmented.mp4",
            "-c:v libx264 -pix_fmt yuv420p -g 25 -movflags +frag_keyframe+empty_moov",
            "-c:a aac",
        ),
        ("apple.mov", H264, "-c:a aac"),
        ("high10.mp4", "-c:v libx264 -pix_fmt yuv420p10le", "-c:a aac"),
        ("hevc.mp4", "-c:v libx265 -x265-params log-level=error -pix_fmt yuv420p", "-c:a aac"),
        ("h264.mkv", H264, "-c:a libopus"),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8", "-c:a libopus"),
    ] {
        let arguments = format!("{PICTURE} {SOUND} {video} {audio}");
        let out = check(name, &arguments, 26.0);
        assert!(!film::probe(&out.join("master.m3u8"), "a", "codec_name").unwrap().is_empty());
    }
    check("raw.y4m", &format!("{PICTURE} -pix_fmt yuv420p"), 26.0);
    check("ten-bit.y4m", &format!("{PICTURE} -pix_fmt yuv420p10le -strict -1"), 26.0);
}

#[test]
fn awkward_pictures() {
    // B-frames with an edit list are what libx264 and the mp4 muxer make by default.
    check("edit-list.mp4", &format!("{PICTURE} {H264} -bf 3 -g 40"), 26.0);
    check("one-frame.mp4", &format!("{PICTURE} {H264} -frames:v 1"), 26.0);
    check(
        "full-range.mp4",
        &format!("{PICTURE} {H264} -vf scale=out_range=full -color_range pc"),
        26.0,
    );

    let odd = "-f lavfi -i testsrc2=size=257x145:rate=25:duration=1";
    let out = check(
        "odd.mp4",
        &format!("{odd} -c:v libx265 -x265-params log-level=error -pix_fmt yuv420p"),
        20.0,
    );
    assert_eq!(film::probe(&video(&out), "v", "width,height").unwrap(), "256,144");

    let out = check("anamorphic.mp4", &format!("{PICTURE} {H264} -vf setsar=4/3"), 20.0);
    let shape = film::probe(&video(&out), "v", "width,height").unwrap();
    let (width, height) = shape.split_once(',').unwrap();
    let ratio = width.parse::<f64>().unwrap() / height.parse::<f64>().unwrap();
    assert!((ratio - 16.0 / 9.0 * 4.0 / 3.0).abs() < 0.05, "{shape}");

    let vfr = "-vf select='not(eq(mod(n\\,5)\\,2))' -fps_mode vfr";
    let out = check("vfr.mp4", &format!("{PICTURE} {H264} {vfr}"), 26.0);
    assert_eq!(film::frames(&video(&out)).unwrap(), 40);
}

#[test]
fn rotated_phone_video_stands_upright() {
    let folder = tempfile::tempdir().unwrap();
    let flat = folder.path().join("flat.mp4");
    film::make(&format!("{PICTURE} {H264}"), &flat).unwrap();
    let source = folder.path().join("rotated.mp4");
    film::make(&format!("-i {} -c copy -metadata:s:v rotate=90", flat.display()), &source).unwrap();
    let out = encoded(&source);
    assert_eq!(film::probe(&video(&out), "v", "width,height").unwrap(), "144,256");
    // ffmpeg turns the source upright by itself when it decodes.
    assert!(26.0 < film::psnr_min(&video(&out), &source).unwrap());
}

#[test]
fn sound() {
    let longer = "-f lavfi -i sine=sample_rate=48000:duration=4";
    check("longer-sound.mp4", &format!("{PICTURE} {longer} {H264} -c:a aac"), 26.0);
    check("no-sound.mp4", &format!("{PICTURE} {H264} -an"), 26.0);
    let surround =
        "-f lavfi -i anoisesrc=r=48000:d=2:a=0.2 -af pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0";
    check("surround.mp4", &format!("{PICTURE} {surround} {H264} -c:a aac"), 26.0);
    let two = "-f lavfi -i sine=frequency=880:sample_rate=44100:duration=2 -map 0 -map 1 -map 2";
    check("two-tracks.mp4", &format!("{PICTURE} {SOUND} {two} {H264} -c:a aac"), 26.0);

    let out = check("both.mp4", &format!("{PICTURE} {SOUND} {H264} -c:a aac"), 26.0);
    let begins = |kind| {
        let playlist = out.join("master.m3u8");
        film::probe(&playlist, kind, "start_time").unwrap().parse::<f64>().unwrap()
    };
    assert!((begins("v") - begins("a")).abs() < 0.025, "sound and picture are apart");
}

/// Its fragments are more than an answer of one invocation to another could list.
#[test]
fn eight_hours_of_sound() {
    let folder = tempfile::tempdir().unwrap();
    let minute = folder.path().join("minute.mka");
    film::make("-f lavfi -i anullsrc=r=48000:cl=mono -t 60 -c:a libopus -b:a 6k", &minute).unwrap();
    let source = folder.path().join("night.mkv");
    let whole = format!("-stream_loop 479 -i {} {PICTURE} {H264}", minute.display());
    film::make(&format!("{whole} -map 0:a -map 1:v -c:a copy"), &source).unwrap();
    let out = encoded(&source);
    let sound = out.join("audio-0-opus.mp4");
    let length: f64 = film::probe(&sound, "a", "duration").unwrap().parse().unwrap();
    assert!((length - 8.0 * 3_600.0).abs() < 10.0, "{length} s");
}

#[test]
fn damaged_films_fail_with_a_reason_and_the_host_stays_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    let good = folder.path().join("good.mp4");
    film::synthetic(&good, "128x72", 2).unwrap();
    let bytes = fs::read(&good).unwrap();

    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("empty.mp4".into(), Vec::new()),
        ("text.mp4".into(), b"This is not a film, whatever its name says.\n".repeat(100)),
        ("half.mp4".into(), bytes[..bytes.len() / 2].to_vec()),
        ("zeros.mp4".into(), vec![0; 100_000]),
    ];
    // Boxes that lie about their size: the first one, and moov.
    let moov = bytes.windows(4).position(|four| four == b"moov").unwrap() - 4;
    for (name, at, size) in [
        ("huge-box.mp4", 0, u32::MAX),
        ("tiny-box.mp4", 0, 4),
        ("huge-moov.mp4", moov, 0x7fff_ffff),
    ] {
        let mut lying = bytes.clone();
        lying[at..at + 4].copy_from_slice(&size.to_be_bytes());
        cases.push((name.into(), lying));
    }
    // A duration of 2^63 in a 64-bit movie header would overflow any sum.
    let mvhd = bytes.windows(4).position(|four| four == b"mvhd").unwrap();
    let mut endless = bytes.clone();
    endless[mvhd + 20..mvhd + 24].copy_from_slice(&u32::MAX.to_be_bytes());
    cases.push(("endless.mp4".into(), endless));

    for (name, bytes) in &cases {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        server.upload(&file, "uploads", name).unwrap();
    }
    for (name, _) in &cases {
        let job = server.settled(name, ENCODE_MAX).unwrap();
        if name == "endless.mp4" {
            // The movie header's duration is not what a film is cut by.
            assert_eq!(job["state"], "ready", "{job}");
            continue;
        }
        assert_eq!(job["state"], "failed", "{name}: {job}");
        let reason = job["reason"].as_str().unwrap();
        assert!(10 < reason.len(), "{name}: {reason:?} explains nothing");
    }

    // Nothing half-made is left behind of those that failed.
    let listed = run(server.rclone().args(["lsf", "--recursive", "backlot:content"])).unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(!listed.is_empty() && listed.lines().all(|key| key.starts_with("endless")), "{listed}");
    assert_eq!(server.get("/healthz").unwrap().0, 200);
}
