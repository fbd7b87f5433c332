//! The way of a component into operation. Everything that can be wrong with it is found before it
//! is published; until then what runs is untouched.
//!
//! In this order, the cheap ones first: size (when it is uploaded), the manifest's values, the
//! signature, growth of the grants, cycles; then machine code from a child process with limits;
//! what it imports against what is linked; one instance; its probe.

use std::sync::Arc;

use backlot_ledger::{
    Canary, Decision, FunctionState, FunctionVersion, LedgerError, WEIGHT_MAX, crash,
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::catalogue::Change;
use crate::compile::{CompileError, ComponentDigest};
use crate::components::{ComponentError, Upload};
use crate::cycles;
use crate::functions::{Live, Slot, Version, version_id};
use crate::http::{RouteConflict, check_routes};
use crate::manifest::{Manifest, ManifestError};
use crate::probe;
use crate::runtime::{Runtime, Shared};
use crate::trial::Trial;
use crate::trust::{TrustError, signed_text};

/// Who deploys what the program itself brings, or a test.
const HOST: &str = "host";

/// What is to be deployed, and how.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest as it was written: what a signature is about.
    pub manifest_text: String,
    /// Its component, uploaded before ([`Runtime::upload`]).
    pub component: ComponentDigest,
    /// A signature of [`signed_text`].
    pub signature: Option<String>,
    /// Its share of what comes, of [`WEIGHT_MAX`], beside what is live; None: all of it.
    pub canary: Option<u32>,
    /// Whether it may be granted more than what is live.
    pub accept_grants: bool,
    /// Whether it comes from the folder of functions.
    pub from_folder: bool,
    /// Who deploys it.
    pub by: String,
}

/// What became of a deployment.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The version.
    pub version: Arc<Version>,
    /// What it runs for.
    pub share: Share,
    /// What it is granted beyond what was live before, a line each.
    pub growth: Vec<String>,
}

/// What a version runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Everything, from now on.
    All,
    /// As a canary; the share is of [`WEIGHT_MAX`].
    Canary(u32),
    /// Everything, as before: it was live already.
    Unchanged,
}

/// Why a version was not deployed. What ran before still runs.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The manifest's values are not within their limits.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The component is not there.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// It is not signed as the configuration asks for, or too old.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It is to be granted more than what is live, and nobody said that it may.
    #[error("function {function:?} is to be granted more than the live version: {}", .growth.join("; "))]
    Grants {
        /// The function's name.
        function: String,
        /// What more, a line each.
        growth: Vec<String>,
    },
    /// The functions would start one another without end.
    #[error("each end of a function would start the next, without end: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    /// The component does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The component imports what we do not have: all of it.
    #[error("function {function:?} imports what this host does not have: {}", .missing.join(", "))]
    MissingImports {
        /// The function's name.
        function: String,
        /// Interfaces (`namespace:package/interface@version`) and items in them (`…#item`), with
        /// the version that this host has in brackets.
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
    /// It does not start, or not do what its probe asks for.
    #[error("function {function:?} fails its trial: {reason}")]
    Trial {
        /// The function's name.
        function: String,
        /// What went wrong, with the end of its log.
        reason: String,
    },
    /// The share of a canary.
    #[error("a canary's share is {0} of {WEIGHT_MAX}: it must be 1 to {WEIGHT_MAX}")]
    Weight(u32),
    /// What was deployed before cannot be read.
    #[error("{0}")]
    Damaged(String),
    /// It could not be written down.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Runtime {
    /// Begin to upload a component.
    ///
    /// # Errors
    /// [`ComponentError::Io`] when the folder of components cannot be used.
    pub async fn upload(&self) -> Result<Upload, ComponentError> {
        self.shared.components.upload().await
    }

    /// Whether a component is there to be deployed.
    pub fn has_component(&self, digest: ComponentDigest) -> bool {
        self.shared.components.has(digest)
    }

    /// Remove what was uploaded and never deployed, but for the newest
    /// ([`crate::UNUSED_KEPT`]).
    ///
    /// # Errors
    /// When the ledger or the folder of components cannot be read.
    pub async fn sweep_components(&self) -> Result<(), DeployError> {
        let used = self.shared.ledger.components().await?;
        let swept = self.shared.blocking(move |shared| shared.components.sweep(&used)).await?;
        Ok(swept.map_err(ComponentError::Io)?)
    }

    /// Run a component that is part of the program, unless another version of the function was or
    /// is deployed. It is not written down: the next start brings it along.
    ///
    /// # Errors
    /// [`DeployError`].
    pub async fn provide(
        &self,
        manifest: Manifest,
        component: &'static [u8],
    ) -> Result<Arc<Version>, DeployError> {
        manifest.check()?;
        let digest = ComponentDigest::of(component);
        let id = version_id(&manifest, digest);
        let code = self.shared.code(digest, Some(Bytes::from_static(component))).await?;
        let handlers = self.shared.handlers(&manifest, code)?;
        let version = Arc::new(Version::new(manifest, digest, id, handlers));
        tracing::info!(function = version.function(), %digest, "part of the program");
        self.shared.functions.set(Slot::builtin(version.clone()));
        Ok(version)
    }

    /// Deploy a component that one trusts for everything that comes, whatever it is granted.
    ///
    /// # Errors
    /// [`DeployError`]; what ran before stays.
    pub async fn deploy(
        &self,
        manifest: Manifest,
        component: Vec<u8>,
    ) -> Result<Arc<Version>, DeployError> {
        let mut upload = self.upload().await?;
        upload.write(component.into()).await?;
        let component = upload.finish(None).await?;
        let deployment = Deployment {
            manifest,
            manifest_text: String::new(),
            component,
            signature: None,
            canary: None,
            accept_grants: true,
            from_folder: false,
            by: HOST.to_owned(),
        };
        Ok(self.deploy_with(deployment).await?.version)
    }

    /// Deploy a component that was uploaded.
    ///
    /// # Errors
    /// [`DeployError`]; what ran before stays.
    pub async fn deploy_with(&self, deployment: Deployment) -> Result<Deployed, DeployError> {
        let shared = &self.shared;
        let Deployment { manifest, component, .. } = &deployment;
        manifest.check()?;
        if let Some(weight) = deployment.canary.filter(|w| !(1..=WEIGHT_MAX).contains(w)) {
            return Err(DeployError::Weight(weight));
        }
        if !shared.components.has(*component) {
            return Err(ComponentError::Missing(*component).into());
        }
        let function = manifest.name.clone();
        let text = signed_text(&function, *component, &deployment.manifest_text);
        let signature = deployment.signature.as_deref();
        let signer = shared.trust.check_signature(&function, &text, signature)?;
        shared.check_against_others(&deployment).await?;

        let code = shared.code(*component, None).await?;
        let imports = code.imports(shared);
        let handlers = shared.handlers(manifest, code)?;
        let id = version_id(manifest, *component);
        let version = Version::new(manifest.clone(), *component, id, handlers);
        probe::run(shared, &version)
            .await
            .map_err(|reason| DeployError::Trial { function: function.clone(), reason })?;
        crash::point("deploy.after-stage");

        let digest = *component;
        let bytes = shared.blocking(move |shared| shared.components.bytes(digest)).await??;
        let row = FunctionVersion {
            function: function.clone(),
            id: version.id().to_owned(),
            component: component.to_string(),
            bytes,
            manifest: serde_json::to_string(manifest)
                .map_err(|err| DeployError::Damaged(format!("manifest as JSON: {err}")))?,
            imports,
            signer,
            deployed_by: deployment.by.clone(),
            deployed_at: Timestamp::now(),
        };
        shared.publish(deployment, Arc::new(version), row).await
    }
}

