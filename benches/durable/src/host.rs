//! A host in a temporary folder that runs the guest `probe`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use backlot_builtin::PROBE;
use backlot_encoding::{Encoder, EncoderConfig};
use backlot_ledger::{Change, InvocationId, Ledger, LedgerError};
use backlot_runtime::{CancellationToken, Manifest, Runtime, RuntimeConfig};
use backlot_storage::{Store, StoreLimits};
use cap_std::fs::Dir;
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) struct Host {
    pub(crate) folder: TempDir,
    pub(crate) ledger: Ledger,
    pub(crate) runtime: Arc<Runtime>,
    stop: CancellationToken,
    ran: JoinHandle<()>,
}

impl Host {
    pub(crate) async fn start(at_once: usize) -> anyhow::Result<Self> {
        Self::over(tempfile::tempdir()?, at_once).await
    }

    /// Over what an earlier one left.
    pub(crate) async fn over(folder: TempDir, at_once: usize) -> anyhow::Result<Self> {
        let ledger = open(folder.path()).await?;
        let blobs = folder.path().join("blobs");
        std::fs::create_dir_all(&blobs)?;
        let blobs = Dir::open_ambient_dir(&blobs, cap_std::ambient_authority())?;
        let store = Store::open(blobs, ledger.clone(), StoreLimits::default())?;
        let encoder = Encoder::new(EncoderConfig::default())?;
        // All hosts of a run share it, so that the guest is compiled once.
        let mut config = RuntimeConfig::new(
            std::env::temp_dir().join("backlot-bench-cache"),
            folder.path().join("components"),
        );
        config.root_workers = at_once;
        let runtime = Runtime::new(config, ledger.clone(), store, encoder)?;
        runtime.deploy(Manifest::parse(PROBE.manifest)?, PROBE.component.to_vec()).await?;
        let stop = CancellationToken::new();
        let ran = tokio::spawn({
            let (runtime, stop) = (runtime.clone(), stop.clone());
            async move { runtime.run(stop).await }
        });
        Ok(Self { folder, ledger, runtime, stop, ran })
    }

    /// Start an invocation with this command; answers when it is on disk.
    pub(crate) async fn publish(&self, command: &str) -> anyhow::Result<InvocationId> {
        Ok(self.ledger.invoke("probe", crate::event(command), None).await?)
    }

    pub(crate) async fn finished(&self, id: InvocationId) -> anyhow::Result<()> {
        let mut changes = self.ledger.changes();
        loop {
            let found = self.ledger.invocation(&id).await?.context("an invocation")?;
            match (found.state.ended(), found.reason) {
                (true, None) => return Ok(()),
                (true, Some(reason)) => bail!("{reason}"),
                _ => {}
            }
            while !matches!(changes.recv().await?, Change::Ended(ended) if ended == id) {}
        }
    }

    pub(crate) async fn stop(self) -> anyhow::Result<TempDir> {
        self.stop.cancel();
        self.ran.await?;
        Ok(self.folder)
    }
}

/// The ledger; the one before may need a moment to go.
async fn open(folder: &Path) -> anyhow::Result<Ledger> {
    loop {
        match Ledger::open(folder) {
            Err(LedgerError::InUse(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            ledger => return Ok(ledger?),
        }
    }
}
