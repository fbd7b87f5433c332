//! Behind the signature: who the caller is, whether all that matters was signed, and a plain
//! request for the operations.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Extensions, HeaderMap, HeaderName, Method, Uri};
use s3s::route::S3Route;
use s3s::{Body, HttpRequest, S3Request, S3Response, S3Result, TrailingHeaders, s3_error};

use super::conditions::ReadConditions;
use super::host::Host;
use super::users::Users;
use super::{Caller, Service, checksums, encoding};

/// Longest life of a presigned URL, in seconds: a week, as Amazon's.
const PRESIGNED_SECS_MAX: u64 = 7 * 24 * 3_600;

/// What makes a URL a presigned one.
const SIGNATURE_QUERIES: &[&str] = &[
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// Sub-resources of an object that take a document instead of the object's bytes.
const DOCUMENT_QUERIES: &[&str] =
    &["acl", "tagging", "retention", "legal-hold", "restore", "select", "uploads"];

/// Takes every request whose signature `s3s` has checked.
pub(super) struct Gate {
    operations: Service,
    users: Arc<Users>,
    host: Arc<Host>,
    document_bytes_max: usize,
}

impl Gate {
    pub(super) fn new(
        operations: Service,
        users: Arc<Users>,
        host: Arc<Host>,
        document_bytes_max: usize,
    ) -> Self {
        Self { operations, users, host, document_bytes_max }
    }

    fn caller(&self, req: &S3Request<Body>) -> S3Result<Caller> {
        let Some(credentials) = &req.credentials else {
            return Err(s3_error!(AccessDenied, "anonymous access is not allowed"));
        };
        let user = self.users.by_access_key(&credentials.access_key).cloned();
        let user = user.ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        let region = req.region.as_ref().map(|region| region.as_str().to_owned());
        Ok(Caller { user, region })
    }

    /// Whether the body is the bytes of an object or part, which are streamed; any other body is
    /// a document, which is read and verified here.
    fn is_payload(&self, req: &S3Request<Body>) -> bool {
        if req.method != Method::PUT {
            return false;
        }
        let host = req.headers.get(HOST).and_then(|host| host.to_str().ok());
        let path = req.uri.path().trim_start_matches('/');
        let has_key = match host.and_then(|host| self.host.bucket(host)) {
            Some(_) => !path.is_empty(),
            None => path.split_once('/').is_some_and(|(_, key)| !key.is_empty()),
        };
        has_key
            && !encoding::query_pairs(&req.uri)
                .any(|(name, _)| DOCUMENT_QUERIES.contains(&name.as_ref()))
    }

    async fn read_document(&self, req: &mut S3Request<Body>) -> S3Result<Bytes> {
        let body = &mut req.input;
        let bytes = body
            .store_all_limited(self.document_bytes_max)
            .await
            .map_err(|err| super::errors::from_body(err.as_ref()))?;
        let trailers = req.trailing_headers.as_ref().and_then(TrailingHeaders::take);
        checksums::verify_document(&req.headers, trailers.as_ref(), &bytes)?;
        Ok(bytes)
    }
}

#[async_trait::async_trait]
impl S3Route for Gate {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    async fn check_access(&self, req: &mut S3Request<Body>) -> S3Result<()> {
        let caller = self.caller(req)?;
        check_signed_headers(&req.uri, &req.headers)?;
        req.extensions.insert(caller);
        Ok(())
    }

    async fn call(&self, mut req: S3Request<Body>) -> S3Result<S3Response<Body>> {
        if !self.is_payload(&req) {
            let document = self.read_document(&mut req).await?;
            req.input = if document.is_empty() { Body::empty() } else { Body::from(document) };
        }
        let S3Request { input, method, uri, mut headers, mut extensions, trailing_headers, .. } =
            req;
        headers.remove(AUTHORIZATION);
        if matches!(method, Method::GET | Method::HEAD) {
            extensions.insert(ReadConditions::take(&mut headers));
        }
        if let Some(trailers) = trailing_headers {
            extensions.insert(trailers);
        }
        let mut request = HttpRequest::new(input);
        *request.uri_mut() = without_signature(uri, &mut headers)?;
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.extensions_mut() = extensions;

        let response =
            self.operations.call(request).await.map_err(|err| {
                s3_error!(InternalError, "the answer could not be written: {err:?}")
            })?;
        let (parts, body) = response.into_parts();
        let mut answer = S3Response::with_status(body, parts.status);
        answer.headers = parts.headers;
        answer.extensions = parts.extensions;
        Ok(answer)
    }
}

/// Refuses a request with an `x-amz-*` header that the signature does not cover: whoever holds a
/// presigned URL could turn an upload into a copy of something that only its signer may read.
fn check_signed_headers(uri: &Uri, headers: &HeaderMap) -> S3Result<()> {
    let mut from_query = None;
    for (name, value) in encoding::query_pairs(uri) {
        match name.as_ref() {
            "X-Amz-SignedHeaders" => from_query = Some(value.into_owned()),
            "X-Amz-Expires" => {
                let secs: u64 = value.parse().unwrap_or(u64::MAX);
                if PRESIGNED_SECS_MAX < secs {
                    return Err(s3_error!(
                        AuthorizationQueryParametersError,
                        "X-Amz-Expires must be less than a week (in seconds)"
                    ));
                }
            }
            _ => {}
        }
    }
    let presigned = from_query.is_some();
    let signed = from_query.or_else(|| {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (_, rest) = value.split_once("SignedHeaders=")?;
        rest.split(',').next().map(|list| list.trim().to_owned())
    });
    let signed = signed.unwrap_or_default();
    let covers = |name: &str| signed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    if !covers("host") {
        return Err(s3_error!(AccessDenied, "the signature does not cover the host header"));
    }
    for name in headers.keys().map(HeaderName::as_str) {
        // In a presigned request this header is part of what is signed, by another way.
        let other_way = presigned && name == "x-amz-content-sha256";
        if name.starts_with("x-amz-") && !other_way && !covers(name) {
            return Err(s3_error!(
                AccessDenied,
                "there were headers present in the request which were not signed: {name}"
            ));
        }
    }
    Ok(())
}

/// The query without the parameters of a presigned URL, which the operations do not know. Some
/// clients move `x-amz-*` headers into the query when they presign; those become headers again,
/// so that they are honoured or refused as such.
fn without_signature(uri: Uri, headers: &mut HeaderMap) -> S3Result<Uri> {
    let Some(query) = uri.query() else { return Ok(uri) };
    let mut kept = Vec::new();
    let mut changed = false;
    for (name, value) in encoding::raw_pairs(query) {
        let lower = encoding::decode(name).to_ascii_lowercase();
        if !lower.starts_with("x-amz-") {
            kept.push(format!("{name}={value}"));
            continue;
        }
        changed = true;
        if SIGNATURE_QUERIES.contains(&lower.as_str()) {
            continue;
        }
        let name: HeaderName = lower.parse().map_err(|err| s3_error!(err, InvalidArgument))?;
        let value = encoding::decode(value).parse();
        headers.insert(name, value.map_err(|err| s3_error!(err, InvalidArgument))?);
    }
    if !changed {
        return Ok(uri);
    }
    let target = match kept.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), kept.join("&")),
    };
    target.parse().map_err(|err| s3_error!(err, InvalidURI))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, headers: &[(&'static str, &str)]) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        check_signed_headers(&uri.parse().unwrap(), &map)
            .map_err(|err| err.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn amz_headers_must_be_signed() {
        let auth = "AWS4-HMAC-SHA256 Credential=A/2/r/s3/aws4_request, \
                    SignedHeaders=host;x-amz-date, Signature=00";
        let signed = ("authorization", auth);
        assert_eq!(check("/b/k", &[signed, ("x-amz-date", "1"), ("range", "bytes=0-")]), Ok(()));
        let err = check("/b/k", &[signed, ("x-amz-copy-source", "x/y")]).unwrap_err();
        assert!(err.ends_with("x-amz-copy-source"), "{err}");
    }

    #[test]
    fn presigned_urls_cover_their_headers_and_live_a_week_at_most() {
        let url = |headers: &str, secs: u64| {
            format!("/b/k?X-Amz-SignedHeaders={headers}&X-Amz-Expires={secs}&X-Amz-Signature=0")
        };
        let hash = ("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
        assert_eq!(check(&url("host", 604_800), &[hash]), Ok(()));
        assert_eq!(check(&url("host%3Bx-amz-acl", 60), &[("x-amz-acl", "private")]), Ok(()));
        assert!(check(&url("host", 604_801), &[]).is_err());
        assert!(check(&url("x-amz-date", 60), &[]).is_err());
        assert!(check(&url("host", 60), &[("x-amz-copy-source", "x/y")]).is_err());
    }

    #[test]
    fn only_the_signature_is_taken_out_of_the_query() {
        let check = |uri: &str, left: &str, hoisted: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            let uri = without_signature(uri.parse().unwrap(), &mut headers).unwrap();
            assert_eq!(uri.to_string(), left);
            let found: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .collect();
            assert_eq!(found, hoisted);
        };
        check(
            "/b/k?versionId=a%2Fb&X-Amz-Signature=1&tagging",
            "/b/k?versionId=a%2Fb&tagging=",
            &[],
        );
        check("/b/k?X-Amz-Signature=1&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD", "/b/k", &[]);
        check("/b/k?tagging", "/b/k?tagging", &[]);
        check("/b/k?X-Amz-Acl=public-read", "/b/k", &[("x-amz-acl", "public-read")]);
        check("/b/k?x-amz-meta-a=b%20c&x=1", "/b/k?x=1", &[("x-amz-meta-a", "b c")]);
    }
}
