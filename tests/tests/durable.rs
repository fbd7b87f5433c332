//! The real server, killed at every place that matters and at random ones: nothing acknowledged is
//! lost, nothing done is done again, and what is left is what a server leaves that nobody killed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the failure")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use backlot_tests::probe::{self, JOBS, NOTE, OUT};
use backlot_tests::s3::S3;
use backlot_tests::scenario::{self, CrashAt};
use backlot_tests::server::Server;
use backlot_tests::{backlot, film, run, wait_for};

/// The longest that anything here may take on a loaded machine.
const SETTLED_MAX: Duration = Duration::from_secs(120);
/// Attempts in a row that nobody saw the end of, until the ledger gives an invocation up.
const LOST_MAX: usize = 20;

/// The crash points of the binary under test.
fn points() -> Vec<String> {
    let listed = Command::new(backlot()).arg("crash-points").output().unwrap();
    assert!(
        listed.status.success(),
        "{} has no crash points: build it, and run these tests, with \
         `--features backlot/crash-points` (as `make test` does)\n{}",
        backlot().display(),
        String::from_utf8_lossy(&listed.stderr),
    );
    let points = String::from_utf8(listed.stdout).unwrap();
    points.lines().map(str::to_owned).collect()
}

/// A time after the first at which a point is passed: well within the scenario. The ledger commits
/// often before it begins.
fn later(point: &str) -> u32 {
    if point.starts_with("ledger.") { 60 } else { 5 }
}

/// A film of three groups of pictures.
fn tiny_film(folder: &Path) -> Vec<u8> {
    let path = folder.join("film.mp4");
    film::synthetic(&path, "96x54", 6).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn a_crash_at_any_point_leaves_what_a_calm_run_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let film = tiny_film(folder.path());
    let place = |name: &str| {
        let place = folder.path().join(name);
        fs::create_dir(&place).unwrap();
        place
    };
    let mut runs: Vec<(String, u32)> = Vec::new();
    // Those of a backup have a test of their own.
    for point in points().into_iter().filter(|point| !point.starts_with("backup.")) {
        runs.push((point.clone(), 1));
        // One function is deployed, once.
        if !point.starts_with("deploy.") {
            runs.push((point.clone(), later(&point)));
        }
    }
    let begun = Instant::now();
    let calm = scenario::run(&place("calm"), &film, None).unwrap();
    println!("calm: {:?}", begun.elapsed());

    let runs = Mutex::new(runs);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // A server that waits for a flush leaves the processor to another.
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let Some((point, hit)) = runs.lock().unwrap().pop() else { return };
                    let name = format!("{point}-{hit}");
                    let begun = Instant::now();
                    let crash = CrashAt { point: &point, hit };
                    match scenario::run(&place(&name), &film, Some(crash)) {
                        Ok(left) => {
                            println!("{name}: {:?}", begun.elapsed());
                            let lines = left.differences(&calm);
                            let lines = lines.iter().map(|line| format!("{name}: {line}"));
                            failures.lock().unwrap().extend(lines);
                        }
                        Err(err) => failures.lock().unwrap().push(format!("{name}: {err:#}")),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Scenarios at once.
const SIDE_BY_SIDE: usize = 3;

#[test]
fn a_new_version_takes_over_on_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let server = probe::start(folder.path(), &[]).unwrap();
    let s3 = S3::new(&server.ready);
    probe::make_buckets(&s3).unwrap();
    let program = "program put out e1 x; put out e2 x; put out e3 x; until out go; \
                   put out e4 x; put out e5 x; greet out e6";
    s3.put(JOBS, "swapped", program.as_bytes()).unwrap();
    let made = |key: &str| wait_for(key, SETTLED_MAX, || s3.get(OUT, key)).unwrap();
    made("e3");
    probe::functions(folder.path(), "welcome").unwrap();
    server.signal("HUP").unwrap();
    let attempts = |server: &Server| {
        let all = server.json("/api/v1/invocations?function=probe").unwrap();
        all["invocations"][0]["attempt"].as_u64()
    };
    wait_for("the second attempt", SETTLED_MAX, || {
        Ok(attempts(&server).filter(|attempt| 2 <= *attempt))
    })
    .unwrap();
    s3.put(OUT, "go", b"").unwrap();
    let all = wait_for("quiet", SETTLED_MAX, || server.quiet()).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0]["state"], &all[0]["failures"]), (&"succeeded".into(), &0.into()));
    assert_eq!(made("e6"), b"welcome");
    let versions = s3.versions(OUT).unwrap();
    assert_eq!(versions.len(), 7);
    assert!(versions.values().all(|count| *count == 1), "{versions:?}");
    server.stop().unwrap();
}

