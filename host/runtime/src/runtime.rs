//! The runtime: versions go in, events come from the ledger, outcomes go back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backlot_backup::Backups;
use backlot_encoding::Encoder;
use backlot_ledger::{InvocationId, Lane, Ledger, Progress};
use backlot_storage::{Scanner, Store};
use cap_std::fs::Dir;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Linker;

use crate::compile::{CompileCache, CompileError};
use crate::compiler::Compiler;
use crate::components::Components;
use crate::dispatch::{self, Running};
use crate::engine::Engine;
use crate::executor::Executor;
use crate::functions::{Functions, Version};
use crate::http::{HttpFunctions, HttpHost};
use crate::linker;
use crate::progress::LiveProgress;
use crate::state::GuestState;
use crate::trust::{Trust, TrustError, TrustRule};
use crate::watchdog;

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Folder of the compile cache; made if it is missing, for its owner alone.
    pub cache_dir: PathBuf,
    /// Folder of the components of deployed versions; made if it is missing, for its owner alone.
    pub components_dir: PathBuf,
    /// How components are compiled; in this process by default.
    pub compiler: Compiler,
    /// Who must sign which functions; nobody by default.
    pub trust: Vec<TrustRule>,
    /// Root invocations (those that events start) that run at once; 2 by default. They plan and
    /// assemble, and wait parked meanwhile.
    pub root_workers: usize,
    /// Child invocations (parts) that run at once; as many as cores by default.
    pub child_workers: usize,
    /// Threads that guests run on; as many as cores by default.
    pub threads: usize,
    /// Niceness of those threads, 0 to 19; 5 by default: below the front doors, above encoders.
    pub niceness: i32,
    /// How long an attempt may be silent before it counts as lost; 30 s by default.
    pub lease: Duration,
    /// HTTP requests that guests answer at once, over all functions; 256 by default. The next one
    /// is answered 503.
    pub http_requests: usize,
    /// Idle instances of functions that use theirs again, over all functions; 64 by default.
    pub http_idle: usize,
    /// The virus scanner of functions that are granted it; none by default.
    pub scanner: Option<Arc<Scanner>>,
    /// Where functions hand versions over to; none by default.
    pub backups: Option<Backups>,
}

impl RuntimeConfig {
    /// The defaults, with these folders for the compile cache and for components.
    pub fn new(cache_dir: impl Into<PathBuf>, components_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cache_dir: cache_dir.into(),
            components_dir: components_dir.into(),
            compiler: Compiler::InProcess,
            trust: Vec::new(),
            root_workers: 2,
            child_workers: cores,
            threads: cores,
            niceness: 5,
            lease: Duration::from_secs(30),
            http_requests: 256,
            http_idle: 64,
            scanner: None,
            backups: None,
        }
    }
}

/// Why the runtime could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine's pool, or what a guest may import.
    #[error("wasmtime cannot be set up: {0:#}")]
    Engine(wasmtime::Error),
    /// The compile cache.
    #[error(transparent)]
    Cache(#[from] CompileError),
    /// A rule about signatures.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The folder of the compile cache or of components, or the threads.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// Runs functions. One a process; it owns the threads that guests run on.
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
    child_workers: usize,
    root_workers: usize,
    executor: Executor,
    http_executor: Executor,
}

/// What every attempt uses.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) cache: CompileCache,
    pub(crate) components: Components,
    pub(crate) compiler: Compiler,
    /// Held while something is compiled: one at a time is as much as may take the cores.
    pub(crate) compiling: Mutex<()>,
    pub(crate) trust: Trust,
    /// Held while what runs is changed.
    pub(crate) changes: Arc<Mutex<()>>,
    /// The threads that guests run on.
    pub(crate) guests: Handle,
    pub(crate) linker: Linker<GuestState>,
    pub(crate) functions: Arc<Functions>,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) encoder: Encoder,
    pub(crate) scanner: Option<Arc<Scanner>>,
    pub(crate) backups: Option<Backups>,
    pub(crate) progress: LiveProgress,
    pub(crate) running: Running,
    pub(crate) lease: Duration,
    pub(crate) cores: usize,
    pub(crate) http: HttpHost,
}

