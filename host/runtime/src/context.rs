//! Host side of `backlot:function/context` and `backlot:function/children`.
//!
//! Nothing that a guest passes is trusted. What it may do is in its grants; what it did before, in
//! an earlier attempt, is in the ledger and answered from there.

use std::sync::Arc;
use std::time::Duration;

use backlot_bindings::backlot::function::context::{Invocation, NewEvent};
use backlot_bindings::backlot::function::{children, context};
use backlot_ledger::{
    CHILDREN_MAX, DELAY_MAX, Effects, Ending, Event, EventId, Fence, InvocationId, Ledger,
    LedgerError, crash,
};
use jiff::Timestamp;

use crate::functions::{Functions, Version};
use crate::http::RequestCtx;
use crate::interrupt::Interrupt;
use crate::logs::AttemptLog;
use crate::progress::{LiveProgress, STRANDS_MAX, strand};

/// Largest payload of a published event, in bytes.
pub(crate) const EVENT_DATA_MAX_BYTES: usize = 256 << 10;
/// Longest kind and longest subject of a published event, in bytes, each.
pub(crate) const EVENT_TEXT_MAX_BYTES: usize = 1_024;
/// Shorter sleeps are slept through: to park and come back costs two commits and whatever the
/// handler does before its sleep.
pub(crate) const AWAKE_MAX: Duration = Duration::from_millis(100);
/// Largest payload of a child, in bytes.
pub(crate) const CHILD_PAYLOAD_MAX_BYTES: usize = 256 << 10;

/// What the host knows of the invocation that a guest runs.
pub(crate) struct ContextCtx {
    pub(crate) ledger: Ledger,
    pub(crate) fence: Fence,
    pub(crate) functions: Arc<Functions>,
    pub(crate) version: Arc<Version>,
    pub(crate) progress: LiveProgress,
    pub(crate) log: AttemptLog,
    pub(crate) attempt: u32,
    pub(crate) accepted_at: Timestamp,
    pub(crate) deadline: Timestamp,
    /// What this attempt has done.
    pub(crate) effects: Effects,
}

/// On whose behalf a guest runs.
pub(crate) enum Caller {
    /// A durable invocation.
    Invocation(Box<ContextCtx>),
    /// An HTTP request.
    Request(RequestCtx),
}

impl Caller {
    /// The invocation that this call needs.
    fn invocation(&mut self, call: &str) -> Result<&mut ContextCtx, Refusal> {
        match self {
            Self::Invocation(ctx) => Ok(ctx),
            Self::Request(request) => Err(request.denied(call)),
        }
    }
}

/// What the generated traits are implemented for.
pub(crate) struct ContextView<'a> {
    pub(crate) caller: &'a mut Caller,
}

