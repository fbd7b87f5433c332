//! Get and head of objects: conditions, ranges, parts.

use std::ops::Range;

use backlot_storage::{Checksum, ObjectInfo, ObjectRef};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG,
    EXPIRES, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::{GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, StreamingBlob};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, etag, signed, time};
use super::checksums::{dto_kind, fill_checksums};
use super::conditions::{ReadConditions, Verdict};
use super::errors::{from_store, no_such_part, range_not_satisfiable};
use super::front::StatusOverride;
use super::quarantine;
use super::range::{Selection, select};

/// What S3 answers for an object that was stored without a type.
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// What of an object is answered.
struct Answer {
    range: Range<u64>,
    /// Set for 206, also where the range covers everything.
    content_range: Option<String>,
    parts_count: Option<i32>,
    /// Checksums of just these bytes, where they are known.
    checksums: Vec<Checksum>,
}

pub(super) async fn get(
    backend: &Backend,
    mut req: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let conditions = req.extensions.remove::<ReadConditions>().unwrap_or_default();
    let input = req.input;
    let reader = backend
        .store
        .open_object(&input.bucket, &input.key, input.version_id.as_deref())
        .await
        .map_err(from_store)?;
    let info = reader.info().clone();
    quarantine::check(&info)?;
    let version_id = backend.version_of(&info).await?;
    let wants_checksum = input.checksum_mode.is_some();
    let answer =
        plan(backend, &info, &conditions, input.part_number, version_id.as_deref()).await?;

    let body = if answer.range.is_empty() {
        Body::empty()
    } else {
        let bytes = reader.stream(answer.range.clone()).map_err(from_store)?;
        Body::http_body_unsync(StreamBody::new(bytes.map(|chunk| chunk.map(Frame::<Bytes>::data))))
    };
    let mut output = GetObjectOutput {
        body: Some(StreamingBlob::from(body)),
        accept_ranges: Some("bytes".to_owned()),
        cache_control: info.headers.cache_control,
        content_disposition: info.headers.content_disposition,
        content_encoding: info.headers.content_encoding,
        content_language: info.headers.content_language,
        content_length: Some(signed(answer.range.end - answer.range.start)),
        content_range: answer.content_range,
        content_type: Some(info.headers.content_type.unwrap_or_else(|| DEFAULT_TYPE.to_owned())),
        e_tag: Some(etag(&info.etag)),
        last_modified: Some(time(info.modified_at)),
        metadata: (!info.metadata.is_empty()).then(|| info.metadata.into_iter().collect()),
        parts_count: answer.parts_count,
        tag_count: i32::try_from(info.tags.len()).ok().filter(|count| 0 < *count),
        version_id,
        ..Default::default()
    };
    if wants_checksum {
        fill_checksums!(output, &answer.checksums);
        output.checksum_type = answer.checksums.first().map(|checksum| dto_kind(checksum.kind));
    }
    let mut response = S3Response::new(output);
    if input.response_expires.is_none() {
        insert(&mut response.headers, EXPIRES, info.headers.expires.as_deref());
    }
    Ok(response)
}

pub(super) async fn head(
    backend: &Backend,
    mut req: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let conditions = req.extensions.remove::<ReadConditions>().unwrap_or_default();
    let overrides = overrides(&req.input)?;
    let input = req.input;
    let info = backend
        .store
        .head(&input.bucket, &input.key, input.version_id.as_deref())
        .await
        .map_err(from_store)?;
    quarantine::check(&info)?;
    let version_id = backend.version_of(&info).await?;
    let wants_checksum = input.checksum_mode.is_some();
    let answer =
        plan(backend, &info, &conditions, input.part_number, version_id.as_deref()).await?;

    let partial = answer.content_range.is_some();
    let mut output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: info.headers.cache_control,
        content_disposition: info.headers.content_disposition,
        content_encoding: info.headers.content_encoding,
        content_language: info.headers.content_language,
        content_length: Some(signed(answer.range.end - answer.range.start)),
        content_range: answer.content_range,
        content_type: Some(info.headers.content_type.unwrap_or_else(|| DEFAULT_TYPE.to_owned())),
        e_tag: Some(etag(&info.etag)),
        last_modified: Some(time(info.modified_at)),
        metadata: (!info.metadata.is_empty()).then(|| info.metadata.into_iter().collect()),
        parts_count: answer.parts_count,
        version_id,
        ..Default::default()
    };
    if wants_checksum {
        fill_checksums!(output, &answer.checksums);
        output.checksum_type = answer.checksums.first().map(|checksum| dto_kind(checksum.kind));
    }
    let mut response = S3Response::new(output);
    if partial {
        response.extensions.insert(StatusOverride(StatusCode::PARTIAL_CONTENT));
    }
    insert(&mut response.headers, EXPIRES, info.headers.expires.as_deref());
    response.headers.extend(overrides);
    Ok(response)
}

