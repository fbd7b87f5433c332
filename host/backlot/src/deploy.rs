//! `backlot deploy` and `backlot digest`: a component into operation, and what its signature is of.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backlot_runtime::{COMPONENT_MAX_BYTES, ComponentDigest, Manifest, signed_text};
use http::Method;
use serde_json::{Value, json};

use crate::answers::{list, printable, text, version};
use crate::cli::{DeployArgs, DigestArgs};
use crate::client::{self, Client, NOT_THERE, encoded};
use crate::fault::Fault;
use crate::{Done, out};

/// Longest wait for a deploy: the server compiles the component, which it may do for minutes.
const DEPLOY_MAX: Duration = Duration::from_secs(600);
/// Largest manifest and largest signature, in bytes.
const TEXT_BYTES_MAX: usize = 256 * 1024;

pub(crate) fn run(args: DeployArgs) -> Result<Done, Fault> {
    let Source { component, manifest, name } = source(&args.component, args.manifest.as_deref())?;
    let signature = args.signature.as_deref().map(read_text).transpose()?;
    let digest = ComponentDigest::of(&component);
    let wanted = json!({
        "component": digest.to_string(), "manifest": manifest, "signature": signature,
        "canary_weight": args.canary, "accept_grants": args.accept_grants,
    });
    let client = Client::new(&args.remote)?.patient(DEPLOY_MAX);
    let answer = client::block_on(async {
        let path = format!("/api/v1/components/{digest}");
        if client.get(&path).await?.is_none() {
            client.upload(&path, component.clone().into()).await?;
        }
        let path = format!("/api/v1/functions/{}/versions", encoded(&name));
        match client.change(Method::POST, &path, Some(&wanted)).await {
            // It was swept between the two requests.
            Err(fault) if fault.code == NOT_THERE => {
                let component_path = format!("/api/v1/components/{digest}");
                client.upload(&component_path, component.into()).await?;
                client.change(Method::POST, &path, Some(&wanted)).await
            }
            answer => answer,
        }
    })?;
    if args.remote.server.json {
        return out(&format!("{answer}\n"));
    }
    out(&told(&answer))
}

fn told(answer: &Value) -> String {
    let (function, id) = (text(answer, "/function"), version(answer, "/version"));
    let mut told = match text(answer, "/share") {
        "canary" => {
            let weight = answer.pointer("/weight").and_then(Value::as_u64).unwrap_or_default();
            format!("{function} {id} is the canary, for {} %\n", percent(weight))
        }
        "unchanged" => format!("{function} {id} is live already\n"),
        _ => format!("{function} {id} is live\n"),
    };
    for grown in list(answer, "growth") {
        told += &format!("  new grant: {}\n", printable(grown.as_str().unwrap_or_default()));
    }
    told
}

/// Hundredths of a percent as percent.
pub(crate) fn percent(weight: u64) -> String {
    match (weight / 100, weight % 100) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{part:02}").trim_end_matches('0').to_owned(),
    }
}

pub(crate) fn digest(args: &DigestArgs) -> Result<Done, Fault> {
    let Source { component, manifest, name } = source(&args.component, args.manifest.as_deref())?;
    out(&signed_text(&name, ComponentDigest::of(&component), &manifest))
}

/// What is on disk of a version.
struct Source {
    component: Vec<u8>,
    manifest: String,
    name: String,
}

fn source(component: &Path, manifest: Option<&Path>) -> Result<Source, Fault> {
    let manifest_path = manifest.map_or_else(|| component.with_extension("toml"), Path::to_owned);
    let manifest = read_text(&manifest_path)?;
    let name = Manifest::parse(&manifest).map_err(|err| {
        let message = format!("{}: {err}", manifest_path.display());
        Fault::new("E0207", message, "mend the manifest")
    });
    let name = name?.name;
    let component = read(component, COMPONENT_MAX_BYTES)?;
    Ok(Source { component, manifest, name })
}

fn read_text(path: &Path) -> Result<String, Fault> {
    let bytes = read(path, TEXT_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|err| unreadable(path, &err))
}

fn read(path: &Path, most: usize) -> Result<Vec<u8>, Fault> {
    let bytes = fs::metadata(path).map_err(|err| unreadable(path, &err))?.len();
    if most as u64 >= bytes {
        return fs::read(path).map_err(|err| unreadable(path, &err));
    }
    Err(unreadable(path, &format!("it has {bytes} bytes, at most {most} are allowed")))
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Fault {
    let path: PathBuf = path.to_owned();
    Fault::new(
        "E0207",
        format!("{} cannot be read: {why}", path.display()),
        "name a component (.wasm), and its manifest with --manifest where that is not beside it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_it_is_told_with_new_grants() {
        let answer = json!({
            "function": "f", "version": "0123456789abcdef", "share": "canary", "weight": 1250,
            "growth": ["publish"],
        });
        let wanted = "f 0123456789ab is the canary, for 12.5 %\n  new grant: publish\n";
        assert_eq!(told(&answer), wanted);
        assert_eq!((percent(10_000), percent(5)), ("100".to_owned(), "0.05".to_owned()));
    }

    #[test]
    fn the_manifest_is_beside_the_component() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("f.wasm");
        fs::write(&component, b"wasm").unwrap();
        let missing = source(&component, None).err().unwrap();
        assert!(missing.message.contains("f.toml"), "{missing}");
        fs::write(folder.path().join("f.toml"), "name = \"g\"\n").unwrap();
        assert_eq!(source(&component, None).unwrap().name, "g");
    }
}
