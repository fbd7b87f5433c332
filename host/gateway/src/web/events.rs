//! `/api/v1/events`: Server-Sent Events about content, as it changes.
//!
//! The first events give the whole list, later ones what changed. Event `content`: one piece as
//! `/api/v1/content` has it. Event `gone`: `{"id"}`. With `?as=cards` instead of `content` the
//! event `card`: `{"id","html"}`, which is how the page redraws without a template of its own.

use std::collections::HashMap;
use std::sync::Arc;

use http::Response;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time;

use super::content::Content;
use super::reply::{Body, Fault};
use super::sse::{self, End};
use super::{Shared, pages};

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
}

pub(super) fn stream(
    shared: &Arc<Shared>,
    head: &http::request::Parts,
) -> Result<Response<Body>, Fault> {
    let place = sse::place(shared)?;
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
    };
    Ok(sse::answer(client, place))
}

impl sse::Source for Client {
    async fn next(&mut self) -> Result<String, End> {
        let shutdown = self.shared.shutdown.clone();
        let first = !std::mem::replace(&mut self.started, true);
        if !first {
            tokio::select! {
                () = shutdown.cancelled() => return Err(sse::STOPPED),
                changed = self.versions.changed() => changed.map_err(|_| sse::STOPPED)?,
                () = time::sleep(sse::HEARTBEAT) => {}
            }
        }
        self.versions.mark_unchanged();
        // The client comes back by itself after `retry`.
        let snapshot = self.shared.feed.snapshot().await.map_err(|_| sse::FAILED)?;
        let mut text = String::new();
        if first {
            text.push_str("retry: 2000\n\n");
        }
        let mut gone = std::mem::take(&mut self.sent);
        for content in &snapshot.content {
            let (kind, data) = self.render(content);
            let digest: [u8; 32] = Sha256::digest(&data).into();
            if gone.remove(&content.id) != Some(digest) {
                sse::push(&mut text, kind, &data);
            }
            self.sent.insert(content.id.clone(), digest);
        }
        for id in gone.into_keys() {
            sse::push(&mut text, "gone", &json!({ "id": id }).to_string());
        }
        if text.is_empty() {
            text.push_str(sse::NOTHING_NEW);
        }
        Ok(text)
    }
}

impl Client {
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
