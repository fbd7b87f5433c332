//! `/api/v1/functions`: what is deployed, and what runs of it.

use std::sync::Arc;

use backlot_ledger::FunctionVersion;
use backlot_runtime::{FunctionView, Version};
use http::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::deploy::{change_fault, runtime};
use super::diff::differences;
use super::query;
use crate::web::access::Caller;
use crate::web::reply::{self, Body, Fault};
use crate::web::{Deployed, Shared};

/// Of the manifest all but the environment: what is in there may be a secret.
const SHOWN: [&str; 7] = ["triggers", "grants", "limits", "retry", "serial", "canary", "probe"];

/// GET `functions`.
pub(super) fn list(shared: &Arc<Shared>) -> Result<Response<Body>, Fault> {
    let list: Vec<Value> = match shared.live.runtime() {
        Some(runtime) => runtime.overview().iter().map(view).collect(),
        None => shared.live.functions().iter().map(row).collect(),
    };
    reply::json(&json!({ "functions": list }))
}

fn row(function: &Deployed) -> Value {
    let mut row = json!({
        "name": function.name,
        "version": function.version,
        "component": function.component,
    });
    show(&mut row, &function.manifest);
    row
}

/// Adds what is shown of a manifest; of the environment its names.
fn show(row: &mut Value, manifest: &Value) {
    let Some(row) = row.as_object_mut() else { return };
    for key in SHOWN {
        if let Some(value) = manifest.get(key) {
            row.insert(key.to_owned(), value.clone());
        }
    }
    let env = manifest.get("env").and_then(Value::as_object);
    let names: Vec<&String> = env.into_iter().flat_map(|env| env.keys()).collect();
    row.insert("env".to_owned(), json!(names));
}

fn view(function: &FunctionView) -> Value {
    let live = function.live.as_deref();
    let canary = function.canary.as_ref();
    let mut row = json!({
        "name": function.name,
        "version": live.map(Version::id),
        "component": live.map(|live| live.digest.to_string()),
        "builtin": function.builtin,
        "enabled": function.enabled,
        "broken": function.broken,
        "previous": function.previous,
        "canary_version": canary.map(|(version, _)| version.id()),
        "canary_weight": canary.map(|(_, weight)| weight),
        "trial": function.trial,
    });
    show(&mut row, &serde_json::to_value(&function.manifest).unwrap_or_default());
    row
}

fn known(shared: &Arc<Shared>, name: &str) -> Result<FunctionView, Fault> {
    let view = runtime(shared)?.view(name);
    view.ok_or_else(|| Fault::not_found(format!("no function {name:?} is deployed")))
}

/// What was counted of a version's HTTP requests since it was loaded; None when it answers none.
fn counts(version: &Version) -> Option<Value> {
    let counts = version.http_counts()?;
    let millis = |share| counts.quantile(share).map(|time| time.as_micros() as f64 / 1e3);
    let [success, redirect, refusal, failure] = counts.answered;
    Some(json!({
        "version": version.id(),
        "requests": counts.requests,
        "running": counts.running,
        "answered": { "2xx": success, "3xx": redirect, "4xx": refusal, "5xx": failure },
        "failed": counts.failed,
        "timed_out": counts.timed_out,
        "gone": counts.gone,
        "too_long": counts.too_long,
        "refused": counts.refused,
        "p50_ms": millis(0.5),
        "p99_ms": millis(0.99),
    }))
}

/// GET `functions/NAME`: with what was counted of its versions, the one that runs first, and what
/// was decided about it, the newest first.
pub(super) async fn show_one(shared: &Arc<Shared>, name: &str) -> Result<Response<Body>, Fault> {
    let function = known(shared, name)?;
    let mut row = view(&function);
    let http: Vec<Value> = function.loaded.iter().filter_map(|version| counts(version)).collect();
    let decisions = shared.ledger.function_decisions(name).await?;
    let decisions: Vec<Value> = decisions
        .into_iter()
        .map(|decision| {
            json!({
                "time": decision.time,
                "what": decision.what,
                "version": decision.version,
                "by": decision.by,
                "details": serde_json::from_str::<Value>(&decision.details).unwrap_or_default(),
            })
        })
        .collect();
    if let Some(row) = row.as_object_mut() {
        row.insert("http".to_owned(), json!(http));
        row.insert("decisions".to_owned(), json!(decisions));
    }
    reply::json(&row)
}

/// GET `functions/NAME/versions`: those that are kept, the newest first.
pub(super) async fn versions(shared: &Arc<Shared>, name: &str) -> Result<Response<Body>, Fault> {
    reply::json(&json!({ "versions": all_versions(shared, name).await? }))
}

