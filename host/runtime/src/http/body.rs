//! The body of an answer, on its way to the client.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::WasiBody;

use super::counters::{Counters, End};
use super::progress::Progress;
use crate::functions::{Functions, Version};

/// Why an answer breaks off. The client sees its connection reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// The guest trapped, or gave up its answer.
    #[error("the function failed while it answered")]
    Failed,
    /// The guest took longer than `http.timeout_secs`.
    #[error("the function took too long to answer")]
    TimedOut,
    /// More than `http.response_megabytes`.
    #[error("the answer is over the function's limit")]
    TooLong,
}

/// The body of an answer.
pub struct AnswerBody {
    source: Source,
}

enum Source {
    /// All that there is.
    Whole { pieces: VecDeque<Bytes>, left_bytes: u64 },
    /// What a guest is still making.
    Stream(Box<Stream>),
}

/// Counts a request once, however it ends.
pub(crate) struct Tally {
    pub(crate) counters: Arc<Counters>,
    /// Where it counts beside a canary, and for which version.
    pub(crate) trial: Option<(Arc<Functions>, Arc<Version>)>,
    pub(crate) started: Instant,
    /// How it ended; none until it has.
    pub(crate) end: Option<End>,
}

impl Drop for Tally {
    fn drop(&mut self) {
        // What nobody waited for any more was given up by the client.
        let (end, took) = (self.end.unwrap_or(End::Gone), self.started.elapsed());
        self.counters.end(end, took);
        if let (Some((functions, version)), Some(end)) = (&self.trial, end.of_version()) {
            functions.record(version, end, took);
        }
    }
}

/// An answer that is made while it is sent.
pub(crate) struct Stream {
    /// What comes before the rest of the body.
    pub(crate) first: VecDeque<Frame<Bytes>>,
    pub(crate) body: WasiBody,
    pub(crate) status: u16,
    /// As the answer's head says.
    pub(crate) declared_bytes: Option<u64>,
    pub(crate) sent_bytes: u64,
    pub(crate) limit_bytes: u64,
    pub(crate) pace: Option<Pace>,
    pub(crate) progress: Arc<Progress>,
    /// The end of the request's time.
    pub(crate) alarm: Pin<Box<Sleep>>,
    /// The task that the guest runs on as, if it does.
    pub(crate) guest: Option<AbortHandle>,
    pub(crate) tally: Tally,
}

impl AnswerBody {
    /// A body that is there.
    pub(crate) fn whole(pieces: VecDeque<Bytes>) -> Self {
        let left_bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { source: Source::Whole { pieces, left_bytes } }
    }

    /// A short text.
    pub(crate) fn text(text: &'static str) -> Self {
        Self::whole(VecDeque::from([Bytes::from_static(text.as_bytes())]))
    }

    pub(crate) fn stream(stream: Stream) -> Self {
        Self { source: Source::Stream(Box::new(stream)) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        match &mut self.source {
            Source::Stream(stream) => stream.poll_frame(cx),
            Source::Whole { pieces, left_bytes } => {
                let piece = pieces.pop_front();
                *left_bytes -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Stream(_) => false,
            Source::Whole { pieces, .. } => pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Stream(_) => SizeHint::default(),
            Source::Whole { left_bytes, .. } => SizeHint::with_exact(*left_bytes),
        }
    }
}

impl Stream {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        if self.alarm.as_mut().poll(cx).is_ready() {
            return self.fail(End::TimedOut);
        }
        if let Some(pace) = &mut self.pace {
            ready!(pace.poll_ready(cx));
        }
        let next = match self.first.pop_front() {
            Some(frame) => Some(Ok(frame)),
            None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(err)) => {
                tracing::debug!(%err, "the guest gave up its answer");
                return self.fail(self.progress.failure().unwrap_or(End::Failed));
            }
            None => match self.progress.failure() {
                Some(end) => return self.fail(end),
                None => {
                    self.tally.end.get_or_insert(End::Answered(self.status));
                    return Poll::Ready(None);
                }
            },
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
        if self.limit_bytes < self.sent_bytes {
            return self.fail(End::TooLong);
        }
        if let Some(pace) = &mut self.pace {
            pace.sent(bytes);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Nothing more is made, and nobody is to take what there is for all of it.
    fn fail(&mut self, end: End) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        self.end_guest();
        self.tally.end.get_or_insert(end);
        Poll::Ready(Some(Err(match end {
            End::TimedOut => AnswerFault::TimedOut,
            End::TooLong => AnswerFault::TooLong,
            _ => AnswerFault::Failed,
        })))
    }
}

impl Stream {
    fn end_guest(&self) {
        if let Some(guest) = &self.guest {
            guest.abort();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The server stops at the declared length, without asking for the end.
        if self.declared_bytes == Some(self.sent_bytes) {
            self.tally.end.get_or_insert(End::Answered(self.status));
        }
        match self.tally.end {
            // The guest may have more to do after its answer; its deadline still holds.
            Some(End::Answered(_)) => {}
            _ => self.end_guest(),
        }
    }
}

/// Keeps an answer from going faster than a function's limit.
pub(crate) struct Pace {
    bytes_per_sec: u64,
    /// When what was sent is paid for.
    paid_at: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Pace {
    pub(crate) fn new(kilobytes_per_sec: u64) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(tokio::time::sleep_until(now));
        Self { bytes_per_sec: kilobytes_per_sec << 10, paid_at: now, alarm }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.as_mut().poll(cx)
    }

    fn sent(&mut self, bytes: u64) {
        // Idle time is not saved up.
        let from = self.paid_at.max(Instant::now());
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_sec);
        self.paid_at = from + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.alarm.as_mut().reset(self.paid_at);
    }
}
