//! The components that versions are made of: files in a folder of their own, named by their digest.
//!
//! A file is there whole or not at all: it is written beside its place, flushed, and renamed. What
//! no version has is kept for a while (it may be about to be deployed) and then swept.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::compile::{COMPONENT_MAX_BYTES, ComponentDigest};

/// Components that no version has and that are kept all the same, the newest: they were uploaded
/// and may be deployed next.
pub const UNUSED_KEPT: usize = 8;

/// Bytes of an upload that are gathered before they are written: a write goes to another thread.
const WRITE_BYTES: usize = 1 << 20;

/// End of the name of a component's file.
const SUFFIX: &str = ".wasm";

/// End of the name of a file that is being written.
const UNFINISHED: &str = ".part";

/// Why a component could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// More than [`COMPONENT_MAX_BYTES`].
    #[error("component is over the limit of {COMPONENT_MAX_BYTES} bytes")]
    TooLarge,
    /// It was not uploaded, or was swept meanwhile.
    #[error("there is no component {0}: upload it first")]
    Missing(ComponentDigest),
    /// What came is not what was announced.
    #[error("the component's digest is {found}, not {wanted}")]
    Other {
        /// What was announced.
        wanted: ComponentDigest,
        /// What came.
        found: ComponentDigest,
    },
    /// The folder cannot be used.
    #[error("folder of components: {0}")]
    Io(#[from] io::Error),
    /// The task that wrote died.
    #[error("writing the component was abandoned")]
    Abandoned,
}

/// The folder. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Components {
    dir: Arc<Dir>,
}

impl Components {
    /// Open the folder, which should be its owner's alone, and sweep what an earlier process left
    /// unfinished.
    pub(crate) fn open(dir: Dir) -> io::Result<Self> {
        for entry in dir.entries()? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| name.ends_with(UNFINISHED)) {
                dir.remove_file(&name)?;
            }
        }
        Ok(Self { dir: Arc::new(dir) })
    }

    /// Whether it is there.
    pub(crate) fn has(&self, digest: ComponentDigest) -> bool {
        self.dir.is_file(file_name(digest))
    }

    /// Its size. Blocks.
    pub(crate) fn bytes(&self, digest: ComponentDigest) -> Result<u64, ComponentError> {
        Ok(self.dir.metadata(file_name(digest))?.len())
    }

    /// Its bytes. Blocks.
    pub(crate) fn read(&self, digest: ComponentDigest) -> Result<Vec<u8>, ComponentError> {
        let file = match self.dir.open(file_name(digest)) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Err(ComponentError::Missing(digest));
            }
            Err(err) => return Err(err.into()),
        };
        let mut bytes = Vec::new();
        file.take(COMPONENT_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let found = ComponentDigest::of(&bytes);
        if found == digest {
            return Ok(bytes);
        }
        Err(ComponentError::Other { wanted: digest, found })
    }

    /// Begin to keep a component.
    pub(crate) async fn upload(&self) -> Result<Upload, ComponentError> {
        let dir = self.dir.clone();
        let staged = spawn_blocking(move || Staged::new(dir)).await;
        let staged = staged.map_err(|_| ComponentError::Abandoned)??;
        Ok(Upload { staged, gathered: Vec::with_capacity(WRITE_BYTES), bytes: 0 })
    }

    /// Remove what none of `used` names, but for the newest [`UNUSED_KEPT`]. Blocks.
    pub(crate) fn sweep(&self, used: &BTreeSet<String>) -> io::Result<()> {
        let mut unused: Vec<(SystemTime, String)> = Vec::new();
        for entry in self.dir.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let Some(digest) = name.strip_suffix(SUFFIX) else { continue };
            if !used.contains(digest) {
                unused.push((entry.metadata()?.modified()?.into_std(), name.to_owned()));
            }
        }
        unused.sort();
        let superfluous = unused.len().saturating_sub(UNUSED_KEPT);
        for (_, name) in unused.iter().take(superfluous) {
            self.dir.remove_file(name)?;
        }
        Ok(())
    }

    /// Remove these, which were the last version's. Blocks.
    pub(crate) fn remove(&self, digests: &[String]) -> io::Result<()> {
        for digest in digests {
            match self.dir.remove_file(format!("{digest}{SUFFIX}")) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(())
    }
}

fn file_name(digest: ComponentDigest) -> String {
    format!("{digest}{SUFFIX}")
}

/// A component on its way in. Dropped, it leaves nothing.
pub struct Upload {
    staged: Staged,
    gathered: Vec<u8>,
    bytes: usize,
}

