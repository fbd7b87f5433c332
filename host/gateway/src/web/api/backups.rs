//! Backups: how they stand, what is in them, and what can be done with them.

use std::sync::Arc;
use std::time::Duration;

use backlot_backup::vault::{Entry, Taken, VaultError};
use backlot_backup::{BackupError, Backups, RUN_KINDS, RepositoryStatus, Restore};
use backlot_ledger::backup::{Covered, Run};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::query;
use crate::web::Shared;
use crate::web::reply::{self, Body, Fault};

/// Objects on a page of a snapshot, and most of them.
const LIMIT: usize = 1_000;
/// How long to wait for the size of a repository.
const SIZES_MAX: Duration = Duration::from_secs(2);
/// Runs on a page.
const RUNS: usize = 50;

/// Body of POST `backups/NAME/now`; it may be missing.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NowBody {
    bucket: Option<String>,
}

/// Body of POST `backups/NAME/verify`; it may be missing.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VerifyBody {
    all: bool,
}

/// GET `backups`.
pub(super) async fn status(shared: &Arc<Shared>) -> Result<Response<Body>, Fault> {
    let Some(backups) = &shared.backups else { return reply::json(&json!({ "backups": [] })) };
    let all = backups.status().await.map_err(fault)?;
    reply::json(&json!({ "backups": all.iter().map(standing).collect::<Vec<_>>() }))
}

/// GET `backups/NAME`: with its size, which is read from the repository.
pub(super) async fn show(shared: &Arc<Shared>, name: &str) -> Result<Response<Body>, Fault> {
    let backups = backups(shared, name)?;
    let all = backups.status().await.map_err(fault)?;
    let found = all.iter().find(|one| one.name == name).ok_or_else(|| unknown(name))?;
    // It may be busy for long, or not be there: that is no reason to say nothing.
    let sizes = tokio::time::timeout(SIZES_MAX, backups.sizes(name)).await;
    let sizes = sizes.ok().and_then(Result::ok);
    let mut standing = standing(found);
    if let Some(standing) = standing.as_object_mut() {
        standing.insert("sizes".to_owned(), json!(sizes));
    }
    reply::json(&standing)
}

/// GET `backups/NAME/snapshots`.
pub(super) async fn snapshots(shared: &Arc<Shared>, name: &str) -> Result<Response<Body>, Fault> {
    let snapshots = backups(shared, name)?.snapshots(name).await.map_err(fault)?;
    reply::json(&json!({ "snapshots": snapshots }))
}

/// GET `backups/NAME/runs`. Query: `kind`.
pub(super) async fn runs(
    shared: &Arc<Shared>,
    name: &str,
    query: &str,
) -> Result<Response<Body>, Fault> {
    backups(shared, name)?;
    let mut kind = "snapshot";
    for (parameter, value) in query::pairs(query)? {
        match parameter.as_str() {
            "kind" => {
                let found = RUN_KINDS.into_iter().find(|known| *known == value);
                kind =
                    found.ok_or_else(|| Fault::bad(format!("kind is {}", RUN_KINDS.join(", "))))?;
            }
            _ => return Err(query::unknown(&parameter, "kind")),
        }
    }
    let runs = shared.ledger.backup_runs(name, kind, RUNS).await;
    let runs = runs.map_err(|err| fault(err.into()))?;
    reply::json(&json!({ "runs": runs.iter().map(run).collect::<Vec<_>>() }))
}

/// GET `backups/NAME/objects`. Query: `snapshot`, `bucket`, `prefix`, `skip`, `limit`.
pub(super) async fn objects(
    shared: &Arc<Shared>,
    name: &str,
    query: &str,
) -> Result<Response<Body>, Fault> {
    let (mut snapshot, mut bucket, mut prefix) = ("latest".to_owned(), None, String::new());
    let (mut skip, mut limit) = (0, LIMIT);
    let number = |what: &str, value: &str| {
        value.parse::<usize>().map_err(|_| Fault::bad(format!("{what} is a number")))
    };
    for (parameter, value) in query::pairs(query)? {
        match parameter.as_str() {
            "snapshot" => snapshot = value,
            "bucket" => bucket = Some(value),
            "prefix" => prefix = value,
            "skip" => skip = number("skip", &value)?,
            "limit" => limit = number("limit", &value)?.clamp(1, LIMIT),
            _ => return Err(query::unknown(&parameter, "snapshot, bucket, prefix, skip, limit")),
        }
    }
    let listed = backups(shared, name)?.list(name, snapshot, bucket, prefix, (skip, limit));
    let page = listed.await.map_err(fault)?;
    let objects: Vec<Value> = page.entries.iter().map(entry).collect();
    reply::json(&json!({ "snapshot": page.snapshot, "objects": objects, "more": page.more }))
}

