//! `backlot:function/context` and `/children` for a guest that answers an HTTP request.
//!
//! There is no invocation behind it: nothing would be run again, so nothing is remembered, slept
//! through or waited for. It may look at itself and publish events, which start invocations.

use std::sync::Arc;

use backlot_bindings::backlot::function::context::{Error, Invocation, NewEvent};
use backlot_ledger::Ledger;
use jiff::Timestamp;
use uuid::Uuid;

use super::profile::Profile;
use crate::context::{Refusal, answer, check_event, epoch_ms, new_event};

/// What the host knows of the request that a guest answers.
pub(crate) struct RequestCtx {
    profile: Arc<Profile>,
    ledger: Ledger,
    accepted_at: Timestamp,
    /// Made when the guest first asks for it.
    id: Option<Uuid>,
}

impl RequestCtx {
    pub(crate) fn new(profile: Arc<Profile>, ledger: Ledger) -> Self {
        Self { profile, ledger, accepted_at: Timestamp::now(), id: None }
    }

    /// The instance answers another request.
    pub(crate) fn start_request(&mut self) {
        self.accepted_at = Timestamp::now();
        self.id = None;
    }

    pub(crate) fn current(&mut self) -> Invocation {
        let id = *self.id.get_or_insert_with(Uuid::now_v7);
        let timeout_ms = self.profile.settings.timeout_secs.saturating_mul(1_000);
        let accepted_at_ms = epoch_ms(self.accepted_at);
        Invocation {
            id: format!("request-{id}"),
            function: self.profile.function.to_string(),
            attempt: 1,
            accepted_at_ms,
            deadline_ms: accepted_at_ms.saturating_add(timeout_ms),
        }
    }

    /// What cannot be done without an invocation.
    pub(crate) fn denied(&self, call: &str) -> Refusal {
        let text = format!("{call} needs a durable invocation, and this is an HTTP request");
        (self.profile.on_denied)(&text);
        Refusal::Denied(text)
    }

    /// On disk when it is answered; another event if the guest calls again.
    pub(crate) async fn publish(&self, event: NewEvent) -> wasmtime::Result<Result<(), Error>> {
        if !self.profile.publish {
            let text = "publish needs the grant `publish`".to_owned();
            (self.profile.on_denied)(&text);
            return Ok(Err(Error::Denied(text)));
        }
        if let Err(refusal) = check_event(&event) {
            return Ok(Err(refusal.into()));
        }
        let event = new_event(&self.profile.function, event);
        answer(self.ledger.publish(event).await.map(drop))
    }
}
