//! HTTP functions: components that export `wasi:http/incoming-handler` 0.2 or `wasi:http/handler`
//! 0.3 answer requests, each in a guest instance of its own unless their manifest says otherwise.
//!
//! Nothing here is durable: no request is written down. What is counted is in [`HttpCounts`].

mod address;
mod answer;
mod body;
mod context;
mod counters;
mod crowd;
mod grant;
mod handler;
mod heavy;
mod incoming;
mod instance;
mod outbound;
mod output;
mod profile;
mod progress;
mod routes;
mod settings;

use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::{InstancePre, Linker};
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::{p2, p3};

pub use answer::{ClientAddress, HttpFunctions};
pub use body::{AnswerBody, AnswerFault};
pub use counters::{HttpCounts, LATENCY_BUCKETS};
pub use grant::{HttpGrant, NoHost};
pub use incoming::RequestFault;
pub use routes::RouteConflict;
pub use settings::Http;

pub(crate) use context::RequestCtx;
pub(crate) use handler::HttpHandler;
pub(crate) use outbound::Outbound;
pub(crate) use output::{Output, Source};
pub(crate) use profile::Profile;
pub(crate) use routes::{Routes, check as check_routes};

use crate::engine::Engine;
use crate::linker;
use crate::runtime::Shared;
use crate::state::GuestState;
use instance::Instance;

/// What HTTP guests run in.
pub(crate) struct HttpHost {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestState>,
    /// One permit a guest at work.
    pub(crate) guests: Arc<Semaphore>,
    /// One permit an idle instance.
    pub(crate) idle_places: Arc<Semaphore>,
}

impl HttpHost {
    /// For so many guests at work, so many idle instances, and so many handlers of events that
    /// need this engine.
    ///
    /// # Errors
    /// As [`Engine::http`].
    pub(crate) fn new(guests: usize, idle: usize, events: usize) -> wasmtime::Result<Self> {
        let engine = Engine::http(guests.saturating_add(idle).saturating_add(events))?;
        let linker = linker::http(&engine)?;
        Ok(Self {
            engine,
            linker,
            guests: Arc::new(Semaphore::new(guests)),
            idle_places: Arc::new(Semaphore::new(idle)),
        })
    }
}

/// Whether an instance starts.
///
/// # Errors
/// Why it does not.
pub(crate) async fn try_out(shared: &Shared, handler: &HttpHandler) -> wasmtime::Result<()> {
    // Never closed: it lives as long as the host.
    let _place = shared.http.guests.clone().acquire_owned().await;
    let _at_work = shared.http.engine.at_work();
    Instance::start(shared, handler).await.map(drop)
}

/// The component's handler, of 0.3 where it has both.
///
/// # Errors
/// When it has neither, or one of another shape.
pub(crate) fn proxy(pre: InstancePre<GuestState>) -> wasmtime::Result<ProxyPre<GuestState>> {
    match p3::bindings::ServicePre::new(pre.clone()) {
        Ok(service) => Ok(ProxyPre::P3(service)),
        Err(_) => Ok(ProxyPre::P2(p2::bindings::ProxyPre::new(pre)?)),
    }
}
