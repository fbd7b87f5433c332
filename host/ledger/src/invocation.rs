//! Invocations: one event given to one function, with its attempts, ending and record.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Concurrency, Event, EventId, LedgerError};

/// Identifies an invocation: a UUID v7 in 32 lower-case hex digits. Later ones sort later.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InvocationId(String);

impl InvocationId {
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7().simple().to_string())
    }

    /// From a row: what we wrote needs no second look.
    pub(crate) fn stored(id: String) -> Self {
        Self(id)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InvocationId {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 32 && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LedgerError::Invalid("an invocation id is 32 lower-case hex digits".to_owned()))
        }
    }
}

impl TryFrom<String> for InvocationId {
    type Error = LedgerError;

    fn try_from(text: String) -> Result<Self, LedgerError> {
        text.parse()
    }
}

impl From<InvocationId> for String {
    fn from(id: InvocationId) -> Self {
        id.0
    }
}

/// What an attempt shows to be allowed to write. Stale as soon as the attempt is over for any
/// reason: finished, cancelled, expired, or the process was started anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The invocation.
    pub invocation: InvocationId,
    /// Grows with each lease and each revocation.
    pub token: u64,
}

/// Roots (from events) and children (parts) are leased apart, so that the parts of a long film
/// never starve new uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Invocations that an event started. Those that go on before new ones, then by age.
    Roots,
    /// Invocations that another invocation started. By age of the root, then in order of start.
    Children,
}

/// Where an invocation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits to be leased: ready, delayed, or behind an older one.
    Queued,
    /// An attempt runs.
    Running,
    /// Waits for children; no guest instance exists.
    Parked,
    /// Ended with its handler's answer.
    Succeeded,
    /// Ended: rejected, or out of attempts. The event and the logs are kept (a dead letter).
    Failed,
    /// Ended by `cancel`, because it was superseded, or because its parent ended.
    Cancelled,
}

impl State {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }
}

/// One invocation as the ledger has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// Its id.
    pub id: InvocationId,
    /// The function's name.
    pub function: String,
    /// Its event's id; see [`crate::Ledger::event`] for the payload.
    pub event: EventId,
    /// The event's kind.
    pub event_kind: String,
    /// The event's source.
    pub event_source: String,
    /// The event's subject.
    pub event_subject: Option<String>,
    /// Who started it, for a child.
    pub parent: Option<InvocationId>,
    /// The top of its tree; itself for a root.
    pub root: InvocationId,
    /// The key under which the parent started it, for a child.
    pub child_key: Option<String>,
    /// How it stands to others of the same function and key.
    pub concurrency: Option<Concurrency>,
    /// Where it stands.
    pub state: State,
    /// How many attempts were started, those that parked or were interrupted included.
    pub attempt: u32,
    /// How many attempts failed and counted against the retry policy.
    pub failures: u32,
    /// When it was accepted: the wall clock that a durable handler sees.
    pub accepted_at: Timestamp,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// For a queued one that is delayed: when it becomes ready.
    pub due_at: Option<Timestamp>,
    /// Why the last attempt failed, or why the invocation was cancelled.
    pub reason: Option<String>,
    /// The handler's answer. Filled in by [`crate::Ledger::invocation`] only: lists leave it out.
    pub result: Option<Vec<u8>>,
    /// Of all its attempts together, its children's not included.
    pub cost: Cost,
    /// As of the end of the last attempt.
    pub progress: Vec<Progress>,
    /// The version of the function that it is to run, where somebody chose one.
    pub version: Option<String>,
    /// How many invocations, each started by an event of the one before, led to it.
    pub depth: u32,
    /// The subject of the event that started the top of its tree.
    pub root_subject: Option<String>,
}

impl Invocation {
    /// What is the same for all that belongs together: for every invocation of a tree, and for
    /// events about the same subject. By it a version is chosen where two run side by side.
    #[must_use]
    pub fn affinity(&self) -> &str {
        self.root_subject.as_deref().unwrap_or(self.root.as_str())
    }
}

/// One run of an invocation's handler.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    /// When it was leased.
    pub started_at: Timestamp,
    /// When it ended; None while it runs.
    pub ended_at: Option<Timestamp>,
    /// How it ended; None while it runs.
    pub outcome: Option<AttemptOutcome>,
    /// The reason it gave, where there is one.
    pub reason: Option<String>,
    /// What it took.
    pub cost: Cost,
    /// The version of the function that it ran.
    pub version: Option<String>,
}

