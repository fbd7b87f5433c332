//! Functions from a folder: each `NAME.toml` is a manifest, and `NAME.wasm` beside it its component;
//! where it must be signed, `NAME.minisig` is its signature.
//!
//! Read at the start, and again on SIGHUP. What changed since it was last read is deployed like
//! anything else, and what did not change is left as it is: a version that was deployed or gone back
//! to since then stays. Whoever may write the folder may grant.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backlot_runtime::{
    COMPONENT_MAX_BYTES, ComponentDigest, DeployError, Deployment, Manifest, Runtime, version_id,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::node;

/// Largest manifest in bytes.
const MANIFEST_BYTES_MAX: u64 = 256 * 1024;
/// Who deploys what is in it.
const FOLDER: &str = "folder";
/// Functions in one folder.
const FUNCTIONS_MAX: usize = 1_000;

/// Deploys every function of the folder.
pub(crate) async fn deploy(folder: &Path, runtime: &Runtime) -> Result<(), Fault> {
    for manifest in manifests(folder)? {
        deploy_one(&manifest, runtime).await?;
    }
    Ok(())
}

/// On each SIGHUP deploys again what is in the folder. What cannot be deployed is told, and what
/// ran before still runs.
pub(crate) fn follow(
    folder: PathBuf,
    runtime: Arc<Runtime>,
    stop: CancellationToken,
) -> Result<(), Fault> {
    let mut hangup =
        signal(SignalKind::hangup()).map_err(|err| node::internal("receiving signals", &err))?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => {}
            }
            tracing::info!(folder = %folder.display(), "functions are read again");
            let manifests = match manifests(&folder) {
                Ok(manifests) => manifests,
                Err(fault) => {
                    tracing::error!("{fault}");
                    continue;
                }
            };
            for manifest in manifests {
                if let Err(fault) = deploy_one(&manifest, &runtime).await {
                    tracing::error!("{fault}");
                }
            }
        }
    });
    Ok(())
}

/// The manifests in the folder, by name.
fn manifests(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let unusable = |err: std::io::Error| {
        Fault::new(
            "E0205",
            format!("the functions' folder {} cannot be read: {err}", folder.display()),
            "name another with functions.folder in backlot.toml, or none",
        )
    };
    let mut manifests = Vec::new();
    for entry in fs::read_dir(folder).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            manifests.push(path);
        }
    }
    manifests.sort();
    if FUNCTIONS_MAX < manifests.len() {
        return Err(Fault::new(
            "E0205",
            format!("{} has {} functions", folder.display(), manifests.len()),
            format!("keep at most {FUNCTIONS_MAX} in it"),
        ));
    }
    Ok(manifests)
}

async fn deploy_one(path: &Path, runtime: &Runtime) -> Result<(), Fault> {
    let component = path.with_extension("wasm");
    let refused = |what: &Path, why: String| {
        Fault::new(
            "E0206",
            format!("{} is not deployed: {why}", what.display()),
            "mend it, and send SIGHUP to the server (or start it again)",
        )
    };
    let text = read(path, MANIFEST_BYTES_MAX).await.map_err(|why| refused(path, why))?;
    let text = String::from_utf8(text).map_err(|err| refused(path, err.to_string()))?;
    let manifest = Manifest::parse(&text).map_err(|err| refused(path, err.to_string()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if manifest.name != stem {
        let why = format!("its name is {:?}, that of the file {stem:?}", manifest.name);
        return Err(refused(path, why));
    }
    let bytes = read(&component, COMPONENT_MAX_BYTES as u64).await;
    let bytes = bytes.map_err(|why| refused(&component, why))?;
    let digest = ComponentDigest::of(&bytes);
    let known = runtime.view(stem).filter(|function| function.broken.is_none());
    if known.and_then(|function| function.folder) == Some(version_id(&manifest, digest)) {
        return Ok(());
    }
    let signature = signature(path).await.map_err(|why| refused(path, why))?;
    let deployment = Deployment {
        manifest,
        manifest_text: text,
        component: digest,
        signature,
        canary: None,
        accept_grants: true,
        from_folder: true,
        by: FOLDER.to_owned(),
    };
    let deployed = async {
        let mut upload = runtime.upload().await?;
        upload.write(bytes.into()).await?;
        upload.finish(Some(digest)).await?;
        runtime.deploy_with(deployment).await
    };
    deployed.await.map(drop).map_err(|err: DeployError| refused(&component, err.to_string()))
}

/// The signature beside a manifest, where there is one.
async fn signature(manifest: &Path) -> Result<Option<String>, String> {
    match tokio::fs::read_to_string(manifest.with_extension("minisig")).await {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(format!("its signature: {err}")),
    }
}

async fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let bytes = tokio::fs::metadata(path).await.map_err(|err| err.to_string())?.len();
    if most < bytes {
        return Err(format!("it has {bytes} bytes, at most {most} are allowed"));
    }
    tokio::fs::read(path).await.map_err(|err| err.to_string())
}