impl Runtime {
    /// Set up the runtime, and route the ledger's events to the functions that will be deployed.
    /// Blocks a little; nothing runs before [`Runtime::run`].
    ///
    /// # Errors
    /// [`RuntimeError`] when folder, threads or address space are not to be had.
    pub fn new(
        config: RuntimeConfig,
        ledger: Ledger,
        store: Store,
        encoder: Encoder,
    ) -> Result<Arc<Self>, RuntimeError> {
        let folder = |what: &'static str, path: &Path| {
            let doing = format!("folder {} of {what}", path.display());
            move |source| RuntimeError::Io { doing: doing.clone(), source }
        };
        let failed = folder("the compile cache", &config.cache_dir);
        let cache = CompileCache::open(private_dir(&config.cache_dir).map_err(failed)?)?;
        let failed = folder("components", &config.components_dir);
        let components = private_dir(&config.components_dir).and_then(Components::open);
        let components = components.map_err(failed)?;
        let trust = Trust::new(&config.trust)?;
        // One more for the trial of a version that is deployed.
        let guests = config.root_workers.max(1) + config.child_workers.max(1) + 1;
        let engine = Engine::durable(guests).map_err(RuntimeError::Engine)?;
        let linker = linker::linker(&engine).map_err(RuntimeError::Engine)?;
        let http = HttpHost::new(config.http_requests.max(1), config.http_idle, guests)
            .map_err(RuntimeError::Engine)?;
        let no_threads =
            |source| RuntimeError::Io { doing: "threads for guests".to_owned(), source };
        let executor = Executor::for_guests(config.threads, config.niceness).map_err(no_threads)?;
        let http_executor = Executor::for_http(config.threads).map_err(no_threads)?;
        let functions = Arc::new(Functions::default());
        ledger.set_router(functions.clone());
        let shared = Shared {
            engine,
            cache,
            components,
            compiler: config.compiler,
            compiling: Mutex::default(),
            trust,
            changes: Arc::default(),
            guests: executor.handle().clone(),
            linker,
            functions,
            ledger,
            store,
            encoder,
            scanner: config.scanner,
            backups: config.backups,
            progress: LiveProgress::new(),
            running: Running::default(),
            lease: config.lease,
            cores: config.child_workers.max(1),
            http,
        };
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            child_workers: config.child_workers,
            root_workers: config.root_workers,
            executor,
            http_executor,
        }))
    }

    /// Answers HTTP requests with the functions that are deployed.
    pub fn http(&self) -> HttpFunctions {
        HttpFunctions::new(self.shared.clone())
    }

    /// The threads on which HTTP requests are to be answered: a guest that computes delays only
    /// what else runs there.
    pub fn http_threads(&self) -> &tokio::runtime::Handle {
        self.http_executor.handle()
    }

    /// What is live of the functions that are enabled, by their names.
    pub fn functions(&self) -> Vec<Arc<Version>> {
        self.shared.functions.all()
    }

    /// Run what the ledger has until `stop` is cancelled; then release what runs, so that it is
    /// runnable again at once, and return. A call that is dropped ends all guests where they are.
    pub async fn run(&self, stop: CancellationToken) {
        let handle = self.executor.handle();
        let shared = &self.shared;
        // Before anything is leased, so that no news about what is leased is missed.
        let changes = shared.ledger.changes();
        let _watch = AbortOnDropHandle::new(handle.spawn(dispatch::watch(shared.clone(), changes)));
        let schedules = crate::schedule::run(shared.clone(), stop.clone());
        let _schedules = AbortOnDropHandle::new(handle.spawn(schedules));
        let watchdog = watchdog::run(shared.clone(), stop.clone());
        let _watchdog = AbortOnDropHandle::new(handle.spawn(watchdog));
        let lane = |lane, workers| {
            let running = dispatch::lane(shared.clone(), lane, workers, stop.clone());
            AbortOnDropHandle::new(handle.spawn(running))
        };
        let roots = lane(Lane::Roots, self.root_workers);
        let children = lane(Lane::Children, self.child_workers);
        for ended in [roots.await, children.await] {
            if let Err(err) = ended {
                tracing::error!(%err, "a dispatcher died");
            }
        }
    }

    /// What a running invocation last reported; nothing when it does not run, or did not report.
    /// What an ended attempt left is in [`backlot_ledger::Invocation::progress`].
    pub fn progress(&self, id: &InvocationId) -> Vec<Progress> {
        self.shared.progress.of(id)
    }

    /// Reports of running invocations as they come, at most 20 a second each.
    pub fn subscribe_progress(&self) -> broadcast::Receiver<(InvocationId, Vec<Progress>)> {
        self.shared.progress.subscribe()
    }
}

/// The folder, made if missing, readable by its owner alone.
fn private_dir(path: &Path) -> std::io::Result<Dir> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    Dir::open_ambient_dir(path, cap_std::ambient_authority())
}
