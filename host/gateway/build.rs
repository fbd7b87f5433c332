//! Fetches the pinned hls.js with npm and hands its path to the crate, which embeds it.
//!
//! Without npm, without a network, or with `BACKLOT_WITHOUT_HLS=1`, the build goes on without it:
//! the player page then plays what the browser plays by itself, and says so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// The module that the player page imports, below `node_modules`.
const MODULE: &str = "hls.js/dist/hls.min.mjs";
/// Goes where the module goes.
const LICENCE: &str = "hls.js/LICENSE";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(hls)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=web/package.json");
    println!("cargo::rerun-if-changed=web/package-lock.json");
    println!("cargo::rerun-if-env-changed=BACKLOT_WITHOUT_HLS");
    if env::var_os("BACKLOT_WITHOUT_HLS").is_some() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("web");
    match fetch(Path::new("web"), &out) {
        Ok(()) => {
            let modules = out.join("node_modules");
            println!("cargo::rustc-cfg=hls");
            println!("cargo::rustc-env=BACKLOT_HLS_MODULE={}", modules.join(MODULE).display());
            println!("cargo::rustc-env=BACKLOT_HLS_LICENCE={}", modules.join(LICENCE).display());
        }
        Err(reason) => {
            println!("cargo::warning=built without hls.js: {reason}");
            // A path that does not exist: the next build tries again.
            println!("cargo::rerun-if-changed={}", out.join("missing").display());
        }
    }
}

/// Installs outside the source tree; `npm ci` checks what it fetched against the lock.
fn fetch(from: &Path, to: &Path) -> Result<(), String> {
    let io = |err: io::Error| err.to_string();
    fs::create_dir_all(to).map_err(io)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(from.join(file), to.join(file)).map_err(io)?;
    }
    let done = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(to)
        .output()
        .map_err(|err| format!("npm did not start: {err}"))?;
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        return Err(format!("npm ci failed: {}", errors.lines().next().unwrap_or("no message")));
    }
    let module = to.join("node_modules").join(MODULE);
    if module.is_file() { Ok(()) } else { Err(format!("{MODULE} is not in the package")) }
}
