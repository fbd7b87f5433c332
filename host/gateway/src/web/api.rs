//! `/api/v1`: what the server has and does, as JSON, for programs and for the command line.
//!
//! Reading is open to whoever reaches the address as long as that is loopback, else it needs a token;
//! so does every change. [`routes`] says what needs which scope.
//!
//! | Path | |
//! |---|---|
//! | `content`, `content/ID`, `events` | published films and uploads on their way; always open |
//! | `invocations` | what runs and ran ([`query`] has the filters) |
//! | `invocations/follow` | the same as Server-Sent Events, as it changes |
//! | `invocations/ID`, `invocations/ID/effects?skip=N` | one of them with all that is known |
//! | `logs` | what attempts wrote, as Server-Sent Events, when they end |
//! | POST `invocations/ID/replay`, `invocations/ID/cancel`, DELETE `invocations/ID` | |
//! | POST `functions/NAME/invocations`, `events` | a CloudEvent for one function, or for those that wait for it |
//! | `functions`, `functions/NAME` | what is deployed; one with what was decided about it |
//! | `functions/NAME/versions`, `functions/NAME/diff?from=ID&to=ID` | its versions, and how two differ |
//! | PUT `components/DIGEST` | a component, as it is; GET says whether it is there |
//! | POST `functions/NAME/versions` | a version of an uploaded component, deployed ([`deploy`]) |
//! | POST `functions/NAME/promote`, `…/rollback`, `…/enable`, `…/disable`, DELETE `functions/NAME` | |
//! | `quarantine`, `quarantine/ID`, POST `quarantine/ID/release`, DELETE `quarantine/ID` | what was found invalid and put away |
//! | `tokens`, POST `tokens`, DELETE `tokens/NAME` | who may use this |
//! | `backups`, `backups/NAME` | how repositories stand; one with its size |
//! | `backups/NAME/snapshots`, `…/objects?snapshot=ID&bucket=B`, `…/runs?kind=K` | what is in one, and what was done with it |
//! | POST `backups/NAME/now`, `…/verify`, `…/drill`, `…/restore`, `…/prune` | answered when it is done |
//! | `audit` | who changed what |

mod audit;
mod backups;
mod changes;
mod cloudevent;
mod deploy;
mod diff;
mod follow;
mod functions;
mod invocations;
mod logs;
mod quarantine;
mod query;
mod routes;
mod rows;
mod tokens;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body::Body as HttpBody;
use serde_json::json;

use super::access::{self, Caller};
use super::reply::{self, Body, Fault};
use super::{Shared, admin, events};
use crate::serve::BoxError;
use routes::Found;
pub(super) use routes::Need;
#[cfg(test)]
pub(super) use routes::ROUTES;

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
    let need = match routes::find(&head.method, &segments) {
        Found::Needs(need) => need,
        Found::Other(allowed) => return Err(Fault::only(allowed)),
        Found::None => return Err(Fault::not_found("there is no such page")),
    };
    let caller = match need {
        Need::Nothing => None,
        Need::Unless(_) if shared.config.reads_open => None,
        Need::Unless(scope) | Need::Token(scope) => Some(access::check(shared, head, scope).await?),
    };
    if head.method == Method::GET || head.method == Method::HEAD {
        return read(shared, head, &segments).await;
    }
    let Some(caller) = caller else {
        return Err(Fault::internal("a change that needs no token"));
    };
    let answer = match segments.as_slice() {
        ["components", name] => deploy::upload(shared, name, body).await,
        _ => match admin::body(body).await {
            Ok(body) => change(shared, &caller, head, &segments, &body).await,
            Err(fault) => Err(fault),
        },
    };
    let outcome = answer.as_ref().err().map_or_else(|| "done".to_owned(), ToString::to_string);
    audit::record(shared, &caller, &head.method, &segments, &outcome).await;
    answer
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
        ["functions", name] => functions::show_one(shared, name).await,
        ["functions", name, "versions"] => functions::versions(shared, name).await,
        ["functions", name, "diff"] => functions::diff(shared, name, query).await,
        ["components", name] => deploy::component(shared, name),
        ["quarantine"] => quarantine::list(shared, query).await,
        ["quarantine", id] => quarantine::show(shared, id).await,
        ["tokens"] => tokens::list(shared).await,
        ["backups"] => backups::status(shared).await,
        ["backups", name] => backups::show(shared, name).await,
        ["backups", name, "snapshots"] => backups::snapshots(shared, name).await,
        ["backups", name, "objects"] => backups::objects(shared, name, query).await,
        ["backups", name, "runs"] => backups::runs(shared, name, query).await,
        ["audit"] => audit::list(shared, query).await,
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
    caller: &Caller,
    head: &Parts,
    segments: &[&str],
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    match segments {
        ["events"] => changes::publish(shared, head, body).await,
        ["functions", name, "invocations"] => changes::invoke(shared, head, name, body).await,
        ["functions", name, "versions"] => deploy::deploy(shared, caller, name, body).await,
        ["functions", name, verb] => functions::change(shared, caller, name, verb, body).await,
        ["functions", name] => functions::change(shared, caller, name, "remove", body).await,
        ["quarantine", id, "release"] => quarantine::release(shared, caller, id, body).await,
        ["quarantine", id] => quarantine::drop(shared, caller, id).await,
        ["backups", name, verb] => backups::change(shared, name, verb, body).await,
        ["tokens"] => tokens::create(shared, caller, body).await,
        ["tokens", name] => tokens::revoke(shared, name).await,
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
