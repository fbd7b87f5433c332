//! Drives the real binary: a server with its own folder and ports, ordinary clients against it, and
//! films made by ffmpeg.
#![allow(clippy::indexing_slicing, reason = "in a test a panic is the failure it should be")]

pub mod certificate;
pub mod clients;
pub mod film;
pub mod mount;
pub mod probe;
pub mod s3;
pub mod scenario;
pub mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// The `backlot` binary: built with the tests and benches, in the same target folder; or another
/// one, named by the environment variable `BACKLOT_TEST_BINARY`.
///
/// # Panics
/// When it is not there: `make test` builds it.
pub fn backlot() -> PathBuf {
    if let Some(binary) = std::env::var_os("BACKLOT_TEST_BINARY") {
        return PathBuf::from(binary);
    }
    let caller = std::env::current_exe().expect("the test has a path");
    // A test is <target>/<profile>/deps/<test>, a bench <target>/<profile>/<bench>.
    let folders = caller.ancestors().skip(1).take(2);
    let binary = folders.map(|folder| folder.join("backlot")).find(|binary| binary.is_file());
    binary.expect("the binary is built: `cargo build --package backlot` with this profile")
}

/// A folder for compiled guests that all tests share: compiling the encoder takes longer than most
/// of them. In the target folder, where the binary is too.
pub fn guest_cache() -> PathBuf {
    let caller = std::env::current_exe().expect("the test has a path");
    let folder = caller.ancestors().find(|folder| folder.join("deps").is_dir());
    folder.expect("the test is in a target folder").join("test-guest-cache")
}

/// `backlot encode SOURCE --out OUT`, fast and for a program to read.
pub fn encode(source: &Path, out: &Path) -> Command {
    let mut encode = Command::new(backlot());
    encode.env("XDG_CACHE_HOME", guest_cache()).arg("encode").arg(source).arg("--out").arg(out);
    encode.args(["--preset", "fast", "--json"]);
    encode
}

/// Run a program to its end; its output if it succeeded.
///
/// # Errors
/// When it cannot be started, or fails: the error carries both its outputs.
pub fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(output)
}

/// Standard output of a program that succeeded, trimmed.
///
/// # Errors
/// As [`run`].
pub fn stdout(command: &mut Command) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&run(command)?.stdout).trim().to_owned())
}

/// Ask again and again until there is an answer.
///
/// # Errors
/// The first error of `ask`, or that there was no answer within `limit`.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
