//! A repository in restic's format: the only module that knows `rustic_core`.
//!
//! A snapshot holds every covered bucket as a folder at its root, with the objects at the paths of
//! their keys ([`crate::path`]), so that `restic restore latest` gives all of it as it was. It is
//! made of the snapshot before: folders in which nothing changed are taken over by their id, neither
//! read nor written, and unchanged objects in the others by their blobs. What changed goes in
//! straight from the store. The snapshot itself is written last, and not at all if anything failed:
//! there is none, or it is whole.

mod folder;
mod gate;
mod node;
mod read;
mod s3;
mod source;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use backlot_storage::Store;
use jiff::{SignedDuration, Timestamp, Zoned};
use rustic_core::repofile::SnapshotFile;
use rustic_core::{
    BackupOptions, ConfigOptions, Credentials, KeyOptions, Repository, RepositoryBackends,
    RepositoryOptions, RusticError, SnapshotOptions,
};
use tokio::runtime::Handle;

use crate::settings::Settings;
use gate::Gate;

pub use node::Kept;
pub use read::{Entry, Snapshot, SnapshotInfo};
pub use source::Change;
pub use upkeep::{Damage, Pruned, Sizes, Verified};

/// Two snapshots are at least so far apart.
const TICK: SignedDuration = SignedDuration::from_millis(1);
/// Host of all our snapshots: restic groups by it, and the machine may change.
const HOST: &str = "backlot";

/// Why something could not be done with a repository.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is damaged, or cannot be reached.
    #[error("{0}")]
    Repository(String),
    /// It was there, or must have been.
    #[error(
        "there is no repository at {0}: mount it, or correct where it is; one of another name can \
         be begun anew"
    )]
    Gone(String),
    /// There is no password for a repository that exists.
    #[error("the password does not open the repository at {0}")]
    WrongPassword(String),
    /// There is no such snapshot.
    #[error("no snapshot {0:?}")]
    NoSnapshot(String),
    /// Something could not be read from the store or written to the repository: nothing was done.
    #[error("no snapshot was made: {0}")]
    Faults(String),
    /// The repository is one that nothing is removed from.
    #[error("the repository {0:?} is append-only: nothing is removed from it")]
    AppendOnly(String),
}

