//! Style sheet, scripts and hls.js: in the binary, under a name that changes with their bytes.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::reply::{self, Body, Fault};

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: &[(&str, &str, &[u8])] = &[
    ("app.css", CSS, include_bytes!("assets/app.css")),
    ("list.mjs", SCRIPT, include_bytes!("assets/list.mjs")),
    ("watch.mjs", SCRIPT, include_bytes!("assets/watch.mjs")),
    ("player.mjs", SCRIPT, include_bytes!("assets/player.mjs")),
    ("storyboard.mjs", SCRIPT, include_bytes!("assets/storyboard.mjs")),
    ("mark.svg", SVG, MARK),
    #[cfg(hls)]
    ("hls.mjs", SCRIPT, include_bytes!(env!("BACKLOT_HLS_MODULE"))),
    #[cfg(hls)]
    ("hls-LICENSE.txt", "text/plain; charset=utf-8", include_bytes!(env!("BACKLOT_HLS_LICENCE"))),
];

const MARK: &[u8] = include_bytes!("assets/mark.svg");

/// Whether hls.js is in this build.
pub(super) const HAS_HLS: bool = cfg!(hls);

/// One digest over all files: scripts import one another by relative names, so they change
/// together.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for (name, _, bytes) in FILES {
        digest.update(name.as_bytes());
        digest.update(bytes);
    }
    let mut text = hex::encode(digest.finalize());
    text.truncate(12);
    text
});

/// Path of an asset.
pub(super) fn path(name: &str) -> String {
    debug_assert!(FILES.iter().any(|file| file.0 == name), "no asset {name}");
    format!("/assets/{}/{name}", *BUILD)
}

pub(super) fn serve(
    head: &http::request::Parts,
    build: &str,
    name: &str,
) -> Result<Response<Body>, Fault> {
    let file = FILES.iter().find(|file| file.0 == name);
    let Some((_, kind, bytes)) = file.filter(|_| build == *BUILD) else {
        return Err(Fault::not_found("there is no such file"));
    };
    let etag = HeaderValue::from_str(&format!("\"{build}\""))
        .map_err(|_| Fault::internal("a header cannot be written"))?;
    let mut response = Response::new(reply::empty());
    if head.headers.get(IF_NONE_MATCH) == Some(&etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = reply::full(Bytes::from_static(bytes));
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(ETAG, etag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    Ok(response)
}

pub(super) fn favicon() -> Response<Body> {
    let mut response = Response::new(reply::full(Bytes::from_static(MARK)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SVG));
    response
}
