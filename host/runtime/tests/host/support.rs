//! A host in a temporary folder: real ledger, store, encoder and runtime, and the guest `probe`,
//! which does what an event's payload says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backlot_builtin::PROBE;
use backlot_encoding::{Encoder, EncoderConfig};
use backlot_ledger::{
    Attempt, AttemptOutcome, Change, Clock, EffectRecord, Event, EventId, Invocation,
    InvocationFilter, InvocationId, Ledger, LedgerError, LogSource, State, system_clock,
};
use backlot_runtime::{
    Access, CancellationToken, Manifest, Runtime, RuntimeConfig, StorageGrant, Version,
};
use backlot_storage::{ObjectInfo, Put, Store, StoreError, StoreLimits, Versioning, VersionsQuery};
use bytes::Bytes;
use cap_std::fs::Dir;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Far longer than anything here takes on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The bucket that tests of effects look at.
pub(crate) const BUCKET: &str = "content";

pub(crate) struct Host {
    pub(crate) folder: TempDir,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) runtime: Arc<Runtime>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Host {
    /// A host that runs `probe` as its manifest says.
    pub(crate) async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    /// As [`Host::start`], with changes.
    pub(crate) async fn with(change: impl FnOnce(&mut RuntimeConfig, &mut Manifest)) -> Self {
        Self::over(tempfile::tempdir().unwrap(), change).await
    }

    /// A host over what an earlier one left.
    pub(crate) async fn over(
        folder: TempDir,
        change: impl FnOnce(&mut RuntimeConfig, &mut Manifest),
    ) -> Self {
        Self::at(system_clock(), folder, change).await
    }

    /// As [`Host::over`], by another clock.
    pub(crate) async fn at(
        clock: Clock,
        folder: TempDir,
        change: impl FnOnce(&mut RuntimeConfig, &mut Manifest),
    ) -> Self {
        // Shared by all tests, so that the guest is compiled about once.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-cache");
        let mut config = RuntimeConfig::new(cache, folder.path().join("components"));
        let mut manifest = Manifest::parse(PROBE.manifest).unwrap();
        change(&mut config, &mut manifest);
        let ledger = open(folder.path(), clock).await;
        std::fs::create_dir_all(folder.path().join("blobs")).unwrap();
        let blobs =
            Dir::open_ambient_dir(folder.path().join("blobs"), cap_std::ambient_authority());
        let store = Store::open(blobs.unwrap(), ledger.clone(), StoreLimits::default()).unwrap();
        let encoder = Encoder::new(EncoderConfig { slots: 1, niceness: 10 }).unwrap();
        let runtime = Runtime::new(config, ledger.clone(), store.clone(), encoder).unwrap();
        runtime.restore().await.unwrap();
        runtime.deploy(manifest, PROBE.component.to_vec()).await.unwrap();
        let stop = CancellationToken::new();
        let running = run(&runtime, &stop);
        Self { folder, ledger, store, runtime, stop, running }
    }

    /// A host where `probe` may do anything to the bucket [`BUCKET`], which keeps versions.
    pub(crate) async fn with_bucket(
        change: impl FnOnce(&mut RuntimeConfig, &mut Manifest),
    ) -> Self {
        let host = Self::with(|config, manifest| {
            grant_bucket(manifest);
            change(config, manifest);
        })
        .await;
        host.make_bucket(BUCKET).await;
        host
    }

    /// A bucket that keeps versions; one that is there is as good.
    pub(crate) async fn make_bucket(&self, name: &str) {
        match self.store.create_bucket(name).await {
            Ok(_) | Err(StoreError::BucketExists(_)) => {}
            Err(err) => panic!("{err}"),
        }
        self.store.set_versioning(name, Versioning::Enabled).await.unwrap();
    }

    /// Deploy `probe` with changes to what [`Host::with_bucket`] has it do.
    pub(crate) async fn deploy(&self, change: impl FnOnce(&mut Manifest)) -> Arc<Version> {
        let mut manifest = Manifest::parse(PROBE.manifest).unwrap();
        grant_bucket(&mut manifest);
        change(&mut manifest);
        self.runtime.deploy(manifest, PROBE.component.to_vec()).await.unwrap()
    }

    /// An object of [`BUCKET`], made by somebody outside.
    pub(crate) async fn put(&self, key: &str, text: &str) {
        let put = Put { bucket: BUCKET.into(), key: key.into(), ..Put::default() };
        let body = Bytes::copy_from_slice(text.as_bytes());
        let mut writer = self.store.writer(put).await.unwrap();
        writer.write(body).await.unwrap();
        writer.finish().await.unwrap();
    }

    /// The current text of an object of [`BUCKET`].
    pub(crate) async fn text(&self, key: &str) -> Option<String> {
        let reader = match self.store.open_object(BUCKET, key, None).await {
            Ok(reader) => reader,
            Err(StoreError::NotFound(_) | StoreError::DeleteMarker { .. }) => return None,
            Err(err) => panic!("{err}"),
        };
        let bytes = reader.read_at(0, reader.info().size.try_into().unwrap()).await.unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Wait until there is an object of that key in [`BUCKET`].
    pub(crate) async fn made(&self, key: &str) {
        let made = async {
            while self.text(key).await.is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, made).await.unwrap();
    }

    /// All versions and markers in [`BUCKET`], by key, the newest first.
    pub(crate) async fn versions(&self) -> BTreeMap<String, Vec<ObjectInfo>> {
        let query =
            VersionsQuery { bucket: BUCKET.into(), limit: 1_000, ..VersionsQuery::default() };
        let mut by_key: BTreeMap<String, Vec<ObjectInfo>> = BTreeMap::new();
        for version in self.store.list_versions(query).await.unwrap().versions {
            by_key.entry(version.key.clone()).or_default().push(version);
        }
        by_key
    }

    /// How many versions and markers each key has in [`BUCKET`].
    pub(crate) async fn counts(&self) -> BTreeMap<String, usize> {
        self.versions().await.into_iter().map(|(key, all)| (key, all.len())).collect()
    }

    pub(crate) async fn attempts(&self, id: &InvocationId) -> Vec<Attempt> {
        self.ledger.attempts(id).await.unwrap()
    }

    /// How the attempts of an invocation ended; none for the one that runs.
    pub(crate) async fn outcomes(&self, id: &InvocationId) -> Vec<Option<AttemptOutcome>> {
        self.attempts(id).await.into_iter().map(|attempt| attempt.outcome).collect()
    }

    pub(crate) async fn effects(&self, id: &InvocationId) -> Vec<EffectRecord> {
        self.ledger.effects(id, 0).await.unwrap()
    }

    /// Wait until what runs for these events, and what that causes, has ended; all of it.
    pub(crate) async fn quiet(&self) -> Vec<Invocation> {
        let mut changes = self.ledger.changes();
        loop {
            let all = self.ledger.invocations(InvocationFilter::default()).await.unwrap();
            if all.iter().all(|invocation| invocation.state.ended()) {
                return all;
            }
            next(&mut changes, |_| true).await;
        }
    }

    /// Publish an event of kind `probe` and wait until its invocation has ended.
    pub(crate) async fn invoke(&self, command: &str) -> Invocation {
        let id = self.publish("probe", command).await;
        self.ended(&id).await
    }

    /// The answer of an invocation that succeeds.
    pub(crate) async fn answer(&self, command: &str) -> String {
        let ended = self.invoke(command).await;
        assert_eq!(ended.state, State::Succeeded, "{command}: {:?}", ended.reason);
        String::from_utf8(ended.result.unwrap_or_default()).unwrap()
    }

    /// Publish an event about always the same subject; the invocation that it starts.
    pub(crate) async fn publish(&self, kind: &str, command: &str) -> InvocationId {
        self.publish_about("subject", kind, command).await
    }

    pub(crate) async fn publish_about(
        &self,
        subject: &str,
        kind: &str,
        command: &str,
    ) -> InvocationId {
        let event = Event::json("/tests", kind, Some(subject.into()), command.into());
        let id = self.ledger.publish(event).await.unwrap();
        self.invocation_of(&id).await
    }

    async fn invocation_of(&self, event: &EventId) -> InvocationId {
        let all = self.roots().await;
        all.into_iter().find(|invocation| invocation.event == *event).unwrap().id
    }

    pub(crate) async fn roots(&self) -> Vec<Invocation> {
        let filter = InvocationFilter { roots_only: true, ..InvocationFilter::default() };
        self.ledger.invocations(filter).await.unwrap()
    }

    pub(crate) async fn ended(&self, id: &InvocationId) -> Invocation {
        let mut changes = self.ledger.changes();
        loop {
            let invocation = self.ledger.invocation(id).await.unwrap().unwrap();
            if invocation.state.ended() {
                return invocation;
            }
            next(&mut changes, |_| true).await;
        }
    }

    /// The text of what the guest, or the host about it, wrote.
    pub(crate) async fn log(&self, id: &InvocationId, source: LogSource) -> Vec<String> {
        let lines = self.ledger.logs(id).await.unwrap();
        lines.into_iter().filter(|line| line.source == source).map(|line| line.text).collect()
    }

    /// Shut down in order; what ran is released. The same host can go on with [`Host::resume`].
    pub(crate) async fn shut_down(&mut self) {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.running).await.unwrap().unwrap();
    }

    pub(crate) fn resume(&mut self) {
        self.stop = CancellationToken::new();
        self.running = run(&self.runtime, &self.stop);
    }

    /// End without a word to the ledger, as a kill would. What is left is the folder.
    pub(crate) async fn crash(self) -> TempDir {
        self.running.abort();
        drop(self.running.await);
        self.folder
    }
}

