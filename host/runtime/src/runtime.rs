//! The runtime: versions go in, events come from the ledger, outcomes go back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backlot_bindings::EverythingPre;
use backlot_encoding::Encoder;
use backlot_ledger::{InvocationId, Lane, Ledger, Progress};
use backlot_storage::Store;
use cap_std::fs::Dir;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::handler::ProxyPre;

use crate::compile::{CompileCache, CompileError, ComponentDigest};
use crate::dispatch::{self, Running};
use crate::engine::Engine;
use crate::executor::Executor;
use crate::exports::Exports;
use crate::functions::{Functions, Version};
use crate::http::{self, HttpFunctions, HttpHost, RouteConflict};
use crate::linker;
use crate::manifest::{Manifest, ManifestError};
use crate::progress::LiveProgress;
use crate::state::GuestState;
use crate::triggers::Trigger;

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Folder of the compile cache; made if it is missing, for its owner alone.
    pub cache_dir: PathBuf,
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
}

impl RuntimeConfig {
    /// The defaults, with this folder for the compile cache.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cache_dir: cache_dir.into(),
            root_workers: 2,
            child_workers: cores,
            threads: cores,
            niceness: 5,
            lease: Duration::from_secs(30),
            http_requests: 256,
            http_idle: 64,
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
    /// The folder of the compile cache, or the threads.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// Why a version was not deployed. The version that ran before still runs.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The manifest's values are not within their limits.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The component does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The component imports what we do not have: all of it.
    #[error("function {function:?} imports what this host does not have: {}", .missing.join(", "))]
    MissingImports {
        /// The function's name.
        function: String,
        /// Interfaces (`namespace:package/interface@version`) and items in them (`…#item`).
        missing: Vec<String>,
    },
    /// The component exports nothing that starts it.
    #[error(
        "function {function:?} exports {}, and none of what would start it: \
         backlot:function/handler@0.1.0 (events), wasi:http/incoming-handler@0.2 or \
         wasi:http/handler@0.3 (HTTP requests)",
        if .exports.is_empty() { "nothing".to_owned() } else { .exports.join(", ") }
    )]
    NoHandler {
        /// The function's name.
        function: String,
        /// What it exports.
        exports: Vec<String>,
    },
    /// A trigger of the manifest has no handler in the component.
    #[error("function {function:?} has a trigger of type {trigger} but does not export {wanted}")]
    NoHandlerFor {
        /// The function's name.
        function: String,
        /// The trigger's type.
        trigger: &'static str,
        /// What would handle it.
        wanted: &'static str,
    },
    /// Another function has one of its routes.
    #[error(transparent)]
    Route(#[from] RouteConflict),
    /// The component exports or imports something of another shape than its name says.
    #[error("function {function:?} is not a function of this host: {source:#}")]
    Shape {
        /// The function's name.
        function: String,
        /// What wasmtime found.
        source: wasmtime::Error,
    },
    /// The task that compiled it died.
    #[error("compilation was abandoned")]
    Abandoned(#[source] tokio::task::JoinError),
}

/// Runs functions. One a process; it owns the threads that guests run on.
pub struct Runtime {
    shared: Arc<Shared>,
    child_workers: usize,
    root_workers: usize,
    executor: Executor,
    http_executor: Executor,
}

/// What every attempt uses.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) cache: CompileCache,
    pub(crate) linker: Linker<GuestState>,
    pub(crate) functions: Arc<Functions>,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) encoder: Encoder,
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
        let dir = private_dir(&config.cache_dir).map_err(|source| RuntimeError::Io {
            doing: format!("folder {} of the compile cache", config.cache_dir.display()),
            source,
        })?;
        let cache = CompileCache::open(dir)?;
        let guests = config.root_workers.max(1) + config.child_workers.max(1);
        let engine = Engine::durable(guests).map_err(RuntimeError::Engine)?;
        let linker = linker::linker(&engine).map_err(RuntimeError::Engine)?;
        let http = HttpHost::new(config.http_requests.max(1), config.http_idle)
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
            linker,
            functions,
            ledger,
            store,
            encoder,
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

    /// Make a component the version that its function runs from now on. Compiles it, unless that
    /// was done before. Attempts that run end on the version they started with.
    ///
    /// # Errors
    /// [`DeployError`]; the version that ran before stays.
    pub async fn deploy(
        &self,
        manifest: Manifest,
        component: Vec<u8>,
    ) -> Result<Arc<Version>, DeployError> {
        manifest.check()?;
        let exports = Exports::of(&component);
        let name = manifest.name.as_str();
        let shared = self.shared.clone();
        // On the guests' own threads: compiling is heavy work too.
        let compiled = self.executor.handle().spawn_blocking(move || {
            let digest = ComponentDigest::of(&component);
            // What exports nothing known is compiled too, if only to say what is wrong with it.
            let (handler, http) = (exports.handler || !exports.http, exports.http);
            let load = |engine: &Engine| shared.cache.load(engine, &component);
            let handler = handler.then(|| load(&shared.engine)).transpose()?;
            let http = http.then(|| load(&shared.http.engine)).transpose()?;
            Ok::<_, CompileError>((digest, exports, handler, http))
        });
        let (digest, exports, handler, http) = compiled.await.map_err(DeployError::Abandoned)??;
        let handler = match handler {
            Some(code) => self.handler(name, &code, exports)?,
            None => None,
        };
        let http = http.map(|code| self.http_handler(name, &code)).transpose()?;
        check_triggers(&manifest, handler.is_some(), http.is_some())?;
        let version = Arc::new(Version::new(manifest, digest, handler, http));
        self.shared.http.routes.set(&version)?;
        self.shared.functions.deploy(&version);
        tracing::info!(function = version.function(), %digest, "deployed");
        Ok(version)
    }

    fn handler(
        &self,
        function: &str,
        code: &Component,
        exports: Exports,
    ) -> Result<Option<EverythingPre<GuestState>>, DeployError> {
        let linker = &self.shared.linker;
        let ready = linker.instantiate_pre(code).and_then(EverythingPre::new);
        match ready.map_err(|err| unlinked(function, linker, code, err)) {
            Ok(ready) => Ok(Some(ready)),
            Err(DeployError::Shape { function, .. }) if !exports.handler => {
                Err(DeployError::NoHandler { function, exports: exports.names })
            }
            Err(err) => Err(err),
        }
    }

    fn http_handler(
        &self,
        function: &str,
        code: &Component,
    ) -> Result<ProxyPre<GuestState>, DeployError> {
        let linker = &self.shared.http.linker;
        let ready = linker.instantiate_pre(code).and_then(http::proxy);
        ready.map_err(|err| unlinked(function, linker, code, err))
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

    /// The deployed versions, by the names of their functions.
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

/// Why a component could not be linked.
fn unlinked(
    function: &str,
    linker: &Linker<GuestState>,
    code: &Component,
    source: wasmtime::Error,
) -> DeployError {
    let function = function.to_owned();
    let missing = linker::missing_imports(linker, code);
    if missing.is_empty() {
        return DeployError::Shape { function, source };
    }
    DeployError::MissingImports { function, missing }
}

/// What starts a function must find a handler in it.
fn check_triggers(manifest: &Manifest, handler: bool, http: bool) -> Result<(), DeployError> {
    let unhandled = manifest.triggers.iter().find_map(|trigger| match trigger {
        Trigger::Http(_) if !http => {
            Some((trigger.kind(), "wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3"))
        }
        Trigger::Http(_) => None,
        other if !handler => Some((other.kind(), "backlot:function/handler@0.1.0")),
        _ => None,
    });
    match unhandled {
        Some((trigger, wanted)) => {
            let function = manifest.name.clone();
            Err(DeployError::NoHandlerFor { function, trigger, wanted })
        }
        None => Ok(()),
    }
}

/// The folder, made if missing, readable by its owner alone.
fn private_dir(path: &std::path::Path) -> std::io::Result<Dir> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    Dir::open_ambient_dir(path, cap_std::ambient_authority())
}
