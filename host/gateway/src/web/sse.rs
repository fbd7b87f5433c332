//! Server-Sent Events: what every stream has in common.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::reply::{Body, Fault};

/// Longest silence: then a comment line keeps proxies from closing, and finds dead peers.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// The comment.
pub(super) const NOTHING_NEW: &str = ": nothing new\n\n";

/// Why a stream ends, for its reader: sent as the last event, `end`: `{"reason"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(pub(super) &'static str);

/// The server stops.
pub(super) const STOPPED: End = End("the server stops");
/// What changed could not be read.
pub(super) const FAILED: End = End("the ledger could not be read");

/// What writes the events of one reader's stream.
pub(super) trait Source: Send + 'static {
    /// The next bytes, as soon as there are some. Asked only when the reader has taken what was
    /// before.
    fn next(&mut self) -> impl Future<Output = Result<String, End>> + Send;
}

/// A place among the readers, which are bounded.
pub(super) fn place(shared: &Arc<Shared>) -> Result<OwnedSemaphorePermit, Fault> {
    let place = shared.event_clients.clone().try_acquire_owned();
    place.map_err(|_| Fault::busy("too many clients follow the events"))
}

/// The answer that carries a stream.
pub(super) fn answer(source: impl Source, place: OwnedSemaphorePermit) -> Response<Body> {
    let frames = stream::unfold(Some((source, place)), |reader| async move {
        let (mut source, place) = reader?;
        let (text, reader) = match source.next().await {
            Ok(text) => (text, Some((source, place))),
            Err(End(reason)) => {
                let mut text = String::new();
                push(&mut text, "end", &json!({ "reason": reason }).to_string());
                (text, None)
            }
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), reader))
    });
    let mut response =
        Response::new(StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// JSON text has no line breaks, so one `data` line holds it.
pub(super) fn push(text: &mut String, kind: &str, data: &str) {
    text.push_str("event: ");
    text.push_str(kind);
    text.push_str("\ndata: ");
    text.push_str(data);
    text.push_str("\n\n");
}
