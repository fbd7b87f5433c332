//! What an operation sees: the open transaction, the time, and what to do after the commit.

use std::cell::Cell;

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

use crate::clock::timestamp;
use crate::{Backlog, Change, Fence, LedgerError, Router, State, rows};

/// Work for the time after the commit.
pub(crate) type AfterCommit = Box<dyn FnOnce() + Send>;

/// What the group's operations leave for the time after the commit.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) changes: Vec<Change>,
    pub(crate) effects: Vec<AfterCommit>,
}

impl Pending {
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.changes.len(), self.effects.len())
    }

    /// Forgets what an operation left that was rolled back.
    pub(crate) fn rewind(&mut self, (changes, effects): (usize, usize)) {
        self.changes.truncate(changes);
        self.effects.truncate(effects);
    }
}

/// One operation's view of the transaction. What it did is kept when it answers `Ok`, and rolled
/// back when it answers `Err` or panics.
pub(crate) struct Tx<'a> {
    conn: &'a Connection,
    now_ms: i64,
    pub(crate) router: Option<&'a dyn Router>,
    pending: &'a mut Pending,
    /// What may wait.
    pub(crate) backlog_max: Backlog,
    /// How many invocations are above what this operation causes: see [`crate::CHAIN_MAX`].
    depth: Cell<u32>,
    /// The root of the invocation that causes this operation.
    cause: Cell<Option<i64>>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(
        conn: &'a Connection,
        now_ms: i64,
        router: Option<&'a dyn Router>,
        pending: &'a mut Pending,
        backlog_max: Backlog,
    ) -> Self {
        Self {
            conn,
            now_ms,
            router,
            pending,
            backlog_max,
            depth: Cell::new(0),
            cause: Cell::new(None),
        }
    }

    /// The connection, inside the transaction. Never begin, commit or roll back here.
    pub(crate) fn conn(&self) -> &'a Connection {
        self.conn
    }

    /// The operation's time, in milliseconds since the Unix epoch: one for the whole operation.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The operation's time.
    pub(crate) fn now(&self) -> Timestamp {
        timestamp(self.now_ms)
    }

    /// Tells everybody after the commit.
    pub(crate) fn change(&mut self, change: Change) {
        self.pending.changes.push(change);
    }

    /// Runs on the writer's thread after the commit and before the caller is answered: keep it
    /// short (hand longer work to another thread). Not run when the operation is rolled back;
    /// lost at a crash, so only for what is swept up at the next start anyway.
    #[cfg_attr(not(test), allow(dead_code, reason = "a seam for what follows a commit"))]
    pub(crate) fn after_commit(&mut self, effect: impl FnOnce() + Send + 'static) {
        self.pending.effects.push(Box::new(effect));
    }

    /// Refuses an attempt that is over. To be called by everything that a guest can cause; answers
    /// the invocation's row number for what follows.
    pub(crate) fn fenced(&self, fence: &Fence) -> Result<i64, LedgerError> {
        let Fenced { seq, depth, root_seq } = check_fence(self.conn, fence)?;
        self.depth.set(depth.saturating_add(1));
        self.cause.set(Some(root_seq));
        Ok(seq)
    }

    /// The row number of the root of the invocation that causes this operation; None: what is
    /// outside does.
    pub(crate) fn cause(&self) -> Option<i64> {
        self.cause.get()
    }

    /// How deep the events are that this operation causes: 0 for what comes from outside.
    pub(crate) fn depth(&self) -> u32 {
        self.depth.get()
    }

    /// What follows is caused by an invocation at this depth.
    pub(crate) fn caused_at(&self, depth: u32) {
        self.depth.set(depth.saturating_add(1));
    }

    /// A prepared statement, kept for the next time.
    pub(crate) fn sql(&self, sql: &str) -> Result<CachedStatement<'a>, LedgerError> {
        Ok(self.conn.prepare_cached(sql)?)
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, LedgerError> {
        Ok(self.sql(sql)?.execute(params)?)
    }

    /// The first row, if there is one.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, LedgerError> {
        Ok(self.sql(sql)?.query_row(params, read).optional()?)
    }
}

/// An invocation whose attempt runs.
pub(crate) struct Fenced {
    /// Its row number.
    pub(crate) seq: i64,
    /// How long the chain of events is that led to it.
    pub(crate) depth: u32,
    /// The row number of its root; its own if it is one.
    pub(crate) root_seq: i64,
}

/// The invocation when the fence holds, on any connection.
pub(crate) fn check_fence(conn: &Connection, fence: &Fence) -> Result<Fenced, LedgerError> {
    let sql = "SELECT seq, depth, coalesce(root_seq, seq) FROM invocations
         WHERE id = ?1 AND token = ?2 AND state = ?3";
    conn.prepare_cached(sql)?
        .query_row(
            (fence.invocation.as_str(), fence.token.cast_signed(), rows::state(State::Running)),
            |row| Ok(Fenced { seq: row.get(0)?, depth: row.get(1)?, root_seq: row.get(2)? }),
        )
        .optional()?
        .ok_or_else(|| LedgerError::Fenced(fence.invocation.clone()))
}