/// POST `backups/NAME/VERB`.
pub(super) async fn change(
    shared: &Arc<Shared>,
    name: &str,
    verb: &str,
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    let backups = backups(shared, name)?;
    let answer = match verb {
        "now" => {
            let NowBody { bucket } = read(body, "{\"bucket\": string}")?;
            let taken = backups.now(name, bucket).await.map_err(fault)?;
            json!({ "snapshots": taken.iter().map(shown).collect::<Vec<_>>() })
        }
        "verify" => {
            let VerifyBody { all } = read(body, "{\"all\": boolean}")?;
            json!(backups.verify(name, all).await.map_err(fault)?)
        }
        "drill" => json!(backups.drill(name).await.map_err(fault)?),
        "prune" => json!(backups.prune(name).await.map_err(fault)?),
        "restore" => {
            let shape = "{\"snapshot\": string, \"at\": time, \"bucket\": string, \
                 \"prefix\": string, \"to\": string, \"overwrite\": boolean}";
            let restore: Restore = read(body, shape)?;
            json!(backups.restore(name, restore).await.map_err(fault)?)
        }
        _ => return Err(Fault::not_found("there is no such page")),
    };
    reply::json(&answer)
}

fn read<T: Default + for<'a> Deserialize<'a>>(body: &[u8], shape: &str) -> Result<T, Fault> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|err| Fault::bad(format!("the body is not {shape}: {err}")))
}

fn backups<'a>(shared: &'a Arc<Shared>, name: &str) -> Result<&'a Backups, Fault> {
    let known = |backups: &&Backups| backups.names().iter().any(|known| known == name);
    shared.backups.as_ref().filter(known).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Fault {
    Fault::not_found(format!("there is no repository {name:?}: [[backup]] has them"))
}

fn fault(err: BackupError) -> Fault {
    let status = match &err {
        BackupError::NoRepository(_) | BackupError::Vault(VaultError::NoSnapshot(_)) => {
            StatusCode::NOT_FOUND
        }
        BackupError::NotCovered(_)
        | BackupError::Invalid(_)
        | BackupError::Vault(VaultError::AppendOnly(_)) => StatusCode::BAD_REQUEST,
        BackupError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    };
    Fault::new(status, err.to_string())
}

fn standing(status: &RepositoryStatus) -> Value {
    json!({
        "name": status.name,
        "location": status.location,
        "append_only": status.append_only,
        "pending": {
            "changes": status.backlog.changes,
            "bytes": status.backlog.bytes,
            "oldest": status.backlog.oldest,
        },
        "busy": status.busy,
        "buckets": status.buckets.iter().map(covered).collect::<Vec<_>>(),
        "last": status.last.iter().map(run).collect::<Vec<_>>(),
    })
}

fn covered(covered: &Covered) -> Value {
    json!({
        "bucket": covered.bucket,
        "last_success": covered.last_success,
        "pending": covered.pending,
        "oldest_pending": covered.oldest_pending,
    })
}

fn run(run: &Run) -> Value {
    json!({
        "kind": run.kind,
        "started": run.started,
        "ended": run.ended,
        "succeeded": run.succeeded,
        "details": run.details,
    })
}

fn shown(taken: &Taken) -> Value {
    json!({
        "snapshot": taken.snapshot,
        "stored": taken.stored,
        "removed": taken.removed,
        "skipped": taken.skipped,
        "bytes": taken.bytes,
        "bytes_added": taken.bytes_added,
    })
}

fn entry(entry: &Entry) -> Value {
    json!({
        "bucket": entry.bucket,
        "key": entry.key,
        "size": entry.size,
        "modified": entry.modified,
        "version": entry.kept.version,
        "etag": entry.kept.etag,
        "content_type": entry.kept.headers.content_type,
        "metadata": entry.kept.metadata,
        "tags": entry.kept.tags,
    })
}
