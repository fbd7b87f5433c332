//! An event enters, and with it the invocations that it causes.

use rusqlite::params;

use crate::error::at_most;
use crate::event::EVENT_BYTES_MAX;
use crate::tx::Tx;
use crate::{
    Change, Concurrency, ConcurrencyPolicy, Event, EventId, InvocationId, Lane, LedgerError, Route,
    rows,
};

/// Functions that one event may start. More is a mistake in the router, not a wish.
pub const ROUTES_MAX: usize = 1024;

impl Tx<'_> {
    /// Inserts the event and queues an invocation for each route, in this transaction. An event
    /// whose id is there already is not routed again.
    pub(crate) fn emit(&mut self, event: Event) -> Result<EventId, LedgerError> {
        if let Some(event_seq) = self.insert_event(&event)? {
            let routes = self.router.map_or_else(Vec::new, |router| router.route(&event));
            at_most("routes of one event", routes.len(), ROUTES_MAX)?;
            if !routes.is_empty() {
                self.execute(
                    "UPDATE events SET invocations = ?2 WHERE seq = ?1",
                    (event_seq, routes.len() as i64),
                )?;
            }
            for route in &routes {
                self.enqueue_root(event_seq, route)?;
            }
        }
        Ok(event.id)
    }

    /// The row number of a new event; None when its id is known.
    pub(super) fn insert_event(&self, event: &Event) -> Result<Option<i64>, LedgerError> {
        at_most("event bytes", event.bytes(), EVENT_BYTES_MAX)?;
        self.first(
            "INSERT INTO events (id, source, kind, subject, time_ms, content_type, accepted_ms, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING RETURNING seq",
            params![
                event.id.as_str(),
                event.source,
                event.kind,
                event.subject,
                event.time.as_millisecond(),
                event.content_type,
                self.now_ms(),
                event.data,
            ],
            |row| row.get(0),
        )
    }

    fn enqueue_root(&mut self, event_seq: i64, route: &Route) -> Result<(), LedgerError> {
        let blocked_by = match &route.concurrency {
            None => None,
            Some(concurrency) => self.make_way(&route.function, concurrency)?,
        };
        self.execute(
            "INSERT INTO invocations
             (id, function, event_seq, concurrency_key, policy, blocked_by, lane, rank, state,
              accepted_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 1, 0, ?7)",
            params![
                InvocationId::new().as_str(),
                route.function,
                event_seq,
                route.concurrency.as_ref().map(|concurrency| &concurrency.key),
                route.concurrency.as_ref().map(|concurrency| rows::policy(concurrency.policy)),
                blocked_by,
                self.now_ms(),
            ],
        )?;
        if blocked_by.is_none() {
            self.change(Change::Queued(Lane::Roots));
        }
        Ok(())
    }

    /// Settles how a new invocation stands to the older ones with its function and key: they are
    /// cancelled, or it waits for the answered one.
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
                for seq in older {
                    self.cancel_tree(seq, "superseded by a newer event")?;
                }
                Ok(None)
            }
        }
    }
}