impl context::Host for ContextView<'_> {
    async fn current(&mut self) -> wasmtime::Result<Invocation> {
        let ctx = match self.caller {
            Caller::Invocation(ctx) => ctx,
            Caller::Request(request) => return Ok(request.current()),
        };
        Ok(Invocation {
            id: ctx.fence.invocation.to_string(),
            function: ctx.version.function().to_owned(),
            attempt: ctx.attempt,
            accepted_at_ms: epoch_ms(ctx.accepted_at),
            deadline_ms: epoch_ms(ctx.deadline),
        })
    }

    async fn recall(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        // Of a request nothing was ever remembered.
        let Caller::Invocation(ctx) = self.caller else { return Ok(None) };
        match ctx.ledger.recall(&ctx.fence, &name).await {
            Ok(value) => Ok(value),
            // A name that nothing can be remembered under.
            Err(LedgerError::OverLimit { .. } | LedgerError::Invalid(_)) => Ok(None),
            Err(err) => Err(Interrupt::from(err).into()),
        }
    }

    async fn remember(
        &mut self,
        name: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, context::Error>> {
        match self.caller.invocation("context.remember") {
            Ok(ctx) => answer(ctx.ledger.remember(&ctx.fence, &name, value).await),
            Err(refusal) => Ok(Err(refusal.into())),
        }
    }

    async fn publish(&mut self, event: NewEvent) -> wasmtime::Result<Result<(), context::Error>> {
        let ctx = match self.caller {
            Caller::Invocation(ctx) => ctx,
            Caller::Request(request) => return request.publish(event).await,
        };
        if !ctx.version.manifest.grants.publish {
            return Ok(Err(ctx.denied("publish", "the grant `publish`").into()));
        }
        if let Err(refusal) = check_event(&event) {
            return Ok(Err(refusal.into()));
        }
        let subject = event.subject.as_deref();
        let effect = ctx.effects.next(
            "backlot:function/context.publish",
            [event.kind.as_str(), subject.unwrap_or_default()].join(" "),
            &[
                event.kind.as_bytes(),
                &[u8::from(subject.is_some())],
                subject.unwrap_or_default().as_bytes(),
                &event.data,
            ],
        );
        let event = new_event(ctx.version.function(), event);
        let published = ctx.ledger.publish_once(&effect, event).await;
        if published.is_ok() {
            ctx.effects.done(&effect);
        }
        answer(published)
    }

    async fn sleep(&mut self, duration_ms: u64) -> wasmtime::Result<Result<(), context::Error>> {
        let ctx = match self.caller.invocation("context.sleep") {
            Ok(ctx) => ctx,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let duration = Duration::from_millis(duration_ms);
        if DELAY_MAX < duration {
            let limit = DELAY_MAX.as_millis();
            let text = format!("milliseconds of sleep: {duration_ms} is over the limit of {limit}");
            return Ok(Err(Refusal::OverLimit(text).into()));
        }
        let effect = ctx.effects.next(
            "backlot:function/context.sleep",
            format!("{duration_ms} ms"),
            &[&duration_ms.to_le_bytes()],
        );
        let until = match ctx.ledger.sleep(&effect, duration).await {
            Ok(until) => until,
            Err(err) => return answer(Err(err)),
        };
        ctx.effects.done(&effect);
        let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
        if AWAKE_MAX < left {
            return Err(Interrupt::Asleep(until).into());
        }
        tokio::time::sleep(left).await;
        Ok(Ok(()))
    }

    async fn report_progress(&mut self, strands: Vec<context::Progress>) -> wasmtime::Result<()> {
        // Nobody waits for the progress of a request.
        let Caller::Invocation(ctx) = self.caller else { return Ok(()) };
        let strands = strands
            .into_iter()
            .take(STRANDS_MAX)
            .map(|one| strand(one.name, one.done, one.total, one.unit))
            .collect();
        ctx.progress.report(&ctx.fence.invocation, strands);
        Ok(())
    }
}

impl children::Host for ContextView<'_> {
    async fn start(
        &mut self,
        function: String,
        key: String,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<String, children::Error>> {
        let ctx = match self.caller.invocation("children.start") {
            Ok(ctx) => ctx,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        if !ctx.version.manifest.grants.children.contains(&function) {
            let grant = format!("{function:?} in the grant `children`");
            return Ok(Err(ctx.denied("children.start", &grant).into()));
        }
        if ctx.functions.get(&function).is_none() {
            let text = format!("no function {function:?} is deployed");
            return Ok(Err(Refusal::Invalid(text).into()));
        }
        if CHILD_PAYLOAD_MAX_BYTES < payload.len() {
            let refusal = over("bytes of payload", payload.len(), CHILD_PAYLOAD_MAX_BYTES);
            return Ok(Err(refusal.into()));
        }
        let started = ctx.ledger.start_child(&ctx.fence, &function, &key, payload).await;
        crash::point("child.after-start");
        answer(started.map(String::from))
    }

    async fn wait(
        &mut self,
        ids: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<children::Outcome>, children::Error>> {
        let ctx = match self.caller.invocation("children.wait") {
            Ok(ctx) => ctx,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        if CHILDREN_MAX < ids.len() {
            return Ok(Err(over("children", ids.len(), CHILDREN_MAX).into()));
        }
        let parsed: Result<Vec<InvocationId>, LedgerError> =
            ids.iter().map(|id| id.parse()).collect();
        let children = match parsed {
            Ok(children) => children,
            Err(err) => return answer(Err(err)),
        };
        let endings = match ctx.ledger.children_outcomes(&ctx.fence, &children).await {
            Ok(endings) => endings,
            Err(err) => return answer(Err(err)),
        };
        let Some(endings) = endings.into_iter().collect::<Option<Vec<Ending>>>() else {
            // The ledger looks again in the commit that parks, so a child that ends meanwhile
            // makes the invocation ready at once.
            return Err(Interrupt::Parked(children).into());
        };
        let outcomes = ids.into_iter().zip(endings).map(|(id, ending)| children::Outcome {
            id,
            ending: match ending {
                Ending::Succeeded(value) => children::Ending::Succeeded(value),
                Ending::Failed(reason) => children::Ending::Failed(reason),
                Ending::Cancelled => children::Ending::Cancelled,
            },
        });
        Ok(Ok(outcomes.collect()))
    }

    async fn cancel(&mut self, id: String) -> wasmtime::Result<Result<(), children::Error>> {
        let ctx = match self.caller.invocation("children.cancel") {
            Ok(ctx) => ctx,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let id = match id.parse::<InvocationId>() {
            Ok(id) => id,
            Err(err) => return answer(Err(err)),
        };
        answer(ctx.ledger.cancel_child(&ctx.fence, &id).await)
    }
}

impl ContextCtx {
    fn denied(&self, call: &str, grant: &str) -> Refusal {
        let text = format!("{call} needs {grant}");
        self.log.denials(self.version.function(), &self.fence.invocation)(&text);
        Refusal::Denied(text)
    }
}

/// Why a call was not done, as both interfaces say it.
#[derive(Debug)]
pub(crate) enum Refusal {
    Denied(String),
    OverLimit(String),
    Invalid(String),
}

impl From<Refusal> for context::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(text) => Self::Denied(text),
            Refusal::OverLimit(text) => Self::OverLimit(text),
            Refusal::Invalid(text) => Self::Invalid(text),
        }
    }
}

impl From<Refusal> for children::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(text) => Self::Denied(text),
            Refusal::OverLimit(text) => Self::OverLimit(text),
            Refusal::Invalid(text) => Self::Invalid(text),
        }
    }
}

