//! Events, and who gets them.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Largest event in bytes, all attributes together (the bound that the guests' contract states).
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Identifies an event: a UUID v7 in 32 hex digits when the host made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// A fresh id; ids made later sort later.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7().simple().to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for EventId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<String> for EventId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A CloudEvents 1.0 record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique; publishing the same id again does nothing.
    pub id: EventId,
    /// URI reference of what the event is about, such as `/buckets/uploads`.
    pub source: String,
    /// Dotted kind, such as `backlot.object.created`.
    pub kind: String,
    /// The subject within the source, such as an object's key.
    pub subject: Option<String>,
    /// When it happened. Kept to the millisecond.
    pub time: Timestamp,
    /// Media type of `data`.
    pub content_type: Option<String>,
    /// The payload.
    pub data: Vec<u8>,
}

impl Event {
    /// An event with a fresh id, of this moment, with JSON data.
    #[must_use]
    pub fn json(
        source: impl Into<String>,
        kind: impl Into<String>,
        subject: Option<String>,
        data: Vec<u8>,
    ) -> Self {
        Self {
            id: EventId::new(),
            source: source.into(),
            kind: kind.into(),
            subject,
            time: Timestamp::now(),
            content_type: Some("application/json".to_owned()),
            data,
        }
    }

    /// Size against [`EVENT_BYTES_MAX`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.id.0.len()
            + self.source.len()
            + self.kind.len()
            + self.subject.as_ref().map_or(0, String::len)
            + self.content_type.as_ref().map_or(0, String::len)
            + self.data.len()
    }
}

/// Says which functions get an event. Called on the writer's thread inside the transaction that
/// the event is born in, once for each new event: it must be pure and fast, and must not call the
/// ledger.
pub trait Router: Send + Sync + 'static {
    /// One invocation is queued for each route.
    fn route(&self, event: &Event) -> Vec<Route>;

    /// Whether a function may want to know how the invocations of this one end: only then there
    /// are events of that ([`crate::FUNCTION_SUCCEEDED`], [`crate::FUNCTION_FAILED`]).
    fn follows(&self, function: &str) -> bool {
        let _ = function;
        false
    }

    /// How many attempts of a function may run at once. None: as many as there are workers.
    fn at_once(&self, function: &str) -> Option<u32> {
        let _ = function;
        None
    }
}

/// One function that gets an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The function's name.
    pub function: String,
    /// How this invocation stands to others of the same function and key. None: independent.
    pub concurrency: Option<Concurrency>,
    /// Not before so long after the event.
    pub delay: Duration,
}

/// How invocations of one function that share a key stand to one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// What they share, such as an object's bucket and key.
    pub key: String,
    /// What happens to the older ones.
    pub policy: ConcurrencyPolicy,
}

/// What happens when an invocation arrives while an older one with the same function and key has
/// not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrencyPolicy {
    /// The older ones are cancelled with all their children, in the commit that queues the newer,
    /// but for one that causes the newer: that is waited for.
    NewestWins,
    /// The newer waits until the older ended.
    InOrder,
}
