//! From a component to a version that can run: machine code from the cache or the compiler, linked.

use std::sync::Arc;
use std::time::Instant;

use backlot_bindings::EverythingPre;
use backlot_ledger::{FunctionVersion, Invocation};
use bytes::Bytes;
use wasmtime::component::Component;

use crate::compile::{CompileError, ComponentDigest};
use crate::deploy::DeployError;
use crate::functions::{Pick, Version};
use crate::linker;
use crate::manifest::Manifest;
use crate::runtime::Shared;
use crate::state::GuestState;

impl Shared {
    /// A component's machine code: from the cache, else compiled and kept, one at a time. Without
    /// its bytes, they are read from the folder of components.
    pub(crate) async fn code(
        self: &Arc<Self>,
        digest: ComponentDigest,
        bytes: Option<Bytes>,
    ) -> Result<Component, DeployError> {
        let cached = self.blocking(move |shared| shared.cache.cached(&shared.engine, digest));
        if let Some(code) = cached.await? {
            return Ok(code);
        }
        let _turn = self.compiling.lock().await;
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => self.blocking(move |shared| shared.components.read(digest)).await??.into(),
        };
        let (started, component_bytes) = (Instant::now(), bytes.len());
        let code = self.compiler.compile(&self.engine, bytes).await?;
        let compile_ms = started.elapsed().as_millis();
        tracing::info!(%digest, compile_ms, component_bytes, "compiled component");
        let admitted =
            self.blocking(move |shared| shared.cache.admit(&shared.engine, digest, &code));
        Ok(admitted.await??)
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

    /// Machine code with everything that it imports.
    pub(crate) fn ready(
        &self,
        function: &str,
        code: &Component,
    ) -> Result<EverythingPre<GuestState>, DeployError> {
        let function = function.to_owned();
        match self.linker.instantiate_pre(code).and_then(EverythingPre::new) {
            Ok(ready) => Ok(ready),
            Err(source) => {
                let missing = linker::missing_imports(&self.linker, code);
                if missing.is_empty() {
                    return Err(DeployError::Shape { function, source });
                }
                Err(DeployError::MissingImports { function, missing })
            }
        }
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
        let ready = self.ready(&manifest.name, &code)?;
        Ok(Arc::new(Version::new(manifest, digest, stored.id.clone(), ready)))
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
