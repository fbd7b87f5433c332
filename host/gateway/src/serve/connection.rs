//! One connection: idle and header time-outs, write stalls, admission of each request.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CONNECTION, EXPECT};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::handshake::Stream;
use super::{BoxError, Limits, Peer, Refusal, Refuse, RequestBody};

/// hyper's read buffer of one HTTP/1 connection. Larger than the head may be, because bodies are
/// read through it too and small reads cost system calls.
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// How long a connection that has timed out may take to say goodbye (GOAWAY, 408-less close).
const FAREWELL: Duration = Duration::from_secs(1);
/// An HTTP/2 peer that does not answer a ping in this time is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What every request of one connection passes on its way to the front door.
#[derive(Clone)]
pub(super) struct Gate<S> {
    pub(super) service: S,
    pub(super) requests: Arc<Semaphore>,
    pub(super) limits: Arc<Limits>,
    pub(super) refuse: Refuse,
    pub(super) peer: Peer,
    /// Whether the connection is encrypted.
    pub(super) tls: bool,
}

/// Drives the connection to its end.
pub(super) async fn run<S, B>(stream: Stream, gate: Gate<S>, shutdown: CancellationToken)
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
    let limits = gate.limits.clone();
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(WatchedStream {
        stream,
        activity: activity.clone(),
        stall_timeout: limits.write_stall_timeout,
        stall: None,
    });
    let service = Admission { gate, activity: activity.clone() };
    let builder = builder(&limits);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));

    let mut ending = false;
    // Looked at this often, so that a head that begins late in an idle stretch is noticed.
    let glance = limits.header_read_timeout;
    let mut alarm = std::pin::pin!(tokio::time::sleep(glance));
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(err) = ended {
                    tracing::debug!(%err, "connection ended with a fault");
                }
                return;
            }
            () = shutdown.cancelled(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = alarm.as_mut() => {
                let now = Instant::now();
                let deadline = activity.deadline(&limits).unwrap_or(now + glance);
                if now < deadline {
                    alarm.as_mut().reset(deadline.min(now + glance));
                    continue;
                }
                connection.as_mut().graceful_shutdown();
                if tokio::time::timeout(FAREWELL, connection.as_mut()).await.is_err() {
                    tracing::debug!("connection closed: no request in time");
                }
                return;
            }
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Idle and header time-outs are kept by `Activity`: hyper's own timer starts while the
    // connection is idle, so one value would have to serve for both.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_buf_size(READ_BUFFER_BYTES.max(limits.header_bytes_max));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// What the connection is doing, shared by its stream, its requests and its timer.
/// Times are milliseconds since `start`, plus one, so that zero can mean "never".
struct Activity {
    start: Instant,
    in_flight: AtomicUsize,
    /// First byte of a request head that is not complete yet.
    head_began: AtomicU64,
    /// End of the last request.
    last_request_ended: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            in_flight: AtomicUsize::new(0),
            // A connection that never sends anything is held to the header time-out.
            head_began: AtomicU64::new(1),
            last_request_ended: AtomicU64::new(1),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1).saturating_add(1)
    }

    fn bytes_read(&self) {
        if self.in_flight.load(Ordering::Acquire) == 0 {
            // Fails when a head is under way already: its first byte counts. Either is fine.
            self.head_began
                .compare_exchange(0, self.now(), Ordering::AcqRel, Ordering::Acquire)
                .ok();
        }
    }

    /// When the connection is to be closed if nothing changes until then; `None` while a request
    /// is at work, which has time-outs of its own.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        if 0 < self.in_flight.load(Ordering::Acquire) {
            return None;
        }
        let at = |millis: u64| self.start + Duration::from_millis(millis.saturating_sub(1));
        let idle = at(self.last_request_ended.load(Ordering::Acquire)) + limits.idle_timeout;
        match self.head_began.load(Ordering::Acquire) {
            0 => Some(idle),
            began => Some(idle.min(at(began) + limits.header_read_timeout)),
        }
    }
}

/// Counts one request, from its head to the end of its answer.
struct InFlight {
    activity: Arc<Activity>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    fn new(activity: Arc<Activity>, permit: Option<OwnedSemaphorePermit>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::AcqRel);
        activity.head_began.store(0, Ordering::Release);
        Self { activity, _permit: permit }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.last_request_ended.store(self.activity.now(), Ordering::Release);
        self.activity.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The service hyper sees: admits or refuses, catches panics, wraps both bodies.
struct Admission<S> {
    gate: Gate<S>,
    activity: Arc<Activity>,
}

type Answer = Response<GuardedBody>;

impl<S, B> Service<Request<Incoming>> for Admission<S>
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
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Gate { service, requests, limits, refuse, peer, tls } = self.gate.clone();
        let permit = requests.try_acquire_owned().ok();
        let admitted = permit.is_some();
        let in_flight = InFlight::new(self.activity.clone(), permit);
        let declared_bytes = request.body().size_hint().lower();
        let refusal = if limits.header_bytes_max < head_bytes(&request) {
            Some(Refusal::HeadTooLarge)
        } else if limits.body_bytes_max < declared_bytes {
            Some(Refusal::BodyTooLarge)
        } else if !admitted {
            Some(Refusal::Busy)
        } else {
            None
        };
        Box::pin(async move {
            let waits = request.headers().contains_key(EXPECT);
            let closes = waits && request.version() < Version::HTTP_2;
            let invited = Arc::new(AtomicBool::new(!waits));
            let mut request = request.map(|body| {
                RequestBody::new(body, limits.body_bytes_max, limits.body_progress, invited.clone())
            });
            let mut answer = if let Some(refusal) = refusal {
                tracing::warn!(?refusal, peer = %peer.0, "request refused");
                drop(request);
                guard(refuse(refusal).map(Full::new), in_flight)
            } else {
                request.extensions_mut().insert(peer);
                if tls {
                    request.extensions_mut().insert(Scheme::HTTPS);
                }
                let call = async move { service.call(request).await };
                match AssertUnwindSafe(call).catch_unwind().await {
                    Ok(Ok(answer)) => guard(answer, in_flight),
                    // The panic hook has written message and place to the log.
                    Err(_panic) => guard(refuse(Refusal::Panicked).map(Full::new), in_flight),
                }
            };
            // The client may or may not send its body now (RFC 9110, section 10.1.1): nobody can
            // tell the body from the next request, so there is none.
            if closes && !invited.load(Ordering::Relaxed) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}

fn head_bytes(request: &Request<Incoming>) -> usize {
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    headers + target
}

fn guard<B>(answer: Response<B>, in_flight: InFlight) -> Answer
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    answer.map(|body| GuardedBody {
        inner: UnsyncBoxBody::new(body.map_err(Into::into)),
        _in_flight: in_flight,
    })
}

/// A response body that keeps its request counted until it is sent or dropped.
struct GuardedBody {
    inner: UnsyncBoxBody<Bytes, BoxError>,
    _in_flight: InFlight,
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The stream, with an eye on both directions: notes when a head begins, and fails a write that
/// makes no progress because the peer does not read.
struct WatchedStream {
    stream: Stream,
    activity: Arc<Activity>,
    stall_timeout: Duration,
    stall: Option<Pin<Box<Sleep>>>,
}

impl WatchedStream {
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let timeout = self.stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if before < buf.filled().len() {
            self.activity.bytes_read();
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
