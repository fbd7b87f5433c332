//! A repository in a folder. What is there under its final name is whole and durable; the library's
//! own backend, which reads for us, writes in place, where a crash leaves half a file.

use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rustic_backend::LocalBackend;
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};

/// Files that are being written. Not a folder of restic's, so nobody takes them for more.
const UNFINISHED: &str = "tmp";
/// What a crash left there is removed when it is so old.
const UNFINISHED_KEPT: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    reads: LocalBackend,
}

impl Folder {
    pub(super) fn open(path: &Path) -> RusticResult<Folder> {
        let text = path.to_str().ok_or_else(|| {
            let text = "The path of a repository must be UTF-8, `{path}` is not.";
            RusticError::new(ErrorKind::InvalidInput, text)
                .attach_context("path", path.display().to_string())
        })?;
        let reads = LocalBackend::new(text, [])?;
        let folder = Folder { path: path.to_owned(), reads };
        folder.sweep().map_err(|err| folder.failed("clear", &path.join(UNFINISHED), err))?;
        Ok(folder)
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in entries(&self.path.join(UNFINISHED))? {
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if UNFINISHED_KEPT < age {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn place(&self, tpe: FileType, id: &Id) -> PathBuf {
        let hex = id.to_hex();
        match tpe {
            FileType::Config => self.path.join("config"),
            FileType::Pack => {
                let first = hex.as_str().get(..2).unwrap_or_default();
                self.path.join("data").join(first).join(hex.as_str())
            }
            _ => self.path.join(tpe.dirname()).join(hex.as_str()),
        }
    }

    fn list(&self, tpe: FileType) -> io::Result<Vec<(Id, u32)>> {
        let mut found = Vec::new();
        match tpe {
            FileType::Config => {
                let config = self.path.join("config");
                if config.try_exists()? {
                    found.push((Id::default(), length(&config.metadata()?)));
                }
            }
            FileType::Pack => {
                for folder in entries(&self.path.join("data"))? {
                    if folder.file_type()?.is_dir() {
                        files(&folder.path(), &mut found)?;
                    }
                }
            }
            _ => files(&self.path.join(tpe.dirname()), &mut found)?,
        }
        Ok(found)
    }

    fn write(&self, place: &Path, id: &Id, content: &BytesList) -> io::Result<()> {
        let unfinished = self.path.join(UNFINISHED);
        fs::create_dir_all(&unfinished)?;
        let unfinished = unfinished.join(id.to_hex().as_str());
        let mut file = File::create(&unfinished)?;
        for part in content.slice() {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&unfinished, place)?;
        place.parent().map_or(Ok(()), sync)
    }

    fn failed(&self, what: &str, path: &Path, err: io::Error) -> Box<RusticError> {
        let text = "Cannot {what} `{path}`. Please check the disk and who may write there.";
        RusticError::with_source(ErrorKind::InputOutput, text, err)
            .attach_context("what", what)
            .attach_context("path", path.display().to_string())
    }
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(err) => Err(err),
    }
}

/// The files of a folder that have an id as their name.
fn files(folder: &Path, found: &mut Vec<(Id, u32)>) -> io::Result<()> {
    for entry in entries(folder)? {
        let name = entry.file_name();
        if let Some(Ok(id)) = name.to_str().map(str::parse::<Id>) {
            found.push((id, length(&entry.metadata()?)));
        }
    }
    Ok(())
}

/// Of a file of a repository: at most 4 GiB.
fn length(metadata: &Metadata) -> u32 {
    u32::try_from(metadata.len()).unwrap_or(u32::MAX)
}

/// Makes the entries of a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl ReadBackend for Folder {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        // The library's own goes on where it cannot look, as if nothing were there.
        self.list(tpe).map_err(|err| self.failed("list", &self.path.join(tpe.dirname()), err))
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.reads.read_full(tpe, id)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.reads.read_partial(tpe, id, cacheable, offset, length)
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.reads.warmup_path(tpe, id)
    }
}

impl WriteBackend for Folder {
    fn create(&self) -> RusticResult<()> {
        self.reads.create()?;
        let folders = [self.path.join("data"), self.path.clone()];
        let above = self.path.parent().map(Path::to_owned);
        for folder in folders.into_iter().chain(above) {
            sync(&folder).map_err(|err| self.failed("sync", &folder, err))?;
        }
        Ok(())
    }

    fn write_bytes(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        let place = self.place(tpe, id);
        self.write(&place, id, &content).map_err(|err| self.failed("write", &place, err))
    }

    fn remove(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.reads.remove(tpe, id, cacheable)
    }
}
