//! `/api/v1`: what the server has and does, as JSON, for programs and for the command line.
//!
//! Reading is open to whoever reaches the address; a change needs what [`super::admin`] checks.
//!
//! | Path | |
//! |---|---|
//! | `content`, `content/ID`, `events` | published films and uploads on their way |
//! | `functions` | what is deployed |
//! | `invocations` | what runs and ran ([`query`] has the filters) |
//! | `invocations/follow` | the same as Server-Sent Events, as it changes |
//! | `invocations/ID`, `invocations/ID/effects?skip=N` | one of them with all that is known |
//! | `logs` | what attempts wrote, as Server-Sent Events, when they end |
//! | POST `invocations/ID/replay`, `invocations/ID/cancel`, DELETE `invocations/ID` | |
//! | POST `functions/NAME/invocations`, `events` | a CloudEvent for one function, or for those that wait for it |

mod changes;
mod cloudevent;
mod follow;
mod functions;
mod invocations;
mod logs;
mod query;
mod rows;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body::Body as HttpBody;
use serde_json::json;

use super::reply::{self, Body, Fault};
use super::{Shared, admin, events};
use crate::serve::BoxError;

/// Most parts of a path below `/api/v1`.
const SEGMENTS_MAX: usize = 3;

/// Answers a request for a path below `/api/v1/`.
pub(super) async fn route<B>(
    shared: &Arc<Shared>,
    head: &Parts,
    path: &str,
    body: B,
) -> Result<Response<Body>, Fault>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let segments: Vec<&str> = path.splitn(SEGMENTS_MAX + 1, '/').collect();
    let allowed = allowed(&segments).ok_or_else(|| Fault::not_found("there is no such page"))?;
    if !allowed.split(", ").any(|method| method == head.method.as_str()) {
        return Err(Fault::only(allowed));
    }
    if head.method == Method::GET || head.method == Method::HEAD {
        return read(shared, head, &segments).await;
    }
    admin::check(head, &shared.config.token)?;
    let body = admin::body(body).await?;
    change(shared, head, &segments, &body).await
}

/// The methods of a path; None where there is nothing.
fn allowed(segments: &[&str]) -> Option<&'static str> {
    Some(match segments {
        ["events"] => "GET, HEAD, POST",
        ["content" | "functions" | "invocations" | "logs"]
        | ["content", _]
        | ["invocations", "follow"]
        | ["invocations", _, "effects"] => "GET, HEAD",
        ["invocations", _] => "GET, HEAD, DELETE",
        ["invocations", _, "replay" | "cancel"] | ["functions", _, "invocations"] => "POST",
        _ => return None,
    })
}

async fn read(
    shared: &Arc<Shared>,
    head: &Parts,
    segments: &[&str],
) -> Result<Response<Body>, Fault> {
    let query = head.uri.query().unwrap_or_default();
    match segments {
        ["events"] => events::stream(shared, head),
        ["content"] => content(shared, None).await,
        ["content", id] => content(shared, Some(id)).await,
        ["functions"] => functions::list(shared),
        ["logs"] => logs::stream(shared, query).await,
        ["invocations"] => invocations::list(shared, query).await,
        ["invocations", "follow"] => follow::stream(shared, query).await,
        ["invocations", id] => invocations::show(shared, id).await,
        ["invocations", id, "effects"] => invocations::effects(shared, id, query).await,
        _ => Err(Fault::not_found("there is no such page")),
    }
}

async fn change(
    shared: &Arc<Shared>,
    head: &Parts,
    segments: &[&str],
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    match segments {
        ["events"] => changes::publish(shared, head, body).await,
        ["functions", name, "invocations"] => changes::invoke(shared, head, name, body).await,
        ["invocations", id, "replay"] => changes::replay(shared, id, body).await,
        ["invocations", id, "cancel"] => changes::cancel(shared, id).await,
        ["invocations", id] => changes::forget(shared, id).await,
        _ => Err(Fault::not_found("there is no such page")),
    }
}

pub(super) async fn ready(shared: &Arc<Shared>) -> Result<Response<Body>, Fault> {
    if !shared.ready.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Fault::busy("starting or stopping"));
    }
    // The ledger answers: without it nothing works.
    shared.ledger.next_due().await?;
    Ok(reply::text("ready\n"))
}

async fn content(shared: &Arc<Shared>, id: Option<&str>) -> Result<Response<Body>, Fault> {
    let snapshot = shared.feed.snapshot().await?;
    match id {
        None => reply::json(&json!({ "content": snapshot.content })),
        Some(id) => match snapshot.find(id) {
            Some(content) => reply::json(content),
            None => Err(Fault::not_found("there is no content of that id")),
        },
    }
}
