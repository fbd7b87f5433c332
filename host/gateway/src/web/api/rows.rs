//! Records of the ledger as JSON.

use backlot_ledger::{Attempt, EffectRecord, Event, Invocation, LogLine, State};
use serde_json::{Value, json};

use crate::web::Shared;

/// Longest payload or result that is shown, in bytes; the rest of it is in the ledger.
const SHOWN_BYTES_MAX: usize = 64 * 1024;

pub(super) fn invocation(shared: &Shared, invocation: &Invocation) -> Value {
    let progress = match invocation.state {
        State::Running => shared.live.progress(&invocation.id),
        _ => invocation.progress.clone(),
    };
    json!({
        "id": invocation.id,
        "function": invocation.function,
        "state": invocation.state,
        "event": {
            "id": invocation.event,
            "kind": invocation.event_kind,
            "source": invocation.event_source,
            "subject": invocation.event_subject,
        },
        "parent": invocation.parent,
        "root": invocation.root,
        "key": invocation.child_key,
        "version": invocation.version,
        "depth": invocation.depth,
        "attempt": invocation.attempt,
        "failures": invocation.failures,
        "accepted_at": invocation.accepted_at,
        "started_at": invocation.started_at,
        "ended_at": invocation.ended_at,
        "due_at": invocation.due_at,
        "reason": invocation.reason,
        "cost": invocation.cost,
        "progress": progress,
    })
}

/// The whole event; `data` is null where it is not shown.
pub(super) fn event(event: &Event) -> Value {
    let data = if event.data.is_empty() { None } else { payload(&event.data) };
    json!({
        "id": event.id,
        "kind": event.kind,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "content_type": event.content_type,
        "data": data,
        "data_bytes": event.data.len(),
    })
}

pub(super) fn attempt(attempt: &Attempt) -> Value {
    json!({
        "number": attempt.number,
        "version": attempt.version,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "cost": attempt.cost,
    })
}

pub(super) fn effect(effect: &EffectRecord) -> Value {
    json!({
        "call": effect.call,
        "subject": effect.subject,
        "attempt": effect.attempt,
        "time": effect.time,
        "answer": effect.answer,
    })
}

pub(super) fn line(line: &LogLine) -> Value {
    json!({ "time": line.time, "source": line.source, "text": line.text })
}

/// JSON as it is, text as a string, and of anything else how long it is.
pub(super) fn result(bytes: &[u8]) -> Value {
    payload(bytes).unwrap_or_else(|| json!({ "bytes": bytes.len() }))
}

/// JSON as it is, text as a string; None for what is neither, or too long.
fn payload(bytes: &[u8]) -> Option<Value> {
    if SHOWN_BYTES_MAX < bytes.len() {
        return None;
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Some(value),
        Err(_) => std::str::from_utf8(bytes).ok().map(|text| json!(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_shown_as_what_they_are() {
        assert_eq!(result(b"{\"a\":1}"), json!({"a": 1}));
        assert_eq!(result(b"plain"), json!("plain"));
        assert_eq!(result(&[0xff, 0xfe]), json!({"bytes": 2}));
        let long = vec![b'a'; SHOWN_BYTES_MAX + 1];
        assert_eq!(result(&long), json!({"bytes": SHOWN_BYTES_MAX + 1}));
        let shown = event(&Event::json("/s", "k", None, vec![0xff]));
        assert_eq!((&shown["data"], &shown["data_bytes"]), (&Value::Null, &json!(1)));
    }
}