impl From<Box<RusticError>> for VaultError {
    fn from(err: Box<RusticError>) -> Self {
        // On one line, for logs and records.
        let text = err.display_log();
        let text = text.strip_prefix("Error: ").unwrap_or(&text);
        VaultError::Repository(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

pub(crate) type Result<T, E = VaultError> = std::result::Result<T, E>;
type Opened = Repository<rustic_core::OpenStatus>;
type Indexed = Repository<rustic_core::IndexedFullStatus>;

/// An open repository. Blocks: for threads that may.
pub struct Vault {
    settings: Settings,
    gate: Arc<Gate>,
    repository: Opened,
}

/// What a snapshot took in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Its id; None: nothing was different from the one before.
    pub snapshot: Option<String>,
    /// Objects written.
    pub stored: u64,
    /// Objects left out that the snapshot before had.
    pub removed: u64,
    /// Changes that had been overtaken.
    pub skipped: u64,
    /// Bytes of the objects written.
    pub bytes: u64,
    /// Bytes that the repository has grown by.
    pub bytes_added: u64,
}

impl Vault {
    /// Opens a repository; if that is wanted, makes it where there is none.
    ///
    /// # Errors
    /// When it is not there, cannot be reached, or the password is another one.
    pub fn open(settings: Settings, password: &str, make: bool) -> Result<Vault> {
        let gate = Arc::new(Gate::new(&settings)?);
        let repository = closed(&gate)?;
        let credentials = Credentials::password(password);
        let repository = if repository.config_id()?.is_none() {
            if !make {
                return Err(VaultError::Gone(settings.target.location()));
            }
            gate.forget_unfinished()?;
            let (key, mut config) = (KeyOptions::default(), ConfigOptions::default());
            config.set_version = Some(2);
            repository.init(&credentials, &key, &config)?
        } else {
            repository.open(&credentials).map_err(|err| {
                if err.is_incorrect_password() {
                    VaultError::WrongPassword(settings.target.location())
                } else {
                    err.into()
                }
            })?
        };
        Ok(Vault { settings, gate, repository })
    }

    /// What is known of where and what it is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells this repository from all others.
    #[must_use]
    pub fn id(&self) -> String {
        self.repository.config().id.to_hex().to_string()
    }

    /// Takes a snapshot with these changes upon the newest. Must not be called on a thread of the
    /// runtime.
    ///
    /// # Errors
    /// When anything could not be read or written; then there is no snapshot.
    pub fn snapshot(&self, changes: Vec<Change>, store: &Store, runtime: &Handle) -> Result<Taken> {
        let parent = self.newest()?;
        let repository = Arc::new(self.indexed()?);
        let tree = parent.as_ref().map(|parent| parent.tree);
        self.gate.forget_faults();
        let source = source::Source::new(
            repository.clone(),
            tree,
            changes,
            store.clone(),
            runtime.clone(),
            self.gate.faults(),
        );
        let mut options = BackupOptions::default();
        options.no_scan = true;
        options.parent_opts.skip_if_unchanged = true;
        match &parent {
            Some(parent) => options.parent_opts.parents = vec![parent.id.to_hex().to_string()],
            None => options.parent_opts.force = true,
        }
        let mut description = SnapshotOptions::default();
        description.host = Some(HOST.to_owned());
        description.command = Some("backlot".to_owned());
        // The newest is the one to go on from, also when the clock was set back.
        let now = Zoned::now();
        description.time = Some(match &parent {
            Some(parent) => now.max(parent.time.saturating_add(TICK)),
            None => now,
        });
        let description = description.to_snapshot()?;
        let answer = repository.archive(&options, &source, description, &[PathBuf::from("/")]);
        let counts = source.counts();
        let faults = self.gate.take_faults();
        if !faults.is_empty() {
            return Err(VaultError::Faults(faults.join("; ")));
        }
        let taken = answer?;
        let is_new = !taken.id.is_null();
        let added = taken.summary.as_ref().map_or(0, |summary| summary.data_added_packed);
        Ok(Taken {
            snapshot: is_new.then(|| taken.id.to_hex().to_string()),
            bytes_added: added,
            ..counts
        })
    }

    /// Looks whether the repository is there.
    ///
    /// # Errors
    /// When it is not, or cannot be reached.
    pub fn probe(&self) -> Result<()> {
        match self.repository.config_id()? {
            Some(_) => Ok(()),
            None => Err(VaultError::Gone(self.settings.target.location())),
        }
    }

    fn indexed(&self) -> Result<Indexed> {
        // Anew each time: an index does not learn of what is written after it was read. The key is
        // known, so nothing is derived from the password again.
        let credentials = Credentials::Masterkey(self.repository.key());
        Ok(closed(&self.gate)?.open(&credentials)?.to_indexed()?)
    }

    /// Ours, the oldest first.
    fn ours(&self) -> Result<Vec<SnapshotFile>> {
        let mut snapshots = self.repository.get_all_snapshots()?;
        snapshots.retain(|snapshot| snapshot.hostname == HOST);
        snapshots.sort_by(|one, other| one.time.cmp(&other.time));
        Ok(snapshots)
    }

    fn newest(&self) -> Result<Option<SnapshotFile>> {
        Ok(self.ours()?.pop())
    }

    /// By id, its first digits, or `latest`; with a moment: the newest that is not younger.
    fn find(&self, name: &str, at: Option<Timestamp>) -> Result<SnapshotFile> {
        let mut snapshots = self.ours()?;
        if let Some(at) = at {
            snapshots.retain(|snapshot| snapshot.time.timestamp() <= at);
        }
        if name != "latest" {
            snapshots.retain(|snapshot| snapshot.id.to_hex().as_str().starts_with(name));
            if 1 < snapshots.len() {
                return Err(VaultError::NoSnapshot(format!("{name} (more than one begins so)")));
            }
        }
        let what = || at.map_or_else(|| name.to_owned(), |at| format!("{name} up to {at}"));
        snapshots.pop().ok_or_else(|| VaultError::NoSnapshot(what()))
    }
}

fn closed(gate: &Arc<Gate>) -> Result<Repository<()>> {
    let backends = RepositoryBackends::new(gate.clone(), None);
    let mut options = RepositoryOptions::default();
    // Metadata of backups belongs in no other folder than the repository's.
    options.no_cache = true;
    Ok(Repository::new(&options, &backends)?)
}
