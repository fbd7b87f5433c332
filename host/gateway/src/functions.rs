//! The front door of HTTP functions: every request goes to the function whose route it matches.
//!
//! It has a listener, and so an origin, of its own: what a function answers must not be able to act
//! on the pages and the API in a visitor's name.

use std::convert::Infallible;

use backlot_runtime::{AnswerBody, ClientAddress, HttpFunctions, RequestFault};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::service::Service;

use crate::serve::{BodyFault, Peer, Refusal, RequestBody};

/// Answers requests with functions. Clones are the same one.
#[derive(Clone)]
pub struct Functions {
    functions: HttpFunctions,
}

impl Functions {
    /// The front door to these functions.
    pub fn new(functions: HttpFunctions) -> Self {
        Self { functions }
    }
}

impl Service<Request<RequestBody>> for Functions {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<RequestBody>) -> Self::Future {
        let functions = self.functions.clone();
        if let Some(Peer(address)) = request.extensions().get::<Peer>().copied() {
            request.extensions_mut().insert(ClientAddress(address.ip()));
        }
        async move { Ok(functions.answer(request).await) }.boxed()
    }
}

impl From<BodyFault> for RequestFault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge { limit } => Self::TooLarge(limit),
            BodyFault::TooSlow(_) => Self::TooSlow,
            BodyFault::Broken(_) => Self::Broken,
        }
    }
}

/// What the listener answers in a function's place.
pub fn refuse(refusal: Refusal) -> Response<Bytes> {
    let (status, text) = match refusal {
        Refusal::Busy => {
            (StatusCode::SERVICE_UNAVAILABLE, "the host is at its limit of requests at once\n")
        }
        Refusal::BodyTooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, "the body of the request is over the host's limit\n")
        }
        Refusal::HeadTooLarge => {
            let text = "the head of the request is over the host's limit\n";
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text)
        }
        Refusal::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "the host failed\n"),
    };
    let mut answer = Response::new(Bytes::from_static(text.as_bytes()));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    if refusal == Refusal::Busy {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
