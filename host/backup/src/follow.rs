//! Follows the feed of changes, so that a bucket is backed up without anybody's doing, and so that
//! nobody is told that one is whose changes still wait for the validator.
//!
//! A bucket without a policy is backed up as it is: its changes are handed over as they come. In one
//! that is validated a version waits for its verdict, and the validator hands it over; here is only
//! looked how far that has come.

use std::collections::{BTreeMap, BTreeSet};

use backlot_ledger::backup::{Following, HandedOver};
use backlot_ledger::objects::{ChangeKind, ChangesPage, ChangesQuery, ObjectChange};
use backlot_policy::{POLICY_TAG, Policy, VERDICT_TAG};
use backlot_storage::{Pairs, StoreError};
use jiff::Timestamp;

use crate::catch_up;
use crate::service::BackupError;
use crate::worker::Worker;

/// How far a bucket is known to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// All that was changed before.
    pub(crate) as_of: Timestamp,
    /// When that was seen: what was handed over after this may be later.
    pub(crate) seen: Timestamp,
}

/// What is known of the buckets that a repository covers.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Those of which all is handed over.
    pub(crate) reached: BTreeMap<String, Reached>,
    /// Those of which something has no verdict yet, and since when.
    pub(crate) waiting: BTreeMap<String, Timestamp>,
}

/// Whether what has these tags is to be backed up; None: it has no verdict under this policy yet.
pub(crate) fn is_wanted(policy: Option<&Policy>, tags: &Pairs) -> Option<bool> {
    let Some(policy) = policy else { return Some(true) };
    let verdict = tags.get(VERDICT_TAG)?;
    (tags.get(POLICY_TAG)? == &policy.digest()).then(|| policy.backs_up(verdict))
}

/// Hands over what was changed since the last time.
pub(crate) fn all(worker: &mut Worker) -> Result<(), BackupError> {
    if !worker.settings.follow {
        return Ok(());
    }
    let there = worker.buckets()?;
    // One that is gone may have told of removals before.
    let mut buckets: BTreeSet<String> = there.into_keys().collect();
    let before = following(worker)?.into_keys();
    buckets.extend(before.filter(|bucket| worker.settings.covers(bucket)));
    let (validated, plain): (Vec<String>, Vec<String>) =
        buckets.into_iter().partition(|bucket| worker.policies.contains_key(bucket));
    let as_of = worker.runtime.block_on(worker.ledger.backup_moment())?;
    changes(worker, &plain)?;
    reached(worker, &plain, as_of);
    for bucket in validated {
        let Some(policy) = worker.policies.get(&bucket).cloned() else { continue };
        if !policy.backup {
            continue;
        }
        match verdicts(worker, &bucket, &policy)? {
            None => reached(worker, &[bucket], as_of),
            Some(since) => {
                worker.unsettled = true;
                let mut known = worker.known();
                known.reached.remove(&bucket);
                known.waiting.insert(bucket, since);
            }
        }
    }
    Ok(())
}

fn reached(worker: &Worker, buckets: &[String], as_of: Timestamp) {
    let seen = Timestamp::now();
    let mut known = worker.known();
    for bucket in buckets {
        known.reached.insert(bucket.clone(), Reached { as_of, seen });
        known.waiting.remove(bucket);
    }
}

/// Hands over the changes of the buckets that are not validated, in one go through the feed.
fn changes(worker: &mut Worker, buckets: &[String]) -> Result<(), BackupError> {
    let mut following = following(worker)?;
    following.retain(|bucket, _| buckets.contains(bucket));
    let last = worker.runtime.block_on(worker.ledger.last_change())?;
    let to_last = Following { place: last, since: last };
    for bucket in buckets {
        if !following.contains_key(bucket) {
            catch_up::bucket(worker, bucket)?;
            following.insert(bucket.clone(), to_last);
            follow(worker, BTreeMap::from([(bucket.clone(), to_last)]))?;
        }
    }
    let mut place = following.values().map(|one| one.place).min().unwrap_or(last);
    while place < last {
        let ChangesPage { changes, next, gap, .. } = page(worker, place, last, Vec::new())?;
        if gap {
            for bucket in buckets {
                catch_up::bucket(worker, bucket)?;
            }
            return follow(worker, buckets.iter().map(|name| (name.clone(), to_last)).collect());
        }
        let is_new = |change: &ObjectChange| {
            following.get(&change.bucket).is_some_and(|one| one.place < change.place)
        };
        let new = changes.into_iter().filter(is_new);
        worker.unsettled = true;
        hand_over(worker, new.map(|change| handed_over(worker, change)).collect())?;
        place = next;
        for one in following.values_mut() {
            one.place = one.place.max(next);
        }
        follow(worker, following.clone())?;
    }
    Ok(())
}

