//! The one thread that writes.
//!
//! Operations come in through a bounded queue. The thread takes what is there, runs each operation
//! in a savepoint of its own inside one transaction, commits once for all of them, and answers
//! each only then: an answer means that it is on disk. While one commit waits for the disk the
//! next group gathers, so that the disk's latency is shared.
//!
//! A group of operations that nobody outside is told of (leases) does not wait for the disk: a power
//! cut may lose it, but never keep something that came after it.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{broadcast, mpsc};
use tokio::time;

use crate::clock::Clock;
use crate::tx::{Pending, Tx};
use crate::{BACKLOG_MAX, Backlog, Change, LedgerError, Router, crash, schema};

/// Operations in one transaction: bounds how long the first waits for the last.
pub const GROUP_MAX: usize = 256;
/// A group is closed after this even when more operations wait: bounds the latency when the
/// operations are heavy.
pub const GROUP_TIME_MAX: Duration = Duration::from_millis(20);
/// Operations that wait for the writer: bounds the memory of a flood (the largest operation
/// carries a few MiB, the usual one under 1 KiB).
pub const QUEUE_MAX: usize = 1024;
/// How long a caller waits for a place in a full queue before it is told that the ledger is busy.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Changes that a slow receiver may be behind before it is told that it missed some.
const CHANGES_MAX: usize = 8192;
/// Prepared statements kept: more than the crate has.
const STATEMENTS_MAX: usize = 256;

/// How many operations were committed in how many commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Operations whose changes were committed.
    pub operations: u64,
    /// Commits, each one wait for the disk.
    pub commits: u64,
}

/// What an operation leaves for the time after the commit.
struct Done {
    /// Whether its changes are kept.
    keep: bool,
    /// Answers the caller; gets what became of the group's commit.
    reply: Box<dyn FnOnce(Result<(), LedgerError>) + Send>,
}

/// What the answer to an operation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It is on disk.
    Durable,
    /// It is there for whoever looks, and on disk with the next durable one.
    Ordered,
}

/// One operation on its way to the writer.
pub(crate) struct Job {
    promise: Promise,
    run: Box<dyn FnOnce(&mut Tx<'_>) -> Done + Send>,
}

impl Job {
    /// Runs `op` and answers through `reply`. When the operation panics, `reply` is dropped.
    pub(crate) fn new<T, E, Op, Reply>(promise: Promise, op: Op, reply: Reply) -> Self
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        Op: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        Reply: FnOnce(Result<T, E>) + Send + 'static,
    {
        let run = Box::new(move |tx: &mut Tx<'_>| {
            let result = op(tx);
            let keep = result.is_ok();
            // What was refused stays refused whatever becomes of the commit.
            let reply = move |committed: Result<(), LedgerError>| {
                reply(result.and_then(|value| committed.map(|()| value).map_err(E::from)));
            };
            Done { keep, reply: Box::new(reply) }
        });
        Self { promise, run }
    }
}

/// State that the writer's thread shares with the handles.
struct Shared {
    clock: Clock,
    router: RwLock<Option<Arc<dyn Router>>>,
    backlog_max: RwLock<Backlog>,
    changes: broadcast::Sender<Change>,
    operations: AtomicU64,
    commits: AtomicU64,
}

