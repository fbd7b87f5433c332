//! What must not be lost: events, the queue of invocations, what they did, and the index of
//! objects. One SQLite database in the data folder, one thread that writes it, group commit; no
//! SQL leaves this crate.
//!
//! - An answer means that it is on disk ([`writer`]).
//! - An event and what it causes are one commit (`Tx::emit`).
//! - An attempt that is over cannot write (`Tx::fenced`).

mod access;
pub mod backup;
mod check;
mod clock;
pub mod crash;
mod effect;
mod error;
mod event;
mod functions;
mod invocation;
pub mod objects;
mod queue;
mod readers;
mod rows;
mod schema;
mod tx;
mod writer;

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;

use rusqlite::Connection;
use tokio::sync::{broadcast, oneshot};

pub use access::*;
pub use check::{Checked, check};
pub use clock::{Clock, system_clock};
pub use effect::*;
pub use error::LedgerError;
pub use event::*;
pub use functions::*;
pub use invocation::*;
pub use queue::*;
pub use readers::READERS_MAX;
pub use writer::{GROUP_MAX, GROUP_TIME_MAX, QUEUE_MAX, QUEUE_WAIT_MAX, WriterStats};

use readers::Readers;
use tx::Tx;
use writer::{Job, Promise, Writer};

/// The ledger of one data folder. Clones are handles to the same one; the database is closed when
/// the last is dropped.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

/// Fields are dropped in this order: the writer ends before the folder is unlocked.
struct Inner {
    readers: Arc<Readers>,
    writer: Writer,
    _lock: File,
}

impl Ledger {
    /// Opens the ledger in a data folder; makes the folder and `backlot.db` where they are
    /// missing. Attempts that an earlier process left running are void and queued again.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] when another process has the folder, [`LedgerError::NewerFormat`]
    /// when a later version of the program wrote it.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_with(path, system_clock())
    }

    /// As [`Ledger::open`], with another clock.
    pub fn open_with(path: &Path, clock: Clock) -> Result<Self, LedgerError> {
        fs::create_dir_all(path)
            .map_err(|source| LedgerError::Io { path: path.to_owned(), source })?;
        let lock = lock(&path.join("backlot.lock"))?;
        let database = path.join("backlot.db");
        private_file(&database)?;
        let writer = Writer::start(&database, clock)?;
        let readers = Arc::new(Readers::new(&database));
        let ledger = Self { inner: Arc::new(Inner { readers, writer, _lock: lock }) };
        ledger.write_blocking(queue::void_leases)?;
        Ok(ledger)
    }

    /// From now on events go where this router says; until the first is set, nowhere.
    pub fn set_router(&self, router: Arc<dyn Router>) {
        self.inner.writer.set_router(router);
    }

    /// From now on what comes from outside is refused when so much waits ([`BACKLOG_MAX`] before).
    pub fn limit_backlog(&self, most: Backlog) {
        self.inner.writer.limit_backlog(most);
    }

    /// What becomes durable from now on. A receiver that falls far behind is told so (`Lagged`)
    /// and must look at the ledger anew.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.writer.changes()
    }

    /// How many operations went into how many commits since the ledger was opened.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        self.inner.writer.stats()
    }

    /// Runs an operation on the writer's thread and answers when it is on disk. A caller that is
    /// dropped does not undo it.
    pub(crate) async fn write<T, E, Op>(&self, op: Op) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        Op: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.submit(Promise::Durable, op).await
    }

    /// As [`Ledger::write`], but answers before it is on disk: for what nobody outside is told of.
    pub(crate) async fn write_ordered<T, E, Op>(&self, op: Op) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        Op: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.submit(Promise::Ordered, op).await
    }

    async fn submit<T, E, Op>(&self, promise: Promise, op: Op) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        Op: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        // A caller that no longer waits is no fault.
        let job = Job::new(promise, op, move |result| drop(reply.send(result)));
        self.inner.writer.submit(job).await?;
        answer.await.unwrap_or_else(|_| Err(E::from(LedgerError::Abandoned)))
    }

    /// As [`Ledger::write`], for start-up code that is not async. Blocks the thread.
    pub(crate) fn write_blocking<T, E, Op>(&self, op: Op) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        Op: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = sync_mpsc::sync_channel(1);
        let job = Job::new(Promise::Durable, op, move |result| drop(reply.send(result)));
        self.inner.writer.submit_now(job)?;
        answer.recv().unwrap_or_else(|_| Err(E::from(LedgerError::Abandoned)))
    }

    /// Runs a read on one of a few read-only connections, on a thread that may block. It sees
    /// everything that was answered before.
    pub(crate) async fn read<T, E, Read>(&self, read: Read) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        Read: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.inner.readers.read(read).await
    }

    /// As [`Ledger::read`], for start-up code that is not async. Blocks the thread.
    pub(crate) fn read_blocking<T, E>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<LedgerError>,
    {
        self.inner.readers.read_blocking(read)
    }
}

/// One process at a time: two would void each other's leases.
fn lock(path: &Path) -> Result<File, LedgerError> {
    let io = |source| LedgerError::Io { path: path.to_owned(), source };
    let file = private_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Opens or makes a file that only its owner may read: events may hold anything.
fn private_file(path: &Path) -> Result<File, LedgerError> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| LedgerError::Io { path: path.to_owned(), source })
}