/// What is left of an encode that was given up: nothing, and those who wait for it are told.
fn given_up(server: &Server, reason: &str) {
    let job = server.settled("film.mp4", SETTLED_MAX).unwrap();
    assert_eq!(job["state"], "failed", "{job}");
    assert!(job["reason"].as_str().unwrap().contains(reason), "{job}");
    let all = wait_for("quiet", SETTLED_MAX, || server.quiet()).unwrap();
    let told = all.iter().filter(|run| run["event"]["kind"] == "content.failed").count();
    assert_eq!(told, 1, "content.failed is told once: {all:#?}");
    assert_eq!(S3::new(&server.ready).keys("content").unwrap(), [] as [&str; 0]);
}

#[test]
fn an_encode_whose_part_is_killed_again_and_again_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    // One part, far longer than a server takes to start.
    let settings = [("BACKLOT_ENCODER_PRESET", "best"), ("BACKLOT_ENCODER_PARTS", "1")];
    let source = folder.path().join("film.mp4");
    film::synthetic(&source, "640x360", 20).unwrap();
    let mut server = probe::start(folder.path(), &settings).unwrap();
    server.upload(&source, "uploads", "film.mp4").unwrap();
    for _ in 0..LOST_MAX {
        wait_for("a running part", SETTLED_MAX, || {
            let all = server.invocations()?;
            let part = |run: &serde_json::Value| run["key"] == "part-0000";
            let running = all.iter().any(|run| part(run) && run["state"] == "running");
            Ok(running.then_some(()))
        })
        .unwrap();
        server.kill().unwrap();
        server = probe::start(folder.path(), &settings).unwrap();
    }
    given_up(&server, "20 attempts in a row were lost");

    // What had been made is gone: run again it fails at once, and says how it would not.
    let all = server.invocations().unwrap();
    let root = all.iter().find(|run| run["state"] == "failed" && run["parent"].is_null());
    let id = root.unwrap()["id"].as_str().unwrap().to_owned();
    run(Command::new(backlot())
        .args(["replay", &id, "--http", &server.ready.http, "--data"])
        .arg(folder.path().join("data")))
    .unwrap();
    let all = wait_for("quiet", SETTLED_MAX, || server.quiet()).unwrap();
    let root = all.iter().find(|run| run["id"] == id.as_str()).unwrap();
    assert_eq!(root["state"], "failed");
    assert!(root["reason"].as_str().unwrap().ends_with("replay with --fresh)"), "{root}");
    server.stop().unwrap();
}