/// The handles' end of the writer. Dropping it ends the thread after what was queued.
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// Opens (or makes) the database, brings it to the newest format, and starts the thread.
    pub(crate) fn start(path: &Path, clock: Clock) -> Result<Self, LedgerError> {
        let mut conn = open(path)?;
        schema::migrate(&mut conn, path)?;
        let shared = Arc::new(Shared {
            clock,
            router: RwLock::new(None),
            backlog_max: RwLock::new(BACKLOG_MAX),
            changes: broadcast::Sender::new(CHANGES_MAX),
            operations: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        });
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let thread_shared = shared.clone();
        let thread = thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || run(&conn, queue, &thread_shared))
            .map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
        Ok(Self { jobs: Some(jobs), shared, thread: Some(thread) })
    }

    /// Queues an operation; waits for a place for at most [`QUEUE_WAIT_MAX`].
    pub(crate) async fn submit(&self, job: Job) -> Result<(), LedgerError> {
        let jobs = self.jobs.as_ref().ok_or(LedgerError::Abandoned)?;
        // The timer is touched only when the queue is full.
        let job = match jobs.try_send(job) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(LedgerError::Abandoned),
            Err(mpsc::error::TrySendError::Full(job)) => job,
        };
        match time::timeout(QUEUE_WAIT_MAX, jobs.send(job)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(LedgerError::Abandoned),
            Err(_) => Err(LedgerError::Busy { limit: QUEUE_MAX }),
        }
    }

    /// Queues an operation from a thread that may block, without waiting for a place.
    pub(crate) fn submit_now(&self, job: Job) -> Result<(), LedgerError> {
        let jobs = self.jobs.as_ref().ok_or(LedgerError::Abandoned)?;
        jobs.try_send(job).map_err(|err| match err {
            mpsc::error::TrySendError::Closed(_) => LedgerError::Abandoned,
            mpsc::error::TrySendError::Full(_) => LedgerError::Busy { limit: QUEUE_MAX },
        })
    }

    pub(crate) fn set_router(&self, router: Arc<dyn Router>) {
        *self.shared.router.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    pub(crate) fn limit_backlog(&self, most: Backlog) {
        *self.shared.backlog_max.write().unwrap_or_else(PoisonError::into_inner) = most;
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    pub(crate) fn stats(&self) -> WriterStats {
        WriterStats {
            operations: self.shared.operations.load(Ordering::Relaxed),
            commits: self.shared.commits.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        // Wait until the database is closed, so that it can be opened again at once. The last
        // handle may be dropped by an operation, on the writer's own thread: that one must not.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's writer panicked");
        }
    }
}

/// A connection set up for durable writes.
fn open(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL loses acknowledged commits at a power cut.
    wait_for_disk(&conn, Promise::Durable)?;
    conn.pragma_update(None, "cache_size", -32 * 1024)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // Pages (32 MiB) after which the log is copied into the database, here, with two more flushes.
    // Small objects are kept in the ledger: with SQLite's 1,000 every 200th write of 16 KiB paid
    // that, with this 1,600th.
    conn.pragma_update(None, "wal_autocheckpoint", 8_000)?;
    // A burst may grow the log; it is cut back to this many bytes at the next checkpoint.
    conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    keep_plans(&conn)?;
    Ok(conn)
}

/// Keeps prepared statements, and their plans: else SQLite prepares a statement anew at each
/// binding of a value that a partial index could depend on, which took a third of the writer's
/// time. Plans then never depend on values: what a partial index needs is spelt in the statement.
pub(crate) fn keep_plans(conn: &Connection) -> Result<(), LedgerError> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes the next commits wait for the disk, or not. Not within a transaction.
fn wait_for_disk(conn: &Connection, promise: Promise) -> Result<(), LedgerError> {
    let level = match promise {
        Promise::Durable => durable(),
        Promise::Ordered => "NORMAL",
    };
    Ok(conn.pragma_update(None, "synchronous", level)?)
}

/// The level at which a commit is on disk.
#[cfg(not(feature = "crash-points"))]
fn durable() -> &'static str {
    "FULL"
}

/// The level at which a commit is on disk, or NORMAL where a test must see that data is lost by it.
#[cfg(feature = "crash-points")]
fn durable() -> &'static str {
    if std::env::var("BACKLOT_TEST_SYNCHRONOUS").is_ok_and(|level| level == "NORMAL") {
        return "NORMAL";
    }
    "FULL"
}

