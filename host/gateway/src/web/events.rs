//! `/api/v1/events`: Server-Sent Events about content, as it changes.
//!
//! The first events give the whole list, later ones what changed. Event `content`: one piece as
//! `/api/v1/content` has it. Event `gone`: `{"id"}`. With `?as=cards` instead of `content` the
//! event `card`: `{"id","html"}`, which is how the page redraws without a template of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time;

use super::content::Content;
use super::reply::{Body, Fault};
use super::{Shared, pages};

/// A comment line in quiet times: keeps proxies from closing, and finds dead peers.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy)]
enum Form {
    Json,
    Cards,
}

struct Client {
    shared: Arc<Shared>,
    form: Form,
    versions: watch::Receiver<u64>,
    /// Digest of what was last sent, by id.
    sent: HashMap<String, [u8; 32]>,
    started: bool,
    _place: OwnedSemaphorePermit,
}

pub(super) fn stream(
    shared: &Arc<Shared>,
    head: &http::request::Parts,
) -> Result<Response<Body>, Fault> {
    let place = shared.event_clients.clone().try_acquire_owned();
    let place = place.map_err(|_| Fault::busy("too many clients follow the events"))?;
    let form = match head.uri.query() {
        Some("as=cards") => Form::Cards,
        None | Some("") => Form::Json,
        Some(_) => return Err(Fault::bad("the only query is as=cards")),
    };
    let client = Client {
        shared: shared.clone(),
        form,
        versions: shared.feed.versions(),
        sent: HashMap::new(),
        started: false,
        _place: place,
    };
    let frames = stream::unfold(client, |mut client| async move {
        let text = client.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), client))
    });
    let mut response =
        Response::new(StreamBody::new(frames).map_err(|never| match never {}).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Client {
    /// The next bytes; None ends the stream.
    async fn next(&mut self) -> Option<String> {
        let shutdown = self.shared.shutdown.clone();
        let first = !std::mem::replace(&mut self.started, true);
        if !first {
            tokio::select! {
                () = shutdown.cancelled() => return None,
                changed = self.versions.changed() => changed.ok()?,
                () = time::sleep(HEARTBEAT) => {}
            }
        }
        self.versions.mark_unchanged();
        let snapshot = match self.shared.feed.snapshot().await {
            Ok(snapshot) => snapshot,
            // The client comes back by itself after `retry`.
            Err(_) => return None,
        };
        let mut text = String::new();
        if first {
            text.push_str("retry: 2000\n\n");
        }
        let mut gone = std::mem::take(&mut self.sent);
        for content in &snapshot.content {
            let (kind, data) = self.render(content);
            let digest: [u8; 32] = Sha256::digest(&data).into();
            if gone.remove(&content.id) != Some(digest) {
                push(&mut text, kind, &data);
            }
            self.sent.insert(content.id.clone(), digest);
        }
        for id in gone.into_keys() {
            push(&mut text, "gone", &json!({ "id": id }).to_string());
        }
        if text.is_empty() {
            text.push_str(": nothing new\n\n");
        }
        Some(text)
    }

    fn render(&self, content: &Content) -> (&'static str, String) {
        match self.form {
            Form::Json => ("content", json!(content).to_string()),
            Form::Cards => {
                let html = pages::card(content).into_string();
                let data = json!({ "id": content.id, "state": content.state, "html": html });
                ("card", data.to_string())
            }
        }
    }
}

/// JSON text has no line breaks, so one `data` line holds it.
fn push(text: &mut String, kind: &str, data: &str) {
    text.push_str("event: ");
    text.push_str(kind);
    text.push_str("\ndata: ");
    text.push_str(data);
    text.push_str("\n\n");
}
