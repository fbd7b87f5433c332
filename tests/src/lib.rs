//! Drives the real binary: a server with its own folder and ports, ordinary clients against it, and
//! films made by ffmpeg.
#![allow(clippy::indexing_slicing, reason = "in a test a panic is the failure it should be")]

pub mod film;
pub mod server;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// The `backlot` binary under test: built with the tests, beside them in the target folder.
///
/// # Panics
/// When it is not there: `cargo nextest run --workspace` builds it.
pub fn backlot() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    // <target>/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).expect("tests run from <target>/<profile>/deps");
    let binary = profile.join("backlot");
    assert!(binary.is_file(), "{} is missing: build the workspace first", binary.display());
    binary
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