#[test]
fn an_encode_that_takes_the_server_down_again_and_again_is_given_up() {
    // Each attempt of the upload's own invocation dies where it would wait for its part.
    assert!(points().iter().any(|point| point == "park.before"));
    let folder = tempfile::tempdir().unwrap();
    let settings = [("BACKLOT_ENCODER_PRESET", "best"), ("BACKLOT_ENCODER_PARTS", "1")];
    let source = folder.path().join("film.mp4");
    film::synthetic(&source, "640x360", 20).unwrap();
    let server = probe::start(folder.path(), &settings).unwrap();
    server.stop().unwrap();
    let mut deadly = settings.to_vec();
    deadly.push(("BACKLOT_CRASH_AT", "park.before:1"));
    for life in 0..LOST_MAX {
        // It may die before it says that it is ready.
        let Ok(mut server) = probe::start(folder.path(), &deadly) else { continue };
        if life == 0 {
            server.upload(&source, "uploads", "film.mp4").unwrap();
        }
        wait_for("its end", SETTLED_MAX, || server.ended()).unwrap();
    }
    let server = probe::start(folder.path(), &settings).unwrap();
    given_up(&server, "20 attempts in a row were lost");
    server.stop().unwrap();
}

#[test]
fn a_crash_between_an_encoders_first_effects_does_it_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let film = tiny_film(folder.path());
    for hit in ["effect.after:1", "effect.after:2", "effect.after:3"] {
        let place = folder.path().join(hit);
        fs::create_dir(&place).unwrap();
        let mut settings = vec![("BACKLOT_ENCODER_PRESET", "fast"), ("BACKLOT_ENCODER_PARTS", "3")];
        settings.push(("BACKLOT_CRASH_AT", hit));
        let mut server = probe::start(&place, &settings).unwrap();
        // It may die before it has answered; the encoder starts only when the upload is on disk.
        drop(S3::new(&server.ready).put("uploads", "film.mp4", &film));
        wait_for("its end", SETTLED_MAX, || server.ended()).unwrap();
        settings.pop();
        let server = probe::start(&place, &settings).unwrap();
        let job = server.settled("film.mp4", SETTLED_MAX).unwrap();
        assert_eq!(job["state"], "ready", "{hit}: {job}");
        server.stop().unwrap();
    }
}

