//! Put of objects, and what puts and multipart uploads have in common.

use backlot_storage::{ObjectHeaders, Pairs, Put};
use futures::StreamExt;
use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
};
use s3s::dto::{PutObjectInput, PutObjectOutput, StreamingBlob};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, etag, principal};
use super::checksums::{self, announced, fill_checksums};
use super::errors::{from_body, from_store};
use super::{conditions, tagging};

pub(super) async fn put(
    backend: &Backend,
    mut req: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let mut announced = announced(&req.headers)?;
    announced.expected.size = Some(size(req.input.content_length, &req.headers)?);
    backend.expect_bucket(&req.input.bucket).await?;
    let body = req.input.body.take();
    let put = Put {
        bucket: req.input.bucket.clone(),
        key: req.input.key.clone(),
        headers: content_headers(&req.headers),
        metadata: req.input.metadata.take().unwrap_or_default().into_iter().collect(),
        tags: tags(&req.headers)?,
        conditions: conditions::of_write(&req.headers),
        expected: announced.expected.clone(),
        principal: principal(&req)?,
    };
    let mut writer = backend.store.writer(put).await.map_err(from_store)?;
    let mut body = body.unwrap_or_else(empty);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|err| from_body(err.as_ref()))?;
        writer.write(chunk).await.map_err(from_store)?;
    }
    let trailers = checksums::take_trailers(&req);
    if let Some((algorithm, value)) = announced.trailing(trailers.as_ref())? {
        writer.expect_checksum(algorithm, value).map_err(from_store)?;
    }
    let info = writer.finish().await.map_err(from_store)?;
    let mut output = PutObjectOutput {
        e_tag: Some(etag(&info.etag)),
        checksum_type: checksums::kind_of(&info.checksums),
        version_id: backend.version_of(&info).await?,
        ..Default::default()
    };
    fill_checksums!(output, &info.checksums);
    Ok(S3Response::new(output))
}

/// The length that S3 demands to be announced: of a body in chunks with trailers, which SDKs send
/// over TLS without a `Content-Length`, the one in a header of its own. The body is held to it.
pub(super) fn size(content_length: Option<i64>, headers: &HeaderMap) -> S3Result<u64> {
    let decoded = || headers.get("x-amz-decoded-content-length")?.to_str().ok()?.parse().ok();
    let Some(length) = content_length.or_else(decoded) else {
        return Err(s3_error!(MissingContentLength, "you must provide the Content-Length header"));
    };
    u64::try_from(length).map_err(|_| s3_error!(InvalidArgument, "the length is negative"))
}

pub(super) fn empty() -> StreamingBlob {
    StreamingBlob::from(s3s::Body::empty())
}

/// The content headers, as the client sent them.
pub(super) fn content_headers(headers: &HeaderMap) -> ObjectHeaders {
    let text = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    ObjectHeaders {
        content_type: text(CONTENT_TYPE),
        content_encoding: text(CONTENT_ENCODING).and_then(|value| without_aws_chunked(&value)),
        content_language: text(CONTENT_LANGUAGE),
        content_disposition: text(CONTENT_DISPOSITION),
        cache_control: text(CACHE_CONTROL),
        expires: text(EXPIRES),
    }
}

/// `aws-chunked` describes the transfer, not the object.
fn without_aws_chunked(encodings: &str) -> Option<String> {
    let kept: Vec<&str> = encodings
        .split(',')
        .map(str::trim)
        .filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The tags of the `x-amz-tagging` header.
pub(super) fn tags(headers: &HeaderMap) -> S3Result<Pairs> {
    let header = headers.get("x-amz-tagging").and_then(|value| value.to_str().ok());
    header.map_or_else(|| Ok(Pairs::new()), tagging::parse_header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transfer_encoding_is_not_kept() {
        let check = |given: &str, kept: Option<&str>| {
            assert_eq!(without_aws_chunked(given).as_deref(), kept, "{given}");
        };
        check("aws-chunked", None);
        check("gzip", Some("gzip"));
        check("AWS-Chunked, gzip", Some("gzip"));
        check("gzip,aws-chunked,br", Some("gzip,br"));
        check("", None);
    }
}
