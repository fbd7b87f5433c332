//! Outermost station: what is refused to anybody, request ids, and the audit log.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::service::Service as HyperService;
use s3s::{Body, HttpRequest, HttpResponse, S3Error, S3Result, s3_error};

use super::users::Users;
use super::{REGION, Service, encoding};
use crate::serve::{Peer, Refusal, RequestBody};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// Status of a response that `s3s` has no way to set; put in its extensions by the operations.
#[derive(Clone, Copy)]
pub(super) struct StatusOverride(pub(super) StatusCode);

/// The S3 service. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    signatures: Service,
    users: Arc<Users>,
    request_ids: Arc<RequestIds>,
}

impl Front {
    pub(super) fn new(signatures: Service, users: Arc<Users>) -> Self {
        Self { signatures, users, request_ids: Arc::new(RequestIds::new()) }
    }

    async fn answer(&self, request: Request<RequestBody>) -> HttpResponse {
        let request_id = self.request_ids.next();
        let claim = Claim::of(&request);
        let mut response = match refuse_to_anybody(&request) {
            Err(err) => plain(err),
            Ok(()) if claim.has_malformed_region() => malformed_region(),
            Ok(()) => self.signed(request).await,
        };
        if let Some(StatusOverride(status)) = response.extensions().get().copied() {
            *response.status_mut() = status;
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            // RFC 9110, section 15.4.5: no content, and none of its headers.
            *response.body_mut() = Body::empty();
            response.headers_mut().remove(CONTENT_LENGTH);
            response.headers_mut().remove(CONTENT_TYPE);
        }
        if response.status() == StatusCode::FORBIDDEN {
            claim.audit(&self.users, &request_id, &response);
        }
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }

    async fn signed(&self, request: Request<RequestBody>) -> HttpResponse {
        let request: HttpRequest = request.map(|body| {
            if body.is_end_stream() { Body::empty() } else { Body::http_body_unsync(body) }
        });
        self.signatures.call(request).await.unwrap_or_else(|err| {
            tracing::error!(?err, "an S3 answer could not be written");
            plain(s3_error!(InternalError))
        })
    }
}

impl HyperService<Request<RequestBody>> for Front {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse, Infallible>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { Ok(front.answer(request).await) })
    }
}

/// What needs no signature to be refused, before `s3s` would read a body or do less than asked.
fn refuse_to_anybody(request: &Request<RequestBody>) -> S3Result<()> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if request.method() == Method::POST
        && text(CONTENT_TYPE).is_some_and(|kind| {
            kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
        })
    {
        return Err(s3_error!(NotImplemented, "POST forms are not implemented"));
    }
    let has_query = |name| encoding::query_pairs(request.uri()).any(|(key, _)| key == name);
    if text(AUTHORIZATION).is_some_and(|value| value.starts_with("AWS "))
        || (has_query("Signature") && has_query("AWSAccessKeyId"))
    {
        return Err(s3_error!(
            InvalidRequest,
            "the authorization mechanism you have provided is not supported, please use \
             AWS4-HMAC-SHA256"
        ));
    }
    if request.headers().contains_key("x-amz-security-token") || has_query("X-Amz-Security-Token") {
        return Err(s3_error!(InvalidToken, "temporary credentials are not supported"));
    }
    Ok(())
}

/// An error as a response; the XML of an error cannot fail to be written.
pub(super) fn plain(err: S3Error) -> HttpResponse {
    let status = err.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    err.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    })
}

/// How the S3 listener answers when it cannot serve (see [`crate::serve::Refuse`]).
#[must_use]
pub fn refuse(refusal: Refusal) -> Response<Bytes> {
    let (status, code, message) = match refusal {
        Refusal::Busy => {
            (StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate.")
        }
        Refusal::BodyTooLarge => (
            StatusCode::BAD_REQUEST,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size of one request.",
        ),
        Refusal::HeadTooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "RequestHeaderSectionTooLarge",
            "The request header and query parameters exceed the maximum allowed size.",
        ),
        Refusal::Panicked => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "We encountered an internal error. Please try again.",
        ),
    };
    let mut response = xml_error(status, code, message, "").map(Bytes::from);
    if refusal == Refusal::Busy {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A request signed for what cannot be a region: s3cmd signs for `US` until it is told better, and
/// reads the better one here.
fn malformed_region() -> HttpResponse {
    let message = "The authorization header is malformed; the region is wrong.";
    let region = format!("<Region>{REGION}</Region>");
    xml_error(StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed", message, &region)
        .map(Body::from)
}

fn xml_error(status: StatusCode, code: &str, message: &str, more: &str) -> Response<String> {
    let mut response = Response::new(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    ));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Who a request says it comes from; nothing of it is proven when a signature was wrong.
struct Claim {
    access_key: Option<String>,
    region: Option<String>,
    method: Method,
    path: String,
    peer: Option<Peer>,
}

impl Claim {
    fn of(request: &Request<RequestBody>) -> Self {
        let scope = claimed_scope(request.headers(), request.uri()).unwrap_or_default();
        let mut scope = scope.split('/');
        Self {
            access_key: scope.next().filter(|key| !key.is_empty()).map(str::to_owned),
            region: scope.nth(1).map(str::to_owned),
            method: request.method().clone(),
            // Without the query, which may hold a signature.
            path: request.uri().path().to_owned(),
            peer: request.extensions().get().copied(),
        }
    }

    fn has_malformed_region(&self) -> bool {
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        self.region.as_ref().is_some_and(|region| region.is_empty() || !region.bytes().all(fine))
    }

    fn audit(&self, users: &Users, request_id: &str, response: &HttpResponse) {
        let access_key = self.access_key.as_deref();
        let user = access_key.and_then(|key| users.by_access_key(key)).map(|user| &*user.name);
        let body = response.body().bytes().unwrap_or_default();
        let code = error_code(&body);
        tracing::warn!(
            target: "audit",
            request_id,
            user,
            access_key,
            method = %self.method,
            path = %self.path,
            peer = self.peer.map(|peer| tracing::field::display(peer.0)),
            code,
            "denied"
        );
    }
}

/// `<access key>/<date>/<region>/s3/aws4_request`.
fn claimed_scope(headers: &HeaderMap, uri: &http::Uri) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (_, rest) = value.to_str().ok()?.split_once("Credential=")?;
        return rest.split(',').next().map(|scope| scope.trim().to_owned());
    }
    let mut pairs = encoding::query_pairs(uri);
    pairs.find(|(key, _)| key == "X-Amz-Credential").map(|(_, scope)| scope.into_owned())
}

fn error_code(xml: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(xml).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// Ids that are unique over restarts: the start time, then a counter.
struct RequestIds {
    started_millis: u128,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_millis: since_epoch.as_millis(), next: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:011X}{number:08X}", self.started_millis)
    }
}
