//! The packets of a film do not depend on how it was cut into parts, on how many were encoded at
//! once, or on whether the host was killed in between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the failure")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use backlot_tests::server::Server;
use backlot_tests::{film, run, wait_for};

const ENCODE_MAX: Duration = Duration::from_secs(600);
/// 16 s are eight GOPs, so that seven parts are possible.
const SECONDS: u32 = 16;
const SIZE: &str = "320x180";

/// Encode with the one-shot verb; the sha256 over the packets.
fn encoded(source: &Path, out: &Path, parts: u32, jobs: u32) -> String {
    let mut encode = backlot_tests::encode(source, out);
    encode.args(["--parts", &parts.to_string(), "--jobs", &jobs.to_string()]);
    run(&mut encode).unwrap();
    film::packets_sha256(&out.join("video-180p.mp4")).unwrap()
}

#[test]
fn packets_do_not_depend_on_parts_or_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("film.mp4");
    film::synthetic(&source, SIZE, SECONDS).unwrap();
    let whole = encoded(&source, &folder.path().join("whole"), 1, 1);
    for (parts, jobs) in [(2, 1), (2, 2), (7, 1), (7, 2)] {
        let out = folder.path().join(format!("{parts}-{jobs}"));
        assert_eq!(encoded(&source, &out, parts, jobs), whole, "{parts} parts, {jobs} jobs");
    }

    let video = folder.path().join("whole/video-180p.mp4");
    assert_eq!(film::frames(&video).unwrap(), u64::from(SECONDS) * 25);
    let lowest = film::psnr_min(&video, &source).unwrap();
    assert!(28.0 < lowest, "the worst frame has {lowest} dB");
    film::decodes_cleanly(&folder.path().join("whole/master.m3u8")).unwrap();
}

/// What the server serves of a content, as a file.
fn fetched(server: &Server, job: &serde_json::Value, name: &str, to: &Path) {
    let (id, build) = (job["id"].as_str().unwrap(), job["build"].as_str().unwrap());
    let (status, body) = server.get(&format!("/content/{id}/{build}/{name}")).unwrap();
    assert_eq!(status, 200, "{name}");
    fs::write(to, body).unwrap();
}

/// The frames of finished and stored parts.
fn stored_frames(server: &Server) -> u64 {
    let list = server.json("/api/v1/content").unwrap();
    let Some(rungs) = list["content"][0]["progress"]["rungs"].as_array() else { return 0 };
    rungs.iter().map(|rung| rung["stored"].as_u64().unwrap()).sum()
}

#[test]
fn kill_9_in_the_middle_keeps_finished_parts_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("film.mp4");
    film::synthetic(&source, SIZE, SECONDS).unwrap();
    let settings = [("BACKLOT_ENCODER_PRESET", "fast"), ("BACKLOT_ENCODER_PARTS", "7")];

    let calm = folder.path().join("calm");
    fs::create_dir(&calm).unwrap();
    let server = Server::start_with(&calm, &[], &settings).unwrap();
    server.upload(&source, "uploads", "film.mp4").unwrap();
    let job = server.settled("film.mp4", ENCODE_MAX).unwrap();
    assert_eq!(job["state"], "ready", "{job}");
    let expected = folder.path().join("expected.mp4");
    fetched(&server, &job, "video-180p.mp4", &expected);
    server.stop().unwrap();

    let rough = folder.path().join("rough");
    fs::create_dir(&rough).unwrap();
    let server = Server::start_with(&rough, &[], &settings).unwrap();
    server.upload(&source, "uploads", "film.mp4").unwrap();
    let kept = wait_for("a first finished part", ENCODE_MAX, || {
        let frames = stored_frames(&server);
        Ok((0 < frames).then_some(frames))
    })
    .unwrap();
    server.kill().unwrap();

    let server = Server::start_with(&rough, &[], &settings).unwrap();
    assert!(kept <= stored_frames(&server), "finished parts were lost");
    let job = server.settled("film.mp4", ENCODE_MAX).unwrap();
    assert_eq!(job["state"], "ready", "{job}");
    let actual = folder.path().join("actual.mp4");
    fetched(&server, &job, "video-180p.mp4", &actual);
    assert!(fs::read(&actual).unwrap() == fs::read(&expected).unwrap(), "the bytes differ");

    // No part that had ended was run again; those in flight (one a core) may have been.
    let runs = server.json("/api/v1/invocations?limit=100").unwrap();
    let again = runs["invocations"].as_array().unwrap().iter().filter(|run| {
        run["event"]["kind"] == "backlot.child" && 1 < run["attempt"].as_u64().unwrap()
    });
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(again.count() <= cores);
}
