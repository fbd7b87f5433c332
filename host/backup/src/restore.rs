//! Objects come back: into a bucket with all that was kept of them, or into a folder as files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use backlot_storage::{Expected, ObjectWriter, Pairs, Put, Store, StoreError};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::service::BackupError;
use crate::settings::Settings;
use crate::vault::{Entry, Snapshot, Vault, VaultError};
use crate::{password, path};

/// How the names of tags begin that are about the place of an object, not about it.
const RESERVED_TAG_PREFIX: &str = "backlot:";

/// What to restore, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restore {
    /// Id of the snapshot, its first digits, or `latest`.
    pub snapshot: String,
    /// A snapshot that is not younger.
    pub at: Option<Timestamp>,
    /// Only the objects of this bucket; needed where the snapshot has several.
    pub bucket: Option<String>,
    /// Only keys that begin so.
    pub prefix: String,
    /// The bucket that they go to, which is made if it is not there; None: their own.
    pub to: Option<String>,
    /// Write also where there is an object under the key.
    pub overwrite: bool,
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Of which snapshot.
    pub snapshot: String,
    /// Where to.
    pub to: String,
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Left as they are, because there is an object under the key.
    pub left: u64,
    /// What the repository could not give back whole: bucket, key and why; the first 1,000.
    pub failed: Vec<(String, String, String)>,
    /// All that it could not give back.
    pub failures: u64,
}

/// Failures that are named.
const NAMED_MAX: usize = 1_000;

impl Restored {
    /// A damaged object is told; the others are restored all the same.
    fn failed(&mut self, entry: &Entry, why: &VaultError) {
        self.failures += 1;
        if self.failed.len() < NAMED_MAX {
            self.failed.push((entry.bucket.clone(), entry.key.clone(), why.to_string()));
        }
    }
}

/// Restores into a bucket.
pub(crate) fn to_bucket(
    vault: &Vault,
    order: &Restore,
    store: &Store,
    runtime: &Handle,
) -> Result<Restored, BackupError> {
    let snapshot = vault.read(&order.snapshot, order.at)?;
    let from = one_bucket(&snapshot, order.bucket.as_deref())?;
    let to = order.to.clone().unwrap_or_else(|| from.clone());
    if runtime.block_on(store.bucket(&to))?.is_none() {
        runtime.block_on(store.create_bucket(&to))?;
    }
    let mut restored =
        Restored { snapshot: snapshot.info.id.clone(), to: to.clone(), ..Restored::default() };
    let mut failed = None;
    snapshot.each(Some(&from), &mut |entry| {
        if !entry.key.starts_with(&order.prefix) {
            return Ok(true);
        }
        match one(&snapshot, &entry, &to, order.overwrite, store, runtime) {
            Ok(Some(bytes)) => {
                restored.objects += 1;
                restored.bytes += bytes;
            }
            Ok(None) => restored.left += 1,
            Err(BackupError::Vault(err)) => restored.failed(&entry, &err),
            Err(err) => failed = Some(err),
        }
        Ok(failed.is_none())
    })?;
    failed.map_or(Ok(restored), Err)
}

fn one_bucket(snapshot: &Snapshot, wanted: Option<&str>) -> Result<String, BackupError> {
    let mut buckets = snapshot.buckets()?;
    if let Some(wanted) = wanted {
        buckets.retain(|bucket| bucket == wanted);
    }
    let all = buckets.join(", ");
    match (buckets.pop(), buckets.is_empty()) {
        (Some(bucket), true) => Ok(bucket),
        (None, _) => Err(VaultError::NoSnapshot(format!(
            "{} with bucket {}",
            snapshot.info.id,
            wanted.unwrap_or("of any name")
        ))
        .into()),
        (Some(_), false) => {
            Err(BackupError::Invalid(format!("name one of the snapshot's buckets: {all}")))
        }
    }
}

