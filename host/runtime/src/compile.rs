//! Components to machine code, once: the compile cache.
//!
//! A cached file is machine code that this process will run, so it is kept where only the owner
//! can write, it carries a MAC with a key that lives beside it, and it is keyed by the component's
//! digest and by everything of the engine that the code depends on. A file that is not exactly what
//! we wrote is compiled anew, never loaded.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::str::FromStr;
use std::time::SystemTime;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::compiler::ARTIFACT_MAX_BYTES;
use crate::engine::Engine;

/// Largest component, in bytes. A Python guest with its interpreter has 20 MB.
pub const COMPONENT_MAX_BYTES: usize = 128 << 20;

/// What the cache may hold, in bytes, but for what is in use: some hundred guests.
const CACHE_MAX_BYTES: u64 = 4 << 30;

/// End of the name of a cached file.
const SUFFIX: &str = ".cwasm";

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
    #[error("component does not compile: {0}")]
    Invalid(String),
    /// It takes more than a compilation may.
    #[error("to compile the component takes more than {limit}")]
    OverLimit {
        /// What of it, with its unit.
        limit: String,
    },
    /// The compiler could not be run.
    #[error("the compiler cannot be used: {doing} it")]
    Child {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The task that compiled it died.
    #[error("compilation was abandoned")]
    Abandoned,
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

    /// The digest of what was hashed.
    pub(crate) fn finished(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }
}

impl FromStr for ComponentDigest {
    type Err = hex::FromHexError;

    /// From 64 digits in hexadecimal.
    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut digest = [0; MAC_BYTES];
        hex::decode_to_slice(text, &mut digest)?;
        Ok(Self(digest))
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

    /// The machine code that was kept of a component, ready to be instantiated. Blocks.
    pub(crate) fn cached(&self, engine: &Engine, digest: ComponentDigest) -> Option<Component> {
        self.find(engine, &file_name(engine, digest))
    }

    /// Keep what the compiler gave for a component, and make it ready to be instantiated. Blocks. A
    /// cache that cannot be written is only logged.
    ///
    /// # Errors
    /// [`CompileError::Invalid`] when it is not machine code for this engine.
    pub(crate) fn admit(
        &self,
        engine: &Engine,
        digest: ComponentDigest,
        code: &[u8],
    ) -> Result<Component, CompileError> {
        // The compiler is our own program: what it gave is as good as what we wrote.
        let component = deserialize(engine, &Authentic(code))
            .map_err(|err| CompileError::Invalid(format!("{err:#}")))?;
        let name = file_name(engine, digest);
        if let Err(err) = self.keep(&name, code) {
            tracing::warn!(name, %err, "compiled component is not cached");
        }
        Ok(component)
    }

    /// Remove what was not used for longest, until no more than [`CACHE_MAX_BYTES`] are left; what
    /// is compiled from one of `used` stays. Blocks.
    pub(crate) fn sweep(&self, used: &BTreeSet<String>) -> io::Result<()> {
        self.sweep_to(used, CACHE_MAX_BYTES)
    }

    fn sweep_to(&self, used: &BTreeSet<String>, bytes_max: u64) -> io::Result<()> {
        let mut total: u64 = 0;
        let mut unused: Vec<(SystemTime, String, u64)> = Vec::new();
        for entry in self.dir.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(SUFFIX)) else { continue };
            let meta = entry.metadata()?;
            total = total.saturating_add(meta.len());
            let of = name.split('-').next().unwrap_or_default();
            if !used.contains(of) {
                unused.push((meta.modified()?.into_std(), name.to_owned(), meta.len()));
            }
        }
        unused.sort();
        for (_, name, bytes) in unused {
            if total <= bytes_max {
                break;
            }
            self.dir.remove_file(&name)?;
            total = total.saturating_sub(bytes);
            tracing::info!(name, "compiled component was not used for long: removed");
        }
        Ok(())
    }

    fn find(&self, engine: &Engine, name: &str) -> Option<Component> {
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
        // When it was last used. That is all that depends on it.
        if let Err(err) = file.into_std().set_modified(SystemTime::now()) {
            tracing::debug!(name, %err, "the time of use of a cached component is not kept");
        }
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
        let bytes = file.metadata().ok()?.len().min(ARTIFACT_MAX_BYTES);
        // One more, so that the end is seen without room for as much again.
        let mut code = Vec::with_capacity(usize::try_from(bytes).ok()? + 1);
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

/// Machine code whose MAC was checked, or that our compiler just gave: only [`CompileCache`] makes
/// one.
struct Authentic<'a>(&'a [u8]);

