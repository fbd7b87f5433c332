//! Read-only connections, used on threads that may block.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;
use tokio::task;

use crate::LedgerError;
use crate::writer::keep_plans;

/// Reads at the same time. More would only wait for the same disk and cores.
pub const READERS_MAX: usize = 4;

/// The pool. Connections are opened when first needed and kept.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    slots: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            idle: Mutex::default(),
            slots: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }

    /// Runs `read` on a thread that may block. It sees everything committed before the call.
    pub(crate) async fn read<T, E, Read>(self: &Arc<Self>, read: Read) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        Read: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let slot = self.slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_| E::from(LedgerError::Abandoned))?;
        let readers = self.clone();
        let task = task::spawn_blocking(move || {
            // Here, not in the caller: a dropped caller does not stop the read.
            let _slot = slot;
            readers.read_blocking(read)
        });
        task.await.unwrap_or_else(|_| Err(E::from(LedgerError::Abandoned)))
    }

    /// As [`Readers::read`], on the calling thread and outside the pool's bound.
    pub(crate) fn read_blocking<T, E>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<LedgerError>,
    {
        let conn = self.take()?;
        // One transaction: several statements of one read see the same state.
        let begun = conn.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
        begun.map_err(LedgerError::from)?;
        let result = read(&conn);
        // A connection that cannot end its transaction is not used again.
        let ended = conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if ended.is_ok() {
            self.give_back(conn);
        }
        result
    }

    fn take(&self) -> Result<Connection, LedgerError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(conn) = idle {
            return Ok(conn);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        keep_plans(&conn)?;
        Ok(conn)
    }

    fn give_back(&self, conn: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_MAX {
            idle.push(conn);
        }
    }
}
