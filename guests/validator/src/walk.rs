//! One object for somebody who asks: the verdict with the whole walk. Nothing is changed.

use std::time::Instant;

use backlot_formats::{Guard, Limits, Structure, validate};
use backlot_policy::{Policy, Verdict};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::record::Record;
use crate::settings;
use crate::source::Source;

/// Structures in the answer, which may have 1 MiB.
const STRUCTURES_MAX: usize = 4_096;

/// What is asked.
#[derive(Debug, Deserialize)]
pub struct Question {
    bucket: String,
    key: String,
    #[serde(default)]
    version: Option<String>,
}

/// What is answered.
#[derive(Debug, Serialize)]
pub struct Answer {
    bucket: String,
    key: String,
    size: u64,
    #[serde(flatten)]
    verdict: Verdict,
    walk: Vec<Line>,
    /// Structures that were met and are not in `walk`.
    omitted: u64,
    /// Time of the walk, in microseconds.
    took_us: u64,
    /// What was written down about the key before.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Record>,
}

/// One structure.
#[derive(Debug, Serialize)]
struct Line {
    offset: u64,
    bytes: u64,
    depth: u32,
    name: String,
    checksum: bool,
}

/// Walks it.
pub fn answer(question: &Question) -> Result<Answer, Fault> {
    let Question { bucket, key, version } = question;
    let missing = || Fault::Never(format!("there is no object {key:?} in bucket {bucket:?}"));
    let source = match Source::current(bucket, key, version.as_deref()) {
        Err(Fault::Gone) => return Err(missing()),
        source => source?,
    };
    let policy = settings::policy(bucket)?;
    let record = if policy.is_some() { Record::read(bucket, key)? } else { None };
    let policy = policy.unwrap_or_else(|| Policy::of(bucket));
    let declared = source.declared();
    let size = source.info().size;
    let limits = Limits { walk_structures: STRUCTURES_MAX, ..Limits::default() };
    let begun = Instant::now();
    let report = validate(&source, &declared, &limits)?;
    let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let verdict =
        policy.judge_unread(&declared, size).unwrap_or_else(|| policy.judge(&declared, &report));
    Ok(Answer {
        bucket: bucket.clone(),
        key: key.clone(),
        size,
        verdict,
        walk: report.walk.structures.into_iter().map(line).collect(),
        omitted: report.walk.omitted,
        took_us,
        record,
    })
}

fn line(structure: Structure) -> Line {
    let Structure { offset, len, depth, name, guard } = structure;
    Line { offset, bytes: len, depth, name, checksum: guard == Guard::Checksum }
}
