//! One thread a repository: nothing that is done with it happens at the same time, and none of it
//! on a thread that answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backlot_ledger::backup::{
    BACKUP_FAILED, BACKUP_RECOVERED, CoveredTo, Pending, RUNS_KEPT, RunEnd,
};
use backlot_ledger::{Event, Ledger, crash};
use backlot_policy::Policy;
use backlot_storage::Store;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::follow::Known;
use crate::service::BackupError;
use crate::settings::Settings;
use crate::vault::{Change, Sizes, SnapshotInfo, Taken, Vault};
use crate::{Drilled, Restore, Restored, catch_up, drill, follow, overdue, password, restore};

/// How often is looked whether something is due. One indexed read of the ledger each.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A repository that nothing waits for is looked at so often, to know that it is there.
const PROBE_EVERY: Duration = Duration::from_secs(15 * 60);
/// After a failure the next attempt waits for so long, and then twice as long, up to the second.
const RETRY_FROM: Duration = Duration::from_secs(5);
const RETRY_TO: Duration = Duration::from_secs(10 * 60);

/// Names on the paths of the changes that one snapshot takes in: about 2 KB each while it is made.
const PATH_NAMES_MAX: usize = 200_000;

/// Answers an order.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, BackupError>>;

/// Orders to a repository's thread.
pub(crate) enum Order {
    /// Queue what is not backed up of a bucket, and take snapshots until nothing waits.
    Now(Option<String>, Reply<Vec<Taken>>),
    /// The snapshots.
    Snapshots(Reply<Vec<SnapshotInfo>>),
    /// Objects of a snapshot.
    List(ListOrder, Reply<ListPage>),
    /// Read back a part, or all.
    Verify { all: bool, reply: Reply<crate::vault::Verified> },
    /// Restore on trial.
    Drill(Reply<Drilled>),
    /// Restore into a bucket.
    Restore(Restore, Reply<Restored>),
    /// Forget and prune.
    Prune(Reply<crate::vault::Pruned>),
    /// How large it is.
    Sizes(Reply<Sizes>),
    /// Something was handed over: look whether a snapshot is due.
    Look,
}

/// Which objects of which snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOrder {
    pub(crate) snapshot: String,
    pub(crate) bucket: Option<String>,
    pub(crate) prefix: String,
    pub(crate) skip: usize,
    pub(crate) limit: usize,
}

/// A page of a snapshot's objects, in the order of paths.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    /// Which snapshot.
    pub snapshot: SnapshotInfo,
    /// The objects.
    pub entries: Vec<crate::vault::Entry>,
    /// There are more.
    pub more: bool,
}

/// What the thread works with.
pub(crate) struct Worker {
    pub(crate) settings: Settings,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) runtime: Handle,
    /// Changes of the snapshot that is being made; 0: none is.
    pub(crate) busy: Arc<AtomicU64>,
    /// An order to look is on its way.
    pub(crate) nudged: Arc<AtomicBool>,
    /// When it began.
    pub(crate) begun: Timestamp,
    /// How buckets are validated, by name.
    pub(crate) policies: Arc<BTreeMap<String, Policy>>,
    /// How far the buckets are handed over.
    pub(crate) known: Arc<Mutex<Known>>,
    /// Something changed since it was written down how far the buckets are safe.
    pub(crate) unsettled: bool,
    /// Open once it could be opened.
    pub(crate) vault: Option<Vault>,
}