fn run(conn: &Connection, mut queue: mpsc::Receiver<Job>, shared: &Shared) {
    let mut waits = Promise::Durable;
    let mut left = None;
    while let Some(first) = left.take().or_else(|| queue.blocking_recv()) {
        let router = shared.router.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut group = Group { conn, router, pending: Pending::default(), replies: Vec::new() };
        let promise = first.promise;
        let begun = if promise == waits { Ok(()) } else { wait_for_disk(conn, promise) };
        let begun = begun.and_then(|()| run_cached(conn, "BEGIN IMMEDIATE"));
        let committed = match begun {
            Ok(()) => {
                waits = promise;
                let filled = group.fill(first, &mut queue, shared);
                filled.and_then(|next| {
                    left = next;
                    crash::point("ledger.before-commit");
                    run_cached(conn, "COMMIT")?;
                    crash::point("ledger.after-commit");
                    Ok(())
                })
            }
            Err(err) => {
                // The caller is told by the drop of its reply.
                drop(first);
                Err(err)
            }
        };
        match committed {
            Ok(()) => group.committed(shared),
            Err(err) => group.failed(&err),
        }
    }
}

fn run_cached(conn: &Connection, sql: &str) -> Result<(), LedgerError> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// The operations of one transaction.
struct Group<'a> {
    conn: &'a Connection,
    router: Option<Arc<dyn Router>>,
    pending: Pending,
    replies: Vec<Done>,
}

