//! Components in, and versions made of them.
//!
//! Two requests, so that neither needs a form: the component as it is under its digest, which can be
//! repeated and left out when it is there, then what is to be done with it as JSON.

use std::pin::pin;
use std::sync::Arc;

use backlot_runtime::{
    ChangeError, ComponentDigest, ComponentError, DeployError, Deployment, Manifest, Runtime, Share,
};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::json;

use crate::serve::BoxError;
use crate::web::access::Caller;
use crate::web::reply::{self, Body, Fault};
use crate::web::{Shared, admin};

/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: usize = 256 << 10;

/// Body of POST `functions/NAME/versions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// SHA-256 of a component that was uploaded.
    component: String,
    /// TOML.
    manifest: String,
    /// Of minisign.
    signature: Option<String>,
    /// Share as a canary, of 10,000; missing: all.
    canary_weight: Option<u32>,
    #[serde(default)]
    accept_grants: bool,
}

/// The runtime, where there is one.
pub(super) fn runtime(shared: &Arc<Shared>) -> Result<&Runtime, Fault> {
    let none = || Fault::not_found("no functions are deployed here");
    shared.live.runtime().ok_or_else(none)
}

fn digest(text: &str) -> Result<ComponentDigest, Fault> {
    let digest = text.parse();
    digest.map_err(|_| Fault::bad("a component is named by its SHA-256: 64 digits of 0-9 and a-f"))
}

/// GET `components/DIGEST`: whether it is there.
pub(super) fn component(shared: &Arc<Shared>, name: &str) -> Result<Response<Body>, Fault> {
    let digest = digest(name)?;
    if runtime(shared)?.has_component(digest) {
        return reply::json(&json!({ "component": digest.to_string() }));
    }
    Err(Fault::not_found("there is no such component"))
}

/// PUT `components/DIGEST`.
pub(super) async fn upload<B>(
    shared: &Arc<Shared>,
    name: &str,
    body: B,
) -> Result<Response<Body>, Fault>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (runtime, digest) = (runtime(shared)?, digest(name)?);
    let mut upload = runtime.upload().await.map_err(component_fault)?;
    let mut body = pin!(body);
    while let Some(bytes) = chunk(body.frame().await)? {
        upload.write(bytes).await.map_err(component_fault)?;
    }
    upload.finish(Some(digest)).await.map_err(component_fault)?;
    runtime.sweep_components().await.map_err(deploy_fault)?;
    reply::json(&json!({ "component": digest.to_string() }))
}

/// The bytes of a frame; none at the end.
fn chunk<E: Into<BoxError>>(
    frame: Option<Result<Frame<Bytes>, E>>,
) -> Result<Option<Bytes>, Fault> {
    match frame {
        None => Ok(None),
        // Trailers are no bytes.
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(err)) => Err(admin::broken(&err.into())),
    }
}

/// POST `functions/NAME/versions`.
pub(super) async fn deploy(
    shared: &Arc<Shared>,
    caller: &Caller,
    name: &str,
    body: &[u8],
) -> Result<Response<Body>, Fault> {
    let wanted: Wanted = serde_json::from_slice(body).map_err(|err| {
        Fault::bad(format!(
            "the body is not {{\"component\": string, \"manifest\": string}} with \"signature\", \
             \"canary_weight\" and \"accept_grants\" where they are wanted: {err}"
        ))
    })?;
    if MANIFEST_BYTES_MAX < wanted.manifest.len() {
        let message = format!("the manifest is over the limit of {MANIFEST_BYTES_MAX} bytes");
        return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let manifest = Manifest::parse(&wanted.manifest).map_err(|err| refused(err.to_string()))?;
    if manifest.name != name {
        let message = format!("the manifest is of {:?}, not of {name:?}", manifest.name);
        return Err(refused(message));
    }
    let deployment = Deployment {
        manifest,
        manifest_text: wanted.manifest,
        component: digest(&wanted.component)?,
        signature: wanted.signature,
        canary: wanted.canary_weight,
        accept_grants: wanted.accept_grants,
        from_folder: false,
        by: caller.name.clone(),
    };
    let deployed = runtime(shared)?.deploy_with(deployment).await.map_err(deploy_fault)?;
    let (share, weight) = match deployed.share {
        Share::All => ("all", None),
        Share::Canary(weight) => ("canary", Some(weight)),
        Share::Unchanged => ("unchanged", None),
    };
    reply::json(&json!({
        "function": name, "version": deployed.version.id(), "share": share, "weight": weight,
        "growth": deployed.growth,
    }))
}

/// What was asked for is understood, and not done.
fn refused(message: String) -> Fault {
    Fault::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn component_fault(err: ComponentError) -> Fault {
    match err {
        ComponentError::TooLarge => Fault::new(StatusCode::PAYLOAD_TOO_LARGE, err.to_string()),
        ComponentError::Missing(_) => Fault::not_found(err.to_string()),
        ComponentError::Other { .. } => Fault::bad(err.to_string()),
        ComponentError::Io(_) | ComponentError::Abandoned => {
            tracing::error!(%err, "a component could not be kept");
            Fault::internal("the component could not be kept; the server's log has the cause")
        }
    }
}

pub(super) fn deploy_fault(err: DeployError) -> Fault {
    match err {
        DeployError::Component(err) => component_fault(err),
        DeployError::Ledger(err) => err.into(),
        DeployError::Grants { .. } => {
            let message = format!("{err}; say accept_grants (--accept-grants) if that is wanted");
            Fault::new(StatusCode::CONFLICT, message)
        }
        DeployError::Damaged(_) => {
            tracing::error!(%err, "a version cannot be read");
            Fault::internal(err.to_string())
        }
        err => refused(err.to_string()),
    }
}

pub(super) fn change_fault(err: ChangeError) -> Fault {
    match err {
        ChangeError::Unknown(_) | ChangeError::Version { several: false, .. } => {
            Fault::not_found(err.to_string())
        }
        ChangeError::Deploy(err) => deploy_fault(err),
        ChangeError::Ledger(err) => err.into(),
        err => Fault::new(StatusCode::CONFLICT, err.to_string()),
    }
}
