//! How far an encoding has come: what a job's children report, added up.

use std::collections::BTreeMap;

use backlot_ledger::{Invocation, Ledger, LedgerError, Progress, State};
use serde::Serialize;

use super::LiveWork;

/// How far a job has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Parts of the film and the sound, by their keys.
    pub parts: Vec<Part>,
    /// Renditions, the tallest first, the sound last.
    pub rungs: Vec<Rung>,
}

/// One part of the film, or the sound.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Such as `part-0003` or `audio-0`.
    pub key: String,
    /// Where it stands.
    pub state: State,
    /// Of all its rungs together; a running part's are not stored yet.
    pub done: u64,
    /// 0 until the part has reported for the first time.
    pub total: u64,
}

/// One rendition over all parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rung {
    /// Such as `720p`.
    pub name: String,
    /// `frames`, or `ms` for sound.
    pub unit: String,
    /// Finished and stored: of parts that succeeded, nothing else.
    pub stored: u64,
    /// Encoded by parts that run now; lost if they are interrupted.
    pub in_flight: u64,
    /// Of the whole film.
    pub total: u64,
    /// Whether `total` is guessed because some parts have not reported yet.
    pub total_estimated: bool,
}

impl Work {
    /// What a job's children say now; nothing for a job that has none yet, or is ready.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn read(
        ledger: &Ledger,
        live: &dyn LiveWork,
        job: &Invocation,
    ) -> Result<Self, LedgerError> {
        if job.state == State::Succeeded {
            return Ok(Self::default());
        }
        let children = ledger.children_of(&job.id).await?;
        let reports: Vec<_> = children
            .iter()
            .map(|child| {
                let strands = match child.state {
                    State::Running => live.progress(&child.id),
                    _ => child.progress.clone(),
                };
                (child, strands)
            })
            .collect();
        Ok(Self::of(&reports, &job.progress))
    }

    /// Adds up what children report. `reports` has for each child what it says now: of one that
    /// runs the live report, of one that ended what the ledger kept with its end.
    fn of(reports: &[(&Invocation, Vec<Progress>)], plan: &[Progress]) -> Self {
        let mut rungs: BTreeMap<(String, String), Rung> = BTreeMap::new();
        let mut parts = Vec::with_capacity(reports.len());
        let mut silent = 0;
        for (child, strands) in reports {
            let mut part = Part {
                key: child.child_key.clone().unwrap_or_default(),
                state: child.state,
                done: 0,
                total: 0,
            };
            let is_video = part.key.starts_with("part-");
            silent += u64::from(is_video && strands.is_empty());
            for strand in strands {
                // A guest's numbers: never more done than there is.
                let done = strand.done.min(strand.total);
                let (stored, in_flight) = match child.state {
                    State::Succeeded => (strand.total, 0),
                    State::Running => (0, done),
                    _ => (0, 0),
                };
                part.done = part.done.saturating_add(stored + in_flight);
                part.total = part.total.saturating_add(strand.total);
                let name = (strand.unit.clone(), strand.name.clone());
                let rung = rungs.entry(name).or_insert_with(|| Rung {
                    name: strand.name.clone(),
                    unit: strand.unit.clone(),
                    stored: 0,
                    in_flight: 0,
                    total: 0,
                    total_estimated: false,
                });
                rung.stored = rung.stored.saturating_add(stored);
                rung.in_flight = rung.in_flight.saturating_add(in_flight);
                rung.total = rung.total.saturating_add(strand.total);
            }
            parts.push(part);
        }
        parts.sort_by(|a, b| a.key.cmp(&b.key));
        let heard =
            parts.iter().filter(|part| part.key.starts_with("part-")).count() as u64 - silent;
        let mut rungs: Vec<Rung> = rungs.into_values().collect();
        let planned = plan.iter().find(|strand| strand.unit == "frames").map(|strand| strand.total);
        for rung in rungs.iter_mut().filter(|rung| rung.unit == "frames") {
            if let Some(planned) = planned {
                rung.total = rung.total.max(planned);
            } else if 0 < silent && 0 < heard {
                rung.total += rung.total.div_ceil(heard).saturating_mul(silent);
                rung.total_estimated = true;
            }
        }
        // The tallest picture first, sound last.
        rungs.sort_by_key(|rung| (rung.unit != "frames", std::cmp::Reverse(lines(&rung.name))));
        Self { parts, rungs }
    }

    /// Stored and in flight, in thousandths of the whole picture work, and parts stored.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        let (mut stored, mut in_flight, mut total) = (0_u64, 0_u64, 0_u64);
        for rung in self.rungs.iter().filter(|rung| rung.unit == "frames") {
            stored = stored.saturating_add(rung.stored);
            in_flight = in_flight.saturating_add(rung.in_flight);
            total = total.saturating_add(rung.total);
        }
        summary.stored_permille = permille(stored, total);
        summary.in_flight_permille = permille(in_flight, total);
        summary.parts = self.parts.len();
        summary.parts_stored =
            self.parts.iter().filter(|part| part.state == State::Succeeded).count();
        summary
    }
}

/// A job in four numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Of the picture work of all rungs, in thousandths.
    pub stored_permille: u64,
    /// The same, of what is in flight.
    pub in_flight_permille: u64,
    /// Children in all.
    pub parts: usize,
    /// Children that succeeded.
    pub parts_stored: usize,
}

/// Rounded down, so that 1000 means all.
#[must_use]
pub fn permille(part: u64, whole: u64) -> u64 {
    part.min(whole).saturating_mul(1_000).checked_div(whole).unwrap_or(0)
}

fn lines(name: &str) -> u32 {
    name.trim_end_matches('p').parse().unwrap_or(0)
}
