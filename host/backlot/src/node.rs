//! A data folder at work: ledger, store, encoder and runtime, with the builtin guests in it.
//! `serve` and `encode` differ only in what they put around this.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backlot_backup::{Backups, Settings};
use backlot_encoding::{Encoder, EncoderConfig};
use backlot_ledger::{Ledger, LedgerError};
use backlot_runtime::{CompileLimits, Manifest, Runtime, RuntimeConfig, RuntimeError, TrustRule};
use backlot_storage::{Scanner, Store, StoreError, StoreLimits};
use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::compile;
use crate::fault::Fault;
use crate::validator::{self, Validation};

/// Where films are uploaded to.
pub(crate) const UPLOADS: &str = "uploads";
/// Where what is made of them goes.
pub(crate) const CONTENT: &str = "content";
/// Name of the function that encodes.
pub(crate) const ENCODER: &str = "encoder";
/// MiB in bytes.
const MIB: u64 = 1024 * 1024;

/// How a node is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup<'a> {
    pub(crate) data: &'a Path,
    /// Folder of compiled guests.
    pub(crate) cache: PathBuf,
    /// Parts encoded at once; None: one a core.
    pub(crate) slots: Option<usize>,
    pub(crate) niceness: i32,
    pub(crate) uploads_at_once: usize,
    /// Largest body of one PUT.
    pub(crate) put_megabytes_max: u64,
    /// HTTP requests that guests answer at once.
    pub(crate) http_requests: usize,
    /// Idle instances of HTTP functions.
    pub(crate) http_idle: usize,
    /// What one compilation of a component may use.
    pub(crate) compile: CompileLimits,
    /// Who must sign which functions.
    pub(crate) trust: Vec<TrustRule>,
    /// Settings of the encoder guest; None: there is none.
    pub(crate) encoder: Option<Vec<(&'static str, String)>>,
    /// The virus scanner, if there is one.
    pub(crate) scanner: Option<Arc<Scanner>>,
    /// Repositories of backups.
    pub(crate) backups: Vec<Settings>,
    /// What is validated; None: there is no validator.
    pub(crate) validation: Option<Validation>,
}

/// An open data folder.
pub(crate) struct Node {
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) runtime: Arc<Runtime>,
    /// None: there are no repositories.
    pub(crate) backups: Option<Backups>,
}

impl Node {
    /// Opens the folder, makes what is missing in it, and loads the encoder and what was deployed.
    /// Nothing runs before [`Runtime::run`].
    pub(crate) async fn open(setup: Setup<'_>) -> Result<Self, Fault> {
        let data = setup.data.to_owned();
        let put_bytes_max = setup.put_megabytes_max.saturating_mul(MIB);
        let opened = tokio::task::spawn_blocking(move || open_data(&data, put_bytes_max));
        let (ledger, store) =
            opened.await.map_err(|err| internal("opening the data folder", &err))??;
        make_buckets(&store, &[UPLOADS, CONTENT]).await?;
        let mut encoding = EncoderConfig { niceness: setup.niceness, ..EncoderConfig::default() };
        encoding.slots = setup.slots.unwrap_or(encoding.slots);
        let mut config = RuntimeConfig::new(setup.cache, setup.data.join("components"));
        config.compiler = compile::compiler(setup.compile);
        config.trust = setup.trust;
        config.child_workers = encoding.slots;
        config.root_workers = setup.uploads_at_once;
        config.http_requests = setup.http_requests;
        config.http_idle = setup.http_idle;
        config.scanner = setup.scanner;
        let repositories = setup.backups.clone();
        let covers = move |name: &str, bucket: &str| {
            let mut named = repositories.iter().filter(|one| one.name == name);
            named.any(|one| one.covers(bucket))
        };
        let forgotten = ledger.backup_forget_uncovered(covers).await;
        forgotten.map_err(|err| internal("reading what is backed up", &err))?;
        let backups = if setup.backups.is_empty() {
            None
        } else {
            let policies = setup.validation.iter().flat_map(|one| one.policies.clone()).collect();
            let started = Backups::start(setup.backups, policies, &ledger, &store);
            Some(started.map_err(|err| internal("starting the backups", &err))?)
        };
        config.backups = backups.clone();
        let encoder = Encoder::new(encoding)
            .map_err(|err| internal("starting the encoding threads", &err))?;
        let runtime = Runtime::new(config, ledger.clone(), store.clone(), encoder).map_err(
            |err| match err {
                RuntimeError::Trust(err) => Fault::new(
                    "E0104",
                    format!("[[trust]]: {err}"),
                    "a key is the second line of the file minisign.pub",
                ),
                err => internal("starting the runtime", &err),
            },
        )?;
        if let Some(env) = &setup.encoder {
            provide_encoder(&runtime, env).await?;
        }
        if let Some(validation) = &setup.validation {
            make_buckets(&store, &[validator::OWN_BUCKET, validator::QUARANTINE_BUCKET]).await?;
            provide_validator(&runtime, validation).await?;
        }
        runtime.restore().await.map_err(|err| internal("reading what was deployed", &err))?;
        Ok(Self { ledger, store, runtime, backups })
    }
}

