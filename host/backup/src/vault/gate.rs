//! What stands between `rustic_core` and where the repository is kept.
//!
//! The library goes on after what it calls a single error, leaving the file out. So every fault is
//! noted here, and no snapshot passes while there is one.

use std::sync::{Arc, Mutex, PoisonError};

use backlot_ledger::crash;
use bytes::Bytes;
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};

use super::folder::Folder;
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
        let inner: Box<dyn WriteBackend> = match &settings.target {
            Target::Folder(path) => Box::new(Folder::open(path)?),
            Target::S3(target) => Box::new(S3::new(target)?),
        };
        let append_only = settings.append_only;
        Ok(Gate { inner, append_only, faults: Faults::default() })
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults.clone()
    }

    pub(super) fn forget_faults(&self) {
        self.faults.take();
    }

    /// Removes the keys that a crash left behind which came before the repository's configuration:
    /// nothing can be encrypted with them.
    pub(super) fn forget_unfinished(&self) -> RusticResult<()> {
        for tpe in [FileType::Index, FileType::Snapshot, FileType::Pack] {
            if !self.inner.list_with_size(tpe)?.is_empty() {
                let text = "There are backups at `{place}`, but no file `config`. Put it back from a copy of the repository.";
                return Err(RusticError::new(ErrorKind::Repository, text)
                    .attach_context("place", self.location()));
            }
        }
        let keys = self.inner.list_with_size(FileType::Key)?;
        keys.into_iter().try_for_each(|(key, _)| self.inner.remove(FileType::Key, &key, false))
    }

    pub(super) fn take_faults(&self) -> Vec<String> {
        self.faults.take()
    }
}

/// The crash points around the write of a file.
fn points(tpe: FileType) -> (&'static str, &'static str) {
    match tpe {
        FileType::Key | FileType::Config => ("backup.before-init", "backup.after-init"),
        FileType::Pack => ("backup.before-pack", "backup.after-pack"),
        FileType::Index => ("backup.before-index", "backup.after-index"),
        FileType::Snapshot => ("backup.before-snapshot", "backup.after-snapshot"),
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
        if tpe == FileType::Snapshot
            && let Some(fault) = self.faults.first()
        {
            let text = format!("the snapshot would not be whole: {fault}");
            return Err(RusticError::new(ErrorKind::InputOutput, text));
        }
        let (before, after) = points(tpe);
        crash::point(before);
        let written = self
            .inner
            .write_bytes(tpe, id, cacheable, content)
            .inspect_err(|err| self.faults.note(err.display_log()));
        crash::point(after);
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
