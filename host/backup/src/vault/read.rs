//! What is in a repository: snapshots, the objects in them, their bytes.

use std::io::Write;

use jiff::Timestamp;
use rustic_core::TreeId;
use rustic_core::repofile::{Node, SnapshotFile};
use serde::{Deserialize, Serialize};

use super::{Indexed, Kept, Result, Vault, VaultError, node};
use crate::path;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub time: Timestamp,
    /// The one before.
    pub parent: Option<String>,
    /// Bytes that the repository has grown by, if that was noted.
    pub bytes_added: u64,
}

/// One object in a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// Its place among the changes of the ledger that it is of.
    pub place: u64,
    /// What else was kept.
    pub kept: Kept,
    node: Node,
}

/// A snapshot that is being read. Holds the repository's index in memory.
pub struct Snapshot {
    /// Which.
    pub info: SnapshotInfo,
    tree: TreeId,
    repository: Indexed,
}

impl Vault {
    /// The snapshots, the oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        Ok(self.ours()?.iter().map(info).collect())
    }

    /// The latest place among the changes that the newest snapshot knows of; 0 without one.
    pub fn last_place(&self) -> Result<u64> {
        let mut last = 0;
        if self.newest()?.is_some() {
            self.read("latest", None)?.each(None, &mut |entry| {
                last = last.max(entry.place);
                Ok(true)
            })?;
        }
        Ok(last)
    }

    /// Opens a snapshot: by id, its first digits, or `latest`; with a moment, one that is not
    /// younger.
    pub fn read(&self, name: &str, at: Option<Timestamp>) -> Result<Snapshot> {
        let found = self.find(name, at)?;
        Ok(Snapshot { info: info(&found), tree: found.tree, repository: self.indexed()? })
    }
}

impl Snapshot {
    /// Shows each object, by bucket and path, until one is not wanted; only of one bucket, if one
    /// is named.
    pub fn each(
        &self,
        bucket: Option<&str>,
        visit: &mut dyn FnMut(Entry) -> Result<bool>,
    ) -> Result<()> {
        for root in self.repository.get_tree(&self.tree)?.nodes {
            let name = node::name(&root);
            if bucket.is_some_and(|bucket| bucket != name) {
                continue;
            }
            if let Some(tree) = root.subtree
                && !self.folder(&name, &mut Vec::new(), tree, visit)?
            {
                break;
            }
        }
        Ok(())
    }

    fn folder(
        &self,
        bucket: &str,
        folders: &mut Vec<String>,
        tree: TreeId,
        visit: &mut dyn FnMut(Entry) -> Result<bool>,
    ) -> Result<bool> {
        for node in self.repository.get_tree(&tree)?.nodes {
            folders.push(node::name(&node));
            let goes_on = match node.subtree {
                Some(tree) => self.folder(bucket, folders, tree, visit)?,
                None => match entry(bucket, folders, node) {
                    Some(entry) => visit(entry)?,
                    None => true,
                },
            };
            folders.pop();
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The buckets that the snapshot has.
    pub fn buckets(&self) -> Result<Vec<String>> {
        let root = self.repository.get_tree(&self.tree)?;
        Ok(root.nodes.iter().map(node::name).collect())
    }

    /// Writes an object's bytes, verified by the repository's digests; how many.
    pub fn copy(&self, entry: &Entry, to: &mut dyn Write) -> Result<u64> {
        let file = self.repository.open_file(&entry.node)?;
        let mut offset = 0;
        loop {
            let bytes = self.repository.read_file_at(&file, offset, READ_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            let failed = |err: std::io::Error| VaultError::Repository(err.to_string());
            to.write_all(&bytes).map_err(failed)?;
            offset += bytes.len();
        }
        let written = offset as u64;
        if written != entry.size {
            let what = format!("{:?} has {written} bytes, not {}", entry.key, entry.size);
            return Err(VaultError::Repository(what));
        }
        Ok(written)
    }
}

/// The object of a node below its bucket's folder; None: it is not ours.
pub(super) fn entry(bucket: &str, path: &[String], node: Node) -> Option<Entry> {
    let key = path::key(path.iter().map(String::as_str))?;
    let kept = node::kept(&node)?;
    let modified = node.meta.mtime.unwrap_or_default();
    let (bucket, size, place) = (bucket.to_owned(), node.meta.size, node.meta.inode);
    Some(Entry { bucket, key, size, modified, place, kept, node })
}

fn info(snapshot: &SnapshotFile) -> SnapshotInfo {
    SnapshotInfo {
        id: snapshot.id.to_hex().to_string(),
        time: snapshot.time.timestamp(),
        parent: snapshot.parent.map(|parent| parent.to_hex().to_string()),
        bytes_added: snapshot.summary.as_ref().map_or(0, |summary| summary.data_added_packed),
    }
}
