//! Blobs as files: written once under a random name, flushed, read by position, removed.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backlot_ledger::crash;
use backlot_ledger::objects::BlobId;
use cap_std::fs::{Dir, OpenOptions};
use uuid::Uuid;

/// Folders that blobs are spread over, by the last byte of their id. One level, and few enough to
/// keep them all open: with ten million blobs a folder has 160,000 entries, which the file systems
/// we run on index.
const FOLDERS: usize = 64;

/// The folder of blobs.
#[derive(Clone)]
pub(crate) struct Disk {
    folders: Arc<[Folder]>,
}

struct Folder {
    dir: Dir,
    /// Flushes asked for so far.
    asked: AtomicU64,
    /// Of those, how many are done.
    flushed: Mutex<u64>,
}

impl Disk {
    /// Opens the folder, makes what is missing in it, durably.
    pub(crate) fn open(dir: &Dir) -> io::Result<Disk> {
        let mut folders = Vec::with_capacity(FOLDERS);
        let mut made = false;
        for index in 0..FOLDERS {
            let name = format!("{index:02x}");
            match dir.create_dir(&name) {
                Ok(()) => made = true,
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(err) => return Err(err),
            }
            let dir = dir.open_dir(&name)?;
            folders.push(Folder { dir, asked: AtomicU64::new(0), flushed: Mutex::new(0) });
        }
        if made {
            flush_dir(dir)?;
        }
        Ok(Disk { folders: folders.into() })
    }

    fn folder(&self, id: BlobId) -> io::Result<&Folder> {
        let index = id.0.as_bytes().last().copied().map_or(0, usize::from) % FOLDERS;
        self.folders.get(index).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes the file of a new blob. Nothing refers to it until a commit does, so it has its final
    /// name from the start; what a crash leaves, the sweep finds.
    pub(crate) fn create(&self, id: BlobId) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = self.folder(id)?.dir.open_with(id.to_string(), &options)?;
        Ok(file.into_std())
    }

    /// Makes a written blob durable: its bytes, then its name.
    pub(crate) fn flush(&self, id: BlobId, file: &File) -> io::Result<()> {
        crash::point("blob.before-sync");
        file.sync_all()?;
        crash::point("blob.after-sync");
        let folder = self.folder(id)?;
        let mine = folder.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut flushed = folder.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever held the lock after we asked has flushed our name too.
        if mine <= *flushed {
            return Ok(());
        }
        let covers = folder.asked.load(Ordering::SeqCst);
        flush_dir(&folder.dir)?;
        *flushed = covers;
        Ok(())
    }

    /// Opens a blob for reading.
    pub(crate) fn read(&self, id: BlobId) -> io::Result<File> {
        Ok(self.folder(id)?.dir.open(id.to_string())?.into_std())
    }

    /// Removes a blob; one that is not there is removed.
    pub(crate) fn remove(&self, id: BlobId) -> io::Result<()> {
        match self.folder(id)?.dir.remove_file(id.to_string()) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Number of folders to give to [`Disk::list`].
    pub(crate) fn folders(&self) -> usize {
        self.folders.len()
    }

    /// The blobs in one of the folders. Files with other names are none of ours, and left alone.
    pub(crate) fn list(&self, folder: usize) -> io::Result<Vec<BlobId>> {
        let mut ids = Vec::new();
        let Some(folder) = self.folders.get(folder) else { return Ok(ids) };
        for entry in folder.dir.entries()? {
            let name = entry?.file_name();
            ids.extend(name.to_str().and_then(|name| Uuid::try_parse(name).ok()).map(BlobId));
        }
        Ok(ids)
    }
}

fn flush_dir(dir: &Dir) -> io::Result<()> {
    // A handle that may be flushed: cap-std's own may be opened with O_PATH.
    dir.open(".")?.sync_all()
}

/// Writes all of `chunks`.
pub(crate) fn append(file: &mut File, chunks: &[bytes::Bytes]) -> io::Result<()> {
    chunks.iter().try_for_each(|chunk| file.write_all(chunk))
}

/// Fills `buffer` from `offset`; a file that is too short is damage.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}