async fn provide_encoder(runtime: &Runtime, env: &[(&'static str, String)]) -> Result<(), Fault> {
    let builtin = backlot_builtin::ENCODER;
    let mut manifest =
        Manifest::parse(builtin.manifest).map_err(|err| internal("reading a manifest", &err))?;
    for (name, value) in env {
        manifest.env.insert((*name).to_owned(), value.clone());
    }
    let provided = runtime.provide(manifest, builtin.component).await;
    provided.map(drop).map_err(|err| internal("loading the encoder", &err))
}

async fn provide_validator(runtime: &Runtime, validation: &Validation) -> Result<(), Fault> {
    let manifest = validation.manifest().map_err(|err| {
        Fault::new("E0104", format!("the validator: {err}"), "change [validator] in backlot.toml")
    })?;
    let provided = runtime.provide(manifest, backlot_builtin::VALIDATOR.component).await;
    provided.map(drop).map_err(|err| internal("loading the validator", &err))
}

async fn make_buckets(store: &Store, names: &[&str]) -> Result<(), Fault> {
    for name in names {
        match store.create_bucket(name).await {
            Ok(_) | Err(StoreError::BucketExists(_)) => {}
            Err(err) => return Err(internal("making the buckets", &err)),
        }
    }
    Ok(())
}

fn open_data(data: &Path, put_bytes_max: u64) -> Result<(Ledger, Store), Fault> {
    let io_fault = |err: &io::Error| {
        Fault::new(
            "E0202",
            format!("the data folder {} cannot be used: {err}", data.display()),
            "give this user access to it, or name another with --data",
        )
    };
    let blobs = data.join("blobs");
    private_dir(data).map_err(|err| io_fault(&err))?;
    // The ledger first: it takes the lock.
    let ledger = Ledger::open(data).map_err(|err| match err {
        LedgerError::InUse(_) => Fault::new(
            "E0201",
            format!("the data folder {} is in use by another process", data.display()),
            "stop the other one, or name another folder with --data",
        ),
        LedgerError::NewerFormat { found, supported, .. } => Fault::new(
            "E0203",
            format!(
                "the data folder {} has format {found}, this program knows up to {supported}",
                data.display()
            ),
            "use the version of backlot that wrote it, or a later one",
        ),
        LedgerError::Io { source, .. } => io_fault(&source),
        err => internal("opening the ledger", &err),
    })?;
    private_dir(&blobs).map_err(|err| io_fault(&err))?;
    // The ledger will refer to what is in there.
    fs::File::open(data).and_then(|data| data.sync_all()).map_err(|err| io_fault(&err))?;
    let dir = Dir::open_ambient_dir(&blobs, ambient_authority()).map_err(|err| io_fault(&err))?;
    let limits = StoreLimits { put_bytes_max, ..StoreLimits::default() };
    let store = Store::open(dir, ledger.clone(), limits)
        .map_err(|err| internal("opening the store", &err))?;
    Ok((ledger, store))
}

/// Makes a folder for its owner alone; one that is there keeps its mode.
fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What should not happen. The cause is in the message, because it goes into a report.
pub(crate) fn internal(doing: &str, err: &(dyn std::error::Error + 'static)) -> Fault {
    let mut message = format!("{doing} failed: {err}");
    let mut cause = err.source();
    while let Some(err) = cause {
        message.push_str(&format!(": {err}"));
        cause = err.source();
    }
    Fault::new("E0901", message, "run again with BACKLOT_LOG_LEVEL=debug, and report what it says")
}
