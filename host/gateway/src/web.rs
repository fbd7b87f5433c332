//! The front door for people: pages, the API, live events, and published content.
//!
//! One service answers each request; [`crate::serve`] carries it. Everything reads, but for the
//! changes of the API, which need a token ([`AdminToken`]).

mod access;
mod admin;
mod api;
mod assets;
mod content;
mod events;
mod feed;
mod files;
mod guard;
mod jobs;
mod metrics;
mod pages;
mod reply;
mod sse;
#[cfg(test)]
mod tests;
mod watch;
mod work;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backlot_backup::Backups;
use backlot_ledger::{InvocationId, Ledger, Progress};
use backlot_storage::Store;
use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::service::Service;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::serve::{BoxError, Refusal};
use feed::Feed;
use reply::Fault;

pub use admin::{AdminToken, BODY_BYTES_MAX};
pub use feed::{CONTENT_MAX, REFRESH_INTERVAL};
pub use reply::Body;
pub use work::{Part, Rung, Summary, Work, permille};

/// Most clients of event streams at once: each holds a connection for as long as a page is
/// open. The next one is answered 503, and its page shows what it has without live updates.
pub const EVENT_CLIENTS_MAX: usize = 64;

/// A deployed function.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// Its name.
    pub name: String,
    /// Id of the version that runs now.
    pub version: String,
    /// SHA-256 of that version's component, in hexadecimal.
    pub component: String,
    /// That version's manifest.
    pub manifest: serde_json::Value,
}

/// What the runtime knows and the ledger does not: what running work reports, and what is deployed.
pub trait LiveWork: Send + Sync + 'static {
    /// What this invocation last reported; empty when it does not run.
    fn progress(&self, id: &InvocationId) -> Vec<Progress>;
    /// Told of every report. A receiver that falls behind may miss some.
    fn subscribe(&self) -> broadcast::Receiver<(InvocationId, Vec<Progress>)>;
    /// The deployed functions, by name.
    fn functions(&self) -> Vec<Deployed>;
    /// Where functions can be deployed; None: nowhere.
    fn runtime(&self) -> Option<&backlot_runtime::Runtime> {
        None
    }
}

impl LiveWork for backlot_runtime::Runtime {
    fn progress(&self, id: &InvocationId) -> Vec<Progress> {
        self.progress(id)
    }

    fn subscribe(&self) -> broadcast::Receiver<(InvocationId, Vec<Progress>)> {
        self.subscribe_progress()
    }

    fn functions(&self) -> Vec<Deployed> {
        let deployed = |version: Arc<backlot_runtime::Version>| Deployed {
            name: version.function().to_owned(),
            version: version.id().to_owned(),
            component: version.digest.to_string(),
            manifest: serde_json::to_value(&version.manifest).unwrap_or_default(),
        };
        self.functions().into_iter().map(deployed).collect()
    }

    fn runtime(&self) -> Option<&backlot_runtime::Runtime> {
        Some(self)
    }
}

/// What the front door is told about the server around it.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// Names besides `localhost` under which browsers may address it. A page of another site that
    /// points its own name at this address is refused by this list.
    pub hosts: Vec<String>,
    /// Where uploads go: the S3 front door, `http://127.0.0.1:9000`, for the page's example.
    pub s3_url: String,
    /// Bucket that uploads go to.
    pub uploads: String,
    /// Bucket whose objects everyone may read.
    pub content: String,
    /// The function whose invocations are shown as content.
    pub encoder: String,
    /// The first token, which opens everything.
    pub token: AdminToken,
    /// Whether the API can be read without a token: only where nobody but this machine reaches it.
    pub reads_open: bool,
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
    backups: Option<Backups>,
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
        backups: Option<Backups>,
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
            backups,
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

    /// Answers one request. Of bodies only those of changes are read, at most [`BODY_BYTES_MAX`].
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        let wants_page = !head.uri.path().starts_with("/api/");
        let mut response = match self.route(&head, body).await {
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

    async fn route<B>(&self, head: &http::request::Parts, body: B) -> Result<Response<Body>, Fault>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        guard::check_host(head, &self.shared.config.hosts)?;
        let path = head.uri.path();
        if let Some(key) = path.strip_prefix("/content/") {
            return files::serve(&self.shared, head, key).await;
        }
        if let Some(path) = path.strip_prefix("/api/v1/") {
            return api::route(&self.shared, head, path, body).await;
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
            [Some("metrics"), None, ..] => metrics::answer(shared, head).await,
            _ => Err(Fault::not_found("there is no such page")),
        }
    }
}

impl<B> Service<Request<B>> for Web
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let web = self.clone();
        Box::pin(async move { Ok(web.answer(request).await) })
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
