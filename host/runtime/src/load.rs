//! From a component to a version that can run: machine code from the cache or the compiler, linked.

use std::sync::Arc;
use std::time::Instant;

use backlot_bindings::EverythingPre;
use backlot_ledger::{FunctionVersion, Invocation};
use bytes::Bytes;
use wasmtime::component::{Component, Linker};

use crate::compile::{CompileError, ComponentDigest};
use crate::deploy::DeployError;
use crate::engine::{Engine, EngineKind};
use crate::exports::Exports;
use crate::functions::{EventHandler, Handlers, Pick, Version};
use crate::manifest::Manifest;
use crate::probe::Probe;
use crate::runtime::Shared;
use crate::state::GuestState;
use crate::triggers::Trigger;
use crate::{http, linker};

/// A component's machine code, for each engine that runs it.
pub(crate) struct Code {
    /// What the component exports.
    exports: Exports,
    /// For the engine of durable handlers.
    durable: Option<Component>,
    /// For the engine of HTTP handlers.
    http: Option<Component>,
}

impl Code {
    /// Names of what the component imports.
    pub(crate) fn imports(&self, shared: &Shared) -> Vec<String> {
        let (code, engine) = match (&self.durable, &self.http) {
            (Some(code), _) => (code, &shared.engine),
            (None, Some(code)) => (code, &shared.http.engine),
            (None, None) => return Vec::new(),
        };
        let imports = code.component_type();
        imports.imports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect()
    }
}

impl Shared {
    /// A component's machine code: from the cache, else compiled and kept, one at a time. Without
    /// its bytes, they are read from the folder of components.
    pub(crate) async fn code(
        self: &Arc<Self>,
        digest: ComponentDigest,
        bytes: Option<Bytes>,
    ) -> Result<Code, DeployError> {
        let cached = self.blocking(move |shared| {
            let find = |engine| shared.cache.cached(engine, digest);
            (find(&shared.engine), find(&shared.http.engine))
        });
        let (mut durable, mut http) = cached.await?;
        let known = durable.as_ref().map(|code| Exports::named(code, &self.engine));
        let known =
            known.or_else(|| http.as_ref().map(|code| Exports::named(code, &self.http.engine)));
        let is_there = |exports: &Exports| {
            exports.needs(EngineKind::Durable) == durable.is_some()
                && exports.needs(EngineKind::Http) == http.is_some()
        };
        let exports = match known {
            Some(exports) if is_there(&exports) => exports,
            _ => {
                let _turn = self.compiling.lock().await;
                let bytes = match bytes {
                    Some(bytes) => bytes,
                    None => {
                        self.blocking(move |shared| shared.components.read(digest)).await??.into()
                    }
                };
                let exports = Exports::of(&bytes);
                if exports.needs(EngineKind::Durable) && durable.is_none() {
                    durable = Some(self.compiled(EngineKind::Durable, digest, &bytes).await?);
                }
                if exports.needs(EngineKind::Http) && http.is_none() {
                    http = Some(self.compiled(EngineKind::Http, digest, &bytes).await?);
                }
                exports
            }
        };
        Ok(Code { exports, durable, http })
    }

    async fn compiled(
        self: &Arc<Self>,
        kind: EngineKind,
        digest: ComponentDigest,
        bytes: &Bytes,
    ) -> Result<Component, DeployError> {
        let (started, component_bytes) = (Instant::now(), bytes.len());
        let code = self.compiler.compile(self.engine_of(kind), kind, bytes.clone()).await?;
        let compile_ms = started.elapsed().as_millis();
        tracing::info!(%digest, ?kind, compile_ms, component_bytes, "compiled component");
        let admitted =
            self.blocking(move |shared| shared.cache.admit(shared.engine_of(kind), digest, &code));
        Ok(admitted.await??)
    }

    pub(crate) fn engine_of(&self, kind: EngineKind) -> &Engine {
        match kind {
            EngineKind::Durable => &self.engine,
            EngineKind::Http => &self.http.engine,
        }
    }

    fn linker_of(&self, kind: EngineKind) -> &Linker<GuestState> {
        match kind {
            EngineKind::Durable => &self.linker,
            EngineKind::Http => &self.http.linker,
        }
    }

