//! The guest `probe` of guests/fixtures, deployed from a folder: an object in the bucket `jobs` is
//! a program that it runs, and what it makes is in the bucket `out`, which keeps versions.

use std::fs;
use std::path::{Path, PathBuf};

use backlot_builtin::PROBE;

use crate::s3::S3;
use crate::server::Server;

/// Where programs are uploaded to.
pub const JOBS: &str = "jobs";
/// Where programs write.
pub const OUT: &str = "out";
/// Objects that no function knows of.
pub const PLAIN: &str = "plain";
/// Kind of the events that programs publish, and that start the probe again.
pub const NOTE: &str = "note";

/// What starts it and what it may do. A failed encode is to be noticed too.
const MANIFEST: &str = r#"
name = "probe"

[[triggers]]
type = "object"
bucket = "jobs"
events = ["created"]

[[triggers]]
type = "event"
kind = "note"

[[triggers]]
type = "event"
kind = "content.ready"

[[triggers]]
type = "event"
kind = "content.failed"

[grants]
storage = [
  { bucket = "jobs", access = ["read"] },
  { bucket = "out", access = ["read", "write", "delete"] },
]
children = ["probe"]
publish = true

[retry]
attempts = 5
base_secs = 0
cap_secs = 0
"#;

/// Write the folder of functions, with this greeting as the probe's variable; its path.
///
/// # Errors
/// When it cannot be written.
pub fn functions(folder: &Path, greeting: &str) -> anyhow::Result<PathBuf> {
    let functions = folder.join("functions");
    fs::create_dir_all(&functions)?;
    fs::write(functions.join("probe.wasm"), PROBE.component)?;
    let manifest = format!("{MANIFEST}\n[env]\nPROBE_GREETING = {greeting:?}\n");
    fs::write(functions.join("probe.toml"), manifest)?;
    Ok(functions)
}

/// A server with the probe, and with these settings besides.
///
/// # Errors
/// As [`Server::start`].
pub fn start(folder: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Server> {
    let functions = functions(folder, "hello")?;
    let functions = functions.to_str().expect("the folder's name is UTF-8");
    let mut all = vec![("BACKLOT_FUNCTIONS_FOLDER", functions)];
    all.extend_from_slice(settings);
    Server::start_with(folder, &[], &all)
}

/// Make the buckets.
///
/// # Errors
/// When the server does not.
pub fn make_buckets(s3: &S3) -> anyhow::Result<()> {
    for bucket in [PLAIN, JOBS, OUT] {
        s3.make_bucket(bucket)?;
    }
    s3.keep_versions(OUT)
}
