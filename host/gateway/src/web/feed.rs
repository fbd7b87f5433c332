//! One list for everyone who looks: read when something changed, at most four times a second.

use std::sync::Arc;
use std::time::Duration;

use backlot_ledger::Change;
use tokio::sync::{Mutex, broadcast, watch};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use super::content::Content;
use super::jobs::{Shelf, Sources};
use super::reply::Fault;

/// Most pieces of content in the list; the newest are shown.
pub const CONTENT_MAX: usize = 500;
/// Least time between two looks on behalf of those who watch.
pub const REFRESH_INTERVAL: Duration = Duration::from_millis(250);
/// How old the list may be though nothing is known to have changed.
const AGE_MAX: Duration = Duration::from_secs(5);

/// The list as it was at one moment.
pub(super) struct Snapshot {
    pub(super) content: Vec<Content>,
}

impl Snapshot {
    pub(super) fn find(&self, id: &str) -> Option<&Content> {
        self.content.iter().find(|content| content.answers_to(id))
    }
}

/// Handle to the shared list.
pub(super) struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    sources: Sources,
    shelf: Shelf,
    /// Counts what may have changed the list.
    version: watch::Sender<u64>,
    latest: Mutex<Option<Latest>>,
}

struct Latest {
    version: u64,
    read_at: Instant,
    snapshot: Arc<Snapshot>,
}

impl Feed {
    pub(super) fn new(sources: Sources, shutdown: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            sources,
            shelf: Shelf::default(),
            version: watch::Sender::new(0),
            latest: Mutex::new(None),
        });
        // Subscribed here, not in the task: nothing that happens from now on is missed.
        let changes = shared.sources.ledger.changes();
        let reports = shared.sources.live.subscribe();
        tokio::spawn(watch_changes(shared.clone(), changes, reports, shutdown));
        Self { shared }
    }

    /// Changes when the list may have.
    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// The list as of the newest version. Those who ask at the same time share one read.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, Fault> {
        let mut latest = self.shared.latest.lock().await;
        let version = *self.shared.version.borrow();
        if let Some(latest) = latest.as_ref()
            && latest.version == version
            && latest.read_at.elapsed() < AGE_MAX
        {
            return Ok(latest.snapshot.clone());
        }
        let read_at = Instant::now();
        let content = self.shared.sources.read(&self.shared.shelf).await?;
        let snapshot = Arc::new(Snapshot { content });
        *latest = Some(Latest { version, read_at, snapshot: snapshot.clone() });
        Ok(snapshot)
    }
}

async fn watch_changes<T: Clone + Send>(
    shared: Arc<Shared>,
    mut changes: broadcast::Receiver<Change>,
    mut reports: broadcast::Receiver<T>,
    shutdown: CancellationToken,
) {
    loop {
        let mut may_publish = false;
        let closed = tokio::select! {
            () = shutdown.cancelled() => true,
            change = changes.recv() => {
                may_publish = publishes(&change);
                matches!(change, Err(broadcast::error::RecvError::Closed))
            }
            report = reports.recv() => matches!(report, Err(broadcast::error::RecvError::Closed)),
        };
        if closed {
            return;
        }
        // What came together is one change.
        loop {
            match changes.try_recv() {
                Ok(change) => may_publish |= publishes(&Ok(change)),
                Err(broadcast::error::TryRecvError::Lagged(_)) => may_publish = true,
                Err(_) => break,
            }
        }
        while matches!(reports.try_recv(), Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_))) {
        }
        if may_publish {
            shared.shelf.forget().await;
        }
        shared.version.send_modify(|version| *version += 1);
        time::sleep(REFRESH_INTERVAL).await;
    }
}

/// Whether content may have been published or removed.
fn publishes(change: &Result<Change, broadcast::error::RecvError>) -> bool {
    !matches!(change, Ok(Change::Queued(_) | Change::Parked(_) | Change::Started(_)))
}
