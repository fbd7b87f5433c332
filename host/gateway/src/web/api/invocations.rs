//! `/api/v1/invocations`: what runs and ran.

use std::sync::Arc;

use backlot_ledger::{EffectRecord, InvocationId, PAGE_MAX};
use http::Response;
use serde_json::{Value, json};

use super::query::{self, Wanted};
use super::rows;
use crate::web::Shared;
use crate::web::reply::{self, Body, Fault};

/// `{"invocations": [...], "next": ID or null}`: with `before=ID` the list goes on, also where this
/// page is short or empty.
pub(super) async fn list(shared: &Arc<Shared>, query: &str) -> Result<Response<Body>, Fault> {
    let (found, next) = Wanted::parse(query)?.find(&shared.ledger).await?;
    let list: Vec<Value> = found.iter().map(|found| rows::invocation(shared, found)).collect();
    reply::json(&json!({ "invocations": list, "next": next }))
}

/// One invocation with its whole event, its attempts, the first 500 of its effects, its children
/// and its log.
pub(super) async fn show(shared: &Arc<Shared>, id: &str) -> Result<Response<Body>, Fault> {
    let id = query::id(id)?;
    let ledger = &shared.ledger;
    let found = ledger.invocation(&id).await?.ok_or_else(unknown)?;
    let event = ledger.event(&found.event).await?;
    let attempts = ledger.attempts(&id).await?;
    let effects = ledger.effects(&id, 0).await?;
    let more_effects = has_more(shared, &id, 0, &effects).await?;
    let children = ledger.children_of(&id).await?;
    let logs = ledger.logs(&id).await?;
    let mut answer = rows::invocation(shared, &found);
    let more = json!({
        "result": found.result.as_deref().map(rows::result),
        "attempts": attempts.iter().map(rows::attempt).collect::<Vec<_>>(),
        "effects": effects.iter().map(rows::effect).collect::<Vec<_>>(),
        "more_effects": more_effects,
        "children": children.iter().map(|child| rows::invocation(shared, child)).collect::<Vec<_>>(),
        "logs": logs.iter().map(rows::line).collect::<Vec<_>>(),
    });
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
        if let Some(event) = &event {
            answer.insert("event".to_owned(), rows::event(event));
        }
    }
    reply::json(&answer)
}

/// `{"effects": [...], "next": N or null}`: with `skip=N` the list goes on.
pub(super) async fn effects(
    shared: &Arc<Shared>,
    id: &str,
    query: &str,
) -> Result<Response<Body>, Fault> {
    let id = query::id(id)?;
    let mut skip: usize = 0;
    for (name, value) in query::pairs(query)? {
        match name.as_str() {
            "skip" => {
                let parsed = value.parse::<u32>().ok().and_then(|skip| usize::try_from(skip).ok());
                skip = parsed.ok_or_else(|| Fault::bad("skip is a number of effects"))?;
            }
            _ => return Err(query::unknown(&name, "skip")),
        }
    }
    shared.ledger.invocation(&id).await?.ok_or_else(unknown)?;
    let effects = shared.ledger.effects(&id, skip).await?;
    let more = has_more(shared, &id, skip, &effects).await?;
    let next = more.then(|| skip.saturating_add(effects.len()));
    let list: Vec<Value> = effects.iter().map(rows::effect).collect();
    reply::json(&json!({ "effects": list, "next": next }))
}

/// Whether effects follow those of a page.
async fn has_more(
    shared: &Shared,
    id: &InvocationId,
    skip: usize,
    page: &[EffectRecord],
) -> Result<bool, Fault> {
    if page.len() < PAGE_MAX {
        return Ok(false);
    }
    Ok(!shared.ledger.effects(id, skip.saturating_add(page.len())).await?.is_empty())
}

fn unknown() -> Fault {
    Fault::not_found("there is no invocation of that id")
}
