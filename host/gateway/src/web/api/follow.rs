//! `/api/v1/invocations/follow`: invocations as Server-Sent Events.
//!
//! The filters of the list. The first events are what the list would have, oldest first; later ones
//! what changed since: a new invocation, a start, a wait, an end. Event `invocation`: a row of the
//! list. Event `end`: `{"reason"}`, the last one. An invocation that changes twice within a moment
//! is told of once.

use std::collections::BTreeMap;
use std::sync::Arc;

use backlot_ledger::{Invocation, InvocationId, State};
use http::Response;

use super::query::Wanted;
use super::rows;
use super::watch::Watch;
use crate::web::Shared;
use crate::web::reply::{Body, Fault};
use crate::web::sse::{self, End};

/// Text that is gathered before it is sent, in bytes.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Invocations of which is known what was last said of them; of older ones a row may be repeated.
const TOLD_MAX: usize = 10_000;

struct Follower {
    shared: Arc<Shared>,
    wanted: Wanted,
    watch: Watch,
    /// State and attempt as last sent.
    told: BTreeMap<InvocationId, (State, u32)>,
    /// What is sent first.
    first: Option<String>,
}

pub(super) async fn stream(shared: &Arc<Shared>, query: &str) -> Result<Response<Body>, Fault> {
    let wanted = Wanted::parse(query)?;
    let place = sse::place(shared)?;
    let watch = Watch::new(shared, true).await?;
    let (known, _) = wanted.find(&shared.ledger).await?;
    let mut follower =
        Follower { shared: shared.clone(), wanted, watch, told: BTreeMap::new(), first: None };
    // Also where there is nothing yet: the reader knows that it is heard.
    let mut first = sse::NOTHING_NEW.to_owned();
    for invocation in known.iter().rev() {
        follower.tell(&mut first, invocation);
    }
    follower.first = Some(first);
    Ok(sse::answer(follower, place))
}

impl sse::Source for Follower {
    async fn next(&mut self) -> Result<String, End> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        self.watch.wait().await?;
        let mut text = String::new();
        while text.len() < TEXT_BYTES_MAX
            && let Some(invocation) = self.watch.next().await?
        {
            if self.wanted.has(&invocation) {
                self.tell(&mut text, &invocation);
            }
        }
        if text.is_empty() {
            text.push_str(sse::NOTHING_NEW);
        }
        Ok(text)
    }
}

impl Follower {
    fn tell(&mut self, text: &mut String, invocation: &Invocation) {
        let now = (invocation.state, invocation.attempt);
        if self.told.insert(invocation.id.clone(), now) == Some(now) {
            return;
        }
        if TOLD_MAX < self.told.len() {
            self.told.pop_first();
        }
        let row = rows::invocation(&self.shared, invocation);
        sse::push(text, "invocation", &row.to_string());
    }
}