fn following(worker: &Worker) -> Result<BTreeMap<String, Following>, BackupError> {
    let following = worker.ledger.backup_following(&worker.settings.name);
    Ok(worker.runtime.block_on(following)?)
}

fn follow(worker: &Worker, following: BTreeMap<String, Following>) -> Result<(), BackupError> {
    let follow = worker.ledger.backup_follow(&worker.settings.name, following);
    Ok(worker.runtime.block_on(follow)?)
}

/// Goes through what was changed in a bucket that is validated, up to a version without a verdict;
/// since when that waits, if there is one.
fn verdicts(
    worker: &mut Worker,
    bucket: &str,
    policy: &Policy,
) -> Result<Option<Timestamp>, BackupError> {
    let runtime = worker.runtime.clone();
    let before = following(worker)?.remove(bucket);
    let last = runtime.block_on(worker.ledger.last_change())?;
    // What was judged before the repository was there was handed over to nobody.
    let mut following = before.unwrap_or(Following { place: 0, since: last });
    let (mut waits, mut compared) = (None, before.is_none());
    while following.place < last && waits.is_none() {
        let places = vec![(bucket.to_owned(), String::new())];
        let ChangesPage { changes, mut next, gap, .. } =
            page(worker, following.place, last, places)?;
        if gap && !compared {
            // Removals are forgotten: the newest snapshot may have what is gone.
            catch_up::bucket(worker, bucket)?;
            compared = true;
        }
        let mut items = Vec::new();
        for change in changes {
            if change.kind != ChangeKind::Created {
                items.push(handed_over(worker, change));
                continue;
            }
            let head = worker.store.head(&change.bucket, &change.key, Some(&change.version_id));
            let wanted = match runtime.block_on(head) {
                Ok(info) if info.content_id == change.content_id => {
                    is_wanted(Some(policy), &info.tags)
                }
                Ok(_)
                | Err(
                    StoreError::NotFound(_)
                    | StoreError::NoSuchVersion(_)
                    | StoreError::NoSuchBucket(_)
                    | StoreError::DeleteMarker { .. },
                ) => Some(false),
                Err(err) => return Err(err.into()),
            };
            match wanted {
                None => {
                    waits = Some(change.at);
                    next = change.place.saturating_sub(1);
                    break;
                }
                Some(true) if change.place <= following.since => {
                    items.push(handed_over(worker, change));
                }
                Some(_) => {}
            }
        }
        hand_over(worker, items)?;
        following.place = next;
        follow(worker, BTreeMap::from([(bucket.to_owned(), following)]))?;
    }
    Ok(waits)
}

/// The changes after a place. Up to the last one there may be none any more: then they are behind.
fn page(
    worker: &Worker,
    after: u64,
    last: u64,
    places: Vec<(String, String)>,
) -> Result<ChangesPage, BackupError> {
    let query = ChangesQuery { after, places, limit: 0 };
    let mut page = worker.runtime.block_on(worker.ledger.object_changes(query))?;
    if !page.more {
        page.next = page.next.max(last);
    }
    Ok(page)
}

fn handed_over(worker: &Worker, change: ObjectChange) -> HandedOver {
    HandedOver {
        bucket: change.bucket,
        key: change.key,
        version: change.version_id,
        content_id: change.content_id,
        removed: change.kind != ChangeKind::Created,
        repositories: vec![worker.settings.name.clone()],
    }
}

/// A page's worth: no more than one call takes.
fn hand_over(worker: &Worker, items: Vec<HandedOver>) -> Result<(), BackupError> {
    if !items.is_empty() {
        worker.runtime.block_on(worker.ledger.backup_hand_over(items, None))?;
    }
    Ok(())
}
