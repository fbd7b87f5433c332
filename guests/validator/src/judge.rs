//! The whole story of one object, from its bytes to what becomes of it.
//!
//! The host may run this again from its start at any time. The tags are written last, so an object
//! that has them is done with; whatever was done before them is not done again.

use backlot_formats::{Limits, validate};
use backlot_policy::{Consequence, Policy, UnknownRule, Verdict};
use backlot_sdk::antivirus::Opinion;
use backlot_sdk::backup::{Change, Item};
use backlot_sdk::bindings::backlot::function::context::NewEvent;
use backlot_sdk::objects::{self, Pinned};
use backlot_sdk::{antivirus, backup, context};

use crate::fault::Fault;
use crate::record::{self, Became, QUARANTINE_BUCKET, QUARANTINE_TAG, RELEASED_TAG, Record};
use crate::source::Source;

/// Kind of the event that tells of an invalid object.
const ALERT: &str = "object.invalid";

/// Judges an object, unless that was done under this policy, and hands it to the backup.
/// [`Fault::Gone`] if it is not there.
pub fn object(policy: &Policy, object: &Pinned) -> Result<Option<Record>, Fault> {
    let Some(record) = judged(policy, object)? else { return Ok(None) };
    hand_over(stored(policy, object, &record).into_iter().collect())?;
    settle(object, &record)?;
    Ok(Some(record))
}

/// What the backup is told of an object with this record, if it is to be backed up.
pub fn stored(policy: &Policy, object: &Pinned, record: &Record) -> Option<Item> {
    let wanted = policy.backs_up(record.verdict.name());
    wanted.then(|| Item { object: object.clone(), change: Change::Stored })
}

/// Hands objects to the backup; which repository takes them, if any does, the operator decided.
pub fn hand_over(items: Vec<Item>) -> Result<(), Fault> {
    if !items.is_empty() {
        backup::add(&items)?;
    }
    Ok(())
}

/// The last step: after it nobody looks at the object again.
pub fn settle(object: &Pinned, record: &Record) -> Result<(), Fault> {
    if record.became == Became::Moved {
        objects::delete_version(object)?;
    } else {
        objects::tag(object, &record.tags(), &[])?;
    }
    Ok(())
}

/// Judges an object, unless that was done under this policy, up to but not with the backup and
/// [`settle`].
pub fn judged(policy: &Policy, object: &Pinned) -> Result<Option<Record>, Fault> {
    let tags = record::tags_of(object)?.ok_or(Fault::Gone)?;
    if record::is_judged(policy, &tags) {
        return Ok(None);
    }
    let source = Source::open(object)?;
    let size = source.info().size;
    let declared = source.declared();
    let verdict = match record::tag(&tags, RELEASED_TAG) {
        Some(by) => Verdict::Skipped { why: format!("released from quarantine by {by}") },
        None => match policy.judge_unread(&declared, size) {
            Some(verdict) => verdict,
            None => policy.judge(&declared, &validate(&source, &declared, &limits())?),
        },
    };
    drop(source);
    let open = matches!(verdict, Verdict::Valid { .. } | Verdict::Unsupported { .. });
    let wanted = policy.second_opinion && open;
    let (verdict, opinion) =
        if wanted { second_opinion(policy, object, verdict)? } else { (verdict, None) };
    let record = carry_out(policy, object, size, verdict, opinion)?;
    if record.became == Became::Kept && record::tag(&tags, QUARANTINE_TAG).is_some() {
        // Another policy denied it.
        objects::tag(object, &[], &[QUARANTINE_TAG.to_owned()])?;
        record.leave()?;
    }
    Ok(Some(record))
}

/// What a virus scanner says of what seems to be fine.
fn second_opinion(
    policy: &Policy,
    object: &Pinned,
    verdict: Verdict,
) -> Result<(Verdict, Option<String>), Fault> {
    Ok(match antivirus::scan(object)? {
        Opinion::Clean => (verdict, Some("clean".to_owned())),
        Opinion::NotScanned(reason) => {
            let what = format!("the virus scanner did not check it: {reason}");
            (unchecked(policy, what), Some(format!("not scanned: {reason}")))
        }
        Opinion::Infected(name) => {
            let format = match verdict {
                Verdict::Valid { format, .. } => Some(format),
                Verdict::Unsupported { format, .. } | Verdict::Invalid { format, .. } => format,
                Verdict::Skipped { .. } => None,
            };
            let what = format!("the virus scanner knows it as {name}");
            (Verdict::Invalid { format, at: 0, what }, Some(format!("infected: {name}")))
        }
    })
}

/// Writes down that an object could not be judged, however often that was tried.
pub fn given_up(policy: &Policy, object: &Pinned, reason: &str) -> Result<(), Fault> {
    let verdict = unchecked(policy, format!("the check gave up: {reason}"));
    let size = Source::open(object)?.info().size;
    let record = carry_out(policy, object, size, verdict, None)?;
    hand_over(stored(policy, object, &record).into_iter().collect())?;
    settle(object, &record)
}

/// What a policy says of what could not be checked.
fn unchecked(policy: &Policy, what: String) -> Verdict {
    match policy.unknown {
        UnknownRule::Refuse => Verdict::Invalid { format: None, at: 0, what },
        _ => Verdict::Unsupported { format: None, at: 0, what },
    }
}

/// Bounds of the walk. Nobody prints the structures.
fn limits() -> Limits {
    Limits { walk_structures: 0, ..Limits::default() }
}

fn carry_out(
    policy: &Policy,
    object: &Pinned,
    size: u64,
    verdict: Verdict,
    second_opinion: Option<String>,
) -> Result<Record, Fault> {
    let became = match (&verdict, policy.invalid) {
        (Verdict::Invalid { .. }, Consequence::Deny) => Became::Denied,
        (Verdict::Invalid { .. }, Consequence::Quarantine) => Became::Moved,
        _ => Became::Kept,
    };
    let record = Record {
        bucket: object.bucket.clone(),
        key: object.key.clone(),
        version: object.version.clone(),
        content_id: object.content_id.clone(),
        size,
        verdict,
        second_opinion,
        became,
        policy: policy.digest(),
        at_ms: context::current().accepted_at_ms,
    };
    let is_invalid = matches!(record.verdict, Verdict::Invalid { .. });
    if record.became == Became::Moved {
        let copied = objects::copy(object, QUARANTINE_BUCKET, &record.moved_key(), false);
        copied.map_err(record::quarantine_fault)?;
    }
    // Of two invocations that judge the same object, the one that enters it tells of it.
    let tells = is_invalid && (record.became == Became::Kept || record.enter()?);
    if record.became == Became::Moved && !tells {
        // It was denied under another policy: the entry says where it is from now on.
        record.enter_again()?;
    }
    record.write()?;
    if tells {
        alert(&record)?;
    }
    Ok(record)
}

/// Tells whoever listens of an invalid object.
fn alert(record: &Record) -> Result<(), Fault> {
    context::publish(&NewEvent {
        kind: ALERT.to_owned(),
        subject: Some(record.key.clone()),
        data: serde_json::to_vec(record)?,
    })?;
    Ok(())
}
