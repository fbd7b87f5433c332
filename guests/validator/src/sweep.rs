//! The net under the events: everything that changed since the last time, from a cursor that is
//! kept, so that nothing is missed however long the function did not run.
//!
//! A sweep reads the feed of each bucket page by page. A page with something to judge becomes a
//! child invocation, so that pages are judged side by side and one object that breaks the check
//! costs one page a retry; if the page fails for good, each of its objects gets a child of its own,
//! and one that breaks that one too is written down as not supported.

use backlot_policy::Policy;
use backlot_sdk::bindings::backlot::storage::changes::{Change, Kind, Page};
use backlot_sdk::children::{self, Ending};
use backlot_sdk::objects::{self, Pinned, WriteOptions};
use backlot_sdk::{changes, context};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::record::{self, Became, OWN_BUCKET, Record};
use crate::{judge, settings};

/// Changes on one page, and so of one child.
const PAGE_CHANGES: u32 = 250;
/// Pages of one sweep: the next one goes on.
const PAGES_MAX: usize = 256;
/// For how long a sweep keeps others from the same bucket: then it is thought to have failed.
const TURN_MS: u64 = 15 * 60 * 1_000;
/// Largest state that is read.
const STATE_BYTES_MAX: u32 = 64 << 10;

/// How far a bucket was gone through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Of the feed; None: from its start.
    cursor: Option<String>,
    /// Digest of the policy that held. Under another one everything is gone through anew.
    policy: String,
    /// Which sweep is at it, and until when nobody else is.
    turn: Option<(String, u64)>,
}

/// To a child: judge this page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageOrder {
    /// The bucket's name.
    bucket: String,
    /// Where the page begins.
    cursor: Option<String>,
    /// Only what changed before that moment, in milliseconds since the Unix epoch.
    before_ms: u64,
    /// Only this version.
    only: Option<String>,
}

/// A page that has something to judge.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Started {
    order: PageOrder,
    child: String,
    /// Where the next page begins.
    next: String,
}

/// What a child did with its page.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct PageDone {
    /// Objects that were judged.
    judged: u32,
    /// Objects that could not be judged for a passing reason: the next sweep tries again.
    left: u32,
}

/// What a sweep found to do in one bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    pages: Vec<Started>,
    /// Where the next sweep goes on when all of them are done.
    end: Option<String>,
}

/// Goes through what changed in every bucket that has a policy.
pub fn run() -> Result<(), Fault> {
    for policy in settings::policies()? {
        match bucket(&policy) {
            // A bucket that nobody has made yet has no objects.
            Err(Fault::Never(reason)) => eprintln!("{}: {reason}", policy.bucket),
            other => other?,
        }
    }
    Ok(())
}

fn bucket(policy: &Policy) -> Result<(), Fault> {
    let me = context::current();
    let (mut state, etag) = load(policy)?;
    let mine = state.turn.as_ref().is_some_and(|(id, _)| *id == me.id);
    let taken = state.turn.as_ref().is_some_and(|(_, until_ms)| me.accepted_at_ms < *until_ms);
    if taken && !mine {
        return Ok(());
    }
    let name = format!("plan {}", policy.bucket);
    let plan: Plan = match context::recall(&name) {
        // Its end was written down: only the answer was not given.
        Some(_) if !mine => return Ok(()),
        Some(plan) => serde_json::from_slice(&plan)?,
        None => {
            let before_ms = me.accepted_at_ms.saturating_sub(settings::settle_ms());
            let Some(plan) = plan(policy, state.cursor.clone(), before_ms, &mut || {
                state.turn = Some((me.id.clone(), me.accepted_at_ms + TURN_MS));
                mine || save(policy, &state, etag.as_deref()).unwrap_or(false)
            })?
            else {
                return Ok(());
            };
            let plan = context::remember(&name, &serde_json::to_vec(&plan)?)?;
            serde_json::from_slice(&plan)?
        }
    };
    let end = carry_out(policy, &plan)?;
    let (now, etag) = load(policy)?;
    if plan.pages.is_empty() || now.turn.as_ref().is_some_and(|(id, _)| *id == me.id) {
        let done = State { cursor: end, policy: policy.digest(), turn: None };
        if done != now {
            save(policy, &done, etag.as_deref())?;
        }
    }
    Ok(())
}

