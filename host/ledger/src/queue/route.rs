//! An event enters, and with it the invocations that it causes.

use rusqlite::params;

use super::backlog::CHAIN_MAX;
use crate::error::at_most;
use crate::event::EVENT_BYTES_MAX;
use crate::tx::Tx;
use crate::{
    Change, Concurrency, ConcurrencyPolicy, Event, EventId, InvocationId, Lane, LedgerError, Route,
    rows,
};

/// Functions that one event may start. More is a mistake in the router, not a wish.
pub const ROUTES_MAX: usize = 1024;

/// A root invocation that begins.
pub(super) struct Start<'a> {
    pub(super) function: &'a str,
    pub(super) event_seq: i64,
    pub(super) concurrency: Option<&'a Concurrency>,
    /// Not before so long from now.
    pub(super) delay_ms: i64,
    pub(super) depth: u32,
    /// Bytes of the event.
    pub(super) bytes: i64,
    /// The version to run; none: whichever is live.
    pub(super) version: Option<&'a str>,
}

impl Tx<'_> {
    /// Inserts the event and queues an invocation for each route, in this transaction. An event
    /// whose id is there already is not routed again.
    pub(crate) fn emit(&mut self, event: Event) -> Result<EventId, LedgerError> {
        let routes = self.router.map_or_else(Vec::new, |router| router.route(&event));
        self.enqueue(&event, &routes)?;
        Ok(event.id)
    }

    /// As [`Tx::emit`], for an event that nobody misses when nobody wants it.
    pub(super) fn emit_if_wanted(&mut self, event: &Event) -> Result<(), LedgerError> {
        let routes = self.router.map_or_else(Vec::new, |router| router.route(event));
        if routes.is_empty() { Ok(()) } else { self.enqueue(event, &routes) }
    }

    fn enqueue(&mut self, event: &Event, routes: &[Route]) -> Result<(), LedgerError> {
        at_most("routes of one event", routes.len(), ROUTES_MAX)?;
        let Some(event_seq) = self.insert_event(event, routes.len())? else { return Ok(()) };
        for route in routes {
            let delay_ms = i64::try_from(route.delay.as_millis()).unwrap_or(i64::MAX);
            self.start(&Start {
                function: &route.function,
                event_seq,
                concurrency: route.concurrency.as_ref(),
                delay_ms,
                depth: self.depth(),
                bytes: event.bytes() as i64,
                version: None,
            })?;
        }
        Ok(())
    }

    /// The row number of a new event that so many invocations will be of; None when its id is
    /// known.
    pub(super) fn insert_event(
        &self,
        event: &Event,
        invocations: usize,
    ) -> Result<Option<i64>, LedgerError> {
        at_most("event bytes", event.bytes(), EVENT_BYTES_MAX)?;
        let inserted = self.execute(
            "INSERT INTO events
             (id, source, kind, subject, time_ms, content_type, accepted_ms, depth, invocations,
              bytes, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT DO NOTHING",
            params![
                event.id.as_str(),
                event.source,
                event.kind,
                event.subject,
                event.time.as_millisecond(),
                event.content_type,
                self.now_ms(),
                self.depth(),
                invocations as i64,
                event.bytes() as i64,
                event.data,
            ],
        )?;
        Ok((inserted == 1).then(|| self.conn().last_insert_rowid()))
    }

    /// Queues a root invocation. At the end of too long a chain of events it is a dead letter from
    /// the start: functions that start one another without end stop there.
    pub(super) fn start(&mut self, start: &Start<'_>) -> Result<InvocationId, LedgerError> {
        let id = InvocationId::new();
        let endless = CHAIN_MAX < start.depth;
        let blocked_by = match start.concurrency {
            Some(concurrency) if !endless => self.make_way(start.function, concurrency)?,
            _ => None,
        };
        let due_ms = (0 < start.delay_ms)
            .then(|| self.now_ms().saturating_add(start.delay_ms))
            .filter(|_| !endless);
        let reason = endless.then(|| {
            format!(
                "a chain of {} events, each published by a function that the one before started: \
                 the limit is {CHAIN_MAX}",
                start.depth
            )
        });
        self.execute(
            "INSERT INTO invocations
             (id, function, event_seq, concurrency_key, policy, blocked_by, due_ms, depth, version,
              state, reason, ended_ms, lane, rank, accepted_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, 1, ?13)",
            params![
                id.as_str(),
                start.function,
                start.event_seq,
                start.concurrency.map(|concurrency| &concurrency.key),
                start.concurrency.map(|concurrency| rows::policy(concurrency.policy)),
                blocked_by,
                due_ms,
                start.depth,
                start.version,
                rows::state(if endless { crate::State::Failed } else { crate::State::Queued }),
                reason,
                endless.then(|| self.now_ms()),
                self.now_ms(),
            ],
        )?;
        if endless {
            self.change(Change::Ended(id.clone()));
            return Ok(id);
        }
        self.add_to_backlog(start.bytes)?;
        if blocked_by.is_none() {
            self.change(Change::Queued(Lane::Roots));
        }
        Ok(id)
    }

    /// Settles how a new invocation stands to the older ones with its function and key: they are
    /// cancelled, or it waits for the answered one. The one that causes it is not cancelled in the
    /// middle of doing so, but waited for.
    fn make_way(
        &mut self,
        function: &str,
        concurrency: &Concurrency,
    ) -> Result<Option<i64>, LedgerError> {
        // Newest first: so nothing becomes ready only to be cancelled.
        let older = self
            .sql(
                "SELECT seq FROM invocations
                 WHERE function = ?1 AND concurrency_key = ?2 AND state < 3 ORDER BY seq DESC",
            )?
            .query_map((function, &concurrency.key), |row| row.get(0))?
            .collect::<Result<Vec<i64>, _>>()?;
        match concurrency.policy {
            ConcurrencyPolicy::InOrder => Ok(older.first().copied()),
            ConcurrencyPolicy::NewestWins => {
                let cause = self.cause().filter(|cause| older.contains(cause));
                for seq in older.into_iter().filter(|seq| Some(*seq) != cause) {
                    self.cancel_tree(seq, "superseded by a newer event")?;
                }
                Ok(cause)
            }
        }
    }
}