impl Upload {
    /// More of it.
    ///
    /// # Errors
    /// [`ComponentError::TooLarge`] past the limit.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ComponentError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if COMPONENT_MAX_BYTES < self.bytes {
            return Err(ComponentError::TooLarge);
        }
        self.gathered.extend_from_slice(&bytes);
        if self.gathered.len() < WRITE_BYTES {
            return Ok(());
        }
        let gathered = std::mem::replace(&mut self.gathered, Vec::with_capacity(WRITE_BYTES));
        self.staged.write(gathered).await
    }

    /// That was all: on disk when this answers.
    ///
    /// # Errors
    /// [`ComponentError::Other`] when it is not `wanted`.
    pub async fn finish(
        mut self,
        wanted: Option<ComponentDigest>,
    ) -> Result<ComponentDigest, ComponentError> {
        self.staged.write(std::mem::take(&mut self.gathered)).await?;
        self.staged.publish(wanted).await
    }
}

/// The file of an upload.
struct Staged {
    dir: Arc<Dir>,
    name: String,
    /// None while a write goes on, and after one that failed.
    open: Option<(File, Sha256)>,
}

impl Staged {
    fn new(dir: Arc<Dir>) -> io::Result<Self> {
        let name = format!("{}{UNFINISHED}", Uuid::now_v7().simple());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = dir.open_with(&name, &options)?;
        Ok(Self { dir, name, open: Some((file, Sha256::new())) })
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ComponentError> {
        let (mut file, mut hash) = self.open.take().ok_or(ComponentError::Abandoned)?;
        let written = spawn_blocking(move || {
            file.write_all(&bytes)?;
            hash.update(&bytes);
            Ok::<_, io::Error>((file, hash))
        });
        self.open = Some(written.await.map_err(|_| ComponentError::Abandoned)??);
        Ok(())
    }

    async fn publish(
        mut self,
        wanted: Option<ComponentDigest>,
    ) -> Result<ComponentDigest, ComponentError> {
        let (file, hash) = self.open.take().ok_or(ComponentError::Abandoned)?;
        let found = ComponentDigest::finished(hash);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            return Err(ComponentError::Other { wanted, found });
        }
        let published = spawn_blocking(move || {
            file.sync_all()?;
            self.dir.rename(&self.name, &self.dir, file_name(found))?;
            // The entry too must be on disk before the ledger names it.
            self.dir.open(".")?.sync_all()
        });
        published.await.map_err(|_| ComponentError::Abandoned)??;
        Ok(found)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        match self.dir.remove_file(&self.name) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%err, name = self.name, "an unfinished upload is left");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Components {
        let dir = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        Components::open(dir).unwrap()
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn keep(components: &Components, bytes: &[u8]) -> ComponentDigest {
        let mut upload = components.upload().await.unwrap();
        for chunk in bytes.chunks(700_000) {
            upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        upload.finish(None).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_kept_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let components = open(&folder);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let digest = keep(&components, &bytes).await;
        assert_eq!(digest, ComponentDigest::of(&bytes));
        assert!(components.has(digest));
        assert_eq!(components.read(digest).unwrap(), bytes);
        let other = ComponentDigest::of(b"other");
        assert!(!components.has(other));
        assert!(matches!(components.read(other), Err(ComponentError::Missing(_))));
        // A file that was changed is not what its name says.
        std::fs::write(folder.path().join(file_name(digest)), b"evil").unwrap();
        assert!(matches!(components.read(digest), Err(ComponentError::Other { .. })));
    }

    #[tokio::test]
    async fn what_breaks_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let components = open(&folder);
        let mut upload = components.upload().await.unwrap();
        upload.write(Bytes::from(vec![7; WRITE_BYTES])).await.unwrap();
        drop(upload);
        let mut upload = components.upload().await.unwrap();
        upload.write(Bytes::from_static(b"some")).await.unwrap();
        let refused = upload.finish(Some(ComponentDigest::of(b"other"))).await.unwrap_err();
        assert!(refused.to_string().contains("not"), "{refused}");
        assert_eq!(names(&folder), [] as [&str; 0]);
        // Nor does a process that died.
        std::fs::write(folder.path().join("0123.part"), b"half").unwrap();
        open(&folder);
        assert_eq!(names(&folder), [] as [&str; 0]);
    }

    #[tokio::test]
    async fn unused_ones_are_swept_but_for_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let components = open(&folder);
        let used = keep(&components, b"used").await;
        for number in 0..UNUSED_KEPT + 3 {
            keep(&components, number.to_string().as_bytes()).await;
        }
        components.sweep(&BTreeSet::from([used.to_string()])).unwrap();
        assert_eq!(names(&folder).len(), UNUSED_KEPT + 1);
        assert!(components.has(used));
        components.remove(&[used.to_string(), "gone".to_owned()]).unwrap();
        assert!(!components.has(used));
    }

    #[tokio::test]
    async fn too_much_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut upload = open(&folder).upload().await.unwrap();
        let chunk = Bytes::from(vec![0; COMPONENT_MAX_BYTES / 4]);
        for _ in 0..4 {
            upload.write(chunk.clone()).await.unwrap();
        }
        let refused = upload.write(Bytes::from_static(b"x")).await.unwrap_err();
        assert!(matches!(refused, ComponentError::TooLarge), "{refused}");
    }
}