/// What there is to do, if there is something to write down. `take` is asked before the first child
/// is started, and says whether the bucket is this sweep's.
fn plan(
    policy: &Policy,
    from: Option<String>,
    before_ms: u64,
    take: &mut dyn FnMut() -> bool,
) -> Result<Option<Plan>, Fault> {
    let mut plan = Plan { pages: Vec::new(), end: from };
    let mut taken = false;
    let mut something = false;
    for pages in 0..PAGES_MAX {
        let page = read(&policy.bucket, plan.end.as_deref())?;
        something |= !page.changes.is_empty() || 0 < pages;
        if needs_work(policy, &page, before_ms)? {
            taken = taken || take();
            if !taken {
                return Ok(None);
            }
            let order = PageOrder {
                bucket: policy.bucket.clone(),
                cursor: plan.end.clone(),
                before_ms,
                only: None,
            };
            let child = start(&order)?;
            plan.pages.push(Started { order, child, next: page.cursor.clone() });
        }
        // What is too young stays in front of the cursor, for its event or the next sweep.
        if page.changes.iter().any(|change| before_ms < change.at_ms) {
            break;
        }
        plan.end = Some(page.cursor);
        if !page.more {
            break;
        }
    }
    Ok(something.then_some(plan))
}

/// Waits for the pages; how far everything is judged.
fn carry_out(policy: &Policy, plan: &Plan) -> Result<Option<String>, Fault> {
    let ids: Vec<String> = plan.pages.iter().map(|page| page.child.clone()).collect();
    let outcomes = if ids.is_empty() { Vec::new() } else { children::wait(&ids)? };
    // The pages behind one that is not done are looked at again, which costs little where they are.
    for (outcome, page) in outcomes.iter().zip(&plan.pages) {
        match &outcome.ending {
            Ending::Succeeded(answer) if is_whole(answer.as_deref())? => {}
            Ending::Succeeded(_) => return Ok(page.order.cursor.clone()),
            Ending::Failed(_) | Ending::Cancelled => {
                let whole = one_by_one(policy, page)?;
                let next = Some(page.next.clone());
                return Ok(if whole { next } else { page.order.cursor.clone() });
            }
        }
    }
    Ok(plan.end.clone())
}

/// Whether a child left nothing.
fn is_whole(answer: Option<&[u8]>) -> Result<bool, Fault> {
    let done: PageDone = serde_json::from_slice(answer.unwrap_or_default())?;
    Ok(done.left == 0)
}

