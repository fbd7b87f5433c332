//! The file to encode, as an object in the state folder.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use backlot_ledger::{InvocationId, State};
use backlot_storage::{ObjectInfo, Put, StoreError};
use tokio_util::io::ReaderStream;

use super::newest_root;
use crate::fault::Fault;
use crate::node::{self, Node};

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// User metadata that says which file, in which state, was put, and how it is to be encoded.
const MARK: &str = "backlot-source";

/// The file as it is now.
pub(super) struct Source {
    path: PathBuf,
    key: String,
    mark: String,
    size: u64,
}

impl Source {
    pub(super) fn look_at(path: &Path) -> Result<Self, Fault> {
        let unreadable = |reason: &dyn std::fmt::Display| {
            Fault::new(
                "E0401",
                format!("{} cannot be read: {reason}", path.display()),
                "name a video file that you can read",
            )
        };
        let whole = path.canonicalize().map_err(|err| unreadable(&err))?;
        // Opened, not only looked at: what must not be read is said now.
        let meta = File::open(&whole).and_then(|file| file.metadata());
        let meta = meta.map_err(|err| unreadable(&err))?;
        if !meta.is_file() {
            return Err(unreadable(&"it is not a regular file"));
        }
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { mark: mark(&whole, &meta), path: whole, key: name, size: meta.len() })
    }

    /// Puts the file, unless it is there already: same path, size, time and settings. The
    /// invocation that encodes it.
    pub(super) async fn put(
        &self,
        node: &Node,
        env: &[(&'static str, String)],
    ) -> Result<InvocationId, Fault> {
        let mark = format!("{};{env:?}", self.mark);
        // Metadata goes through headers and has a limit; a digest always fits.
        let mark = digest(&mark);
        if let Some(info) = self.stored(node).await?
            && info.metadata.iter().any(|(name, value)| name == MARK && *value == mark)
            && let Some(job) = newest_root(node, &self.key).await?
            && !matches!(job.state, State::Failed | State::Cancelled)
        {
            return Ok(job.id);
        }
        let file = tokio::fs::File::open(&self.path).await.map_err(|err| self.unread(&err))?;
        let put = Put {
            bucket: node::UPLOADS.to_owned(),
            key: self.key.clone(),
            metadata: vec![(MARK.to_owned(), mark)].into_iter().collect(),
            principal: "encode".to_owned(),
            expected: backlot_storage::Expected {
                size: Some(self.size),
                ..backlot_storage::Expected::default()
            },
            ..Put::default()
        };
        let stream = ReaderStream::with_capacity(file, CHUNK_BYTES);
        match node.store.put(put, stream).await {
            Ok(_) => {}
            Err(StoreError::Body(err)) => return Err(self.unread(&err)),
            Err(StoreError::WrongSize { .. }) => {
                return Err(self.unread(&io::Error::other("it changed while it was read")));
            }
            Err(err) => return Err(node::internal("storing the file", &err)),
        }
        let job = newest_root(node, &self.key).await?;
        job.map(|job| job.id).ok_or_else(|| {
            Fault::new("E0901", "the stored file did not start the encoder", "report this")
        })
    }

    async fn stored(&self, node: &Node) -> Result<Option<ObjectInfo>, Fault> {
        match node.store.head(node::UPLOADS, &self.key, None).await {
            Ok(info) => Ok(Some(info)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(err) => Err(node::internal("looking for the stored file", &err)),
        }
    }

    fn unread(&self, err: &io::Error) -> Fault {
        Fault::new(
            "E0401",
            format!("{} cannot be read: {err}", self.path.display()),
            "leave the file alone while it is read, and run the same command again",
        )
    }
}

fn mark(path: &Path, meta: &Metadata) -> String {
    let changed = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{};{};{:?}", path.display(), meta.len(), changed)
}

fn digest(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(text))
}
