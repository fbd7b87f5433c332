//! Care for a repository: verification, retention, space.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Zoned;
use rustic_core::repofile::IndexFile;
use rustic_core::{BlobId, CheckOptions, KeepOptions, PruneOptions, ReadSubsetOption, TreeId};
use serde::{Deserialize, Serialize};

use super::{Indexed, Result, Vault, VaultError, node, read};
use crate::settings::Keep;

/// Objects that are named of those that damage hits.
const HITS_NAMED: usize = 1_000;
/// Faults that are told.
const FAULTS_TOLD: usize = 100;

/// What reading back found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Which part of how many was read.
    pub part: (u32, u32),
    /// What is wrong.
    pub faults: Vec<String>,
    /// Ids of packs that are damaged or missing.
    pub packs: Vec<String>,
    /// What is lost with them, in any snapshot.
    pub hits: Vec<Damage>,
    /// More is lost than is named.
    pub more_hits: bool,
}

/// An object, or all below a folder, that cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Damage {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key; of a folder that cannot be read, its path with a slash at its end.
    pub key: String,
    /// The newest snapshot in which it is damaged.
    pub snapshot: String,
}

/// What forgetting and pruning did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Ids of the snapshots that are forgotten.
    pub forgotten: Vec<String>,
    /// Snapshots that are kept.
    pub kept: usize,
    /// Bytes that are freed now, or a day after they became unused.
    pub bytes_freed: u64,
}

/// How large a repository is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Bytes of all its files.
    pub stored: u64,
    /// Bytes of what is in it, each once, before compression.
    pub distinct: u64,
}

impl Vault {
    /// Reads back one part of so many, counted from 1, and checks that all that snapshots need is
    /// there. Names the objects that damage hits.
    pub fn verify(&self, part: (u32, u32)) -> Result<Verified> {
        let mut options = CheckOptions::default();
        options.read_data = true;
        options.read_data_subset = ReadSubsetOption::IdSubSet(part);
        let results = self.repository.check(options)?;
        let mut verified = Verified { part, ..Verified::default() };
        let mut named = BTreeSet::new();
        for (level, fault) in &results.0 {
            // Left behind by a crash, or of a backup that runs: nothing is missing.
            if format!("{level:?}") != "Error" {
                continue;
            }
            let text = fault.to_string();
            // Shown, ids are cut to their first digits; here they are whole.
            named.extend(ids_named(&format!("{fault:?}")));
            if verified.faults.len() < FAULTS_TOLD {
                verified.faults.push(text);
            }
        }
        if !verified.faults.is_empty() {
            self.name_hits(&named, &mut verified)?;
        }
        Ok(verified)
    }

    fn name_hits(&self, named: &BTreeSet<String>, verified: &mut Verified) -> Result<()> {
        let mut lost: HashSet<BlobId> = HashSet::new();
        for index in self.repository.stream_files::<IndexFile>()? {
            let (_, index) = index?;
            for pack in index.packs {
                let id = pack.id.to_hex();
                if named.contains(id.as_str()) {
                    verified.packs.push(id.to_string());
                    lost.extend(pack.blobs.iter().map(|blob| blob.id));
                }
            }
        }
        let repository = self.indexed()?;
        let mut hits = BTreeMap::new();
        let mut seen = HashSet::new();
        for snapshot in self.ours()?.iter().rev() {
            let id = snapshot.id.to_hex().to_string();
            let mut search = Search { repository: &repository, lost: &lost, id, hits: &mut hits };
            search.folder(&mut Vec::new(), snapshot.tree, &mut seen);
        }
        verified.more_hits = HITS_NAMED < hits.len();
        let named = hits.into_iter().take(HITS_NAMED);
        verified.hits =
            named.map(|((bucket, key), snapshot)| Damage { bucket, key, snapshot }).collect();
        Ok(())
    }

    /// Forgets the snapshots that are not to be kept, and frees the space of what none needs.
    ///
    /// # Errors
    /// [`VaultError::AppendOnly`].
    pub fn prune(&self, keep: Option<Keep>) -> Result<Pruned> {
        if self.settings.append_only {
            return Err(VaultError::AppendOnly(self.settings.name.clone()));
        }
        let snapshots = self.ours()?;
        let mut pruned = Pruned { kept: snapshots.len(), ..Pruned::default() };
        if let Some(keep) = keep {
            let count = |count: u32| (0 < count).then(|| i32::try_from(count).unwrap_or(i32::MAX));
            let mut options = KeepOptions::default();
            options.keep_last = count(keep.last.max(1));
            options.keep_daily = count(keep.daily);
            options.keep_weekly = count(keep.weekly);
            options.keep_monthly = count(keep.monthly);
            let judged = options.apply(snapshots, &Zoned::now())?;
            let forgotten: Vec<_> =
                judged.iter().filter(|one| !one.keep).map(|one| one.snapshot.id).collect();
            self.repository.delete_snapshots(&forgotten)?;
            pruned.kept -= forgotten.len();
            pruned.forgotten = forgotten.iter().map(|id| id.to_hex().to_string()).collect();
        }
        let options = PruneOptions::default();
        let plan = self.repository.prune_plan(&options)?;
        pruned.bytes_freed = plan.stats.size_to_delete.remove
            + plan.stats.size_sum().remove
            + plan.stats.size_sum().repackrm;
        self.repository.prune(&options, plan)?;
        Ok(pruned)
    }

    /// How large the repository is.
    pub fn sizes(&self) -> Result<Sizes> {
        let files = self.repository.infos_files()?;
        let blobs = self.repository.infos_index()?.blobs;
        Ok(Sizes {
            stored: files.repo.iter().map(|file| file.size).sum(),
            distinct: blobs.iter().map(|blob| blob.data_size).sum(),
        })
    }
}

/// Looks through a snapshot for what is lost.
struct Search<'a> {
    repository: &'a Indexed,
    lost: &'a HashSet<BlobId>,
    id: String,
    hits: &'a mut BTreeMap<(String, String), String>,
}

impl Search<'_> {
    /// Folders that were seen in a newer snapshot are not looked at again.
    fn folder(&mut self, path: &mut Vec<String>, tree: TreeId, seen: &mut HashSet<TreeId>) {
        if !seen.insert(tree) || HITS_NAMED < self.hits.len() {
            return;
        }
        let nodes = match self.repository.get_tree(&tree) {
            Ok(tree) => tree.nodes,
            Err(_) => {
                let bucket = path.first().cloned().unwrap_or_default();
                let below = path.get(1..).unwrap_or_default().join("/");
                self.hit(bucket, format!("{below}/"));
                return;
            }
        };
        for node in nodes {
            path.push(node::name(&node));
            if let Some(tree) = node.subtree {
                self.folder(path, tree, seen);
            } else if node.content.iter().flatten().any(|id| self.lost.contains(&BlobId::from(*id)))
                && let Some((bucket, below)) = path.split_first()
                && let Some(entry) = read::entry(bucket, below, node)
            {
                self.hit(entry.bucket, entry.key);
            }
            path.pop();
        }
    }

    fn hit(&mut self, bucket: String, key: String) {
        self.hits.entry((bucket, key)).or_insert_with(|| self.id.clone());
    }
}

/// The ids in a message of the library: its errors carry those of packs, among others, in many
/// shapes.
fn ids_named(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    words.filter(is_id).map(str::to_owned).collect()
}
