//! The backups of a server: its repositories, and what may be asked of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use backlot_ledger::backup::{Backlog, Covered, HandedOver, Outcome, Run};
use backlot_ledger::objects::IndexError;
use backlot_ledger::{Effect, Ledger};
use backlot_policy::Policy;
use backlot_storage::{Store, StoreError};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::follow::Known;
use crate::settings::Settings;
use crate::vault::{Pruned, Sizes, SnapshotInfo, Taken, VaultError, Verified};
use crate::worker::{ListOrder, ListPage, Order, Reply, Worker};
use crate::{Drilled, Restore, Restored};

/// Changes that are counted of what waits; more are told as so many.
const COUNTED_MAX: usize = 1_000_000;

/// Kinds of runs that are written down: a snapshot was taken, changes were followed (only when that
/// failed, or does again), the repository was looked for, read back, restored from on trial, pruned;
/// and whether backups are overdue.
pub const RUN_KINDS: [&str; 7] =
    ["snapshot", "follow", "probe", "verify", "drill", "prune", "overdue"];

/// Why a backup, or something with one, was not done.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No repository has that name.
    #[error("no repository {0:?}")]
    NoRepository(String),
    /// The repository does not cover that bucket.
    #[error("no repository covers bucket {0:?}")]
    NotCovered(String),
    /// The password file cannot be used.
    #[error("password file {path:?}: {why}")]
    Password {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The repository failed, or has not what is asked for.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store failed, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger failed, or refused.
    #[error(transparent)]
    Ledger(#[from] IndexError),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The server is stopping.
    #[error("backups are stopping")]
    Stopped,
}

/// How a repository stands.
#[derive(Clone, Debug)]
pub struct RepositoryStatus {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// Nothing is removed from it.
    pub append_only: bool,
    /// What waits.
    pub backlog: Backlog,
    /// Changes of the snapshot that is being made; 0: none is.
    pub busy: u64,
    /// How far each bucket is backed up.
    pub buckets: Vec<Covered>,
    /// The last run of each kind.
    pub last: Vec<Run>,
}

/// All repositories of a server; a cheap handle. Their threads end when the last is dropped.
#[derive(Clone)]
pub struct Backups {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

struct Inner {
    ledger: Ledger,
    repositories: Vec<Repository>,
}

struct Repository {
    settings: Settings,
    orders: Sender<Order>,
    busy: Arc<AtomicU64>,
    nudged: Arc<AtomicBool>,
    known: Arc<Mutex<Known>>,
}

impl Repository {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backups {
    /// Starts a thread for each repository. What buckets with a policy hold is backed up when it
    /// was judged. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        repositories: Vec<Settings>,
        policies: Vec<Policy>,
        ledger: &Ledger,
        store: &Store,
    ) -> std::io::Result<Backups> {
        let policies: BTreeMap<String, Policy> =
            policies.into_iter().map(|policy| (policy.bucket.clone(), policy)).collect();
        let policies = Arc::new(policies);
        let mut started = Vec::new();
        for settings in repositories {
            let (orders, receiver) = mpsc::channel();
            let busy = Arc::new(AtomicU64::new(0));
            let nudged = Arc::new(AtomicBool::new(false));
            let known = Arc::new(Mutex::default());
            let worker = Worker {
                settings: settings.clone(),
                ledger: ledger.clone(),
                store: store.clone(),
                runtime: Handle::current(),
                busy: busy.clone(),
                nudged: nudged.clone(),
                begun: Timestamp::now(),
                policies: policies.clone(),
                known: known.clone(),
                unsettled: true,
                vault: None,
            };
            let name = format!("backup-{}", settings.name);
            thread::Builder::new().name(name).spawn(move || worker.run(&receiver))?;
            started.push(Repository { settings, orders, busy, nudged, known });
        }
        Ok(Backups { inner: Arc::new(Inner { ledger: ledger.clone(), repositories: started }) })
    }

    /// Names of the repositories.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.inner.repositories.iter().map(|one| one.settings.name.clone()).collect()
    }

    /// Names of the repositories that cover a bucket.
    #[must_use]
    pub fn covering(&self, bucket: &str) -> Vec<String> {
        let covering = self.inner.repositories.iter().filter(|one| one.settings.covers(bucket));
        covering.map(|one| one.settings.name.clone()).collect()
    }

    /// Hands versions over to the repositories that cover them ([`HandedOver::repositories`] is
    /// filled in here).
    pub async fn hand_over(
        &self,
        mut items: Vec<HandedOver>,
        effect: Option<Effect>,
    ) -> Result<Vec<Outcome>, BackupError> {
        for item in &mut items {
            item.repositories = self.covering(&item.bucket);
        }
        let outcomes = self.inner.ledger.backup_hand_over(items, effect).await?;
        if outcomes.contains(&Outcome::Queued) {
            for repository in &self.inner.repositories {
                // One that has ended has nothing to look at.
                if !repository.nudged.swap(true, Ordering::SeqCst) {
                    drop(repository.orders.send(Order::Look));
                }
            }
        }
        Ok(outcomes)
    }

    /// How far a bucket is backed up, a repository each.
    pub async fn covered(&self, bucket: &str) -> Result<Vec<(String, Covered)>, BackupError> {
        let mut all = Vec::new();
        for repository in &self.inner.repositories {
            let name = repository.settings.name.clone();
            if !repository.settings.covers(bucket) {
                continue;
            }
            let found = self.inner.ledger.backup_covered(&name, Some(bucket)).await?;
            let found = with_waiting(found, &repository.known(), Some(bucket)).pop();
            let none = || Covered {
                bucket: bucket.to_owned(),
                last_success: None,
                pending: 0,
                oldest_pending: None,
            };
            all.push((name, found.unwrap_or_else(none)));
        }
        Ok(all)
    }

    /// How all repositories stand.
    pub async fn status(&self) -> Result<Vec<RepositoryStatus>, BackupError> {
        let mut all = Vec::new();
        for repository in &self.inner.repositories {
            let (ledger, name) = (&self.inner.ledger, &repository.settings.name);
            let mut last = Vec::new();
            for kind in RUN_KINDS {
                last.extend(ledger.backup_runs(name, kind, 1).await?);
            }
            let buckets = ledger.backup_covered(name, None).await?;
            all.push(RepositoryStatus {
                name: name.clone(),
                location: repository.settings.target.location(),
                append_only: repository.settings.append_only,
                backlog: ledger.backup_backlog(name, COUNTED_MAX).await?,
                busy: repository.busy.load(Ordering::Relaxed),
                buckets: with_waiting(buckets, &repository.known(), None),
                last,
            });
        }
        Ok(all)
    }

    /// Queues what a repository lacks of a bucket (None: of all that it covers), and takes
    /// snapshots until nothing waits.
    pub async fn now(
        &self,
        repository: &str,
        bucket: Option<String>,
    ) -> Result<Vec<Taken>, BackupError> {
        self.ask(repository, |reply| Order::Now(bucket, reply)).await
    }

    /// The snapshots of a repository, the oldest first.
    pub async fn snapshots(&self, repository: &str) -> Result<Vec<SnapshotInfo>, BackupError> {
        self.ask(repository, Order::Snapshots).await
    }

    /// Objects of a snapshot, in the order of paths, after the first `skip`.
    pub async fn list(
        &self,
        repository: &str,
        snapshot: String,
        bucket: Option<String>,
        prefix: String,
        (skip, limit): (usize, usize),
    ) -> Result<ListPage, BackupError> {
        let order = ListOrder { snapshot, bucket, prefix, skip, limit };
        self.ask(repository, |reply| Order::List(order, reply)).await
    }

    /// Reads back the part whose turn it is, or all.
    pub async fn verify(&self, repository: &str, all: bool) -> Result<Verified, BackupError> {
        self.ask(repository, |reply| Order::Verify { all, reply }).await
    }

    /// Restores objects on trial and compares them.
    pub async fn drill(&self, repository: &str) -> Result<Drilled, BackupError> {
        self.ask(repository, Order::Drill).await
    }

    /// Restores a snapshot, or what is asked for of it, into a bucket.
    pub async fn restore(
        &self,
        repository: &str,
        restore: Restore,
    ) -> Result<Restored, BackupError> {
        self.ask(repository, |reply| Order::Restore(restore, reply)).await
    }

    /// Forgets the snapshots that are not to be kept, and frees their space.
    pub async fn prune(&self, repository: &str) -> Result<Pruned, BackupError> {
        self.ask(repository, Order::Prune).await
    }

    /// How large a repository is.
    pub async fn sizes(&self, repository: &str) -> Result<Sizes, BackupError> {
        self.ask(repository, Order::Sizes).await
    }

    async fn ask<T>(
        &self,
        repository: &str,
        order: impl FnOnce(Reply<T>) -> Order,
    ) -> Result<T, BackupError> {
        let found = self.inner.repositories.iter().find(|one| one.settings.name == repository);
        let found = found.ok_or_else(|| BackupError::NoRepository(repository.to_owned()))?;
        let (reply, answer) = oneshot::channel();
        found.orders.send(order(reply)).map_err(|_| BackupError::Stopped)?;
        answer.await.unwrap_or(Err(BackupError::Stopped))
    }
}

/// Adds what waits for a verdict to what waits for a snapshot, of one bucket or of all.
pub(crate) fn with_waiting(
    mut covered: Vec<Covered>,
    known: &Known,
    only: Option<&str>,
) -> Vec<Covered> {
    for (bucket, since) in &known.waiting {
        if only.is_some_and(|only| only != bucket) {
            continue;
        }
        match covered.iter_mut().find(|one| one.bucket == *bucket) {
            Some(one) => {
                let oldest = one.oldest_pending.map_or(*since, |oldest| oldest.min(*since));
                one.oldest_pending = Some(oldest);
            }
            None => covered.push(Covered {
                bucket: bucket.clone(),
                last_success: None,
                pending: 0,
                oldest_pending: Some(*since),
            }),
        }
    }
    covered
}
