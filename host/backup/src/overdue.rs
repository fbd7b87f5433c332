//! Tells that backups do not happen: what fails is told when it does, what never comes only here.

use std::collections::BTreeMap;

use backlot_ledger::backup::{BACKUP_OVERDUE, BACKUP_RECOVERED, RunEnd};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::service::{self, BackupError};
use crate::worker::Worker;

/// Tells of each bucket that has not been backed up for too long, once, and when none is left.
pub(crate) fn tell(worker: &Worker) -> Result<(), BackupError> {
    let (now, name) = (Timestamp::now(), worker.settings.name.clone());
    let covered = worker.runtime.block_on(worker.ledger.backup_covered(&name, None))?;
    let covered = service::with_waiting(covered, &worker.known(), None);
    let mut late = BTreeMap::new();
    if !worker.settings.follow {
        return Ok(());
    }
    for (bucket, created) in worker.buckets()? {
        if worker.policies.get(&bucket).is_some_and(|policy| !policy.backup) {
            continue;
        }
        let found = covered.iter().find(|one| one.bucket == bucket);
        let last = found.and_then(|one| one.last_success);
        // One of which nothing is known yet had its time since this began.
        let since = last.or_else(|| found?.oldest_pending).unwrap_or(created.max(worker.begun));
        if worker.settings.overdue_after <= since.duration_until(now).unsigned_abs() {
            let pending = found.map_or(0, |one| one.pending);
            late.insert(bucket, json!({ "last_success": last, "pending": pending }));
        }
    }
    let before = worker.last_run("overdue")?.map(|run| run.details);
    let was_late = |bucket: &str| {
        let told = before.as_ref().and_then(|details| details.get("buckets")?.get(bucket));
        told.is_some()
    };
    let told = before.iter().filter_map(|details| details.get("buckets")?.as_object());
    let told: usize = told.map(Map::len).sum();
    let is_new = !late.keys().all(|bucket| was_late(bucket));
    if !is_new && late.len() == told {
        return Ok(());
    }
    let succeeded = late.is_empty();
    let details = json!({ "buckets": late });
    let kind = if succeeded { BACKUP_RECOVERED } else { BACKUP_OVERDUE };
    if is_new {
        tracing::error!(repository = %name, buckets = late.len(), "backups are overdue");
    }
    let end = RunEnd {
        repository: name,
        kind: "overdue",
        started: now,
        succeeded,
        done_to: None,
        covers: Vec::new(),
        event: (is_new || succeeded).then(|| worker.event(kind, &details)),
        details,
    };
    Ok(worker.runtime.block_on(worker.ledger.backup_end(end))?)
}
