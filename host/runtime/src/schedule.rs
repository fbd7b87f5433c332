//! Schedules: moments that start a function.
//!
//! Each slot of a schedule fires once, whatever happens in between: the ledger keeps the last one
//! in the commit that publishes its event. What was missed while the host was down is settled by
//! the schedule's policy.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use backlot_ledger::{Event, EventId, LedgerError};
use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::manifest::{ManifestError, check_name, out_of_range, within};
use crate::runtime::Shared;
use crate::triggers::Trigger;

/// Kind of the event of a slot.
pub(crate) const SCHEDULE: &str = "backlot.schedule";
/// A slot that is later than this was missed.
const GRACE: SignedDuration = SignedDuration::from_secs(60);
/// Most missed slots that are made up for by `missed = "all"`, the latest.
pub(crate) const MISSED_MAX: usize = 1_000;
/// Longest `jitter_secs`: a day.
const JITTER_MAX_SECS: u64 = 86_400;
/// How far ahead the next slot is looked for: the clock may be set meanwhile.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// A schedule of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name within the function: 1 to 64 of `a-z`, `0-9` and `-`, a letter first.
    pub name: String,
    /// When: five fields of cron (minute, hour, day of month, month, day of week), or six with the
    /// second first.
    pub cron: String,
    /// Where: an IANA name, such as `Europe/Berlin`; `UTC` by default.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Each slot starts up to so much later, by a fixed amount of its own: 0 to 86,400 s; 0 by
    /// default.
    #[serde(default)]
    pub jitter_secs: u64,
    /// What becomes of slots that were missed.
    #[serde(default)]
    pub missed: Missed,
}

/// What becomes of slots that the host was not there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// Nothing.
    Skip,
    /// The last of them starts the function once.
    #[default]
    Once,
    /// Each of them does, the latest 1,000.
    All,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Schedule {
    /// The source of its events.
    pub(crate) fn source(&self, function: &str) -> String {
        format!("/functions/{function}/schedules/{}", self.name)
    }

    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        check_name("triggers.name", &self.name)?;
        within("triggers.jitter_secs", self.jitter_secs, 0, JITTER_MAX_SECS)?;
        let timetable = self.timetable()?;
        timetable.after(Timestamp::now()).map(drop).ok_or_else(|| {
            let value = format!("{:?}", self.cron);
            out_of_range("triggers.cron", value, "a time that comes: this never does")
        })
    }

    fn timetable(&self) -> Result<Timetable, ManifestError> {
        let zone = TimeZone::get(&self.timezone).map_err(|_| {
            let limit = "the name of a time zone, such as UTC or Europe/Berlin";
            out_of_range("triggers.timezone", format!("{:?}", self.timezone), limit)
        })?;
        let cron = Cron::from_str(&self.cron).map_err(|err| {
            let limit = format!("a line of cron, such as \"0 3 * * *\" for 3:00 each day ({err})");
            out_of_range("triggers.cron", format!("{:?}", self.cron), limit)
        })?;
        Ok(Timetable { cron, zone })
    }

    /// By how much a slot starts later.
    fn jitter(&self, function: &str, slot: Timestamp) -> SignedDuration {
        let digest = Sha256::digest(format!("{}\n{slot}", self.source(function)));
        let bytes = digest.first_chunk::<8>().copied().unwrap_or_default();
        let ms = u64::from_le_bytes(bytes) % (self.jitter_secs * 1_000 + 1);
        SignedDuration::from_millis(i64::try_from(ms).unwrap_or(0))
    }

    /// The most of that.
    fn jitter_max(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.jitter_secs).unwrap_or(i64::MAX))
    }

    fn event(&self, function: &str, slot: Timestamp) -> Event {
        let source = self.source(function);
        let data = json!({ "function": function, "schedule": self.name, "slot": slot.to_string() });
        let id = EventId::from(format!("{source}/{}", slot.as_millisecond()));
        let data = data.to_string().into_bytes();
        Event { id, ..Event::json(source, SCHEDULE, Some(slot.to_string()), data) }
    }
}