/// What the clients of the loop of kills did and were told.
#[derive(Default)]
struct Told {
    /// Keys that the server acknowledged, by bucket.
    acknowledged: Vec<(&'static str, String)>,
    /// Keys whose upload failed: they may be there or not.
    unknown: Vec<(&'static str, String)>,
}

/// A program with some of everything.
fn program(name: &str) -> String {
    format!(
        "program put {OUT} {name}-first x; publish {NOTE} program put {OUT} {name}-note x; \
         sleep 105; child program put {OUT} {name}-child x; wait; fill {OUT} {name}-large 70000; \
         put {OUT} {name}-last x"
    )
}

/// What a program of this name leaves.
fn results(name: &str) -> [String; 5] {
    ["first", "note", "child", "large", "last"].map(|result| format!("{name}-{result}"))
}

/// Uploads until told to stop; each with a new name.
fn client(name: usize, server: &Mutex<Option<S3>>, stop: &Mutex<bool>) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        if *stop.lock().unwrap() {
            break;
        }
        let Some(s3) = server.lock().unwrap().clone() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let key = format!("{name}-{number}");
        let (bucket, body) = if name < PROGRAMMERS {
            (JOBS, program(&key).into_bytes())
        } else {
            (probe::PLAIN, body(&key))
        };
        match s3.put(bucket, &key, &body) {
            Ok(()) => told.acknowledged.push((bucket, key.clone())),
            Err(_) => {
                told.unknown.push((bucket, key));
                continue;
            }
        }
        // One at a time, so that the work does not pile up.
        let last = results(&key)[4].clone();
        while bucket == JOBS && matches!(s3.get(OUT, &last), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    told
}

/// Clients that upload programs, and those that upload anything.
const PROGRAMMERS: usize = 4;
const UPLOADERS: usize = 3;
/// Kills, unless the environment says how many.
const KILLS: usize = 50;
/// The longest life of a server after it is ready, in milliseconds.
const LIFE_MAX_MS: u64 = 500;

/// Bytes that tell which object they are of; some fit the ledger, some are files.
fn body(key: &str) -> Vec<u8> {
    let number: usize = key.rsplit('-').next().unwrap().parse().unwrap();
    key.as_bytes().iter().copied().cycle().take([10, 1_000, 70_000][number % 3]).collect()
}

#[test]
fn kill_9_again_and_again_loses_and_repeats_nothing() {
    let kills = std::env::var("BACKLOT_SOAK_KILLS");
    let kills = kills.map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let folder = tempfile::tempdir().unwrap();
    let first = probe::start(folder.path(), &[]).unwrap();
    let s3 = S3::new(&first.ready);
    probe::make_buckets(&s3).unwrap();
    let mut server = Some(first);
    let (current, stop) = (Mutex::new(Some(s3)), Mutex::new(false));
    let begun = Instant::now();
    let told: Vec<Told> = std::thread::scope(|scope| {
        let (current, stop) = (&current, &stop);
        let clients: Vec<_> = (0..PROGRAMMERS + UPLOADERS)
            .map(|name| scope.spawn(move || client(name, current, stop)))
            .collect();
        for kill in 0..kills {
            std::thread::sleep(Duration::from_millis(fastrand::u64(20..LIFE_MAX_MS)));
            *current.lock().unwrap() = None;
            server.take().unwrap().kill().unwrap();
            let next = probe::start(folder.path(), &[]).unwrap();
            *current.lock().unwrap() = Some(S3::new(&next.ready));
            server = Some(next);
            if kill % 100 == 99 {
                println!("{} kills in {:?}", kill + 1, begun.elapsed());
            }
        }
        *stop.lock().unwrap() = true;
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let server = server.unwrap();
    wait_for("quiet", SETTLED_MAX, || server.quiet()).unwrap();
    let s3 = S3::new(&server.ready);
    check(&s3, &told, kills);
    server.stop().unwrap();
}

/// Everything acknowledged is there, and every effect of it once.
fn check(s3: &S3, told: &[Told], kills: usize) {
    let mut lost = Vec::new();
    let (mut objects, mut effects, mut unknown) = (0, 0, 0);
    let mut versions = s3.versions(OUT).unwrap();
    for told in told {
        let sure = told.acknowledged.iter().map(|(bucket, key)| (*bucket, key, true));
        let unsure = told.unknown.iter().map(|(bucket, key)| (*bucket, key, false));
        for (bucket, key, acknowledged) in sure.chain(unsure) {
            let wanted = if bucket == JOBS { program(key).into_bytes() } else { body(key) };
            match s3.get(bucket, key).unwrap() {
                Some(bytes) => assert!(bytes == wanted, "{bucket}/{key}: {} bytes", bytes.len()),
                None if acknowledged => {
                    lost.push(format!("{bucket}/{key}"));
                    continue;
                }
                None => {
                    unknown += 1;
                    continue;
                }
            }
            objects += 1;
            for result in results(key).iter().filter(|_| bucket == JOBS) {
                match versions.remove(result) {
                    Some(1) => effects += 1,
                    count => lost.push(format!("{OUT}/{result}: {count:?} times")),
                }
            }
        }
    }
    println!(
        "{kills} kills: {objects} objects and {effects} effects, of those acknowledged {} are \
         lost or repeated; {unknown} uploads failed and were not made",
        lost.len()
    );
    assert!(lost.is_empty(), "{lost:#?}");
    assert!(versions.is_empty(), "made by nobody: {versions:#?}");
    assert!(kills / 2 < effects, "too little was done to say anything");
}

#[test]
fn a_ledger_after_a_kill_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let server = probe::start(folder.path(), &[]).unwrap();
    let s3 = S3::new(&server.ready);
    probe::make_buckets(&s3).unwrap();
    s3.put(JOBS, "one", program("one").as_bytes()).unwrap();
    wait_for("its first effect", SETTLED_MAX, || s3.get(OUT, "one-first")).unwrap();
    server.kill().unwrap();
    run(Command::new(backlot())
        .args(["ledger", "check", "--data"])
        .arg(folder.path().join("data")))
    .unwrap();
}