impl Group<'_> {
    /// Runs operations until none waits or the group is full; one that needs the disk where the
    /// group does not is left for the next.
    fn fill(
        &mut self,
        first: Job,
        queue: &mut mpsc::Receiver<Job>,
        shared: &Shared,
    ) -> Result<Option<Job>, LedgerError> {
        let started = Instant::now();
        let promise = first.promise;
        let mut next = Some(first);
        while let Some(job) = next {
            if promise == Promise::Ordered && job.promise == Promise::Durable {
                return Ok(Some(job));
            }
            self.run_one(job, shared)?;
            let full = GROUP_MAX <= self.replies.len() || GROUP_TIME_MAX <= started.elapsed();
            next = if full { None } else { queue.try_recv().ok() };
        }
        Ok(None)
    }

    /// Runs one operation in its savepoint. An error means that the whole group is lost.
    fn run_one(&mut self, job: Job, shared: &Shared) -> Result<(), LedgerError> {
        run_cached(self.conn, "SAVEPOINT operation")?;
        let mark = self.pending.mark();
        let now_ms = (shared.clock)().as_millisecond();
        let backlog_max = *shared.backlog_max.read().unwrap_or_else(PoisonError::into_inner);
        let router = self.router.as_deref();
        let mut tx = Tx::new(self.conn, now_ms, router, &mut self.pending, backlog_max);
        let done = panic::catch_unwind(AssertUnwindSafe(|| (job.run)(&mut tx)));
        // A full disk or an I/O error makes SQLite roll back everything, not only the savepoint.
        if self.conn.is_autocommit() {
            self.replies.extend(done);
            return Err(LedgerError::Commit("the database rolled the group back".to_owned()));
        }
        let keep = done.as_ref().is_ok_and(|done| done.keep);
        if !keep {
            run_cached(self.conn, "ROLLBACK TO operation")?;
            self.pending.rewind(mark);
        }
        run_cached(self.conn, "RELEASE operation")?;
        match done {
            Ok(done) => self.replies.push(done),
            // The panic hook has told where; the caller learns it by the drop of its reply.
            Err(_) => tracing::error!("a ledger operation panicked and was rolled back"),
        }
        Ok(())
    }

    fn committed(self, shared: &Shared) {
        let kept = self.replies.iter().filter(|done| done.keep).count();
        shared.operations.fetch_add(kept as u64, Ordering::Relaxed);
        shared.commits.fetch_add(1, Ordering::Relaxed);
        for change in self.pending.changes {
            // No receiver is no fault.
            drop(shared.changes.send(change));
        }
        for effect in self.pending.effects {
            if panic::catch_unwind(AssertUnwindSafe(effect)).is_err() {
                tracing::error!("work after a ledger commit panicked");
            }
        }
        for done in self.replies {
            (done.reply)(Ok(()));
        }
    }

    fn failed(self, err: &LedgerError) {
        tracing::error!(%err, operations = self.replies.len(), "ledger commit failed");
        if !self.conn.is_autocommit()
            && let Err(err) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%err, "ledger rollback failed");
        }
        for done in self.replies {
            let err = match err {
                LedgerError::DiskFull => LedgerError::DiskFull,
                other => LedgerError::Commit(other.to_string()),
            };
            (done.reply)(Err(err));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as sync_mpsc;

    use crate::{Ledger, LedgerError};

    fn count(ledger: &Ledger) -> i64 {
        ledger
            .read_blocking::<_, LedgerError>(|conn| {
                Ok(conn.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?)
            })
            .unwrap()
    }

    fn event() -> crate::Event {
        crate::Event::json("/tests", "job", None, Vec::new())
    }

    #[tokio::test]
    async fn operations_that_wait_share_a_commit() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let (release, held) = sync_mpsc::channel::<()>();
        let holder = ledger.clone();
        let hold = tokio::spawn(async move {
            holder
                .write::<_, LedgerError, _>(move |_| {
                    held.recv().map_err(|_| LedgerError::Abandoned)
                })
                .await
        });
        let before = ledger.stats();
        let producers: Vec<_> = (0..64)
            .map(|_| {
                let ledger = ledger.clone();
                tokio::spawn(async move { ledger.publish(event()).await })
            })
            .collect();
        // The holder and all producers have queued once this one, on the same thread, runs again.
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        hold.await.unwrap().unwrap();
        for producer in producers {
            producer.await.unwrap().unwrap();
        }
        let after = ledger.stats();
        assert_eq!(after.operations - before.operations, 65);
        let commits = after.commits - before.commits;
        assert!(commits <= 65 / 4, "{commits} commits for 65 operations");
        assert_eq!(count(&ledger), 64);
    }

    #[tokio::test]
    async fn a_panic_or_an_error_undoes_its_own_operation_only() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let mut changes = ledger.changes();
        let (ran, effects) = sync_mpsc::channel();
        let refused = ran.clone();
        let (good, bad, panicked) = tokio::join!(
            ledger.publish(event()),
            ledger.write::<(), LedgerError, _>(move |tx| {
                tx.emit(event())?;
                tx.change(crate::Change::Queued(crate::Lane::Roots));
                tx.after_commit(move || refused.send("refused").unwrap());
                Err(LedgerError::Invalid("no".to_owned()))
            }),
            ledger.write::<(), LedgerError, _>(|tx| {
                tx.emit(event())?;
                panic!("an operation's bug");
            }),
        );
        good.unwrap();
        assert!(matches!(bad, Err(LedgerError::Invalid(_))));
        assert!(matches!(panicked, Err(LedgerError::Abandoned)));
        ledger
            .write::<_, LedgerError, _>(move |tx| {
                tx.after_commit(move || ran.send("kept").unwrap());
                tx.emit(event())
            })
            .await
            .unwrap();
        assert_eq!(count(&ledger), 2);
        assert!(changes.try_recv().is_err(), "what was undone is not told");
        assert_eq!(effects.try_iter().collect::<Vec<_>>(), ["kept"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_busy() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let (release, held) = sync_mpsc::channel::<()>();
        let holder = ledger.clone();
        let hold = tokio::spawn(async move {
            holder
                .write::<_, LedgerError, _>(move |_| {
                    held.recv().map_err(|_| LedgerError::Abandoned)
                })
                .await
        });
        tokio::task::yield_now().await;
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..super::QUEUE_MAX + 64 {
            let ledger = ledger.clone();
            waiting.spawn(async move { ledger.publish(event()).await.is_ok() });
        }
        // Paused time passes by itself once all that runs here waits.
        tokio::time::sleep(super::QUEUE_WAIT_MAX * 2).await;
        release.send(()).unwrap();
        hold.await.unwrap().unwrap();
        let done = waiting.join_all().await.into_iter().filter(|done| *done).count();
        // The writer may have taken the holder out of the queue, or not yet.
        assert!((super::QUEUE_MAX - 1..=super::QUEUE_MAX).contains(&done), "{done}");
        assert_eq!(count(&ledger) as usize, done);
    }
}
