//! `/api/v1/logs`: what attempts wrote, as Server-Sent Events, when they end.
//!
//! Query: `function`, `invocation` (an id). Event `line`: `{"invocation", "function", "attempt",
//! "time", "source", "text"}`. Event `end`: `{"reason"}`, the last one. What was written before is
//! in `invocations/ID`.

use std::collections::BTreeMap;
use std::sync::Arc;

use backlot_ledger::{Invocation, InvocationId};
use http::Response;
use jiff::Timestamp;

use super::query::{self, Wanted};
use super::rows;
use super::watch::Watch;
use crate::web::Shared;
use crate::web::reply::{Body, Fault};
use crate::web::sse::{self, End};

/// Text that is gathered before it is sent, in bytes; an attempt's lines are sent together.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Invocations of which is known which attempts were shown; of older ones one may be repeated.
const SHOWN_MAX: usize = 10_000;

struct Reader {
    shared: Arc<Shared>,
    wanted: Wanted,
    watch: Watch,
    /// What ended before is not shown; to the millisecond, like the ledger's times.
    since: Timestamp,
    /// The last attempt that was shown.
    shown: BTreeMap<InvocationId, u32>,
    started: bool,
}

pub(super) async fn stream(shared: &Arc<Shared>, query: &str) -> Result<Response<Body>, Fault> {
    let mut wanted = Wanted::default();
    for (name, value) in query::pairs(query)? {
        match name.as_str() {
            "function" => wanted.function = Some(value),
            "invocation" => wanted.invocation = Some(query::id(&value)?),
            _ => return Err(query::unknown(&name, "function, invocation")),
        }
    }
    let place = sse::place(shared)?;
    let now_ms = Timestamp::now().as_millisecond();
    let reader = Reader {
        shared: shared.clone(),
        wanted,
        watch: Watch::new(shared, false).await?,
        since: Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::MIN),
        shown: BTreeMap::new(),
        started: false,
    };
    Ok(sse::answer(reader, place))
}

impl sse::Source for Reader {
    async fn next(&mut self) -> Result<String, End> {
        if !std::mem::replace(&mut self.started, true) {
            // The reader knows that it is heard.
            return Ok(sse::NOTHING_NEW.to_owned());
        }
        self.watch.wait().await?;
        let mut text = String::new();
        while text.len() < TEXT_BYTES_MAX
            && let Some(invocation) = self.watch.next().await?
        {
            if self.wanted.has(&invocation) {
                self.show(&mut text, &invocation).await?;
            }
        }
        if text.is_empty() {
            text.push_str(sse::NOTHING_NEW);
        }
        Ok(text)
    }
}

impl Reader {
    /// The lines of the attempts that have ended since the last look.
    async fn show(&mut self, text: &mut String, invocation: &Invocation) -> Result<(), End> {
        let ledger = &self.shared.ledger;
        let attempts = ledger.attempts(&invocation.id).await.map_err(|_| sse::FAILED)?;
        let shown = self.shown.get(&invocation.id).copied().unwrap_or(0);
        let ended: Vec<(u32, Timestamp)> = attempts
            .iter()
            .filter(|attempt| shown < attempt.number)
            .filter(|attempt| attempt.ended_at.is_some_and(|ended_at| self.since <= ended_at))
            .map(|attempt| (attempt.number, attempt.started_at))
            .collect();
        let (Some((_, start)), Some((last, _))) = (ended.first(), ended.last()) else {
            return Ok(());
        };
        let lines = ledger.logs(&invocation.id).await.map_err(|_| sse::FAILED)?;
        for line in lines.iter().filter(|line| *start <= line.time) {
            // Lines of attempts that follow one another are in order of time.
            let attempt = ended.iter().rev().find(|(_, started_at)| *started_at <= line.time);
            let mut row = rows::line(line);
            if let Some(row) = row.as_object_mut() {
                row.insert("invocation".to_owned(), invocation.id.as_str().into());
                row.insert("function".to_owned(), invocation.function.as_str().into());
                row.insert("attempt".to_owned(), attempt.map(|(number, _)| *number).into());
            }
            sse::push(text, "line", &row.to_string());
        }
        self.shown.insert(invocation.id.clone(), *last);
        if SHOWN_MAX < self.shown.len() {
            self.shown.pop_first();
        }
        Ok(())
    }
}
