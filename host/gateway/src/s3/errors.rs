//! What the store or a body reports, as S3 error codes.

use std::error::Error;
use std::io;

use backlot_storage::StoreError;
use http::header::{ALLOW, CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::serve::BodyFault;

const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// The S3 error of a store error. What is the operator's to know is logged here and not told.
pub(super) fn from_store(err: StoreError) -> S3Error {
    let code = match &err {
        StoreError::Body(source) => return from_body(source),
        StoreError::DeleteMarker { version_id, named } => {
            return delete_marker(version_id, *named);
        }
        StoreError::RangeNotSatisfiable { size, .. } => return range_not_satisfiable(*size),
        StoreError::Busy => return slow_down(),
        StoreError::Disk(_) | StoreError::Unavailable(_) => {
            tracing::error!(err = &err as &dyn Error, "the store failed");
            return s3_error!(InternalError, "We encountered an internal error. Please try again.");
        }
        StoreError::NoSuchBucket(_) => S3ErrorCode::NoSuchBucket,
        StoreError::BucketExists(_) => S3ErrorCode::BucketAlreadyOwnedByYou,
        StoreError::BucketNotEmpty(_) => S3ErrorCode::BucketNotEmpty,
        StoreError::NotFound(_) => S3ErrorCode::NoSuchKey,
        StoreError::NoSuchVersion(_) => S3ErrorCode::NoSuchVersion,
        StoreError::NoSuchUpload(_) => S3ErrorCode::NoSuchUpload,
        StoreError::InvalidPart { .. } => S3ErrorCode::InvalidPart,
        StoreError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
        StoreError::PartTooSmall { .. } => S3ErrorCode::EntityTooSmall,
        StoreError::PreconditionFailed { .. } => S3ErrorCode::PreconditionFailed,
        StoreError::BadDigest { .. } => S3ErrorCode::BadDigest,
        StoreError::WrongSize { .. } => S3ErrorCode::IncompleteBody,
        StoreError::OverLimit { what, .. } => over_limit(what),
        StoreError::Invalid(_) => S3ErrorCode::InvalidArgument,
        // Only attempts of functions are fenced, and none of them comes through here.
        StoreError::Fenced => S3ErrorCode::OperationAborted,
    };
    S3Error::with_message(code, err.to_string())
}

fn over_limit(what: &str) -> S3ErrorCode {
    if what.starts_with("key ") {
        S3ErrorCode::KeyTooLongError
    } else if what.starts_with("tag") {
        S3ErrorCode::InvalidTag
    } else if what.contains("metadata") {
        S3ErrorCode::MetadataTooLarge
    } else if what.contains("header") {
        S3ErrorCode::RequestHeaderSectionTooLarge
    } else if what.contains("bytes") {
        S3ErrorCode::EntityTooLarge
    } else {
        S3ErrorCode::InvalidArgument
    }
}

/// Why reading a request body failed. The faults of `s3s` have private types, so they are known by
/// their text; a test goes through each of them.
pub(super) fn from_body(err: &(dyn Error + 'static)) -> S3Error {
    let mut source = Some(err);
    while let Some(err) = source {
        if let Some(fault) = err.downcast_ref::<BodyFault>() {
            return match fault {
                BodyFault::TooLarge { .. } => s3_error!(EntityTooLarge, "{fault}"),
                BodyFault::TooSlow(_) => s3_error!(RequestTimeout, "{fault}"),
                BodyFault::Broken(_) => s3_error!(IncompleteBody, "{fault}"),
            };
        }
        let text = err.to_string();
        if let Some(known) = known_text(&text) {
            return known;
        }
        // An io::Error made of another error shows it only this way.
        source = match err.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => err.source(),
        };
    }
    s3_error!(IncompleteBody, "the body broke off")
}

fn known_text(text: &str) -> Option<S3Error> {
    Some(if text.contains("Sha256Mismatch") {
        let mut err = S3Error::with_message(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "the provided x-amz-content-sha256 header does not match what was computed",
        );
        err.set_status_code(StatusCode::BAD_REQUEST);
        err
    } else if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "the signature of a chunk does not match")
    } else if text == "length limit exceeded"
        || (text.starts_with("body size ") && text.contains(" exceeds limit "))
    {
        s3_error!(MaxMessageLengthExceeded, "the document is too large")
    } else if text.contains("UploadStreamError") || text.contains("AwsChunkedStreamError") {
        if text.contains("Incomplete") || text.contains("LengthMismatch") {
            s3_error!(IncompleteBody, "{text}")
        } else if text.contains("Underlying") {
            underlying(text)
        } else {
            s3_error!(InvalidRequest, "{text}")
        }
    } else {
        return None;
    })
}

/// `s3s` hides the cause of these but for its text, which is that of [`BodyFault`].
fn underlying(text: &str) -> S3Error {
    if text.contains("bytes arrived in") {
        s3_error!(RequestTimeout, "the body came too slowly")
    } else if text.contains("the body is over the limit") {
        s3_error!(EntityTooLarge, "the body is too large")
    } else {
        s3_error!(IncompleteBody, "the body broke off")
    }
}

/// What S3 answers for a delete marker: 404 for the object, 405 for the version by its id.
fn delete_marker(version_id: &str, named: bool) -> S3Error {
    let mut headers = HeaderMap::new();
    headers.insert(DELETE_MARKER, HeaderValue::from_static("true"));
    if let Ok(version_id) = HeaderValue::from_str(version_id) {
        headers.insert(VERSION_ID, version_id);
    }
    let mut err = if named {
        headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
        s3_error!(MethodNotAllowed, "the version is a delete marker")
    } else {
        s3_error!(NoSuchKey, "the object is deleted")
    };
    err.set_headers(headers);
    err
}

/// 416, with the size that a client needs to ask better.
pub(super) fn range_not_satisfiable(size: u64) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        headers.insert(CONTENT_RANGE, value);
    }
    let mut err = s3_error!(InvalidRange, "the requested range is not satisfiable");
    err.set_headers(headers);
    err
}

fn slow_down() -> S3Error {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    let mut err = s3_error!(SlowDown, "Please reduce your request rate.");
    err.set_headers(headers);
    err
}

/// 416 for a part that an object does not have.
pub(super) fn no_such_part() -> S3Error {
    let mut err = S3Error::with_message(
        S3ErrorCode::Custom("InvalidPartNumber".into()),
        "the requested part number is not satisfiable",
    );
    err.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
    err
}
