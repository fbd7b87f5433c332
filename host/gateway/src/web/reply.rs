//! Answers and refusals, before [`super::guard`] adds what all of them carry.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use maud::Markup;
use serde::Serialize;

use crate::serve::BoxError;

/// Body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer that changes from one request to the next, so nobody may keep it.
fn fresh(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn page(status: StatusCode, markup: Markup) -> Response<Body> {
    fresh(status, "text/html; charset=utf-8", markup.into_string())
}

pub(super) fn text(text: &'static str) -> Response<Body> {
    fresh(StatusCode::OK, "text/plain; charset=utf-8", text)
}

/// What `/metrics` says.
pub(super) fn metrics(text: String) -> Response<Body> {
    fresh(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}

pub(super) fn json(value: &impl Serialize) -> Result<Response<Body>, Fault> {
    json_with(StatusCode::OK, value)
}

/// It is on disk, and will be done.
pub(super) fn accepted(value: &impl Serialize) -> Result<Response<Body>, Fault> {
    json_with(StatusCode::ACCEPTED, value)
}

fn json_with(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Fault> {
    let mut bytes = serde_json::to_vec(value).map_err(|err| {
        tracing::error!(%err, "an answer could not be written as JSON");
        Fault::internal("the answer could not be written as JSON")
    })?;
    bytes.push(b'\n');
    Ok(fresh(status, "application/json", bytes))
}

/// Why a request is not answered as it wished.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// What is allowed instead, for 405.
    allow: Option<String>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// A page: it can only be read.
    pub(super) fn method() -> Self {
        Self::only("GET, HEAD")
    }

    /// Another method than these.
    pub(super) fn only(allow: impl Into<String>) -> Self {
        let allow = allow.into();
        let message = format!("this path answers to {allow}");
        let mut fault = Self::new(StatusCode::METHOD_NOT_ALLOWED, message);
        fault.allow = Some(allow);
        fault
    }

    /// `{"error":{"status":404,"message":"…"}}`.
    pub(super) fn into_json(self) -> Response<Body> {
        let bytes = self.json_bytes();
        let mut response = fresh(self.status, "application/json", bytes);
        self.add_headers(&mut response);
        response
    }

    /// As [`Fault::into_json`], for the listener.
    pub(super) fn into_plain(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.json_bytes()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.add_headers(&mut response);
        response
    }

    fn json_bytes(&self) -> Vec<u8> {
        let error = serde_json::json!({
            "error": { "status": self.status.as_u16(), "message": self.message }
        });
        let mut bytes = error.to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn add_headers<T>(&self, response: &mut Response<T>) {
        if let Some(Ok(allow)) = self.allow.as_deref().map(HeaderValue::from_str) {
            response.headers_mut().insert(ALLOW, allow);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
    }
}

impl From<backlot_ledger::LedgerError> for Fault {
    fn from(err: backlot_ledger::LedgerError) -> Self {
        use backlot_ledger::LedgerError as E;
        match err {
            E::Busy { .. } => Self::busy("the ledger is busy"),
            E::Backlog { .. } => Self::busy(err.to_string()),
            E::UnknownInvocation(_) => Self::not_found("there is no invocation of that id"),
            // What is asked for does not go with what is there.
            E::Invalid(reason) => Self::new(StatusCode::CONFLICT, reason),
            E::OverLimit { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, err.to_string()),
            E::DiskFull => Self::new(StatusCode::INSUFFICIENT_STORAGE, err.to_string()),
            err => {
                tracing::error!(%err, "the ledger failed a request");
                Self::internal("the ledger failed; the server's log has the cause")
            }
        }
    }
}

impl From<backlot_storage::StoreError> for Fault {
    fn from(err: backlot_storage::StoreError) -> Self {
        use backlot_storage::StoreError as E;
        match err {
            E::NoSuchBucket(_) | E::NotFound(_) | E::DeleteMarker { .. } | E::Invalid(_) => {
                Self::not_found("there is no such file")
            }
            E::Busy => Self::busy("the store is busy"),
            err => {
                tracing::error!(%err, "content could not be read");
                Self::internal("the store could not be read; the server's log has the cause")
            }
        }
    }
}
