//! The store through its public functions: what is promised to the S3 front door and to guests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]

mod bodies;
mod changes;
mod crash;
mod guest;
mod lists;
mod multipart;
mod objects;
mod versions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backlot_ledger::{Event, Ledger, LedgerError, Route, Router};
use backlot_storage::{ObjectInfo, Put, Store, StoreError, StoreLimits};
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures::stream;
use std::sync::Mutex;

/// A store in a folder of its own, with one bucket, `films`.
struct Bed {
    store: Store,
    ledger: Ledger,
    events: Arc<Seen>,
    folder: tempfile::TempDir,
}

/// Remembers the events that were routed.
#[derive(Default)]
struct Seen(Mutex<Vec<Event>>);

impl Router for Seen {
    fn route(&self, event: &Event) -> Vec<Route> {
        self.0.lock().unwrap().push(event.clone());
        vec![Route { function: "watcher".into(), concurrency: None, delay: Duration::ZERO }]
    }
}

impl Seen {
    /// Event names with keys, and forgets them.
    fn take(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        let name = |event: Event| {
            let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
            let object = &data["s3"]["object"];
            format!("{} {}", data["eventName"].as_str().unwrap(), object["key"].as_str().unwrap())
        };
        events.into_iter().map(name).collect()
    }
}

impl Seen {
    /// The events' kinds, and forgets them.
    fn kinds(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.0.lock().unwrap());
        events.into_iter().map(|event| event.kind).collect()
    }
}

fn small_limits() -> StoreLimits {
    StoreLimits { part_bytes_min: 100, inline_bytes_max: 1_000, ..StoreLimits::default() }
}

impl Bed {
    async fn new() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let (store, ledger, events) = open(folder.path(), small_limits());
        store.create_bucket("films").await.unwrap();
        Bed { store, ledger, events, folder }
    }

    /// Closes everything and opens it again.
    async fn reopen(self) -> Bed {
        let Bed { store, ledger, events, folder } = self;
        drop((store, ledger, events));
        // On another thread, so that tasks which hold the old one can end.
        let path = folder.path().to_owned();
        let opening = tokio::task::spawn_blocking(move || open(&path, small_limits()));
        let (store, ledger, events) = opening.await.unwrap();
        Bed { store, ledger, events, folder }
    }

    async fn put(&self, key: &str, body: impl Into<Bytes>) -> ObjectInfo {
        self.try_put(put(key), body).await.unwrap()
    }

    async fn try_put(&self, put: Put, body: impl Into<Bytes>) -> Result<ObjectInfo, StoreError> {
        self.store.put(put, stream::iter([Ok(body.into())])).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let reader = self.store.open_object("films", key, None).await?;
        reader.read_at(0, usize::try_from(reader.info().size).unwrap()).await
    }

    /// Number of blob files.
    fn files(&self) -> usize {
        let folders = std::fs::read_dir(self.folder.path().join("blobs")).unwrap();
        folders.map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap().count()).sum()
    }

    /// Waits until garbage is collected down to so many files.
    async fn settles_at(&self, files: usize) {
        let started = Instant::now();
        while self.files() != files {
            assert!(started.elapsed() < Duration::from_secs(20), "{} files stay", self.files());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn open(path: &std::path::Path, limits: StoreLimits) -> (Store, Ledger, Arc<Seen>) {
    let ledger = loop {
        // What was going on when the store before was dropped may need a moment to end.
        match Ledger::open(path) {
            Err(LedgerError::InUse(_)) => std::thread::sleep(Duration::from_millis(5)),
            opened => break opened.unwrap(),
        }
    };
    let events = Arc::new(Seen::default());
    ledger.set_router(events.clone());
    std::fs::create_dir_all(path.join("blobs")).unwrap();
    let dir = Dir::open_ambient_dir(path.join("blobs"), ambient_authority()).unwrap();
    (Store::open(dir, ledger.clone(), limits).unwrap(), ledger, events)
}

fn put(key: &str) -> Put {
    Put { bucket: "films".into(), key: key.into(), ..Put::default() }
}

/// Bytes that differ from place to place.
fn noise(len: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}
