//! Who changed what: the audit log.

use std::sync::Arc;

use backlot_ledger::AUDIT_PAGE_MAX;
use http::{Method, Response};
use serde_json::json;

use super::query;
use crate::web::Shared;
use crate::web::access::Caller;
use crate::web::reply::{self, Body, Fault};

/// Lines on a page unless the query says otherwise.
const LIMIT: usize = 50;

/// GET `audit`. Query: `limit`, `before` (the `seq` of the last line of the page before).
pub(super) async fn list(shared: &Arc<Shared>, query: &str) -> Result<Response<Body>, Fault> {
    let (mut limit, mut before) = (LIMIT, None);
    for (name, value) in query::pairs(query)? {
        let number = || {
            let number = value.parse::<u64>();
            number.map_err(|_| Fault::bad(format!("{name} is a number, not {value:?}")))
        };
        match name.as_str() {
            "limit" => limit = usize::try_from(number()?).unwrap_or(AUDIT_PAGE_MAX),
            "before" => before = Some(number()?),
            _ => return Err(query::unknown(&name, "limit, before")),
        }
    }
    let lines = shared.ledger.audit_log(before, limit.clamp(1, AUDIT_PAGE_MAX)).await?;
    reply::json(&json!({ "audit": lines }))
}

/// Writes down what became of a change. Events leave a record of their own and are too many.
pub(super) async fn record(
    shared: &Arc<Shared>,
    caller: &Caller,
    method: &Method,
    segments: &[&str],
    outcome: &str,
) {
    let Some((action, subject)) = action(method, segments) else { return };
    let who = &caller.name;
    tracing::info!(target: "audit", who, action, subject, outcome);
    if let Err(err) = shared.ledger.audit(who, &action, subject, outcome).await {
        tracing::error!(%err, who, action, subject, "the audit log is not written");
    }
}

/// What is done to what.
fn action<'a>(method: &Method, segments: &[&'a str]) -> Option<(String, &'a str)> {
    let (action, subject) = match segments {
        ["events"] | ["functions", _, "invocations"] => return None,
        ["components", digest] => ("components.upload".to_owned(), *digest),
        ["functions", name, "versions"] => ("functions.deploy".to_owned(), *name),
        ["tokens"] => ("tokens.create".to_owned(), ""),
        ["tokens", name] => ("tokens.revoke".to_owned(), *name),
        [table, subject, verb] => (format!("{table}.{verb}"), *subject),
        [table, subject] if method == Method::DELETE => (format!("{table}.remove"), *subject),
        _ => return None,
    };
    Some((action, subject))
}
