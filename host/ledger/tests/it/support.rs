//! A ledger in a temporary folder, with a clock that the test turns.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use backlot_ledger::{
    AttemptEnd, Change, Clock, Concurrency, ConcurrencyPolicy, Cost, Event, Fence, Invocation,
    InvocationFilter, InvocationId, Lane, Leased, Ledger, Outcome, RetryPolicy, Route, Router,
};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const POLICY: RetryPolicy = RetryPolicy {
    attempts: 3,
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
    age_max: None,
};

/// Kind `x` goes to function `x`; the subject is the concurrency key where the kind's first word
/// names a policy. `fan` goes to two functions, `nowhere` to none.
struct ByKind;

impl Router for ByKind {
    fn route(&self, event: &Event) -> Vec<Route> {
        let policy = match event.kind.as_str() {
            "nowhere" => return Vec::new(),
            "newest" => Some(ConcurrencyPolicy::NewestWins),
            "in-order" => Some(ConcurrencyPolicy::InOrder),
            _ => None,
        };
        let concurrency = policy
            .map(|policy| Concurrency { key: event.subject.clone().unwrap_or_default(), policy });
        let route = |function: &str| Route {
            function: function.to_owned(),
            concurrency: concurrency.clone(),
            delay: Duration::ZERO,
        };
        match event.kind.as_str() {
            "fan" => vec![route("left"), route("right")],
            kind => vec![route(kind)],
        }
    }
}

pub(crate) struct Bed {
    pub(crate) ledger: Ledger,
    pub(crate) dir: TempDir,
    now_ms: Arc<AtomicI64>,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now_ms = Arc::new(AtomicI64::new(1_750_000_000_000));
        let ledger = open(dir.path(), clock(&now_ms));
        Self { ledger, dir, now_ms }
    }

    /// As after a crash: nothing is said to the ledger, then another process opens it.
    pub(crate) fn reopen(self) -> Self {
        let Self { ledger, dir, now_ms } = self;
        drop(ledger);
        let ledger = open(dir.path(), clock(&now_ms));
        Self { ledger, dir, now_ms }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms.load(Ordering::Relaxed)).unwrap()
    }

    pub(crate) fn pass(&self, duration: Duration) {
        let ms = i64::try_from(duration.as_millis()).unwrap();
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) async fn publish(&self, kind: &str, subject: &str) -> Event {
        let event = event(kind, subject);
        self.ledger.publish(event.clone()).await.unwrap();
        event
    }

    pub(crate) async fn lease(&self, lane: Lane, limit: usize) -> Vec<Leased> {
        self.ledger.lease(lane, limit, LEASE).await.unwrap()
    }

    /// The one invocation that is ready in the lane.
    pub(crate) async fn only(&self, lane: Lane) -> Leased {
        let mut leased = self.lease(lane, 10).await;
        assert_eq!(leased.len(), 1, "one ready invocation");
        leased.remove(0)
    }

    pub(crate) async fn root(&self, kind: &str, subject: &str) -> Leased {
        self.publish(kind, subject).await;
        self.only(Lane::Roots).await
    }

    pub(crate) async fn child(&self, fence: &Fence, key: &str) -> InvocationId {
        self.ledger.start_child(fence, "part", key, key.into()).await.unwrap()
    }

    pub(crate) async fn finish(&self, fence: &Fence, outcome: Outcome) {
        self.ledger.finish(fence, end(outcome)).await.unwrap();
    }

    pub(crate) async fn get(&self, id: &InvocationId) -> Invocation {
        self.ledger.invocation(id).await.unwrap().unwrap()
    }

    pub(crate) async fn all(&self) -> Vec<Invocation> {
        self.ledger.invocations(InvocationFilter::default()).await.unwrap()
    }
}

fn clock(now_ms: &Arc<AtomicI64>) -> Clock {
    let now_ms = now_ms.clone();
    Arc::new(move || Timestamp::from_millisecond(now_ms.load(Ordering::Relaxed)).unwrap())
}

fn open(dir: &Path, clock: Clock) -> Ledger {
    let ledger = Ledger::open_with(dir, clock).unwrap();
    ledger.set_router(Arc::new(ByKind));
    ledger
}

pub(crate) fn event(kind: &str, subject: &str) -> Event {
    Event::json("/tests", kind, Some(subject.to_owned()), b"{}".to_vec())
}

pub(crate) fn end(outcome: Outcome) -> AttemptEnd {
    AttemptEnd {
        outcome,
        logs: Vec::new(),
        cost: Cost::default(),
        progress: Vec::new(),
        retry: POLICY,
        version: None,
    }
}

/// What was told since the last call.
pub(crate) fn told(changes: &mut Receiver<Change>) -> Vec<Change> {
    std::iter::from_fn(|| changes.try_recv().ok()).collect()
}