/// Judges the conditions, then chooses the bytes.
async fn plan(
    backend: &Backend,
    info: &ObjectInfo,
    conditions: &ReadConditions,
    part_number: Option<i32>,
    version_id: Option<&str>,
) -> S3Result<Answer> {
    match conditions.judge(info) {
        Verdict::Proceed => {}
        Verdict::NotModified => return Err(not_modified(info, version_id)),
        Verdict::Failed(condition) => {
            return Err(s3_error!(
                PreconditionFailed,
                "at least one of the pre-conditions you specified did not hold: {condition}"
            ));
        }
    }
    if let Some(number) = part_number {
        if conditions.has_range() {
            return Err(s3_error!(InvalidRequest, "specify either a range or a part number"));
        }
        return one_part(backend, info, number).await;
    }
    let (range, content_range, checksums) = match select(conditions.range_for(info), info.size) {
        Selection::Whole => (0..info.size, None, info.checksums.clone()),
        Selection::Part(range) => {
            let header = content_range(&range, info.size);
            (range, Some(header), Vec::new())
        }
        Selection::Unsatisfiable => return Err(range_not_satisfiable(info.size)),
    };
    Ok(Answer { range, content_range, parts_count: None, checksums })
}

/// Answers one part of a multipart object; any other object has one part, the whole.
async fn one_part(backend: &Backend, info: &ObjectInfo, number: i32) -> S3Result<Answer> {
    let number = u32::try_from(number)
        .ok()
        .filter(|number| (1..=backlot_storage::PARTS_MAX).contains(number))
        .ok_or_else(|| {
            s3_error!(InvalidArgument, "the part number must be an integer from 1 to 10000")
        })?;
    if info.part_count == 0 {
        if number != 1 {
            return Err(no_such_part());
        }
        let range = 0..info.size;
        let content_range = (!range.is_empty()).then(|| content_range(&range, info.size));
        return Ok(Answer {
            range,
            content_range,
            parts_count: None,
            checksums: info.checksums.clone(),
        });
    }
    let object = ObjectRef {
        bucket: info.bucket.clone(),
        key: info.key.clone(),
        version: Some(info.version_id.clone()),
    };
    let (current, parts) = backend.store.object_parts(&object).await.map_err(from_store)?;
    if current.content_id != info.content_id {
        return Err(s3_error!(OperationAborted, "the object was overwritten, please try again"));
    }
    let part = parts.into_iter().find(|part| part.number == number).ok_or_else(no_such_part)?;
    let range = part.offset..part.offset + part.size;
    let content_range = (!range.is_empty()).then(|| content_range(&range, info.size));
    Ok(Answer {
        range,
        content_range,
        parts_count: i32::try_from(info.part_count).ok(),
        checksums: part.checksums,
    })
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

/// 304 with the headers that RFC 9110, section 15.4.5, asks for.
fn not_modified(info: &ObjectInfo, version_id: Option<&str>) -> S3Error {
    const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
    let mut headers = HeaderMap::new();
    insert(&mut headers, ETAG, Some(&format!("\"{}\"", info.etag)));
    insert(&mut headers, LAST_MODIFIED, Some(&http_date(info.modified_at)));
    insert(&mut headers, CACHE_CONTROL, info.headers.cache_control.as_deref());
    insert(&mut headers, EXPIRES, info.headers.expires.as_deref());
    insert(&mut headers, VERSION_ID, version_id);
    let mut err = S3Error::new(S3ErrorCode::NotModified);
    err.set_headers(headers);
    err
}

fn http_date(at: jiff::Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A value that is no header is left out; it was one when it was stored.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(name, value);
    }
}

/// The `response-*` parameters; `s3s` applies them to `GetObject` only.
fn overrides(input: &HeadObjectInput) -> S3Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let wanted = [
        (CACHE_CONTROL, &input.response_cache_control),
        (CONTENT_DISPOSITION, &input.response_content_disposition),
        (CONTENT_ENCODING, &input.response_content_encoding),
        (CONTENT_LANGUAGE, &input.response_content_language),
        (CONTENT_TYPE, &input.response_content_type),
    ];
    for (name, value) in wanted {
        if let Some(value) = value {
            let value = HeaderValue::from_str(value)
                .map_err(|err| s3_error!(err, InvalidArgument, "{value:?} is no {name}"))?;
            headers.insert(name, value);
        }
    }
    if let Some(expires) = input.response_expires.clone() {
        let mut text = Vec::new();
        expires
            .format(s3s::dto::TimestampFormat::HttpDate, &mut text)
            .map_err(|err| s3_error!(err, InvalidArgument))?;
        insert(&mut headers, EXPIRES, std::str::from_utf8(&text).ok());
    }
    Ok(headers)
}
