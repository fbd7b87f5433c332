//! A real browser: the list follows an upload live, the player plays, seeks and switches rungs.
//! The steps are in tests/browser/player.mjs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use backlot_tests::server::Server;
use backlot_tests::{film, run};

/// Long enough for several parts and for seeking, small enough for two cores.
const SECONDS: u32 = 16;
/// Two rungs: 540 and 360 lines.
const SIZE: &str = "960x540";
/// What the script says when the caller is to upload.
const CUE: &str = "waiting for the upload";

#[test]
fn a_browser_follows_an_upload_and_plays_it() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    if !scripts.join("node_modules/dashjs").is_dir() {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&scripts);
        run(&mut npm).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("A film.mp4");
    film::synthetic(&source, SIZE, SECONDS).unwrap();
    let settings = [("BACKLOT_ENCODER_PRESET", "fast"), ("BACKLOT_ENCODER_PARTS", "4")];
    let server = Server::start_with(folder.path(), &[], &settings).unwrap();

    // Kept after the test where someone asks for them, to be looked at.
    let shots = std::env::var_os("BACKLOT_TEST_SHOTS")
        .map_or_else(|| folder.path().join("shots"), std::path::PathBuf::from);
    fs::create_dir_all(&shots).unwrap();
    let mut browser = Command::new("node")
        .arg(scripts.join("player.mjs"))
        .arg(format!("http://{}", server.ready.http))
        .arg("A film.mp4")
        .arg(&shots)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        println!("{line}");
        if line == CUE {
            server.upload(&source, "uploads", "A film.mp4").unwrap();
        }
    }
    assert!(
        browser.wait().unwrap().success(),
        "the script says why above\n{}",
        server.log().unwrap()
    );
    server.stop().unwrap();
}
