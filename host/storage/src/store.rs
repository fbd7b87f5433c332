//! The store's handle: opening, sweeping, collecting, buckets.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backlot_ledger::Ledger;
use backlot_ledger::objects::{BlobId, Committed};
use cap_std::fs::Dir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::body::joined;
use crate::disk::Disk;
use crate::limits::check_bucket_name;
use crate::pins::Pins;
use crate::{Bucket, StoreError, StoreLimits, Versioning};

pub(crate) type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How long garbage is gathered before it is removed, so that many deletes make one commit more
/// and not one each.
const GATHER: Duration = Duration::from_millis(50);
/// Unreferenced blobs looked up at once by a sweep.
const SWEEP_BATCH: u32 = 10_000;

/// The object store; a cheap handle.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles share.
pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    pub(crate) disk: Disk,
    pub(crate) limits: StoreLimits,
    pub(crate) pins: Pins,
    jobs: Arc<Semaphore>,
    collecting: AtomicBool,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blob files that the ledger did not know (left by a crash).
    pub orphans: u64,
    /// Blobs that the ledger knew and nothing referred to.
    pub unreferenced: u64,
}

impl Store {
    /// Opens the store in `dir`, and sweeps what a crash left. Blocking; call it at start.
    ///
    /// # Errors
    /// `Disk` or `Unavailable` when the folder or the ledger cannot be used.
    pub fn open(dir: Dir, ledger: Ledger, limits: StoreLimits) -> Result<Store> {
        let disk = Disk::open(&dir).map_err(StoreError::Disk)?;
        let jobs = Arc::new(Semaphore::new(limits.disk_jobs));
        let collecting = AtomicBool::new(false);
        let pins = Pins::default();
        let shared = Arc::new(Shared { ledger, disk, limits, pins, jobs, collecting });
        let weak = Arc::downgrade(&shared);
        shared.pins.on_wake(Box::new(move || {
            if let Some(shared) = weak.upgrade() {
                shared.collect_soon();
            }
        }));
        let swept = shared.sweep()?;
        if swept != Swept::default() {
            tracing::info!(swept.orphans, swept.unreferenced, "blobs without an object removed");
        }
        Ok(Store { shared })
    }

    /// Removes blobs that nothing refers to; safe at any time.
    pub async fn sweep(&self) -> Result<Swept> {
        let shared = self.shared.clone();
        joined(self.shared.disk_job(move || shared.sweep()).await?).await
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &StoreLimits {
        &self.shared.limits
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, name: &str) -> Result<Bucket> {
        check_bucket_name(name)?;
        Ok(self.shared.ledger.create_bucket(name).await?)
    }

    /// Deletes a bucket without objects, versions and delete markers; multipart uploads in it are
    /// aborted.
    pub async fn delete_bucket(&self, name: &str) -> Result<()> {
        let store = self.clone();
        let name = name.to_owned();
        detached(async move { store.settle(store.shared.ledger.delete_bucket(&name).await) }).await
    }

    /// A bucket, if it exists.
    pub async fn bucket(&self, name: &str) -> Result<Option<Bucket>> {
        Ok(self.shared.ledger.bucket(name).await?)
    }

    /// All buckets by name.
    pub async fn buckets(&self) -> Result<Vec<Bucket>> {
        Ok(self.shared.ledger.buckets().await?)
    }

    /// Switches versioning on or suspends it; `Off` is `Invalid` (as in S3 there is no way back).
    pub async fn set_versioning(&self, name: &str, versioning: Versioning) -> Result<()> {
        if versioning == Versioning::Off {
            return Err(StoreError::Invalid("versioning cannot be switched off again".into()));
        }
        Ok(self.shared.ledger.set_versioning(name, versioning).await?)
    }

    /// Takes the answer of a commit, and sees to the blobs it let go of.
    pub(crate) fn settle<T, E: Into<StoreError>>(
        &self,
        committed: Result<Committed<T>, E>,
    ) -> Result<T> {
        let committed = committed.map_err(Into::into)?;
        self.shared.pins.doom(&committed.garbage);
        Ok(committed.value)
    }
}

/// Runs what must not stop half-way when the caller goes away: a commit and what follows it.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    joined(tokio::spawn(work)).await
}

impl Shared {
    /// Runs a job on a thread that may block, when there is a place.
    pub(crate) async fn disk_job<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let place = self.jobs.clone().acquire_owned().await;
        let place = place.map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
        Ok(tokio::task::spawn_blocking(move || {
            // Here, not in the caller: a dropped caller does not stop the job.
            let _place = place;
            job()
        }))
    }

    /// Starts to collect garbage, unless that is under way. Without a runtime (a reader dropped
    /// at shutdown) it stays for the next sweep.
    fn collect_soon(self: Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.collecting.swap(true, Ordering::SeqCst) {
            return;
        }
        let store = Arc::downgrade(&self);
        runtime.spawn(async move {
            tokio::time::sleep(GATHER).await;
            // A store that is closed meanwhile is not held open for its garbage.
            let Some(shared) = store.upgrade() else { return };
            // From here on, what is doomed wakes another round.
            shared.collecting.store(false, Ordering::SeqCst);
            let ids = shared.pins.collectable();
            if let Err(err) = shared.collect(ids).await {
                tracing::warn!(%err, "garbage stays until the next sweep");
            }
        });
    }

    async fn collect(self: Arc<Self>, ids: Vec<BlobId>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let gone = self.ledger.forget_blobs(ids).await?;
        let shared = self.clone();
        joined(self.disk_job(move || shared.remove(&gone)).await?).await
    }

    fn remove(&self, ids: &[BlobId]) -> Result<()> {
        ids.iter().try_for_each(|id| self.disk.remove(*id)).map_err(StoreError::Disk)
    }

    fn sweep(&self) -> Result<Swept> {
        let mut swept = Swept::default();
        let mut after = None;
        loop {
            let unused = self.ledger.unused_blobs_blocking(after, SWEEP_BATCH)?;
            let Some(last) = unused.last() else { break };
            after = Some(*last);
            // What is read, or may be, is collected when it is not any more.
            let free = unused.into_iter().filter(|id| !self.pins.is_held(*id)).collect();
            let gone = self.ledger.forget_blobs_blocking(free)?;
            self.remove(&gone)?;
            swept.unreferenced += gone.len() as u64;
        }
        for folder in 0..self.disk.folders() {
            let mut files = self.disk.list(folder).map_err(StoreError::Disk)?;
            // In this order: a blob that arrived before we looked here is known to the ledger
            // when we look there.
            files.retain(|id| !self.pins.is_arriving(*id));
            let orphans: HashSet<BlobId> =
                self.ledger.unknown_blobs_blocking(&files)?.into_iter().collect();
            self.remove(&orphans.iter().copied().collect::<Vec<_>>())?;
            swept.orphans += orphans.len() as u64;
        }
        Ok(swept)
    }
}