/// Judges each object of a page by itself; whether all of them have a verdict then.
fn one_by_one(policy: &Policy, page: &Started) -> Result<bool, Fault> {
    let name = format!("singles {}", policy.bucket);
    let singles: Vec<(String, String)> = match context::recall(&name) {
        Some(singles) => serde_json::from_slice(&singles)?,
        None => {
            let mut singles = Vec::new();
            for change in read(&policy.bucket, page.order.cursor.as_deref())?.changes {
                if is_pending(policy, &change, page.order.before_ms)? {
                    let only = Some(change.content_id.clone());
                    let order = PageOrder { only, ..page.order.clone() };
                    singles.push((start(&order)?, change.content_id));
                }
            }
            serde_json::from_slice(&context::remember(&name, &serde_json::to_vec(&singles)?)?)?
        }
    };
    if singles.is_empty() {
        return Ok(true);
    }
    let mut whole = true;
    let ids: Vec<String> = singles.iter().map(|(child, _)| child.clone()).collect();
    let outcomes = children::wait(&ids)?;
    for change in read(&policy.bucket, page.order.cursor.as_deref())?.changes {
        let place = singles.iter().position(|(_, id)| *id == change.content_id);
        let Some(outcome) = place.and_then(|place| outcomes.get(place)) else { continue };
        let reason = match &outcome.ending {
            Ending::Succeeded(answer) => {
                whole &= is_whole(answer.as_deref())?;
                continue;
            }
            Ending::Failed(reason) => reason.as_str(),
            Ending::Cancelled => "it was cancelled",
        };
        match judge::given_up(policy, &pinned(change), reason) {
            Ok(()) | Err(Fault::Gone) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(whole)
}

/// A child: judges what a page has to judge.
pub fn page(order: &PageOrder) -> Result<PageDone, Fault> {
    let policy = settings::policy(&order.bucket)?
        .ok_or_else(|| Fault::Never(format!("bucket {:?} has no policy", order.bucket)))?;
    let mut done = PageDone::default();
    // One commit for all that go to the backup; only after it is any of them done with.
    let (mut items, mut judged, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for change in read(&order.bucket, order.cursor.as_deref())?.changes {
        if order.before_ms < change.at_ms
            || order.only.as_ref().is_some_and(|only| *only != change.content_id)
        {
            continue;
        }
        let (kind, object) = (change.kind, pinned(change));
        if kind != Kind::Created {
            if is_forgettable(&object)? {
                gone.push(object);
            }
            continue;
        }
        match judge::judged(&policy, &object) {
            Ok(Some(record)) => {
                items.extend(judge::stored(&policy, &object, &record));
                judged.push((object, record));
            }
            Ok(None) | Err(Fault::Gone) => {}
            // Not the object's fault: what ends this attempt may be.
            Err(Fault::Passing(reason)) => {
                eprintln!("{reason}");
                done.left += 1;
            }
            Err(fault) => return Err(fault),
        }
    }
    judge::hand_over(items)?;
    for (object, record) in &judged {
        match judge::settle(object, record) {
            Ok(()) => done.judged += 1,
            Err(Fault::Gone) => {}
            Err(fault) => return Err(fault),
        }
    }
    // Asked again: another upload may have come, and have its record.
    gone.iter().try_for_each(removed)?;
    Ok(done)
}

/// The record of an object that is gone goes too, unless it is in quarantine.
pub fn removed(object: &Pinned) -> Result<(), Fault> {
    if is_forgettable(object)? { Record::remove(&object.bucket, &object.key) } else { Ok(()) }
}

fn is_forgettable(object: &Pinned) -> Result<bool, Fault> {
    let record = Record::read(&object.bucket, &object.key)?;
    Ok(record.is_some_and(|record| {
        record.content_id == object.content_id && record.became != Became::Moved
    }))
}

fn needs_work(policy: &Policy, page: &Page, before_ms: u64) -> Result<bool, Fault> {
    for change in &page.changes {
        if is_pending(policy, change, before_ms)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_pending(policy: &Policy, change: &Change, before_ms: u64) -> Result<bool, Fault> {
    if before_ms < change.at_ms {
        return Ok(false);
    }
    if change.kind != Kind::Created {
        return is_forgettable(&pinned(change.clone()));
    }
    let tags = record::tags_of(&pinned(change.clone()))?;
    Ok(tags.is_some_and(|tags| !record::is_judged(policy, &tags)))
}

fn read(bucket: &str, cursor: Option<&str>) -> Result<Page, Fault> {
    Ok(changes::read(cursor, Some(bucket), "", PAGE_CHANGES)?)
}

fn start(order: &PageOrder) -> Result<String, Fault> {
    let PageOrder { bucket, cursor, only, .. } = order;
    let key = match only {
        Some(content_id) => format!("object {content_id}"),
        None => format!("page {bucket} {}", cursor.as_deref().unwrap_or("0")),
    };
    let function = context::current().function;
    Ok(children::start(&function, &key, &serde_json::to_vec(order)?)?)
}

fn pinned(change: Change) -> Pinned {
    let Change { bucket, key, version, content_id, .. } = change;
    Pinned { bucket, key, version, content_id }
}

/// The bucket's state with its entity tag. What was gone through under another policy counts for
/// nothing.
fn load(policy: &Policy) -> Result<(State, Option<String>), Fault> {
    let fresh = State { policy: policy.digest(), ..State::default() };
    let reader = match objects::open(OWN_BUCKET, &state_key(policy), None) {
        Ok(reader) => reader,
        Err(objects::Error::NotFound) => return Ok((fresh, None)),
        Err(error) => return Err(error.into()),
    };
    let etag = Some(reader.info().etag);
    let state: State = serde_json::from_slice(&reader.read(0, STATE_BYTES_MAX)?)?;
    if state.policy == fresh.policy { Ok((state, etag)) } else { Ok((fresh, etag)) }
}

/// Whether the state was still the one that was loaded.
fn save(policy: &Policy, state: &State, etag: Option<&str>) -> Result<bool, Fault> {
    let options = WriteOptions {
        content_type: Some("application/json".to_owned()),
        metadata: Vec::new(),
        if_match: etag.map(str::to_owned),
        if_none_match: etag.is_none(),
    };
    let writer = objects::create(OWN_BUCKET, &state_key(policy), &options)?;
    writer.write(&serde_json::to_vec(state)?)?;
    match writer.finish() {
        Ok(_) => Ok(true),
        Err(objects::Error::PreconditionFailed | objects::Error::NotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn state_key(policy: &Policy) -> String {
    format!("cursors/{}", policy.bucket)
}