impl Shared {
    /// What depends on the other functions, and on what is live: asked before the long work, and
    /// again after it.
    async fn check_against_others(
        &self,
        deployment: &Deployment,
    ) -> Result<Vec<String>, DeployError> {
        let manifest = &deployment.manifest;
        let function = &manifest.name;
        let highest = self.ledger.function_serial(function).await?;
        self.trust.check_serial(function, manifest.serial, highest)?;
        let slots = self.functions.slots();
        let others: Vec<&Manifest> = slots.values().map(Slot::manifest).collect();
        if let Some(cycle) = cycles::cycle(manifest, &others) {
            return Err(DeployError::Cycle(cycle));
        }
        check_routes(manifest, others)?;
        // Whoever deploys a function for the first time says with that what it may do.
        let growth = slots
            .get(function)
            .map_or_else(Vec::new, |slot| manifest.grants.beyond(&slot.manifest().grants));
        if !growth.is_empty() && !deployment.accept_grants {
            return Err(DeployError::Grants { function: function.clone(), growth });
        }
        Ok(growth)
    }

    /// The swap.
    async fn publish(
        self: &Arc<Self>,
        deployment: Deployment,
        version: Arc<Version>,
        row: FunctionVersion,
    ) -> Result<Deployed, DeployError> {
        let turn = self.turn().await;
        let growth = self.check_against_others(&deployment).await?;
        let id = row.id.clone();
        let function = &row.function;
        let old = self.functions.slot(function);
        let folder = deployment.from_folder.then(|| id.clone());
        let folder = folder.or_else(|| old.as_ref().and_then(|slot| slot.state.folder.clone()));
        let unchanged = old.as_ref().filter(|old| old.state.live == id && old.canary.is_none());
        if let Some(live) = unchanged.and_then(|old| old.live()) {
            let version = live.clone();
            return Ok(Deployed { version, share: Share::Unchanged, growth });
        }
        let enabled = old.as_ref().is_none_or(|slot| slot.state.enabled);
        let builtin = old.as_ref().and_then(|slot| slot.builtin.clone());
        let (slot, share) = match (deployment.canary, old) {
            // There must be something that it runs beside.
            (Some(weight), Some(old)) if old.state.live != id => {
                let canary = Some(Canary { version: id.clone(), weight });
                let rule = version.manifest.canary;
                let slot = Slot {
                    state: FunctionState { canary, folder, ..old.state.clone() },
                    canary: Some(version.clone()),
                    trial: Some(Arc::new(Trial::new(rule))),
                    ..old
                };
                (slot, Share::Canary(weight))
            }
            (_, old) => {
                let previous = old.map(|slot| slot.state).and_then(|state| {
                    if state.live == id { state.previous } else { Some(state.live) }
                });
                let state = FunctionState {
                    name: function.clone(),
                    live: id.clone(),
                    canary: None,
                    previous,
                    enabled,
                    folder,
                };
                (Slot::new(state, Live::Ready(version.clone()), builtin), Share::All)
            }
        };
        let what = if share == Share::All { "deployed" } else { "canary" };
        let weight = slot.state.canary.as_ref().map(|canary| canary.weight);
        let details = json!({ "component": row.component, "grown": growth, "weight": weight });
        let decision = Decision {
            time: Timestamp::now(),
            what: what.to_owned(),
            version: id,
            by: deployment.by.clone(),
            details: details.to_string(),
        };
        let serial = version.manifest.serial.filter(|_| share == Share::All);
        let change = Change { slot, version: Some(row), serial, decision, event: None };
        self.put(turn, change).await?;
        tracing::info!(function = version.function(), version = version.id(), ?share, "deployed");
        Ok(Deployed { version, share, growth })
    }
}