#[allow(unsafe_code, reason = "the one way to load machine code that was compiled before")]
fn deserialize(engine: &Engine, code: &Authentic<'_>) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` asks for bytes that `Component::serialize` gave and nobody changed.
    // `Authentic` holds bytes in our own memory that came from our compiler just now, or whose MAC
    // was found right under a key that only the owner of the data directory can read.
    unsafe { Component::deserialize(engine.wasmtime(), code.0) }
}

fn file_name(engine: &Engine, digest: ComponentDigest) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    let engine = hex::encode(hasher.0.finalize());
    let engine = engine.get(..16).unwrap_or(&engine);
    format!("{digest}-{engine}{SUFFIX}")
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

        /// From the cache, else compiled.
        fn load(&self, wasm: &[u8]) -> Result<Component, CompileError> {
            let (cache, digest) = (self.cache(), ComponentDigest::of(wasm));
            if let Some(found) = cache.cached(&self.engine, digest) {
                return Ok(found);
            }
            let code = self.engine.wasmtime().precompile_component(wasm).unwrap();
            cache.admit(&self.engine, digest, &code)
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
        fixture.load(&wasm).unwrap();
        let name = file_name(&fixture.engine, ComponentDigest::of(&wasm));
        assert!(fixture.cache().find(&fixture.engine, &name).is_some());
        let mode = std::fs::metadata(fixture.artifact()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn any_changed_byte_or_length_means_compiling_anew() {
        let fixture = Fixture::new();
        let wasm = wat::parse_str(TINY).unwrap();
        let cache = fixture.cache();
        fixture.load(&wasm).unwrap();
        let name = file_name(&fixture.engine, ComponentDigest::of(&wasm));
        let path = fixture.artifact();
        let good = std::fs::read(&path).unwrap();
        let step = good.len() / 23;
        for at in (0..good.len()).step_by(step).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(&path, &bad).unwrap();
            assert!(cache.find(&fixture.engine, &name).is_none(), "byte {at}");
        }
        for len in [0, 31, 32, good.len() - 1] {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(cache.find(&fixture.engine, &name).is_none(), "length {len}");
        }
        // Loading repairs the file.
        fixture.load(&wasm).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }

    #[test]
    fn a_file_of_another_name_or_of_another_key_is_not_loaded() {
        let fixture = Fixture::new();
        let wasm = wat::parse_str(TINY).unwrap();
        fixture.load(&wasm).unwrap();
        let name = file_name(&fixture.engine, ComponentDigest::of(&wasm));
        let other = file_name(&fixture.engine, ComponentDigest::of(b"other"));
        std::fs::copy(fixture.artifact(), fixture.folder.path().join(&other)).unwrap();
        assert!(fixture.cache().find(&fixture.engine, &other).is_none());
        std::fs::write(fixture.folder.path().join(KEY_FILE), [1; 32]).unwrap();
        assert!(fixture.cache().find(&fixture.engine, &name).is_none());
    }

    #[test]
    fn what_is_no_machine_code_is_refused() {
        let fixture = Fixture::new();
        let digest = ComponentDigest::of(b"");
        let refused = fixture.cache().admit(&fixture.engine, digest, b"\0asm").err().unwrap();
        assert!(matches!(refused, CompileError::Invalid(_)), "{refused}");
        assert!(fixture.cache().cached(&fixture.engine, digest).is_none());
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_what_is_used_never() {
        let fixture = Fixture::new();
        let guests: Vec<Vec<u8>> = (1..=4)
            .map(|number| wat::parse_str(TINY.replace('7', &number.to_string())).unwrap())
            .collect();
        let digests: Vec<_> = guests.iter().map(|wasm| ComponentDigest::of(wasm)).collect();
        for (age, wasm) in guests.iter().enumerate() {
            fixture.load(wasm).unwrap();
            let file = file_name(&fixture.engine, digests[age]);
            let file = std::fs::File::open(fixture.folder.path().join(file)).unwrap();
            let hours = 10 - age as u64;
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(hours * 3_600))
                .unwrap();
        }
        let cache = fixture.cache();
        // The second is used now.
        cache.cached(&fixture.engine, digests[1]).unwrap();
        let bytes =
            std::fs::metadata(fixture.folder.path().join(file_name(&fixture.engine, digests[0])));
        let room_for_two = bytes.unwrap().len() * 5 / 2;
        cache.sweep_to(&BTreeSet::from([digests[0].to_string()]), room_for_two).unwrap();
        let left = digests.iter().map(|digest| cache.cached(&fixture.engine, *digest).is_some());
        assert_eq!(left.collect::<Vec<_>>(), [true, true, false, false]);
    }
}
