//! Finds what a repository lacks of a bucket, by comparing the two: where the feed of changes does
//! not reach back, and when it is asked for.

use std::collections::HashMap;

use backlot_ledger::backup::{HAND_OVER_MAX, HandedOver};
use backlot_storage::{LIST_MAX, ListQuery, NULL_VERSION};

use crate::follow::is_wanted;
use crate::service::BackupError;
use crate::worker::Worker;

/// Hands over every current object that the newest snapshot does not have and is to be backed up,
/// and every object of it that is gone.
pub(crate) fn bucket(worker: &mut Worker, bucket: &str) -> Result<(), BackupError> {
    // By key: which content the newest snapshot has, and its metadata.
    let mut there: HashMap<String, (String, String)> = HashMap::new();
    let vault = worker.vault()?;
    if !vault.snapshots()?.is_empty() {
        vault.read("latest", None)?.each(Some(bucket), &mut |entry| {
            there.insert(entry.key, (entry.kept.content_id, entry.kept.version));
            Ok(true)
        })?;
    }
    if worker.runtime.block_on(worker.store.bucket(bucket))?.is_none() {
        // What was removed of it is in the feed.
        return Ok(());
    }
    let policy = worker.policies.get(bucket).cloned();
    let repositories = vec![worker.settings.name.clone()];
    let mut items = Vec::new();
    let mut after = None;
    loop {
        let query = ListQuery {
            bucket: bucket.to_owned(),
            prefix: String::new(),
            delimiter: None,
            after: after.take(),
            limit: LIST_MAX,
        };
        let page = worker.runtime.block_on(worker.store.list(query))?;
        for info in page.objects {
            let known = there.remove(&info.key);
            let same = known.is_some_and(|(content_id, _)| content_id == info.content_id);
            if same || is_wanted(policy.as_ref(), &info.tags) != Some(true) {
                continue;
            }
            items.push(HandedOver {
                bucket: info.bucket,
                key: info.key,
                version: info.version_id,
                content_id: info.content_id,
                removed: false,
                repositories: repositories.clone(),
            });
        }
        hand_over(worker, &mut items, HAND_OVER_MAX)?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for (key, (content_id, version)) in there {
        let version = if version.is_empty() { NULL_VERSION.to_owned() } else { version };
        items.push(HandedOver {
            bucket: bucket.to_owned(),
            key,
            version,
            content_id,
            removed: true,
            repositories: repositories.clone(),
        });
    }
    hand_over(worker, &mut items, 1)
}

/// Hands items over in calls of the largest size, while there are at least so many.
fn hand_over(
    worker: &Worker,
    items: &mut Vec<HandedOver>,
    least: usize,
) -> Result<(), BackupError> {
    while least <= items.len() {
        let rest = items.split_off(items.len().min(HAND_OVER_MAX));
        let now = std::mem::replace(items, rest);
        worker.runtime.block_on(worker.ledger.backup_hand_over(now, None))?;
    }
    Ok(())
}
