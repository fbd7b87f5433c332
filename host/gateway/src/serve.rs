//! One HTTP/1.1 and HTTP/2 listener for every front door, plain or over TLS: limits, time-outs,
//! admission, drain.
//!
//! A front door is a hyper service that answers every request; this module decides how many
//! connections and requests there may be, how long a peer may take, and how the whole stops.
//! What a refusal looks like is the front door's business (S3 answers XML), so it hands in a
//! [`Refuse`] function.

mod body;
mod connection;
mod handshake;
mod tls;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time;
use tokio_util::sync::CancellationToken;

pub use body::{BodyFault, RequestBody};
pub use tls::{FILE_BYTES_MAX, Tls, TlsFault, TlsFiles};

/// How long the accept loop rests after `accept` failed (most often: out of file descriptors),
/// so that it neither spins nor stops.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Error of a body, boxed because front doors differ.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What one listener allows. Every value is a hard limit.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections; the next one waits in the kernel's backlog.
    pub connections_max: usize,
    /// Requests at work at once over all connections, counted until the response body is sent.
    /// The next one is refused with [`Refusal::Busy`] before its body is read.
    pub requests_max: usize,
    /// Streams at once on one HTTP/2 connection.
    pub streams_per_connection_max: u32,
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head (or from the beginning of the connection) to its last.
    pub header_read_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Header lines in one request.
    pub headers_max: usize,
    /// Bytes of all header names and values and the target of one request.
    pub header_bytes_max: usize,
    /// Bytes of one request body.
    pub body_bytes_max: u64,
    /// The least a sender has to achieve while we wait for its body.
    pub body_progress: Progress,
    /// How long one write to a peer may make no progress at all.
    pub write_stall_timeout: Duration,
    /// How long requests at work may go on after shutdown began.
    pub drain_timeout: Duration,
}

/// A minimum rate: at least `bytes` in each `interval` of waiting.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Bytes an interval.
    pub bytes: u64,
    /// Only time in which we wait for the peer counts, not the time a handler takes.
    pub interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            requests_max: 256,
            streams_per_connection_max: 100,
            handshake_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            headers_max: 100,
            header_bytes_max: 32 * 1024,
            // The largest object one S3 PUT may carry.
            body_bytes_max: 5 * 1024 * 1024 * 1024,
            // 1 KiB/s: far below any usable link, far above a connection held open on purpose.
            body_progress: Progress { bytes: 20 * 1024, interval: Duration::from_secs(20) },
            write_stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// Why the listener answered in the front door's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// [`Limits::requests_max`] requests are at work: 503, to be retried.
    Busy,
    /// The declared body is over [`Limits::body_bytes_max`]: 413.
    BodyTooLarge,
    /// The head is over [`Limits::header_bytes_max`]: 431.
    HeadTooLarge,
    /// The handler panicked: 500. The connection lives on.
    Panicked,
}

/// Writes the answer for a refusal, in the front door's own format.
pub type Refuse = fn(Refusal) -> Response<Bytes>;

/// Address of the peer, in the extensions of every request. In those of a request over TLS is its
/// [`http::uri::Scheme`] too, which HTTP/1.1 does not say.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// How the listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off because [`Limits::drain_timeout`] had passed.
    pub cut_off: usize,
}

/// Where connections come in, and whether they are encrypted.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// With a certificate only TLS is spoken, without one none.
    pub fn new(socket: TcpListener, tls: Option<Arc<Tls>>) -> Self {
        Self { socket, tls }
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self::new(socket, None)
    }
}

/// Serves until `shutdown`, then lets the requests at work finish within
/// [`Limits::drain_timeout`] and cuts off the rest.
pub async fn serve<S, B>(
    listener: impl Into<Listener>,
    service: S,
    limits: Limits,
    refuse: Refuse,
    shutdown: CancellationToken,
) -> Drained
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let Listener { socket, tls } = listener.into();
    let limits = Arc::new(limits);
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    let requests = Arc::new(Semaphore::new(limits.requests_max));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&socket, &connections) => accepted,
            Some(ended) = tasks.join_next() => {
                log_panic(ended);
                continue;
            }
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                tracing::warn!(%err, "accepting a connection failed");
                time::sleep(ACCEPT_RETRY_PAUSE).await;
                continue;
            }
        };
        let gate = connection::Gate {
            service: service.clone(),
            requests: requests.clone(),
            limits: limits.clone(),
            refuse,
            peer: Peer(peer),
            tls: tls.is_some(),
        };
        let shutdown = shutdown.clone();
        let opening =
            handshake::open(stream, tls.as_ref().map(|tls| tls.config()), limits.handshake_timeout);
        tasks.spawn(async move {
            let opened = tokio::select! {
                () = shutdown.cancelled() => None,
                opened = opening => opened,
            };
            if let Some(stream) = opened {
                connection::run(stream, gate, shutdown).await;
            }
            drop(permit);
        });
    }
    drop(socket);
    drain(tasks, limits.drain_timeout).await
}

/// Waits for a free connection slot first, so that what is over the limit stays in the backlog.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers are written whole; waiting for an acknowledgement (Nagle) only costs latency.
    if let Err(err) = stream.set_nodelay(true) {
        tracing::debug!(%err, %peer, "TCP_NODELAY was refused");
    }
    Ok((stream, peer, permit))
}

async fn drain(mut tasks: JoinSet<()>, timeout: Duration) -> Drained {
    let all_done = async {
        while let Some(ended) = tasks.join_next().await {
            log_panic(ended);
        }
    };
    if time::timeout(timeout, all_done).await.is_ok() {
        return Drained { cut_off: 0 };
    }
    let cut_off = tasks.len();
    tasks.shutdown().await;
    tracing::warn!(cut_off, "connections were cut off at the end of the drain time");
    Drained { cut_off }
}

/// Handlers are caught one by one; what arrives here is a fault in this module or in hyper.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(err) = ended
        && err.is_panic()
    {
        tracing::error!(%err, "a connection task panicked");
    }
}
