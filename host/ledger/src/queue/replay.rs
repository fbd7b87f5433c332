//! Ended invocations, run again or forgotten.

use rusqlite::params;

use super::route::Start;
use crate::error::at_most;
use crate::tx::Tx;
use crate::{
    Change, Concurrency, ConcurrencyPolicy, Event, InvocationId, Lane, LedgerError, Replay, State,
    rows,
};

/// Invocations of one tree that are run again in one operation.
const TREE_MAX: usize = 20_000;

/// An ended root.
struct Root {
    seq: i64,
    function: String,
    event_seq: i64,
    depth: u32,
    concurrency: Option<Concurrency>,
    bytes: i64,
}

impl Tx<'_> {
    /// Runs an ended invocation again.
    pub(super) fn replay(
        &mut self,
        id: &InvocationId,
        replay: &Replay,
    ) -> Result<InvocationId, LedgerError> {
        let root = self.ended_root(id)?;
        if replay.fresh {
            let start = Start {
                function: &root.function,
                event_seq: root.event_seq,
                concurrency: root.concurrency.as_ref(),
                delay_ms: 0,
                depth: root.depth,
                bytes: root.bytes,
                version: replay.version.as_deref(),
            };
            self.execute(
                "UPDATE events SET invocations = invocations + 1 WHERE seq = ?1",
                [root.event_seq],
            )?;
            return self.start(&start);
        }
        self.resume(&root, id, replay.version.as_deref())?;
        Ok(id.clone())
    }

    /// Goes on with what was done, from the start of the handler. Children that did not succeed go
    /// on too: the handler asks for them by the same keys.
    fn resume(
        &mut self,
        root: &Root,
        id: &InvocationId,
        version: Option<&str>,
    ) -> Result<(), LedgerError> {
        let mut blocked_by = None;
        if let Some(Concurrency { key, policy }) = &root.concurrency {
            let other: Option<(i64, String)> = self.first(
                "SELECT seq, id FROM invocations
                 WHERE function = ?1 AND concurrency_key = ?2 AND state < 3
                 ORDER BY seq DESC LIMIT 1",
                (&root.function, key),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            match (policy, other) {
                (ConcurrencyPolicy::NewestWins, Some((_, other))) => {
                    return Err(LedgerError::Invalid(format!(
                        "a newer invocation of {} for the same key has not ended: {other}",
                        root.function
                    )));
                }
                (_, other) => blocked_by = other.map(|(seq, _)| seq),
            }
        }
        let below = self
            .sql(
                "SELECT i.seq, e.bytes FROM invocations AS i JOIN events AS e ON e.seq = i.event_seq
                 WHERE i.root_seq = ?1 AND i.state IN (4, 5) LIMIT ?2",
            )?
            .query_map((root.seq, TREE_MAX as i64 + 1), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(i64, i64)>, _>>()?;
        at_most("invocations of a tree", below.len(), TREE_MAX)?;
        // A version is one of the root's function; children may be of another.
        for (seq, bytes) in std::iter::once((root.seq, root.bytes)).chain(below) {
            self.execute(
                "UPDATE invocations
                 SET state = 0, token = token + 1, failures = 0, lost = 0, due_ms = NULL,
                     ended_ms = NULL, reason = NULL, result = NULL, waiting = 0, awaited = 0,
                     version = CASE WHEN function = ?3 THEN ?2 END
                 WHERE seq = ?1",
                (seq, version, &root.function),
            )?;
            self.add_to_backlog(bytes)?;
        }
        // Delays and retries count from now.
        self.execute(
            "UPDATE invocations SET rank = 1, blocked_by = ?2, resumed_ms = ?3 WHERE seq = ?1",
            params![root.seq, blocked_by, self.now_ms()],
        )?;
        tracing::debug!(invocation = %id, "runs again");
        self.change(Change::Queued(Lane::Roots));
        self.change(Change::Queued(Lane::Children));
        Ok(())
    }

    /// Forgets an ended invocation and all below it.
    pub(super) fn forget(&mut self, id: &InvocationId) -> Result<(), LedgerError> {
        let root = self.ended_root(id)?;
        let tree = self
            .sql("SELECT seq, event_seq FROM invocations WHERE seq = ?1 OR root_seq = ?1 LIMIT ?2")?
            .query_map((root.seq, TREE_MAX as i64 + 1), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(i64, i64)>, _>>()?;
        at_most("invocations of a tree", tree.len(), TREE_MAX)?;
        for (seq, event_seq) in tree {
            self.delete_invocation(seq, event_seq)?;
        }
        Ok(())
    }

    fn ended_root(&self, id: &InvocationId) -> Result<Root, LedgerError> {
        let found = self.first(
            "SELECT i.seq, i.function, i.event_seq, i.depth, i.concurrency_key, i.policy, e.bytes,
                    i.state, i.parent_seq IS NULL
             FROM invocations AS i JOIN events AS e ON e.seq = i.event_seq WHERE i.id = ?1",
            [id.as_str()],
            |row| {
                let concurrency: (Option<String>, Option<i64>) = (row.get(4)?, row.get(5)?);
                let root = Root {
                    seq: row.get(0)?,
                    function: row.get(1)?,
                    event_seq: row.get(2)?,
                    depth: row.get(3)?,
                    concurrency: None,
                    bytes: row.get(6)?,
                };
                Ok((root, concurrency, row.get::<_, i64>(7)?, row.get::<_, bool>(8)?))
            },
        )?;
        let (root, concurrency, state, is_root) =
            found.ok_or_else(|| LedgerError::UnknownInvocation(id.clone()))?;
        if !is_root {
            let reason = format!("{id} is a child: only the root of its tree runs again");
            return Err(LedgerError::Invalid(reason));
        }
        let state: State = rows::read_state(state)?;
        if !state.ended() {
            return Err(LedgerError::Invalid(format!("{id} has not ended: cancel it first")));
        }
        let concurrency = match concurrency {
            (Some(key), Some(policy)) => {
                Some(Concurrency { key, policy: rows::read_policy(policy)? })
            }
            _ => None,
        };
        Ok(Root { concurrency, ..root })
    }

    /// An event for one function, whatever its triggers say.
    pub(super) fn invoke(
        &mut self,
        function: &str,
        event: &Event,
        version: Option<&str>,
    ) -> Result<InvocationId, LedgerError> {
        let event_seq = self.insert_event(event, 1)?.ok_or_else(|| {
            LedgerError::Invalid(format!("an event with the id {} is there already", event.id))
        })?;
        let start = Start {
            function,
            event_seq,
            concurrency: None,
            delay_ms: 0,
            depth: self.depth(),
            bytes: event.bytes() as i64,
            version,
        };
        self.start(&start)
    }
}
