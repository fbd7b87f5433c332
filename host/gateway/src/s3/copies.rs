//! Copies: of objects, and of (ranges of) objects into parts. Bytes are shared, not rewritten.

use std::ops::Range;

use backlot_storage::{Copy, CopyPart, MetadataDirective, ObjectRef, TagDirective};
use s3s::dto::{
    self, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource,
    TaggingDirective, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, etag, principal, time};
use super::checksums::{self, fill_checksums};
use super::errors::{from_store, range_not_satisfiable};
use super::{conditions, multipart, quarantine, tagging, writes};

pub(super) async fn copy(
    backend: &Backend,
    mut req: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let source = source(&req.input.copy_source)?;
    let replaces_metadata = replaces(
        req.input.metadata_directive.as_ref().map(dto::MetadataDirective::as_str),
        "x-amz-metadata-directive",
    )?;
    let replaces_tags = replaces(
        req.input.tagging_directive.as_ref().map(TaggingDirective::as_str),
        "x-amz-tagging-directive",
    )?;
    let onto_itself = source.bucket == req.input.bucket && source.key == req.input.key;
    if onto_itself && source.version.is_none() && !replaces_metadata && !replaces_tags {
        return Err(s3_error!(
            InvalidRequest,
            "this copy request is illegal because it is trying to copy an object to itself \
             without changing the object's metadata or tags"
        ));
    }
    let metadata = if replaces_metadata {
        let metadata = req.input.metadata.take().unwrap_or_default().into_iter().collect();
        MetadataDirective::Replace { headers: writes::content_headers(&req.headers), metadata }
    } else {
        MetadataDirective::Copy
    };
    let tags = match (replaces_tags, req.input.tagging.as_deref()) {
        (false, _) => TagDirective::Copy,
        (true, None) => TagDirective::Replace(backlot_storage::Pairs::new()),
        (true, Some(header)) => TagDirective::Replace(tagging::parse_header(header)?),
    };
    quarantine::check_source(backend, &source).await?;
    let checksum = req.input.checksum_algorithm.as_ref();
    let source_version = source.version.clone();
    let copy = Copy {
        source,
        source_conditions: conditions::of_source(&req.headers),
        bucket: req.input.bucket.clone(),
        key: req.input.key.clone(),
        metadata,
        tags,
        conditions: conditions::of_write(&req.headers),
        checksum: checksum.map(|name| checksums::algorithm(name.as_str())).transpose()?,
        effect: None,
        principal: principal(&req)?,
    };
    let info = backend.store.copy(copy).await.map_err(from_store)?;
    let mut result = CopyObjectResult {
        e_tag: Some(etag(&info.etag)),
        last_modified: Some(time(info.modified_at)),
        checksum_type: checksums::kind_of(&info.checksums),
        ..Default::default()
    };
    fill_checksums!(result, &info.checksums);
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: source_version,
        version_id: backend.version_of(&info).await?,
        ..Default::default()
    }))
}

pub(super) async fn copy_part(
    backend: &Backend,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let mut source = source(&req.input.copy_source)?;
    quarantine::check_source(backend, &source).await?;
    let asked_version = source.version.clone();
    let mut source_conditions = conditions::of_source(&req.headers);
    let range = match req.input.copy_source_range.as_deref() {
        None => None,
        Some(header) => {
            let range = parse_range(header)?;
            let version = source.version.as_deref();
            let info = backend
                .store
                .head(&source.bucket, &source.key, version)
                .await
                .map_err(from_store)?;
            if info.size < range.end {
                return Err(range_not_satisfiable(info.size));
            }
            // What was measured is what shall be copied.
            source_conditions.content_id = Some(info.content_id);
            source.version = Some(info.version_id);
            Some(range)
        }
    };
    let copy = CopyPart {
        source,
        source_conditions,
        range,
        bucket: req.input.bucket.clone(),
        key: req.input.key.clone(),
        upload_id: req.input.upload_id.clone(),
        number: multipart::part_number(req.input.part_number)?,
    };
    let part = backend.store.copy_part(copy).await.map_err(from_store)?;
    let mut result = CopyPartResult {
        e_tag: Some(etag(&part.etag)),
        last_modified: Some(time(part.modified_at)),
        ..Default::default()
    };
    fill_checksums!(result, &part.checksums);
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: asked_version,
        ..Default::default()
    }))
}

fn source(source: &CopySource) -> S3Result<ObjectRef> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(s3_error!(NotImplemented, "access points are not implemented"));
    };
    Ok(ObjectRef {
        bucket: bucket.to_string(),
        key: key.to_string(),
        version: version_id.as_ref().map(ToString::to_string),
    })
}

fn replaces(directive: Option<&str>, header: &str) -> S3Result<bool> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(s3_error!(InvalidArgument, "unknown {header}: {other}")),
    }
}

/// `bytes=first-last`, the only form S3 takes here.
fn parse_range(header: &str) -> S3Result<Range<u64>> {
    let parse = || {
        let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(first) || !digits(last) {
            return None;
        }
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then(|| first..last.saturating_add(1))
    };
    parse().ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "the x-amz-copy-source-range value must be of the form bytes=first-last"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_ranges_have_both_ends() {
        assert_eq!(parse_range("bytes=0-9").unwrap(), 0..10);
        for header in ["bytes=0-", "bytes=-5", "bytes=5-2", "0-9", "bytes=+1-2", "bytes=0-9,11-12"]
        {
            assert!(parse_range(header).is_err(), "{header}");
        }
    }
}