    /// Work that blocks, on the guests' own threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, DeployError> {
        let shared = self.clone();
        let done = self.guests.spawn_blocking(move || work(&shared)).await;
        done.map_err(|_| DeployError::Compile(CompileError::Abandoned))
    }

    /// The handlers of a component, with everything that they import. What its manifest names as a
    /// trigger must have one.
    pub(crate) fn handlers(
        &self,
        manifest: &Manifest,
        code: Code,
    ) -> Result<Handlers, DeployError> {
        let name = manifest.name.as_str();
        let Code { exports, durable, http } = code;
        let for_events = match exports.for_events() {
            Some(EngineKind::Durable) => durable.map(|code| (EngineKind::Durable, code)),
            Some(EngineKind::Http) => http.clone().map(|code| (EngineKind::Http, code)),
            None => None,
        };
        let events = match for_events {
            Some((engine, code)) => {
                let linker = self.linker_of(engine);
                let ready = linker.instantiate_pre(&code).and_then(EverythingPre::new);
                match ready.map_err(|err| unlinked(name, linker, &code, err)) {
                    Ok(pre) => Some(EventHandler { pre, engine }),
                    Err(DeployError::Shape { function, .. }) if !exports.handler => {
                        return Err(DeployError::NoHandler { function, exports: exports.names });
                    }
                    Err(err) => return Err(err),
                }
            }
            None => None,
        };
        let http = match http.filter(|_| exports.http) {
            Some(code) => {
                let linker = &self.http.linker;
                let ready = linker.instantiate_pre(&code).and_then(http::proxy);
                Some(ready.map_err(|err| unlinked(name, linker, &code, err))?)
            }
            None => None,
        };
        check_triggers(manifest, events.is_some(), http.is_some())?;
        Ok(Handlers { events, http })
    }

    /// A version that was deployed before.
    pub(crate) async fn stored(
        self: &Arc<Self>,
        stored: &FunctionVersion,
    ) -> Result<Arc<Version>, DeployError> {
        let damaged = |err: String| DeployError::Damaged(format!("version {}: {err}", stored.id));
        let manifest: Manifest =
            serde_json::from_str(&stored.manifest).map_err(|err| damaged(err.to_string()))?;
        let digest: ComponentDigest =
            stored.component.parse().map_err(|err| damaged(format!("{err}")))?;
        let code = self.code(digest, None).await?;
        let handlers = self.handlers(&manifest, code)?;
        Ok(Arc::new(Version::new(manifest, digest, stored.id.clone(), handlers)))
    }

    /// What an invocation runs on; else why it cannot.
    pub(crate) async fn version_for(
        self: &Arc<Self>,
        invocation: &Invocation,
    ) -> Result<Arc<Version>, String> {
        let chosen = match self.functions.pick(invocation) {
            Pick::Version(version) => return Ok(version),
            Pick::Nothing(reason) => return Err(reason),
            Pick::Other(chosen) => chosen,
        };
        let function = &invocation.function;
        let versions = self.ledger.function_versions(function).await;
        let versions = versions.map_err(|err| err.to_string())?;
        let Some(stored) = versions.iter().find(|version| version.id.starts_with(&chosen)) else {
            return Err(format!("function {function:?} has no version {chosen}"));
        };
        let version = self.stored(stored).await;
        let version = version.map_err(|err| format!("version {chosen} of {function:?}: {err}"))?;
        self.functions.keep(&version);
        Ok(version)
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
fn check_triggers(manifest: &Manifest, events: bool, http: bool) -> Result<(), DeployError> {
    const EVENTS: &str = "backlot:function/handler@0.1.0";
    const HTTP: &str = "wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3";
    let unhandled = manifest.triggers.iter().find_map(|trigger| match trigger {
        Trigger::Http(_) if !http => Some((trigger.kind(), HTTP)),
        Trigger::Http(_) => None,
        other if !events => Some((other.kind(), EVENTS)),
        _ => None,
    });
    let probed = manifest.probe.as_ref().and_then(|probe| match probe {
        Probe { event: Some(_), .. } if !events => Some(("probe.event", EVENTS)),
        Probe { request: Some(_), .. } if !http => Some(("probe.request", HTTP)),
        _ => None,
    });
    let unhandled = unhandled.or(probed);
    match unhandled {
        Some((trigger, wanted)) => {
            let function = manifest.name.clone();
            Err(DeployError::NoHandlerFor { function, trigger, wanted })
        }
        None => Ok(()),
    }
}