/// `probe` may do anything to the bucket [`BUCKET`], and to one called `later`.
pub(crate) fn grant_bucket(manifest: &mut Manifest) {
    manifest.grants.storage = [BUCKET, "later"]
        .map(|bucket| StorageGrant {
            bucket: bucket.into(),
            prefix: String::new(),
            access: vec![Access::Read, Access::Write, Access::Tag, Access::Delete],
        })
        .to_vec();
}

fn run(runtime: &Arc<Runtime>, stop: &CancellationToken) -> JoinHandle<()> {
    let (runtime, stop) = (runtime.clone(), stop.clone());
    tokio::spawn(async move { runtime.run(stop).await })
}

/// The ledger; the one before may need a moment to go.
async fn open(folder: &Path, clock: Clock) -> Ledger {
    for _ in 0..1_000 {
        match Ledger::open_with(folder, clock.clone()) {
            Ok(ledger) => return ledger,
            Err(LedgerError::InUse(_)) => sleep(Duration::from_millis(10)).await,
            Err(err) => panic!("{err}"),
        }
    }
    panic!("the ledger of the crashed host stays in use");
}

/// Wait for a change.
pub(crate) async fn next(
    changes: &mut Receiver<Change>,
    wanted: impl Fn(&Change) -> bool,
) -> Change {
    let found = async {
        loop {
            let change = changes.recv().await.unwrap();
            if wanted(&change) {
                return change;
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap()
}
