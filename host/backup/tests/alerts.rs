//! What is told when backups fail, do not happen, and happen again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backlot_backup::{ALL_BUCKETS, Backups, Batch, Settings, Target};
use backlot_ledger::backup::{BACKUP_FAILED, BACKUP_OVERDUE, BACKUP_RECOVERED};
use backlot_ledger::{Event, Ledger, Route, Router};
use backlot_storage::{Put, Store, StoreLimits};
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures::stream;
use serde_json::Value;

/// Far longer than anything here takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Remembers the events about backups.
#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Router for Told {
    fn route(&self, event: &Event) -> Vec<Route> {
        if event.kind.starts_with("backlot.backup.") {
            self.0.lock().unwrap().push(event.clone());
        }
        Vec::new()
    }
}

impl Told {
    fn of(&self, kind: &str) -> Vec<Event> {
        let told = self.0.lock().unwrap();
        told.iter().filter(|event| event.kind == kind).cloned().collect()
    }

    async fn wait_for(&self, kind: &str, count: usize) {
        let begun = Instant::now();
        while self.of(kind).len() < count {
            assert!(begun.elapsed() < PATIENCE, "{count} of {kind}: {:?}", self.0.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_and_absence_are_told_once_and_so_is_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let told = Arc::new(Told::default());
    ledger.set_router(told.clone());
    let blobs = folder.path().join("blobs");
    fs::create_dir(&blobs).unwrap();
    let dir = Dir::open_ambient_dir(&blobs, ambient_authority()).unwrap();
    let store = Store::open(dir, ledger.clone(), StoreLimits::default()).unwrap();
    store.create_bucket("documents").await.unwrap();
    let put = Put { bucket: "documents".into(), key: "a.txt".into(), ..Put::default() };
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"a"))]);
    store.put(put, body).await.unwrap();
    // A file is where the repository is to be.
    let place = folder.path().join("repository");
    fs::write(&place, "").unwrap();
    let settings = Settings {
        name: "disk".to_owned(),
        target: Target::Folder(place.clone()),
        password_file: folder.path().join("password"),
        buckets: vec![ALL_BUCKETS.to_owned()],
        follow: true,
        batch: Batch { changes_max: 1_000, bytes_max: 1 << 30, wait: Duration::ZERO },
        keep: None,
        append_only: false,
        verify_every: None,
        verify_parts: 1,
        drill_every: None,
        prune_every: None,
        overdue_after: Duration::from_secs(3),
    };
    let backups = Backups::start(vec![settings], Vec::new(), &ledger, &store).unwrap();

    told.wait_for(BACKUP_FAILED, 1).await;
    told.wait_for(BACKUP_OVERDUE, 1).await;
    let overdue: Value = serde_json::from_slice(&told.of(BACKUP_OVERDUE)[0].data).unwrap();
    assert_eq!(overdue.pointer("/details/buckets/documents/last_success"), Some(&Value::Null));
    // It was tried at least twice by then, and failed in the same way.
    assert_eq!(told.of(BACKUP_FAILED).len(), 1);
    let standing = backups.status().await.unwrap();
    assert!(standing[0].last.iter().any(|run| !run.succeeded), "{standing:?}");

    fs::remove_file(&place).unwrap();
    // Neither a failure nor overdue any more.
    told.wait_for(BACKUP_RECOVERED, 2).await;
    assert_eq!(told.of(BACKUP_FAILED).len(), 1);
    assert_eq!(told.of(BACKUP_OVERDUE).len(), 1);
    assert_eq!(backups.snapshots("disk").await.unwrap().len(), 1);
}
