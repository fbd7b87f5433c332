//! Components to machine code, once: the compile cache.
//!
//! A cached file is machine code that this process will run, so it is kept where only the owner
//! can write, it carries a MAC with a key that lives beside it, and it is keyed by the component's
//! digest and by everything of the engine that the code depends on. A file that is not exactly what
//! we wrote is compiled anew, never loaded.

use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::engine::Engine;

/// Largest component, in bytes. A Python guest with its interpreter has 20 MB.
pub const COMPONENT_MAX_BYTES: usize = 128 << 20;

/// Largest cached file, in bytes: machine code is up to ten times the size of the Wasm.
const ARTIFACT_MAX_BYTES: u64 = 2 << 30;

/// File of the MAC's key, within the cache.
const KEY_FILE: &str = "key";

/// Length of the key and of the MAC, in bytes.
const MAC_BYTES: usize = 32;

/// Why a component could not be compiled or its code not be kept.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// More than [`COMPONENT_MAX_BYTES`].
    #[error("component of {bytes} bytes is over the limit of {COMPONENT_MAX_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not a component, or one that uses what we do not support.
    #[error("component does not compile: {0:#}")]
    Invalid(wasmtime::Error),
    /// The cache's directory cannot be used.
    #[error("compile cache: {doing}")]
    Cache {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// SHA-256 of a component's bytes: what a version is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ComponentDigest([u8; MAC_BYTES]);

impl ComponentDigest {
    /// The digest of these bytes.
    pub fn of(component: &[u8]) -> Self {
        Self(Sha256::digest(component).into())
    }
}

impl std::fmt::Display for ComponentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The cache of machine code, in a directory of its own.
pub(crate) struct CompileCache {
    dir: Dir,
    key: [u8; MAC_BYTES],
}

impl CompileCache {
    /// Open the cache in `dir`, which should be readable by its owner alone. Makes its key at
    /// first.
    ///
    /// # Errors
    /// [`CompileError::Cache`] when the key can neither be read nor made.
    pub(crate) fn open(dir: Dir) -> Result<Self, CompileError> {
        let key = match read_key(&dir) {
            Ok(key) => key,
            Err(err) if err.kind() == io::ErrorKind::NotFound => make_key(&dir)
                .map_err(|source| CompileError::Cache { doing: "make key", source })?,
            Err(source) => return Err(CompileError::Cache { doing: "read key", source }),
        };
        Ok(Self { dir, key })
    }

    /// The component's machine code: from the cache, else compiled and kept. Blocks, for seconds
    /// with a large component that is new.
    ///
    /// # Errors
    /// [`CompileError::TooLarge`] and [`CompileError::Invalid`]. A cache that cannot be written is
    /// only logged.
    pub(crate) fn load(&self, engine: &Engine, bytes: &[u8]) -> Result<Component, CompileError> {
        if COMPONENT_MAX_BYTES < bytes.len() {
            return Err(CompileError::TooLarge { bytes: bytes.len() });
        }
        let name = file_name(engine, ComponentDigest::of(bytes));
        if let Some(component) = self.cached(engine, &name) {
            return Ok(component);
        }
        let started = std::time::Instant::now();
        let component =
            Component::from_binary(engine.wasmtime(), bytes).map_err(CompileError::Invalid)?;
        let compile_ms = started.elapsed().as_millis();
        tracing::info!(name, compile_ms, bytes = bytes.len(), "compiled component");
        match component.serialize() {
            Ok(code) => {
                if let Err(err) = self.keep(&name, &code) {
                    tracing::warn!(name, %err, "compiled component is not cached");
                }
            }
            Err(err) => tracing::warn!(name, %err, "compiled component is not cached"),
        }
        Ok(component)
    }

    fn cached(&self, engine: &Engine, name: &str) -> Option<Component> {
        let mut file = match self.dir.open(name) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return None,
            Err(err) => {
                tracing::warn!(name, %err, "cached component cannot be read, compiling anew");
                return None;
            }
        };
        let Some(code) = self.authentic(name, &mut file) else {
            tracing::warn!(name, "cached component is not what we wrote, compiling anew");
            return None;
        };
        match deserialize(engine, &Authentic(&code)) {
            Ok(component) => Some(component),
            Err(err) => {
                tracing::warn!(name, %err, "cached component cannot be loaded, compiling anew");
                None
            }
        }
    }

    /// The code in the file if its MAC is right.
    fn authentic(&self, name: &str, file: &mut cap_std::fs::File) -> Option<Vec<u8>> {
        let mut code = Vec::new();
        file.take(ARTIFACT_MAX_BYTES).read_to_end(&mut code).ok()?;
        let at = code.len().checked_sub(MAC_BYTES)?;
        let mac = code.split_off(at);
        self.mac(name, &code).verify_slice(&mac).is_ok().then_some(code)
    }

    fn keep(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let mac = self.mac(name, code).finalize().into_bytes();
        write_atomically(&self.dir, name, &[code, &mac])
    }

    /// The name is under the MAC too, so that no file can pass for another's.
    fn mac(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = keyed(&self.key);
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }

    /// 32 bytes that depend on the host's secret key and on `label` alone.
    pub(crate) fn derive(&self, label: &str) -> [u8; MAC_BYTES] {
        let mut mac = keyed(&self.key);
        // No file name has this prefix, so no MAC of a file is ever handed out as a derived value.
        mac.update(b"derive\0");
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn keyed(key: &[u8; MAC_BYTES]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

/// Machine code whose MAC was checked: only [`CompileCache::cached`] makes one.
struct Authentic<'a>(&'a [u8]);

#[allow(unsafe_code, reason = "the one way to load machine code that was compiled before")]
fn deserialize(engine: &Engine, code: &Authentic<'_>) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` asks for bytes that `Component::serialize` gave and nobody changed.
    // `Authentic` holds bytes read into our own memory, whose MAC was then found right under a key
    // that only the owner of the data directory can read.
    unsafe { Component::deserialize(engine.wasmtime(), code.0) }
}

fn file_name(engine: &Engine, digest: ComponentDigest) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    let engine = hex::encode(hasher.0.finalize());
    let engine = engine.get(..16).unwrap_or(&engine);
    format!("{digest}-{engine}.cwasm")
}

/// Feeds a `Hash` into SHA-256: std's own hasher may change between versions of Rust.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn finish(&self) -> u64 {
        let digest: [u8; MAC_BYTES] = self.0.clone().finalize().into();
        digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

fn read_key(dir: &Dir) -> io::Result<[u8; MAC_BYTES]> {
    let mut bytes = Vec::new();
    dir.open(KEY_FILE)?.take(MAC_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    bytes.try_into().map_err(|_| io::Error::other("the key file does not hold 32 bytes"))
}

fn make_key(dir: &Dir) -> io::Result<[u8; MAC_BYTES]> {
    let mut key = [0; MAC_BYTES];
    // A cryptographic generator, seeded by the operating system.
    rand::rng().fill_bytes(&mut key);
    write_atomically(dir, KEY_FILE, &[&key])?;
    Ok(key)
}

/// Write a file that is there whole or not at all, readable by its owner alone.
fn write_atomically(dir: &Dir, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = format!("{name}.{}.tmp", uuid::Uuid::now_v7());
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = dir.open_with(&temporary, &options)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        dir.rename(&temporary, dir, name)
    })();
    if written.is_err() {
        // Best effort: what matters is the first failure.
        drop(dir.remove_file(&temporary));
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    const TINY: &str = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 7))
        (core instance $i (instantiate $m))
        (func (export "f") (result u32) (canon lift (core func $i "f"))))"#;

    struct Fixture {
        folder: tempfile::TempDir,
        engine: Engine,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { folder, engine: Engine::durable(1).unwrap() }
        }

        fn cache(&self) -> CompileCache {
            let dir = Dir::open_ambient_dir(self.folder.path(), cap_std::ambient_authority());
            CompileCache::open(dir.unwrap()).unwrap()
        }

        fn artifact(&self) -> PathBuf {
            let mut files = std::fs::read_dir(self.folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"));
            let path = files.next().unwrap();
            assert!(files.next().is_none());
            path
        }
    }

    #[test]
    fn a_second_load_comes_from_the_cache() {
        let fixture = Fixture::new();
        let wasm = wat::parse_str(TINY).unwrap();
        fixture.cache().load(&fixture.engine, &wasm).unwrap();
        let name = file_name(&fixture.engine, ComponentDigest::of(&wasm));
        assert!(fixture.cache().cached(&fixture.engine, &name).is_some());
        let mode = std::fs::metadata(fixture.artifact()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn any_changed_byte_or_length_means_compiling_anew() {
        let fixture = Fixture::new();
        let wasm = wat::parse_str(TINY).unwrap();
        let cache = fixture.cache();
        cache.load(&fixture.engine, &wasm).unwrap();
        let name = file_name(&fixture.engine, ComponentDigest::of(&wasm));
        let path = fixture.artifact();
        let good = std::fs::read(&path).unwrap();
        let step = good.len() / 23;
        for at in (0..good.len()).step_by(step).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(&path, &bad).unwrap();
            assert!(cache.cached(&fixture.engine, &name).is_none(), "byte {at}");
        }
        for len in [0, 31, 32, good.len() - 1] {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(cache.cached(&fixture.engine, &name).is_none(), "length {len}");
        }
        // Loading repairs the file.
        cache.load(&fixture.engine, &wasm).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }

    #[test]
    fn a_file_of_another_name_or_of_another_key_is_not_loaded() {
        let fixture = Fixture::new();
        let wasm = wat::parse_str(TINY).unwrap();
        fixture.cache().load(&fixture.engine, &wasm).unwrap();
        let name = file_name(&fixture.engine, ComponentDigest::of(&wasm));
        let other = file_name(&fixture.engine, ComponentDigest::of(b"other"));
        std::fs::copy(fixture.artifact(), fixture.folder.path().join(&other)).unwrap();
        assert!(fixture.cache().cached(&fixture.engine, &other).is_none());
        std::fs::write(fixture.folder.path().join(KEY_FILE), [1; 32]).unwrap();
        assert!(fixture.cache().cached(&fixture.engine, &name).is_none());
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let fixture = Fixture::new();
        let cache = fixture.cache();
        let refused = cache.load(&fixture.engine, b"\0asm").err().unwrap();
        assert!(matches!(refused, CompileError::Invalid(_)), "{refused}");
        let module = wat::parse_str("(module)").unwrap();
        assert!(cache.load(&fixture.engine, &module).is_err());
    }
}
