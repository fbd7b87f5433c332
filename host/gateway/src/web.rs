//! The front door for people: pages, the read-only API, live events, and published content.
//!
//! Everything here only reads. One service answers each request; [`crate::serve`] carries it.

mod api;
mod assets;
mod content;
mod events;
mod feed;
mod files;
mod guard;
mod jobs;
mod pages;
mod reply;
#[cfg(test)]
mod tests;
mod watch;
mod work;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backlot_ledger::{InvocationId, Ledger, Progress};
use backlot_storage::Store;
use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::service::Service;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::serve::Refusal;
use feed::Feed;
use reply::Fault;

pub use feed::{CONTENT_MAX, REFRESH_INTERVAL};
pub use reply::Body;
pub use work::{Part, Rung, Summary, Work, permille};

/// Most clients of the event stream at once: each holds a connection for as long as a page is
/// open. The next one is answered 503, and its page shows what it has without live updates.
pub const EVENT_CLIENTS_MAX: usize = 64;

/// What running work reports, before it is in the ledger.
pub trait LiveWork: Send + Sync + 'static {
    /// What this invocation last reported; empty when it does not run.
    fn progress(&self, id: &InvocationId) -> Vec<Progress>;
    /// Told of every report. A receiver that falls behind may miss some.
    fn subscribe(&self) -> broadcast::Receiver<(InvocationId, Vec<Progress>)>;
}

impl LiveWork for backlot_runtime::Runtime {
    fn progress(&self, id: &InvocationId) -> Vec<Progress> {
        self.progress(id)
    }

    fn subscribe(&self) -> broadcast::Receiver<(InvocationId, Vec<Progress>)> {
        self.subscribe_progress()
    }
}

/// What the front door is told about the server around it.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// Names besides `localhost` under which browsers may address it. A page of another site that
    /// points its own name at this address is refused by this list.
    pub hosts: Vec<String>,
    /// Where uploads go: the S3 address, `http://127.0.0.1:9000`, for the page's example.
    pub s3_url: String,
    /// Bucket that uploads go to.
    pub uploads: String,
    /// Bucket whose objects everyone may read.
    pub content: String,
    /// The function whose invocations are shown as content.
    pub encoder: String,
}

/// The front door's service; a cheap handle.
#[derive(Clone)]
pub struct Web {
    shared: Arc<Shared>,
}

struct Shared {
    config: WebConfig,
    ledger: Ledger,
    store: Store,
    live: Arc<dyn LiveWork>,
    feed: Feed,
    ready: AtomicBool,
    event_clients: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Web {
    /// Makes the service and starts the task that watches for changes; both end with `shutdown`.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn new(
        config: WebConfig,
        ledger: Ledger,
        store: Store,
        live: Arc<dyn LiveWork>,
        shutdown: CancellationToken,
    ) -> Self {
        let feed = Feed::new(
            jobs::Sources {
                ledger: ledger.clone(),
                store: store.clone(),
                live: live.clone(),
                encoder: config.encoder.clone(),
                content: config.content.clone(),
            },
            shutdown.clone(),
        );
        let shared = Shared {
            config,
            ledger,
            store,
            live,
            feed,
            ready: AtomicBool::new(false),
            event_clients: Arc::new(Semaphore::new(EVENT_CLIENTS_MAX)),
            shutdown,
        };
        Self { shared: Arc::new(shared) }
    }

    /// From now on `/readyz` says yes (or, with false, no).
    pub fn set_ready(&self, ready: bool) {
        self.shared.ready.store(ready, Ordering::Relaxed);
    }

    /// Answers one request. Request bodies are never read.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        let (head, _body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let wants_page = !head.uri.path().starts_with("/api/");
        let mut response = match self.route(&head).await {
            Ok(response) => response,
            Err(fault) if wants_page => pages::fault(&fault),
            Err(fault) => fault.into_json(),
        };
        guard::harden(&mut response);
        if is_head {
            *response.body_mut() = reply::empty();
        }
        response
    }

    async fn route(&self, head: &http::request::Parts) -> Result<Response<Body>, Fault> {
        guard::check_host(head, &self.shared.config.hosts)?;
        let path = head.uri.path();
        if let Some(key) = path.strip_prefix("/content/") {
            return files::serve(&self.shared, head, key).await;
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Fault::method());
        }
        let mut segments = path.strip_prefix('/').unwrap_or(path).split('/');
        let route = [segments.next(), segments.next(), segments.next(), segments.next()];
        if segments.next().is_some() {
            return Err(Fault::not_found("there is no such page"));
        }
        let shared = &self.shared;
        match route {
            [Some(""), None, ..] => pages::list(shared).await,
            [Some("watch"), Some(id), None, _] => watch::page(shared, id).await,
            [Some("assets"), Some(hash), Some(name), None] => assets::serve(head, hash, name),
            [Some("favicon.ico"), None, ..] => Ok(assets::favicon()),
            [Some("healthz"), None, ..] => Ok(reply::text("ok\n")),
            [Some("readyz"), None, ..] => api::ready(shared).await,
            [Some("api"), Some("v1"), Some("events"), None] => events::stream(shared, head),
            [Some("api"), Some("v1"), Some("content"), id] => api::content(shared, id).await,
            [Some("api"), Some("v1"), Some("invocations"), None] => {
                api::invocations(shared, head.uri.query().unwrap_or_default()).await
            }
            [Some("api"), Some("v1"), Some("invocations"), Some(id)] => {
                api::invocation(shared, id).await
            }
            _ => Err(Fault::not_found("there is no such page")),
        }
    }
}

impl<B: Send + 'static> Service<Request<B>> for Web {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let web = self.clone();
        let (head, _body) = request.into_parts();
        Box::pin(async move { Ok(web.answer(Request::from_parts(head, ())).await) })
    }
}

/// What the listener answers where it refuses a request before this service sees it.
#[must_use]
pub fn refuse(refusal: Refusal) -> Response<Bytes> {
    let fault = match refusal {
        Refusal::Busy => Fault::busy("too many requests at work; try again shortly"),
        Refusal::BodyTooLarge => Fault::new(http::StatusCode::PAYLOAD_TOO_LARGE, "body too large"),
        Refusal::HeadTooLarge => {
            Fault::new(http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers too large")
        }
        Refusal::Panicked => Fault::internal("the request failed; the server's log has the cause"),
    };
    fault.into_plain()
}