/// Restores an object; its bytes, or None if there is one already.
fn one(
    snapshot: &Snapshot,
    entry: &Entry,
    to: &str,
    overwrite: bool,
    store: &Store,
    runtime: &Handle,
) -> Result<Option<u64>, BackupError> {
    if !overwrite {
        match runtime.block_on(store.head(to, &entry.key, None)) {
            Ok(_) => return Ok(None),
            Err(StoreError::NotFound(_) | StoreError::DeleteMarker { .. }) => {}
            Err(err) => return Err(err.into()),
        }
    }
    let bytes = put(snapshot, entry, to, store, runtime)?;
    Ok(Some(bytes))
}

/// Writes an object as it was kept into a bucket.
pub(crate) fn put(
    snapshot: &Snapshot,
    entry: &Entry,
    to: &str,
    store: &Store,
    runtime: &Handle,
) -> Result<u64, BackupError> {
    let kept = &entry.kept;
    let mut tags: Pairs = kept.tags.clone();
    tags.retain(|name, _| !name.starts_with(RESERVED_TAG_PREFIX));
    let put = Put {
        bucket: to.to_owned(),
        key: entry.key.clone(),
        headers: kept.headers.clone(),
        metadata: kept.metadata.clone(),
        tags,
        expected: Expected { size: Some(entry.size), ..Expected::default() },
        principal: "backup".to_owned(),
        ..Put::default()
    };
    let writer = runtime.block_on(store.writer(put))?;
    let mut sink = Sink { writer: Some(writer), runtime };
    let bytes = snapshot.copy(entry, &mut sink)?;
    if let Some(writer) = sink.writer.take() {
        runtime.block_on(writer.finish())?;
    }
    Ok(bytes)
}

/// Writes into an object.
struct Sink<'a> {
    writer: Option<ObjectWriter>,
    runtime: &'a Handle,
}

impl Write for Sink<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let writer = self.writer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let written = self.runtime.block_on(writer.write(Bytes::copy_from_slice(buf)));
        written.map_err(io::Error::other)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Restores into a folder, as files at the paths of the keys ([`path`]), each bucket a folder.
/// Opens the repository itself: for when there is no server any more.
///
/// # Errors
/// Where a file is in the way: nothing that exists is overwritten.
pub fn to_folder(
    settings: &Settings,
    order: &Restore,
    folder: &Path,
    done: &mut dyn FnMut(&Restored),
) -> Result<Restored, BackupError> {
    let password = password::read(&settings.password_file, false)?;
    let vault = Vault::open(settings.clone(), &password, false)?;
    let snapshot = vault.read(&order.snapshot, order.at)?;
    let mut restored = Restored {
        snapshot: snapshot.info.id.clone(),
        to: folder.display().to_string(),
        ..Restored::default()
    };
    snapshot.each(order.bucket.as_deref(), &mut |entry| {
        if entry.key.starts_with(&order.prefix) {
            let file = file(folder, &entry);
            match write_file(&snapshot, &entry, &file) {
                Ok(bytes) => {
                    restored.bytes += bytes;
                    restored.objects += 1;
                }
                Err(BackupError::Vault(err)) => restored.failed(&entry, &err),
                Err(err) => {
                    return Err(VaultError::Repository(format!("{}: {err}", file.display())));
                }
            }
            done(&restored);
        }
        Ok(true)
    })?;
    Ok(restored)
}

/// Where an object goes. An object beside a folder of its name cannot keep it.
fn file(folder: &Path, entry: &Entry) -> PathBuf {
    let mut file = folder.join(&entry.bucket);
    file.extend(path::components(&entry.key));
    if file.is_dir() {
        file.as_mut_os_string().push(path::BESIDE_FOLDER);
    }
    file
}

fn write_file(snapshot: &Snapshot, entry: &Entry, file: &Path) -> Result<u64, BackupError> {
    let failed = |err: io::Error| BackupError::Invalid(err.to_string());
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut target = File::create_new(file).map_err(failed)?;
    let bytes = match snapshot.copy(entry, &mut target) {
        Ok(bytes) => bytes,
        Err(err) => {
            // Half of it would look like all of it.
            fs::remove_file(file).map_err(failed)?;
            return Err(err.into());
        }
    };
    target.set_modified(entry.modified.into()).map_err(failed)?;
    Ok(bytes)
}
