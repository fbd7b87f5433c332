//! Requests as guests get them: with a whole URI, and a body that is bounded.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Uri, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, WasiBody};

use super::progress::Progress;

/// Why a client's body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFault {
    /// It is longer than the listener takes, in bytes.
    TooLarge(u64),
    /// It came too slowly.
    TooSlow,
    /// The client went away, or broke the protocol.
    Broken,
}

impl From<Infallible> for RequestFault {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What the request was sent to, as far as it says.
pub(crate) fn host<B>(request: &Request<B>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(header::HOST).and_then(|host| host.to_str().ok()),
    }
}

/// The request as the guest gets it; none when it does not say whom it asks, or not properly.
pub(crate) fn for_guest<B>(
    request: Request<B>,
    limit_bytes: u64,
    progress: Arc<Progress>,
) -> Option<Request<WasiBody>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<RequestFault>,
{
    let authority: Authority = host(&request)?.parse().ok()?;
    let (mut parts, body) = request.into_parts();
    let mut uri = parts.uri.into_parts();
    uri.authority = Some(authority);
    // What the listener knows goes before what the client says.
    let encrypted = parts.extensions.remove::<Scheme>();
    uri.scheme = encrypted.or(uri.scheme).or(Some(Scheme::HTTP));
    parts.uri = Uri::from_parts(uri).ok()?;
    let body = if body.is_end_stream() {
        http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        Limited { inner: Box::pin(body), left_bytes: limit_bytes, limit_bytes, progress }
            .boxed_unsync()
    };
    Some(Request::from_parts(parts, body))
}

/// A client's body, up to a limit.
struct Limited<B> {
    inner: Pin<Box<B>>,
    left_bytes: u64,
    limit_bytes: u64,
    progress: Arc<Progress>,
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<RequestFault>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = match ready!(this.inner.as_mut().poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(fault)) => return Poll::Ready(Some(Err(this.fault(fault.into())))),
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match this.left_bytes.checked_sub(bytes) {
            Some(left) => {
                this.left_bytes = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                let fault = RequestFault::TooLarge(this.limit_bytes);
                Poll::Ready(Some(Err(this.fault(fault))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Limited<B> {
    fn fault(&self, fault: RequestFault) -> Error {
        self.progress.request_failed(fault);
        match fault {
            RequestFault::TooLarge(limit) => Error::HttpRequestBodySize(Some(limit)),
            RequestFault::TooSlow => Error::ConnectionReadTimeout,
            RequestFault::Broken => Error::ConnectionTerminated,
        }
    }
}
