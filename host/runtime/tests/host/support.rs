//! A host in a temporary folder: real ledger, store, encoder and runtime, and the guest `probe`,
//! which does what an event's payload says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backlot_builtin::PROBE;
use backlot_encoding::{Encoder, EncoderConfig};
use backlot_ledger::{
    Change, Event, EventId, Invocation, InvocationFilter, InvocationId, Ledger, LedgerError,
    LogSource, State,
};
use backlot_runtime::{CancellationToken, Manifest, Runtime, RuntimeConfig};
use backlot_storage::{Store, StoreLimits};
use cap_std::fs::Dir;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Far longer than anything here takes on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

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
        // Shared by all tests, so that the guest is compiled about once.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-cache");
        let mut config = RuntimeConfig::new(cache);
        let mut manifest = Manifest::parse(PROBE.manifest).unwrap();
        change(&mut config, &mut manifest);
        let ledger = open(folder.path()).await;
        std::fs::create_dir_all(folder.path().join("blobs")).unwrap();
        let blobs =
            Dir::open_ambient_dir(folder.path().join("blobs"), cap_std::ambient_authority());
        let store = Store::open(blobs.unwrap(), ledger.clone(), StoreLimits::default()).unwrap();
        let encoder = Encoder::new(EncoderConfig { slots: 1, niceness: 10 }).unwrap();
        let runtime = Runtime::new(config, ledger.clone(), store.clone(), encoder).unwrap();
        runtime.deploy(manifest, PROBE.component.to_vec()).await.unwrap();
        let stop = CancellationToken::new();
        let running = run(&runtime, &stop);
        Self { folder, ledger, store, runtime, stop, running }
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
        let event = Event::json("/tests", kind, Some("subject".into()), command.into());
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

fn run(runtime: &Arc<Runtime>, stop: &CancellationToken) -> JoinHandle<()> {
    let (runtime, stop) = (runtime.clone(), stop.clone());
    tokio::spawn(async move { runtime.run(stop).await })
}

/// The ledger; the one before may need a moment to go.
async fn open(folder: &Path) -> Ledger {
    for _ in 0..1_000 {
        match Ledger::open(folder) {
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
