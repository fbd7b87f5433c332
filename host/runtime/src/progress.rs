//! Live progress: what running guests last reported, for whoever looks, without touching the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backlot_ledger::{InvocationId, Progress};
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Least time between two broadcasts about one invocation: 20 a second.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_millis(50);

/// Most strands of one report; more are dropped.
pub(crate) const STRANDS_MAX: usize = 64;
/// Longest name of a strand, in bytes; the rest is cut off.
pub(crate) const STRAND_NAME_MAX_BYTES: usize = 64;
/// Longest unit, in bytes; the rest is cut off.
pub(crate) const UNIT_MAX_BYTES: usize = 32;

/// Reports that a slow subscriber may be behind before it loses some.
const SUBSCRIBER_QUEUE: usize = 1_024;

/// What each running invocation last reported.
#[derive(Clone)]
pub(crate) struct LiveProgress {
    inner: Arc<Inner>,
}

struct Inner {
    running: Mutex<HashMap<InvocationId, Entry>>,
    reports: broadcast::Sender<(InvocationId, Vec<Progress>)>,
}

struct Entry {
    strands: Vec<Progress>,
    /// Nothing is sent before.
    next_send: Instant,
    /// A task waits until then to send the last report.
    waiting: bool,
}

impl LiveProgress {
    pub(crate) fn new() -> Self {
        let (reports, _) = broadcast::channel(SUBSCRIBER_QUEUE);
        Self { inner: Arc::new(Inner { running: Mutex::default(), reports }) }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<(InvocationId, Vec<Progress>)> {
        self.inner.reports.subscribe()
    }

    /// What the invocation last reported; nothing when it does not run or did not report.
    pub(crate) fn of(&self, id: &InvocationId) -> Vec<Progress> {
        self.lock().get(id).map(|entry| entry.strands.clone()).unwrap_or_default()
    }

    /// Replace what is shown. Sent on at once, or, when the last report is younger than
    /// [`REPORT_INTERVAL`], at its end; of several meanwhile the last. Needs a tokio runtime.
    pub(crate) fn report(&self, id: &InvocationId, strands: Vec<Progress>) {
        let now = Instant::now();
        let mut running = self.lock();
        let entry = running.entry(id.clone()).or_insert_with(|| Entry {
            strands: Vec::new(),
            next_send: now,
            waiting: false,
        });
        entry.strands.clone_from(&strands);
        if entry.waiting {
            return;
        }
        if entry.next_send <= now {
            entry.next_send = now + REPORT_INTERVAL;
            drop(running);
            self.send(id, strands);
            return;
        }
        entry.waiting = true;
        let due = entry.next_send;
        drop(running);
        let (this, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            this.send_waiting(&id);
        });
    }

    /// The attempt is over: send what still waits, forget the invocation, and answer with the last
    /// report.
    pub(crate) fn end(&self, id: &InvocationId) -> Vec<Progress> {
        let Some(entry) = self.lock().remove(id) else { return Vec::new() };
        if entry.waiting {
            self.send(id, entry.strands.clone());
        }
        entry.strands
    }

    fn send_waiting(&self, id: &InvocationId) {
        let mut running = self.lock();
        // Gone: `end` has sent it.
        let Some(entry) = running.get_mut(id).filter(|entry| entry.waiting) else { return };
        entry.waiting = false;
        entry.next_send = Instant::now() + REPORT_INTERVAL;
        let strands = entry.strands.clone();
        drop(running);
        self.send(id, strands);
    }

    fn send(&self, id: &InvocationId, strands: Vec<Progress>) {
        // Fails when nobody listens, which is fine.
        drop(self.inner.reports.send((id.clone(), strands)));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InvocationId, Entry>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A strand within its limits: the guest wrote it.
pub(crate) fn strand(name: String, done: u64, total: u64, unit: String) -> Progress {
    Progress {
        name: cut(name, STRAND_NAME_MAX_BYTES),
        done: done.min(total),
        total,
        unit: cut(unit, UNIT_MAX_BYTES),
    }
}

/// The text, or as much of its beginning as `most` bytes hold.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if most < text.len() {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> InvocationId {
        "0123456789abcdef0123456789abcdef".parse().unwrap()
    }

    fn at(done: u64) -> Vec<Progress> {
        vec![strand("720p".into(), done, 100, "frames".into())]
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_sent_as_its_first_and_its_last() {
        let live = LiveProgress::new();
        let mut reports = live.subscribe();
        for done in 1..=50 {
            live.report(&id(), at(done));
        }
        assert_eq!(live.of(&id()), at(50), "whoever looks sees the last at once");
        tokio::time::sleep(REPORT_INTERVAL).await;
        assert_eq!(reports.recv().await.unwrap().1, at(1));
        assert_eq!(reports.recv().await.unwrap().1, at(50));
        assert!(reports.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_twenty_a_second() {
        let live = LiveProgress::new();
        let mut reports = live.subscribe();
        for done in 0..1_000 {
            live.report(&id(), at(done % 100));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut sent = 0;
        while reports.try_recv().is_ok() {
            sent += 1;
        }
        assert!((18..=21).contains(&sent), "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_sends_what_waits_and_forgets() {
        let live = LiveProgress::new();
        let mut reports = live.subscribe();
        live.report(&id(), at(1));
        live.report(&id(), at(100));
        assert_eq!(live.end(&id()), at(100));
        assert!(live.of(&id()).is_empty());
        tokio::time::sleep(REPORT_INTERVAL * 3).await;
        assert_eq!(reports.recv().await.unwrap().1, at(1));
        assert_eq!(reports.recv().await.unwrap().1, at(100));
        assert!(reports.is_empty());
    }

    #[test]
    fn strands_are_cut_at_characters_and_never_over_their_total() {
        let strand = strand("é".repeat(40), 200, 100, "x".repeat(100));
        assert_eq!(strand.name.len(), 64);
        assert_eq!(cut("é".repeat(40), 63).len(), 62);
        assert_eq!((strand.done, strand.unit.len()), (100, UNIT_MAX_BYTES));
    }
}
