//! Many uploads at once, and uploads that are replaced while they are being encoded.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the failure")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use backlot_tests::server::Server;
use backlot_tests::{film, run, wait_for};

const ENCODE_MAX: Duration = Duration::from_secs(900);
/// Resident memory of the whole server while fifty uploads are encoded, in MiB: two parts at a time
/// on two cores, each with its decoder and encoder at this picture size, beside the fixed cost.
const RESIDENT_MIB_MAX: u64 = 1_024;

#[test]
fn an_upload_replaced_while_it_is_encoded_wins_and_nothing_is_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(
        folder.path(),
        &[],
        &[("BACKLOT_ENCODER_PRESET", "fast"), ("BACKLOT_ENCODER_PARTS", "7")],
    )
    .unwrap();
    let old = folder.path().join("old.mp4");
    film::synthetic(&old, "320x180", 20).unwrap();
    let new = folder.path().join("new.mp4");
    film::make(
        "-f lavfi -i mandelbrot=size=192x108:rate=25 -t 4 -c:v libx264 -preset veryfast \
         -pix_fmt yuv420p",
        &new,
    )
    .unwrap();

    server.upload(&old, "uploads", "film.mp4").unwrap();
    wait_for("parts of the old film", ENCODE_MAX, || {
        let runs = server.json("/api/v1/invocations?limit=100").unwrap();
        let runs = runs["invocations"].as_array().unwrap().clone();
        Ok(runs
            .iter()
            .any(|run| run["event"]["kind"] == "backlot.child" && run["state"] == "running")
            .then_some(()))
    })
    .unwrap();
    server.upload(&new, "uploads", "film.mp4").unwrap();
    let job = server.settled("film.mp4", ENCODE_MAX).unwrap();
    assert_eq!(job["state"], "ready", "{job}");

    let runs = server.json("/api/v1/invocations?limit=100").unwrap();
    let runs = runs["invocations"].as_array().unwrap();
    assert!(runs.iter().all(|run| run["state"] != "running" && run["state"] != "queued"));
    assert!(runs.iter().any(|run| run["state"] == "cancelled"));

    let out = folder.path().join("content");
    run(server.rclone().args(["copy", "backlot:content"]).arg(&out)).unwrap();
    let content = fs::read_dir(&out).unwrap().next().unwrap().unwrap().path();
    let builds = fs::read_dir(&content).unwrap().map(|entry| entry.unwrap().path());
    let builds: Vec<_> = builds.filter(|path| path.is_dir()).collect();
    assert_eq!(builds.len(), 1, "only the new build is left: {builds:?}");
    assert!(!builds[0].join("work").is_dir(), "parts were left behind");
    let video = builds[0].join("video-108p.mp4");
    assert!(26.0 < film::psnr_min(&video, &new).unwrap());
}

#[test]
fn fifty_uploads_at_once_all_finish_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let films = folder.path().join("films");
    fs::create_dir(&films).unwrap();
    let first = films.join("00.mp4");
    film::synthetic(&first, "160x90", 2).unwrap();
    for number in 1..50 {
        fs::copy(&first, films.join(format!("{number:02}.mp4"))).unwrap();
    }
    let server =
        Server::start_with(folder.path(), &[], &[("BACKLOT_ENCODER_PRESET", "fast")]).unwrap();
    let mut copy = server.rclone();
    run(copy.args(["copy", "--transfers", "50"]).arg(&films).arg("backlot:uploads")).unwrap();

    wait_for("fifty films", ENCODE_MAX, || {
        let list = server.json("/api/v1/content").unwrap();
        let jobs = list["content"].as_array().unwrap();
        assert!(jobs.iter().all(|job| job["state"] != "failed"), "{jobs:?}");
        let ready = jobs.iter().filter(|job| job["state"] == "ready").count();
        Ok((ready == 50).then_some(()))
    })
    .unwrap();

    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib / 1_024 <= RESIDENT_MIB_MAX, "resident memory peaked at {peak_kib} KiB");
    server.stop().unwrap();
}

#[test]
fn a_film_that_was_deleted_while_it_is_encoded_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::start_with(folder.path(), &[], &[("BACKLOT_ENCODER_PRESET", "best")]).unwrap();
    let source = folder.path().join("film.mp4");
    film::synthetic(&source, "640x360", 20).unwrap();
    server.upload(&source, "uploads", "film.mp4").unwrap();
    let running = |server: &Server| {
        let runs = server.json("/api/v1/invocations?limit=100").unwrap();
        let runs = runs["invocations"].as_array().unwrap().clone();
        runs.iter().filter(|run| run["state"] == "running").count()
    };
    wait_for("a running part", ENCODE_MAX, || Ok((0 < running(&server)).then_some(()))).unwrap();
    let mut delete: Command = server.rclone();
    run(delete.args(["deletefile", "backlot:uploads/film.mp4"])).unwrap();
    wait_for("quiet", ENCODE_MAX, || {
        let runs = server.json("/api/v1/invocations?limit=100").unwrap();
        let runs = runs["invocations"].as_array().unwrap().clone();
        let open = ["queued", "running", "parked"];
        let busy = runs.iter().any(|run| open.iter().any(|state| run["state"] == *state));
        Ok((!busy).then_some(()))
    })
    .unwrap();
    let listed = run(server.rclone().args(["lsf", "--recursive", "backlot:content"])).unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "");
}
