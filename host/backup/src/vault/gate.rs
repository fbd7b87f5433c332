//! What stands between `rustic_core` and where the repository is kept.
//!
//! The library goes on after what it calls a single error, leaving the file out. So every fault is
//! noted here, and no snapshot passes while there is one. Files are durable when they have passed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use backlot_ledger::crash;
use bytes::Bytes;
use rustic_backend::LocalBackend;
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};

use super::s3::S3;
use crate::settings::{Settings, Target};

/// Faults that are told; more are only counted as one.
const FAULTS_TOLD: usize = 10;

/// What went wrong while a snapshot was made.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Vec<String>>>);

impl Faults {
    pub(super) fn note(&self, what: String) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < FAULTS_TOLD {
            faults.push(what);
        }
    }

    fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The repository's files.
pub(super) struct Gate {
    inner: Box<dyn WriteBackend>,
    /// Folder whose entries are to be made durable.
    folder: Option<PathBuf>,
    append_only: bool,
    faults: Faults,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.inner.location())
    }
}

impl Gate {
    pub(super) fn new(settings: &Settings) -> RusticResult<Gate> {
        let (inner, folder): (Box<dyn WriteBackend>, _) = match &settings.target {
            Target::Folder(path) => {
                let options: [(String, String); 0] = [];
                let backend = LocalBackend::new(path.to_string_lossy(), options)?;
                (Box::new(backend), Some(path.clone()))
            }
            Target::S3(target) => (Box::new(S3::new(target)?), None),
        };
        let append_only = settings.append_only;
        Ok(Gate { inner, folder, append_only, faults: Faults::default() })
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults.clone()
    }

    pub(super) fn forget_faults(&self) {
        self.faults.take();
    }

    pub(super) fn take_faults(&self) -> Vec<String> {
        self.faults.take()
    }

    /// Makes the entry of a file durable: the file itself is.
    fn sync(&self, tpe: FileType, id: &Id) -> RusticResult<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let sync = |path: &Path| {
            File::open(path).and_then(|folder| folder.sync_all()).map_err(|err| {
                RusticError::with_source(ErrorKind::InputOutput, "cannot sync `{path}`", err)
                    .attach_context("path", path.display().to_string())
            })
        };
        match tpe {
            FileType::Config => sync(folder),
            FileType::Pack => {
                let data = folder.join("data");
                let hex = id.to_hex();
                sync(&data.join(hex.as_str().get(..2).unwrap_or_default()))?;
                sync(&data)
            }
            _ => sync(&folder.join(tpe.dirname())),
        }
    }
}

impl ReadBackend for Gate {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.inner.list_with_size(tpe)
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.inner.read_full(tpe, id)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.inner.read_partial(tpe, id, cacheable, offset, length)
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.inner.warmup_path(tpe, id)
    }
}

impl WriteBackend for Gate {
    fn create(&self) -> RusticResult<()> {
        self.inner.create()
    }

    fn write_bytes(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        match tpe {
            FileType::Pack => crash::point("backup.before-pack"),
            FileType::Snapshot => {
                if let Some(fault) = self.faults.first() {
                    let text = format!("the snapshot would not be whole: {fault}");
                    return Err(RusticError::new(ErrorKind::InputOutput, text));
                }
                crash::point("backup.before-snapshot");
            }
            _ => {}
        }
        let written = self
            .inner
            .write_bytes(tpe, id, cacheable, content)
            .and_then(|()| self.sync(tpe, id))
            .inspect_err(|err| self.faults.note(err.display_log()));
        match tpe {
            FileType::Pack => crash::point("backup.after-pack"),
            FileType::Index => crash::point("backup.after-index"),
            FileType::Snapshot => crash::point("backup.after-snapshot"),
            _ => {}
        }
        written
    }

    fn remove(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        if self.append_only {
            let text = "the repository is append-only: nothing is removed from it";
            return Err(RusticError::new(ErrorKind::AppendOnly, text));
        }
        self.inner.remove(tpe, id, cacheable)
    }
}