/// The slots of a schedule.
struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    /// The first slot after a moment; none if there is none in sight.
    fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let local = moment.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&local, false).ok().map(|slot| slot.timestamp())
    }

    /// Where to go on from `last`: from there, unless more than [`MISSED_MAX`] slots lie between it
    /// and `end`. A schedule of each second may have missed millions, which nobody asks for.
    fn recent(&self, last: Timestamp, end: Timestamp) -> Timestamp {
        let mut at = end;
        for _ in 0..=MISSED_MAX {
            let local = at.to_zoned(self.zone.clone());
            match self.cron.find_previous_occurrence(&local, false) {
                Ok(slot) if last < slot.timestamp() => at = slot.timestamp(),
                _ => return last,
            }
        }
        at
    }
}

/// What is to be done for a schedule now.
#[derive(Debug, PartialEq)]
struct Due {
    /// Slots to be settled, with whether they start the function.
    slots: Vec<(Timestamp, bool)>,
    /// When to look again.
    next: Option<Timestamp>,
}

/// What is due of a schedule whose last slot was `last`.
fn due(
    timetable: &Timetable,
    schedule: &Schedule,
    function: &str,
    last: Timestamp,
    now: Timestamp,
) -> Due {
    let mut slots = Vec::new();
    let mut missed: Vec<Timestamp> = Vec::new();
    let mut at = timetable.recent(last, now - GRACE - schedule.jitter_max());
    let next = loop {
        let Some(slot) = timetable.after(at) else { break None };
        let start = slot.saturating_add(schedule.jitter(function, slot)).unwrap_or(Timestamp::MAX);
        if now < start {
            break Some(start);
        }
        if now.duration_since(start) <= GRACE {
            slots.push((slot, true));
        } else {
            missed.push(slot);
        }
        at = slot;
    };
    let made_up = match schedule.missed {
        Missed::Skip => 0,
        Missed::Once => 1,
        Missed::All => MISSED_MAX,
    };
    let passed = missed.len().saturating_sub(made_up);
    let mut settled: Vec<(Timestamp, bool)> = Vec::new();
    // Of those that are passed over, the last stands for all.
    settled
        .extend(passed.checked_sub(1).and_then(|last| missed.get(last)).map(|slot| (*slot, false)));
    settled.extend(missed.iter().skip(passed).map(|slot| (*slot, true)));
    settled.append(&mut slots);
    Due { slots: settled, next }
}

/// Fires schedules of the live functions until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let deployed = shared.functions.deployed();
        tokio::pin!(deployed);
        // Listen before looking, else a deploy in between would be missed.
        deployed.as_mut().enable();
        let next = match fire(&shared).await {
            Ok(next) => next,
            Err(err) => {
                tracing::error!(%err, "schedules are not looked at, trying again");
                None
            }
        };
        let wait = next.map_or(LOOK_ANYWAY, |next| {
            Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default()
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait.min(LOOK_ANYWAY)) => {}
            () = deployed => {}
        }
    }
}

