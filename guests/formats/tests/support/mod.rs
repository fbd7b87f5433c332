//! Good files, made by independent tools when a test runs, and what damage cannot be known.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends with the panic that says why"
)]

pub(crate) mod recipes;
pub(crate) mod unknowable;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    process::Command,
};

use backlot_formats::{Declared, Format, Limits, Report, validate};

/// A file that a tool has made.
pub(crate) struct Sample {
    pub(crate) format: Format,
    /// Name of the file, with its extension.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Sample {
    /// As its maker would declare it.
    pub(crate) fn declared(&self) -> Declared {
        let media_type = self.format.media_types().next().map(str::to_owned);
        Declared { name: Some(self.name.clone()), content_type: media_type }
    }

    /// Validates bytes in place of this file, declared as it is.
    pub(crate) fn check(&self, bytes: &[u8]) -> Report {
        report(bytes, &self.declared())
    }
}

/// Limits under which the walk of every sample is kept.
pub(crate) fn limits() -> Limits {
    Limits { walk_structures: 100_000, ..Limits::default() }
}

pub(crate) fn report(bytes: &[u8], declared: &Declared) -> Report {
    validate(&bytes.to_vec(), declared, &limits()).unwrap()
}

/// What the recipes make. They run once, in a folder of the build: each test is a process.
pub(crate) fn samples() -> Vec<Sample> {
    let mut hasher = DefaultHasher::new();
    (recipes::SOURCES, format!("{:?}", recipes::RECIPES)).hash(&mut hasher);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(root).unwrap();
    let lock = std::fs::File::create(root.join("formats.lock")).unwrap();
    lock.lock().unwrap();
    let dir = root.join(format!("formats-{:016x}", hasher.finish()));
    if !dir.is_dir() {
        let new = tempfile::tempdir_in(root).unwrap();
        shell(new.path(), recipes::SOURCES);
        for (_, name, commands) in recipes::RECIPES {
            shell(new.path(), &commands.replace("OUT", name));
        }
        std::fs::rename(new.keep(), &dir).unwrap();
    }
    let sample = |(format, name, _): &(Format, &str, &str)| {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        Sample { format: *format, name: (*name).to_owned(), bytes }
    };
    recipes::RECIPES.iter().map(sample).collect()
}

fn shell(dir: &Path, script: &str) {
    let script = format!("set -euo pipefail\n{script}");
    let output = Command::new("bash").args(["-c", &script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A small random number generator: seeded, so that a failure can be had again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}
