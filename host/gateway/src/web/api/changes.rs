//! What changes something: invocations run again, ended and forgotten, events for one or for all.

use std::sync::Arc;

use backlot_ledger::{LedgerError, Replay};
use http::request::Parts;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{cloudevent, functions, query};
use crate::web::Shared;
use crate::web::reply::{self, Body, Fault};

/// Kinds of events that only the host makes begin with this.
const HOST_KINDS: &str = "backlot.";
/// Digits of a version's id, which is a SHA-256.
const VERSION_DIGITS_MAX: usize = 64;

/// Body of a replay; it may be missing.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReplayBody {
    fresh: bool,
    version: Option<String>,
}

/// POST `invocations/ID/replay`.
pub(super) async fn replay(
    shared: &Arc<Shared>,
    id: &str,
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    let id = query::id(id)?;
    let body: ReplayBody = if body.trim_ascii().is_empty() {
        ReplayBody::default()
    } else {
        serde_json::from_slice(body).map_err(|err| {
            Fault::bad(format!("the body is not {{\"fresh\": bool, \"version\": string}}: {err}"))
        })?
    };
    check_digits(body.version.as_deref())?;
    if let (Some(version), Some(of)) = (&body.version, shared.ledger.invocation(&id).await?) {
        functions::check_version(shared, &of.function, version).await?;
    }
    let replay = Replay { fresh: body.fresh, version: body.version };
    let id = shared.ledger.replay(&id, replay).await?;
    reply::accepted(&json!({ "id": id }))
}

/// POST `invocations/ID/cancel`. What has ended stays as it is.
pub(super) async fn cancel(shared: &Arc<Shared>, id: &str) -> Result<Response<Body>, Fault> {
    let id = query::id(id)?;
    shared.ledger.cancel(&id).await?;
    let state = shared.ledger.invocation(&id).await?.map(|found| found.state);
    reply::json(&json!({ "id": id, "state": state }))
}

/// DELETE `invocations/ID`.
pub(super) async fn forget(shared: &Arc<Shared>, id: &str) -> Result<Response<Body>, Fault> {
    let id = query::id(id)?;
    shared.ledger.forget(&id).await?;
    reply::json(&json!({ "id": id }))
}

/// POST `functions/NAME/invocations`: an event for this function, whatever its triggers say. Query:
/// `version`, the first digits of a version's id.
pub(super) async fn invoke(
    shared: &Arc<Shared>,
    head: &Parts,
    function: &str,
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    let mut version = None;
    for (name, value) in query::pairs(head.uri.query().unwrap_or_default())? {
        match name.as_str() {
            "version" => version = Some(value),
            _ => return Err(query::unknown(&name, "version")),
        }
    }
    check_digits(version.as_deref())?;
    let deployed = shared.live.functions();
    if !deployed.iter().any(|deployed| deployed.name == function) {
        let names: Vec<&str> = deployed.iter().map(|deployed| deployed.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let message = format!("no function {function:?} is deployed; deployed: {names}");
        return Err(Fault::not_found(message));
    }
    let disabled = shared.live.runtime().and_then(|runtime| runtime.view(function));
    if disabled.is_some_and(|function| !function.enabled) {
        let message = format!("function {function:?} is disabled");
        return Err(Fault::new(StatusCode::CONFLICT, message));
    }
    if let Some(version) = &version {
        functions::check_version(shared, function, version).await?;
    }
    let event = cloudevent::parse(&head.headers, body)?;
    let id = shared.ledger.invoke(function, event, version).await?;
    reply::accepted(&json!({ "id": id }))
}

/// POST `events`: an event for all functions with a trigger for it. The answer's `id` is the
/// event's; one that is known already is not published again, and `duplicate` is true.
pub(super) async fn publish(
    shared: &Arc<Shared>,
    head: &Parts,
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    let event = cloudevent::parse(&head.headers, body)?;
    if event.kind.starts_with(HOST_KINDS) {
        return Err(Fault::bad(format!(
            "types that begin with {HOST_KINDS} are the host's own: such an event can only be \
             given to one function, by POST functions/NAME/invocations"
        )));
    }
    let ledger = &shared.ledger;
    let (id, source) = (event.id.clone(), event.source.clone());
    let duplicate = ledger.event(&id).await?.is_some();
    if !duplicate {
        ledger.publish(event).await?;
    }
    // Ids are one space here, and of each source a space of its own elsewhere: what would be lost
    // is refused.
    if ledger.event(&id).await?.is_some_and(|known| known.source != source) {
        return Err(LedgerError::Invalid(format!(
            "there is an event with the id {id} from another source: make the id unique, for \
             instance by the source's name before it"
        ))
        .into());
    }
    let mut answer = json!({ "id": id });
    if let (true, Some(answer)) = (duplicate, answer.as_object_mut()) {
        answer.insert("duplicate".to_owned(), true.into());
    }
    reply::accepted(&answer)
}

pub(super) fn check_digits(version: Option<&str>) -> Result<(), Fault> {
    let Some(version) = version else { return Ok(()) };
    let is_hex = version.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && (1..=VERSION_DIGITS_MAX).contains(&version.len()) {
        return Ok(());
    }
    Err(Fault::new(
        StatusCode::BAD_REQUEST,
        "version is the id of a version or its first digits: 1 to 64 of 0-9 and a-f",
    ))
}