async fn all_versions(shared: &Arc<Shared>, name: &str) -> Result<Vec<Value>, Fault> {
    let function = known(shared, name)?;
    let kept = shared.ledger.function_versions(name).await?;
    let mut all: Vec<Value> = kept.iter().map(stored).collect();
    if let Some(builtin) = &function.program {
        let mut row = json!({
            "id": builtin.id(), "component": builtin.digest.to_string(), "builtin": true,
        });
        show(&mut row, &serde_json::to_value(&builtin.manifest).unwrap_or_default());
        all.push(row);
    }
    let live = function.live.as_ref().map(|live| live.id());
    let canary = function.canary.as_ref().map(|(canary, _)| canary.id());
    for row in &mut all {
        let id = row.get("id").and_then(Value::as_str);
        let aliases =
            [("live", live), ("canary", canary), ("previous", function.previous.as_deref())];
        let aliases = aliases.into_iter().filter(|(_, of)| of.is_some() && *of == id);
        let aliases: Vec<&str> = aliases.map(|(alias, _)| alias).collect();
        if let Some(row) = row.as_object_mut() {
            row.insert("aliases".to_owned(), json!(aliases));
        }
    }
    Ok(all)
}

fn stored(version: &FunctionVersion) -> Value {
    let mut row = json!({
        "id": version.id,
        "component": version.component,
        "bytes": version.bytes,
        "imports": version.imports,
        "signer": version.signer,
        "deployed_by": version.deployed_by,
        "deployed_at": version.deployed_at,
    });
    show(&mut row, &serde_json::from_str(&version.manifest).unwrap_or_default());
    row
}

/// GET `functions/NAME/diff`. Query: `from` and `to`, the first digits of versions' ids.
pub(super) async fn diff(
    shared: &Arc<Shared>,
    name: &str,
    query: &str,
) -> Result<Response<Body>, Fault> {
    let (mut from, mut to) = (None, None);
    for (name, value) in query::pairs(query)? {
        match name.as_str() {
            "from" => from = Some(value),
            "to" => to = Some(value),
            _ => return Err(query::unknown(&name, "from, to")),
        }
    }
    let all = all_versions(shared, name).await?;
    let one = |wanted: Option<String>| {
        let wanted = wanted.ok_or_else(|| Fault::bad("name two versions: from=ID&to=ID"))?;
        the_one(&all, name, &wanted).map(compared)
    };
    let (from, to) = (one(from)?, one(to)?);
    reply::json(&json!({ "function": name, "changes": differences(&from, &to) }))
}

/// The version whose id begins so.
fn the_one<'a>(all: &'a [Value], function: &str, wanted: &str) -> Result<&'a Value, Fault> {
    let is = |row: &&Value| {
        let id = row.get("id").and_then(Value::as_str);
        id.is_some_and(|id| !wanted.is_empty() && id.starts_with(wanted))
    };
    let mut found = all.iter().filter(is);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Fault::not_found(format!("{function:?} has no version {wanted}"))),
        _ => Err(Fault::bad(format!("{function:?} has several versions {wanted}"))),
    }
}

/// Refuses the first digits of an id that are those of no version, or of several, as far as it is
/// known which there are.
pub(super) async fn check_version(
    shared: &Arc<Shared>,
    function: &str,
    version: &str,
) -> Result<(), Fault> {
    match shared.live.runtime() {
        Some(_) => the_one(&all_versions(shared, function).await?, function, version).map(drop),
        None => Ok(()),
    }
}

/// What makes a version another one.
fn compared(row: &Value) -> Value {
    let mut row = row.clone();
    if let Some(row) = row.as_object_mut() {
        for key in ["id", "aliases", "builtin", "deployed_at", "deployed_by"] {
            row.remove(key);
        }
    }
    row
}

/// Body of POST `functions/NAME/rollback`; it may be missing.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RollBack {
    version: Option<String>,
}

/// POST `functions/NAME/VERB`, and DELETE `functions/NAME` as the verb `remove`.
pub(super) async fn change(
    shared: &Arc<Shared>,
    caller: &Caller,
    name: &str,
    verb: &str,
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    let (runtime, by) = (runtime(shared)?, caller.name.as_str());
    let changed = match verb {
        "promote" => runtime.promote(name, by).await,
        "rollback" => {
            let body: RollBack = if body.trim_ascii().is_empty() {
                RollBack::default()
            } else {
                serde_json::from_slice(body).map_err(|err| {
                    Fault::bad(format!("the body is not {{\"version\": string}}: {err}"))
                })?
            };
            super::changes::check_digits(body.version.as_deref())?;
            runtime.roll_back(name, body.version.as_deref(), by).await
        }
        "enable" | "disable" => runtime.set_enabled(name, verb == "enable", by).await,
        "remove" => runtime.remove(name).await,
        _ => return Err(Fault::not_found("there is no such page")),
    };
    changed.map_err(change_fault)?;
    match runtime.view(name) {
        Some(function) => reply::json(&view(&function)),
        None => reply::json(&json!({ "name": name })),
    }
}