/// How one attempt ended, for the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The handler answered.
    Succeeded,
    /// The handler said that the event can never be handled.
    Rejected,
    /// The handler asked for another attempt.
    Retry,
    /// The guest trapped, or a limit ended it.
    Trapped,
    /// It waits for children, or sleeps.
    Parked,
    /// The host shut down, or another version took over.
    Released,
    /// Its lease ran out, or its process died.
    Lost,
    /// It was cancelled while it ran.
    Cancelled,
}

/// What an attempt or an invocation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of guest and host calls, in milliseconds.
    pub cpu_ms: u64,
    /// Bytes read through host calls.
    pub bytes_in: u64,
    /// Bytes written through host calls.
    pub bytes_out: u64,
}

/// How far one strand of the work has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which strand, such as a rung's name.
    pub name: String,
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// What is counted, such as `frames`.
    pub unit: String,
}

/// One line that a guest, or the host about a guest, wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written.
    pub time: Timestamp,
    /// Who wrote it.
    pub source: LogSource,
    /// The line, without its end.
    pub text: String,
}

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// The guest's standard output.
    Stdout,
    /// The guest's standard error.
    Stderr,
    /// The host: traps, limits, refused calls.
    Host,
}

/// A leased invocation: run it, then finish it under its fence.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The invocation, already counting this attempt.
    pub invocation: Invocation,
    /// Its event with the payload.
    pub event: Event,
    /// What to show with every write.
    pub fence: Fence,
}

/// How an attempt ended, and what it leaves behind.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// How it ended.
    pub outcome: Outcome,
    /// What was written meanwhile; cut off at [`crate::LOG_BYTES_MAX`] an attempt.
    pub logs: Vec<LogLine>,
    /// What it took.
    pub cost: Cost,
    /// How far it came; empty keeps what was there.
    pub progress: Vec<Progress>,
    /// The function's policy, for [`Outcome::Retry`] and [`Outcome::Trapped`].
    pub retry: RetryPolicy,
    /// The version of the function that ran, if one did.
    pub version: Option<String>,
}

/// How an ended invocation is run again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// As a new invocation of the same event, that has done nothing. Else the invocation itself
    /// goes on: what it did is not done again.
    pub fresh: bool,
    /// Run this version of the function, whichever is live then.
    pub version: Option<String>,
}

/// What has not ended, or may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Invocations.
    pub invocations: u64,
    /// Bytes of their events, an event counted with each of its invocations.
    pub bytes: u64,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the handler's answer, at most [`crate::RESULT_BYTES_MAX`].
    Succeeded(Option<Vec<u8>>),
    /// The event can never be handled: failed at once.
    Rejected(String),
    /// Something passing: again by the retry policy, but not before `after`.
    Retry {
        /// For the operator.
        reason: String,
        /// From now; instead of the policy's backoff.
        after: Option<Duration>,
    },
    /// The guest trapped: again by the retry policy.
    Trapped(String),
    /// Runnable again when all of these children have ended.
    Parked {
        /// Children of this invocation.
        children: Vec<InvocationId>,
    },
    /// Runnable again at this moment.
    Asleep {
        /// When.
        until: Timestamp,
    },
    /// The host shuts down, or another version takes over: runnable again at once, and not counted
    /// as a failure.
    Released,
}

/// When a failed attempt is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Failed attempts until the invocation has failed; at least 1.
    pub attempts: u32,
    /// Upper bound of the first delay; doubles with each failure.
    pub base: Duration,
    /// Upper bound of every delay.
    pub cap: Duration,
    /// No attempt begins so long after the event was accepted.
    pub age_max: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            age_max: None,
        }
    }
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its handler's answer.
    Succeeded(Option<Vec<u8>>),
    /// Rejected, or out of attempts: the last reason.
    Failed(String),
    /// By `cancel`, or because it was superseded or its parent ended.
    Cancelled,
}

/// What just became durable. Sent after the commit, in the order of commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An invocation of this lane became ready, or will be after a delay (see
    /// [`crate::Ledger::next_due`]).
    Queued(Lane),
    /// It succeeded or failed.
    Ended(InvocationId),
    /// It was cancelled: a running attempt must be stopped.
    Cancelled(InvocationId),
    /// It waits for children.
    Parked(InvocationId),
    /// An attempt started.
    Started(InvocationId),
}

/// Which invocations to list.
#[derive(Clone, Debug, Default)]
pub struct InvocationFilter {
    /// Only of this function.
    pub function: Option<String>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only those that an event started.
    pub roots_only: bool,
    /// Only those accepted before this one: the last of the page before.
    pub before: Option<InvocationId>,
    /// At most so many; 0 means [`crate::PAGE_MAX`], which is also the most.
    pub limit: usize,
}