impl Worker {
    /// Works until nobody can give orders any more.
    pub(crate) fn run(mut self, orders: &Receiver<Order>) {
        let mut retry = Retry::default();
        let mut looked = Instant::now();
        loop {
            let is_due = match orders.recv_timeout(LOOK_EVERY.saturating_sub(looked.elapsed())) {
                Ok(Order::Look) | Err(RecvTimeoutError::Timeout) => true,
                Ok(order) => {
                    self.order(order);
                    LOOK_EVERY <= looked.elapsed()
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !is_due {
                continue;
            }
            looked = Instant::now();
            self.nudged.store(false, Ordering::SeqCst);
            if retry.is_due() {
                match self.look() {
                    Ok(()) => retry.succeeded(),
                    Err(err) => {
                        tracing::error!(repository = %self.settings.name, %err, "backup failed");
                        retry.failed();
                    }
                }
            }
        }
    }

    fn order(&mut self, order: Order) {
        // Who asked may be gone: what was done is written down all the same.
        match order {
            Order::Now(bucket, reply) => drop(reply.send(self.now(bucket.as_deref()))),
            Order::Snapshots(reply) => {
                let answer = self.vault().and_then(|vault| Ok(vault.snapshots()?));
                drop(reply.send(answer));
            }
            Order::List(order, reply) => drop(reply.send(self.list(&order))),
            Order::Verify { all, reply } => drop(reply.send(self.verify(all))),
            Order::Drill(reply) => drop(reply.send(self.drill())),
            Order::Restore(order, reply) => drop(reply.send(self.restore(&order))),
            Order::Prune(reply) => drop(reply.send(self.prune())),
            Order::Look => {}
            Order::Sizes(reply) => {
                let answer = self.vault().and_then(|vault| Ok(vault.sizes()?));
                drop(reply.send(answer));
            }
        }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due by itself.
    fn look(&mut self) -> Result<(), BackupError> {
        let started = Timestamp::now();
        let followed = follow::all(self);
        let failed_before = self.last_run("follow")?.is_some_and(|run| !run.succeeded);
        if followed.is_err() || failed_before {
            let outcome = followed.as_ref().map(|()| json!({})).map_err(ToString::to_string);
            self.end("follow", started, outcome, None, Vec::new())?;
        }
        let result = followed.and_then(|()| self.snapshot_if_due());
        let overdue = overdue::tell(self);
        result?;
        overdue?;
        if self.last_run("snapshot")?.is_none() {
            // Nothing to verify yet.
            return Ok(());
        }
        let verify_every = self.settings.verify_every;
        let drill_every = self.settings.drill_every;
        let prune_every = self.settings.prune_every;
        if self.is_due("verify", verify_every)? {
            self.verify(false)?;
        }
        if self.is_due("drill", drill_every)? {
            self.drill()?;
        }
        if !self.settings.append_only && self.is_due("prune", prune_every)? {
            self.prune()?;
        }
        Ok(())
    }

    pub(crate) fn vault(&mut self) -> Result<&Vault, BackupError> {
        if self.vault.is_none() {
            let password = password::read(&self.settings.password_file, true)?;
            let name = self.settings.name.clone();
            let known = self.runtime.block_on(self.ledger.backup_repository(&name))?;
            let vault = Vault::open(self.settings.clone(), &password, known.is_none())?;
            let id = vault.id();
            if known.as_deref() != Some(id.as_str()) {
                let last = vault.last_place()?;
                self.runtime.block_on(self.ledger.backup_adopt(&name, &id, last))?;
            }
            self.vault = Some(vault);
        }
        self.vault.as_ref().ok_or(BackupError::Stopped)
    }

    fn snapshot_if_due(&mut self) -> Result<(), BackupError> {
        let batch = self.settings.batch;
        let name = self.settings.name.clone();
        let backlog =
            self.runtime.block_on(self.ledger.backup_backlog(&name, batch.changes_max))?;
        let waited = backlog.oldest.map(|oldest| oldest.duration_until(Timestamp::now()));
        let due = batch.changes_max as u64 <= backlog.changes
            || batch.bytes_max <= backlog.bytes
            || waited.is_some_and(|waited| batch.wait <= waited.unsigned_abs());
        if 0 < backlog.changes && due {
            self.batch()?;
        } else if backlog.changes == 0 {
            let settles = self.unsettled && self.known().waiting.is_empty();
            if settles || self.is_due("probe", Some(PROBE_EVERY))? {
                self.probe()?;
                self.unsettled = false;
            }
        }
        Ok(())
    }

    /// Takes a snapshot of what waits, as much as one takes in; None: nothing waits.
    fn batch(&mut self) -> Result<Option<Taken>, BackupError> {
        let started = Timestamp::now();
        let (name, batch) = (self.settings.name.clone(), self.settings.batch);
        let covers = self.covers();
        let pending = self.ledger.backup_pending(&name, batch.changes_max, batch.bytes_max);
        let pending = self.runtime.block_on(pending)?;
        let pending = bounded(pending);
        let Some(done_to) = pending.last().map(|last| last.seq) else { return Ok(None) };
        let changes: Vec<Change> = pending
            .into_iter()
            .map(|change| Change {
                bucket: change.bucket,
                key: change.key,
                stored: change.stored,
                place: change.place,
            })
            .collect();
        self.unsettled = true;
        self.busy.store(changes.len() as u64, Ordering::Relaxed);
        let (store, runtime) = (self.store.clone(), self.runtime.clone());
        let taken = self.vault().and_then(|vault| Ok(vault.snapshot(changes, &store, &runtime)?));
        self.busy.store(0, Ordering::Relaxed);
        match taken {
            Ok(taken) => {
                let (bytes, bytes_added) = self.totals()?;
                let details = json!({
                    "total_bytes": bytes + taken.bytes,
                    "total_bytes_added": bytes_added + taken.bytes_added,
                    "snapshot": taken.snapshot,
                    "stored": taken.stored,
                    "removed": taken.removed,
                    "skipped": taken.skipped,
                    "bytes": taken.bytes,
                    "bytes_added": taken.bytes_added,
                });
                self.end("snapshot", started, Ok(details), Some(done_to), covers)?;
                crash::point("backup.after-commit");
                tracing::info!(
                    repository = %name,
                    snapshot = taken.snapshot.as_deref().unwrap_or("unchanged"),
                    stored = taken.stored,
                    removed = taken.removed,
                    "backed up"
                );
                Ok(Some(taken))
            }
            Err(err) => {
                self.end("snapshot", started, Err(err.to_string()), None, Vec::new())?;
                Err(err)
            }
        }
    }

    /// Bytes of all objects that snapshots ever took in, and bytes that the repository grew by.
    fn totals(&self) -> Result<(u64, u64), BackupError> {
        let runs = self.ledger.backup_runs(&self.settings.name, "snapshot", RUNS_KEPT);
        let last = self.runtime.block_on(runs)?.into_iter().find(|run| run.succeeded);
        let total = |name: &str| last.as_ref()?.details.get(name)?.as_u64();
        Ok((total("total_bytes").unwrap_or(0), total("total_bytes_added").unwrap_or(0)))
    }

    /// Nothing waits: is the repository still there?
    fn probe(&mut self) -> Result<(), BackupError> {
        let started = Timestamp::now();
        let probed = self.vault().and_then(|vault| Ok(vault.probe()?));
        let covers = if probed.is_ok() { self.covers() } else { Vec::new() };
        let outcome = probed.as_ref().map(|()| json!({})).map_err(ToString::to_string);
        self.end("probe", started, outcome, None, covers)?;
        probed
    }

    fn now(&mut self, bucket: Option<&str>) -> Result<Vec<Taken>, BackupError> {
        let buckets = match bucket {
            Some(bucket) if self.settings.covers(bucket) => vec![bucket.to_owned()],
            Some(bucket) => return Err(BackupError::NotCovered(bucket.to_owned())),
            None => self.buckets()?.into_keys().collect(),
        };
        follow::all(self)?;
        for bucket in buckets {
            catch_up::bucket(self, &bucket)?;
        }
        // What is handed over from now on has its own turn.
        let backlog = self.ledger.backup_backlog(&self.settings.name, usize::MAX);
        let mut left = self.runtime.block_on(backlog)?.changes;
        let mut all = Vec::new();
        while 0 < left
            && let Some(taken) = self.batch()?
        {
            left = left.saturating_sub(taken.stored + taken.removed + taken.skipped);
            all.push(taken);
        }
        Ok(all)
    }

    fn list(&mut self, order: &ListOrder) -> Result<ListPage, BackupError> {
        let read = self.vault()?.read(&order.snapshot, None)?;
        let mut page = ListPage { snapshot: read.info.clone(), entries: Vec::new(), more: false };
        let mut skip = order.skip;
        read.each(order.bucket.as_deref(), &mut |entry| {
            if !entry.key.starts_with(&order.prefix) {
                return Ok(true);
            }
            if 0 < skip {
                skip -= 1;
                return Ok(true);
            }
            page.more = order.limit <= page.entries.len();
            if !page.more {
                page.entries.push(entry);
            }
            Ok(!page.more)
        })?;
        Ok(page)
    }

    fn verify(&mut self, all: bool) -> Result<crate::vault::Verified, BackupError> {
        let started = Timestamp::now();
        let parts = self.settings.verify_parts.max(1);
        let last = self.last_run("verify")?;
        let last = last.and_then(|run| run.details.pointer("/part/0")?.as_u64()).unwrap_or(0);
        let part = if all {
            (1, 1)
        } else {
            (u32::try_from(last % u64::from(parts)).unwrap_or(0) + 1, parts)
        };
        let verified = self.vault().and_then(|vault| Ok(vault.verify(part)?));
        let outcome = match &verified {
            Ok(found) if found.faults.is_empty() => Ok(json!(found)),
            Ok(found) => Err(json!(found).to_string()),
            Err(err) => Err(err.to_string()),
        };
        self.end("verify", started, outcome, None, Vec::new())?;
        verified
    }

    fn drill(&mut self) -> Result<Drilled, BackupError> {
        let started = Timestamp::now();
        let (store, runtime) = (self.store.clone(), self.runtime.clone());
        let drilled = self.vault().and_then(|vault| drill::run(vault, &store, &runtime));
        let outcome = match &drilled {
            Ok(found) if found.differing.is_empty() => Ok(json!(found)),
            Ok(found) => Err(json!(found).to_string()),
            Err(err) => Err(err.to_string()),
        };
        self.end("drill", started, outcome, None, Vec::new())?;
        drilled
    }

    fn restore(&mut self, order: &Restore) -> Result<Restored, BackupError> {
        let (store, runtime) = (self.store.clone(), self.runtime.clone());
        restore::to_bucket(self.vault()?, order, &store, &runtime)
    }

    fn prune(&mut self) -> Result<crate::vault::Pruned, BackupError> {
        let started = Timestamp::now();
        let keep = self.settings.keep;
        let pruned = self.vault().and_then(|vault| Ok(vault.prune(keep)?));
        let outcome = pruned.as_ref().map(|pruned| json!(pruned)).map_err(ToString::to_string);
        self.end("prune", started, outcome, None, Vec::new())?;
        pruned
    }

    /// The buckets there are that the repository covers, and since when.
    pub(crate) fn buckets(&self) -> Result<BTreeMap<String, Timestamp>, BackupError> {
        let buckets = self.runtime.block_on(self.store.buckets())?;
        let covered = buckets.into_iter().filter(|bucket| self.settings.covers(&bucket.name));
        Ok(covered.map(|bucket| (bucket.name, bucket.created_at)).collect())
    }

    /// How far the buckets are safe when nothing waits.
    fn covers(&self) -> Vec<CoveredTo> {
        // What is not followed may have changed: nothing is said of it.
        let known = self.known();
        let covered = known.reached.iter().map(|(bucket, reached)| CoveredTo {
            bucket: bucket.clone(),
            as_of: reached.as_of,
            seen: reached.seen,
        });
        covered.collect()
    }

    pub(crate) fn last_run(
        &self,
        kind: &'static str,
    ) -> Result<Option<backlot_ledger::backup::Run>, BackupError> {
        let runs = self.ledger.backup_runs(&self.settings.name, kind, 1);
        Ok(self.runtime.block_on(runs)?.pop())
    }

    /// Whether it is long enough ago. What was never done is due at once.
    fn is_due(&self, kind: &'static str, every: Option<Duration>) -> Result<bool, BackupError> {
        let Some(every) = every else { return Ok(false) };
        let last = self.last_run(kind)?;
        let now = Timestamp::now();
        Ok(last.is_none_or(|run| every <= run.ended.duration_until(now).unsigned_abs()))
    }

    /// Writes down what was done; a failure is told in the same commit, once while it stays the
    /// same, and so is that it is over.
    fn end(
        &self,
        kind: &'static str,
        started: Timestamp,
        outcome: Result<Value, String>,
        done_to: Option<u64>,
        covers: Vec<CoveredTo>,
    ) -> Result<(), BackupError> {
        let succeeded = outcome.is_ok();
        let details = outcome.unwrap_or_else(|err| {
            serde_json::from_str(&err).unwrap_or_else(|_| json!({ "error": err }))
        });
        let failed_before = self.last_run(kind)?.filter(|run| !run.succeeded);
        let what = match failed_before {
            Some(before) if !succeeded && before.details == details => None,
            None if succeeded => None,
            Some(_) if succeeded => Some(BACKUP_RECOVERED),
            _ => Some(BACKUP_FAILED),
        };
        let told = json!({ "what": kind, "details": details });
        let event = what.map(|what| self.event(what, &told));
        let repository = self.settings.name.clone();
        let end = RunEnd { repository, kind, started, succeeded, details, done_to, covers, event };
        Ok(self.runtime.block_on(self.ledger.backup_end(end))?)
    }

    pub(crate) fn event(&self, kind: &str, details: &Value) -> Event {
        let name = &self.settings.name;
        let data = json!({ "repository": name, "details": details }).to_string();
        Event::json(format!("/backup/{name}"), kind, Some(name.clone()), data.into_bytes())
    }
}

/// As many as their paths fit into memory: each name on a path has a place of its own.
fn bounded(mut pending: Vec<Pending>) -> Vec<Pending> {
    let mut names = 0;
    let fits = pending.iter().take_while(|change| {
        names += 2 + change.key.matches('/').count();
        names <= PATH_NAMES_MAX
    });
    let fits = fits.count().max(1);
    pending.truncate(fits);
    pending
}

/// When to try again after a failure.
#[derive(Default)]
struct Retry {
    wait: Option<Duration>,
    due: Option<Instant>,
}

impl Retry {
    fn is_due(&self) -> bool {
        self.due.is_none_or(|due| due <= Instant::now())
    }

    fn succeeded(&mut self) {
        *self = Retry::default();
    }

    fn failed(&mut self) {
        let wait = self.wait.map_or(RETRY_FROM, |wait| (wait * 2).min(RETRY_TO));
        self.wait = Some(wait);
        self.due = Some(Instant::now() + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_make_small_snapshots() {
        let pending = |key: &str| {
            let change = Pending {
                seq: 1,
                bucket: "b".to_owned(),
                key: key.to_owned(),
                stored: None,
                place: 1,
                size: 0,
            };
            bounded(vec![change; 10_000]).len()
        };
        assert_eq!(pending("a/b/c"), 10_000);
        assert_eq!(pending(&"/".repeat(1_000)), PATH_NAMES_MAX / 1_002);
    }
}
