//! Request bodies under limits: total size, and a least rate while we wait for the sender.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{BoxError, Progress};

/// Most that is read and thrown away of a body that nobody wanted, so that a client which is
/// still sending gets to read its answer instead of a reset.
const DRAIN_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Longest time for that.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);

/// Why a request body ended early. Found by downcasting the error of [`RequestBody`].
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// Over the limit of the listener.
    #[error("the body is over the limit of {limit} bytes")]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// The sender was slower than [`Progress`] asks for.
    #[error("fewer than {} bytes arrived in {:?}", .0.bytes, .0.interval)]
    TooSlow(Progress),
    /// The peer went away, or broke the protocol.
    #[error("the body broke off")]
    Broken(#[source] BoxError),
}

/// Body of a request, as every front door gets it.
pub struct RequestBody {
    inner: Option<Incoming>,
    read_bytes: u64,
    limit_bytes: u64,
    /// Whether the client is sending: at once, or, with `Expect: 100-continue`, when it is invited
    /// by the first poll.
    invited: Arc<AtomicBool>,
    pace: Pace,
}

/// Measures the sender over stretches of [`Progress::interval`], counting only the time in which
/// we were ready to read.
struct Pace {
    rule: Progress,
    waited: Duration,
    bytes: u64,
    waiting_since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(
        inner: Incoming,
        limit_bytes: u64,
        rule: Progress,
        invited: Arc<AtomicBool>,
    ) -> Self {
        Self {
            inner: Some(inner),
            read_bytes: 0,
            limit_bytes,
            invited,
            pace: Pace { rule, waited: Duration::ZERO, bytes: 0, waiting_since: None, alarm: None },
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        this.invited.store(true, Ordering::Relaxed);
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(None) };
        let frame = match Pin::new(inner).poll_frame(cx) {
            Poll::Pending => {
                ready!(this.pace.poll_too_slow(cx));
                // Nobody needs the rest: a sender this slow is not drained either.
                this.inner = None;
                return Poll::Ready(Some(Err(BodyFault::TooSlow(this.pace.rule))));
            }
            Poll::Ready(None) => {
                this.inner = None;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(err))) => {
                this.inner = None;
                return Poll::Ready(Some(Err(BodyFault::Broken(err.into()))));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let frame_bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        this.pace.received(frame_bytes);
        this.read_bytes = this.read_bytes.saturating_add(frame_bytes);
        if this.limit_bytes < this.read_bytes {
            return Poll::Ready(Some(Err(BodyFault::TooLarge { limit: this.limit_bytes })));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if !self.invited.load(Ordering::Relaxed) || inner.is_end_stream() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(DRAIN_TIME_MAX, drain(inner)));
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl Pace {
    /// Ready when a whole interval of waiting has brought too little.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let since = *self.waiting_since.get_or_insert(now);
            let deadline = since + self.rule.interval.saturating_sub(self.waited);
            let alarm =
                self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            ready!(alarm.as_mut().poll(cx));
            if self.bytes < self.rule.bytes {
                return Poll::Ready(());
            }
            self.start_interval();
            self.waiting_since = Some(Instant::now());
        }
    }

    fn received(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        // An interval that ran out with enough bytes in it starts anew; one with too few is
        // found by the alarm at the next wait.
        if self.rule.interval <= self.waited && self.rule.bytes <= self.bytes {
            self.start_interval();
        }
    }

    fn start_interval(&mut self) {
        self.waited = Duration::ZERO;
        self.bytes = 0;
    }
}