/// What the ledger said, to the guest where it can do something about it; else the attempt ends.
pub(crate) fn answer<T, E: From<Refusal>>(
    result: Result<T, LedgerError>,
) -> wasmtime::Result<Result<T, E>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(err @ LedgerError::OverLimit { .. }) => {
            Ok(Err(Refusal::OverLimit(err.to_string()).into()))
        }
        Err(err @ (LedgerError::Invalid(_) | LedgerError::UnknownInvocation(_))) => {
            Ok(Err(Refusal::Invalid(err.to_string()).into()))
        }
        Err(err) => Err(Interrupt::from(err).into()),
    }
}

/// The event, with what the host adds.
pub(crate) fn new_event(function: &str, event: NewEvent) -> Event {
    Event {
        id: EventId::new(),
        source: format!("/functions/{function}"),
        kind: event.kind,
        subject: event.subject,
        time: Timestamp::now(),
        content_type: Some("application/json".to_owned()),
        data: event.data,
    }
}

pub(crate) fn check_event(event: &NewEvent) -> Result<(), Refusal> {
    let NewEvent { kind, subject, data } = event;
    if kind.is_empty() || kind.starts_with("backlot.") {
        let text = format!("kind {kind:?}: empty, or one of the host's own (backlot.*)");
        return Err(Refusal::Invalid(text));
    }
    for (what, got, limit) in [
        ("bytes of kind", kind.len(), EVENT_TEXT_MAX_BYTES),
        ("bytes of subject", subject.as_ref().map_or(0, String::len), EVENT_TEXT_MAX_BYTES),
        ("bytes of data", data.len(), EVENT_DATA_MAX_BYTES),
    ] {
        if limit < got {
            return Err(over(what, got, limit));
        }
    }
    Ok(())
}

fn over(what: &str, got: usize, limit: usize) -> Refusal {
    Refusal::OverLimit(format!("{what}: {got} is over the limit of {limit}"))
}

pub(crate) fn epoch_ms(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}