/// Fire what is due; when the next slot is.
async fn fire(shared: &Shared) -> Result<Option<Timestamp>, LedgerError> {
    let mut earliest: Option<Timestamp> = None;
    for version in shared.functions.all() {
        let function = version.function();
        for trigger in &version.manifest.triggers {
            let Trigger::Schedule(schedule) = trigger else { continue };
            // Checked when it was deployed.
            let Ok(timetable) = schedule.timetable() else { continue };
            let last = shared.ledger.begin_schedule(function, &schedule.name).await?;
            let Due { slots, next } = due(&timetable, schedule, function, last, Timestamp::now());
            for (slot, starts) in slots {
                let event = starts.then(|| schedule.event(function, slot));
                shared.ledger.fire(function, &schedule.name, slot, event).await?;
            }
            earliest = earliest.into_iter().chain(next).min();
        }
    }
    Ok(earliest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, timezone: &str, missed: Missed) -> Schedule {
        let (cron, timezone) = (cron.to_owned(), timezone.to_owned());
        Schedule { name: "s".to_owned(), cron, timezone, jitter_secs: 0, missed }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn slots(schedule: &Schedule, last: &str, now: &str) -> (Vec<(String, bool)>, Option<String>) {
        let timetable = schedule.timetable().unwrap();
        let Due { slots, next } = due(&timetable, schedule, "f", at(last), at(now));
        let text = |slot: Timestamp| slot.to_string();
        (slots.into_iter().map(|(slot, starts)| (text(slot), starts)).collect(), next.map(text))
    }

    #[test]
    fn a_slot_is_due_when_its_time_has_come() {
        let hourly = schedule("0 * * * *", "UTC", Missed::Skip);
        let (due, next) = slots(&hourly, "2026-03-01T10:20:00Z", "2026-03-01T10:59:59Z");
        assert!(due.is_empty());
        assert_eq!(next.as_deref(), Some("2026-03-01T11:00:00Z"));
        let (due, next) = slots(&hourly, "2026-03-01T10:20:00Z", "2026-03-01T11:00:00Z");
        assert_eq!(due, [("2026-03-01T11:00:00Z".to_owned(), true)]);
        assert_eq!(next.as_deref(), Some("2026-03-01T12:00:00Z"));
    }

    #[test]
    fn missed_slots_are_skipped_or_made_up_for() {
        let (last, now) = ("2026-03-01T10:00:00Z", "2026-03-01T13:30:00Z");
        let slot = |hour: u32, starts| (format!("2026-03-01T{hour}:00:00Z"), starts);
        for (missed, wanted) in [
            (Missed::Skip, vec![slot(13, false)]),
            (Missed::Once, vec![slot(12, false), slot(13, true)]),
            (Missed::All, vec![slot(11, true), slot(12, true), slot(13, true)]),
        ] {
            assert_eq!(slots(&schedule("0 * * * *", "UTC", missed), last, now).0, wanted);
        }
        let minutely = schedule("* * * * *", "UTC", Missed::All);
        let (due, _) = slots(&minutely, "2026-01-01T00:00:00Z", "2026-03-01T00:00:30Z");
        assert_eq!(due.iter().filter(|(_, starts)| *starts).count(), MISSED_MAX + 1);
        // A year of seconds: what is gone through is bounded.
        let secondly = schedule("* * * * * *", "UTC", Missed::Once);
        let (due, _) = slots(&secondly, "2025-03-01T00:00:00Z", "2026-03-01T00:00:00Z");
        assert_eq!(due.first(), Some(&("2026-02-28T23:58:58Z".to_owned(), false)));
        assert_eq!(due.get(1), Some(&("2026-02-28T23:58:59Z".to_owned(), true)));
        assert_eq!(due.len(), 2 + 61);
    }

    #[test]
    fn local_time_is_followed_over_changes_of_the_clock() {
        let nightly = schedule("30 2 * * *", "Europe/Berlin", Missed::All);
        // In winter 2:30 is 1:30 UTC, in summer 0:30; in the night of the change to summer time
        // there is no 2:30, and at the change back there are two.
        let (due, _) = slots(&nightly, "2026-10-23T12:00:00Z", "2026-10-27T12:00:00Z");
        let due: Vec<_> = due.into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(due.first().map(String::as_str), Some("2026-10-24T00:30:00Z"));
        assert_eq!(due.last().map(String::as_str), Some("2026-10-27T01:30:00Z"));
        assert_eq!(due.iter().filter(|slot| slot.starts_with("2026-10-25")).count(), 1);
        let (due, _) = slots(&nightly, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(due.len(), 2, "{due:?}");
    }

    #[test]
    fn jitter_is_the_same_for_the_same_slot_and_within_its_bound() {
        let spread = Schedule { jitter_secs: 60, ..schedule("0 * * * *", "UTC", Missed::Once) };
        let slot = at("2026-03-01T11:00:00Z");
        let jitter = spread.jitter("f", slot);
        assert_eq!(jitter, spread.jitter("f", slot));
        assert!(SignedDuration::ZERO <= jitter && jitter <= SignedDuration::from_secs(60));
        assert_ne!(jitter, spread.jitter("g", slot));
        let just_before = slot + jitter - SignedDuration::from_millis(1);
        let (due, next) = slots(&spread, "2026-03-01T10:30:00Z", &just_before.to_string());
        assert!(due.is_empty());
        assert_eq!(next, Some((slot + jitter).to_string()));
    }

    #[test]
    fn what_never_comes_is_refused() {
        for (cron, timezone, wanted) in [
            ("0 0 30 2 *", "UTC", "this never does"),
            ("61 * * * *", "UTC", "triggers.cron is \"61 * * * *\""),
            ("often", "UTC", "a line of cron"),
            ("0 0 * * *", "Middle/Earth", "the name of a time zone"),
        ] {
            let error = schedule(cron, timezone, Missed::Once).check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{cron}: {error}");
        }
    }
}
