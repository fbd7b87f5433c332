//! `/api/v1`: content and invocations as JSON, for programs and for `backlot runs`.

use std::str::FromStr;
use std::sync::Arc;

use backlot_ledger::{Attempt, Invocation, InvocationFilter, InvocationId, LogLine, State};
use http::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::Shared;
use super::reply::{self, Body, Fault};

/// Invocations on a page unless the query says otherwise.
const PAGE: usize = 50;
/// Most invocations on a page.
const PAGE_MAX: usize = 500;
/// Longest result that is shown; the rest of it is in the ledger.
const RESULT_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn ready(shared: &Arc<Shared>) -> Result<Response<Body>, Fault> {
    if !shared.ready.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Fault::busy("starting or stopping"));
    }
    // The ledger answers: without it nothing works.
    shared.ledger.next_due().await?;
    Ok(reply::text("ready\n"))
}

pub(super) async fn content(
    shared: &Arc<Shared>,
    id: Option<&str>,
) -> Result<Response<Body>, Fault> {
    let snapshot = shared.feed.snapshot().await?;
    match id {
        None => reply::json(&json!({ "content": snapshot.content })),
        Some(id) => match snapshot.find(id) {
            Some(content) => reply::json(content),
            None => Err(Fault::not_found("there is no content of that id")),
        },
    }
}

/// Query: `function`, `state`, `roots=1`, `before` (an id), `limit`.
pub(super) async fn invocations(
    shared: &Arc<Shared>,
    query: &str,
) -> Result<Response<Body>, Fault> {
    let filter = parse_filter(query)?;
    let limit = filter.limit;
    let page = shared.ledger.invocations(filter).await?;
    let next = page.last().filter(|_| limit <= page.len()).map(|last| last.id.clone());
    let list: Vec<Value> = page.iter().map(|invocation| row(shared, invocation)).collect();
    reply::json(&json!({ "invocations": list, "next": next }))
}

pub(super) async fn invocation(shared: &Arc<Shared>, id: &str) -> Result<Response<Body>, Fault> {
    let unknown = || Fault::not_found("there is no invocation of that id");
    let id = InvocationId::from_str(id).map_err(|_| unknown())?;
    let found = shared.ledger.invocation(&id).await?.ok_or_else(unknown)?;
    let children = shared.ledger.children_of(&id).await?;
    let attempts = shared.ledger.attempts(&id).await?;
    let logs = shared.ledger.logs(&id).await?;
    let mut answer = row(shared, &found);
    let more = json!({
        "result": found.result.as_deref().map(result),
        "attempts": attempts.iter().map(attempt).collect::<Vec<_>>(),
        "logs": logs.iter().map(line).collect::<Vec<_>>(),
        "children": children.iter().map(|child| row(shared, child)).collect::<Vec<_>>(),
    });
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
    }
    reply::json(&answer)
}

fn row(shared: &Shared, invocation: &Invocation) -> Value {
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

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "number": attempt.number,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "cost": attempt.cost,
    })
}

fn line(line: &LogLine) -> impl Serialize {
    json!({ "time": line.time, "source": line.source, "text": line.text })
}

/// JSON as it is, text as a string, and of anything else how long it is.
fn result(bytes: &[u8]) -> Value {
    if RESULT_BYTES_MAX < bytes.len() {
        return json!({ "bytes": bytes.len() });
    }
    match (serde_json::from_slice(bytes), std::str::from_utf8(bytes)) {
        (Ok(value), _) => value,
        (Err(_), Ok(text)) => json!(text),
        (Err(_), Err(_)) => json!({ "bytes": bytes.len() }),
    }
}

fn parse_filter(query: &str) -> Result<InvocationFilter, Fault> {
    let mut filter = InvocationFilter { limit: PAGE, ..InvocationFilter::default() };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "function" => filter.function = Some(value.to_owned()),
            "roots" => filter.roots_only = value == "1",
            "state" => {
                let state = serde_json::from_value::<State>(json!(value));
                filter.state = Some(state.map_err(|_| {
                    Fault::bad("state is queued, running, parked, succeeded, failed or cancelled")
                })?);
            }
            "before" => {
                let id = InvocationId::from_str(value);
                filter.before = Some(id.map_err(|_| Fault::bad("before is an invocation's id"))?);
            }
            "limit" => {
                filter.limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=PAGE_MAX).contains(limit))
                    .ok_or_else(|| Fault::bad(format!("limit is 1 to {PAGE_MAX}")))?;
            }
            _ => {
                let known = "function, state, roots, before, limit";
                return Err(Fault::bad(format!("unknown query {name:?}; known are {known}")));
            }
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_refused_whole() {
        let filter = parse_filter("function=encoder&state=failed&roots=1&limit=500").unwrap();
        assert_eq!(filter.function.as_deref(), Some("encoder"));
        assert_eq!(filter.state, Some(State::Failed));
        assert!(filter.roots_only);
        assert_eq!(filter.limit, 500);
        assert_eq!(parse_filter("").unwrap().limit, PAGE);
        for bad in ["limit=0", "limit=501", "limit=x", "state=dead", "before=zz", "colour=red"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn results_are_shown_as_what_they_are() {
        assert_eq!(result(b"{\"a\":1}"), json!({"a": 1}));
        assert_eq!(result(b"plain"), json!("plain"));
        assert_eq!(result(&[0xff, 0xfe]), json!({"bytes": 2}));
    }
}
