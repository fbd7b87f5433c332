//! Multipart uploads.

use backlot_storage::{
    ChecksumAlgorithm, ChecksumKind, CompleteMultipart, CompletedPart, CreateMultipart, LIST_MAX,
    PARTS_MAX, PutPart, UploadsQuery,
};
use futures::StreamExt;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListPartsInput, ListPartsOutput, MultipartUpload, Part, StorageClass, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, etag, owner, principal, signed, time};
use super::checksums::{self, announced, dto_kind, dto_name, fill_checksums, given_checksums};
use super::errors::{from_body, from_store};
use super::listing::{Spelling, delimiter, page_size};
use super::{conditions, writes};

pub(super) async fn create(
    backend: &Backend,
    mut req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let algorithm = req.input.checksum_algorithm.as_ref();
    let algorithm = algorithm.map(|name| checksums::algorithm(name.as_str())).transpose()?;
    let kind = req.input.checksum_type.as_ref().map(ChecksumType::as_str);
    let checksum = match (algorithm, kind) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(s3_error!(
                InvalidRequest,
                "x-amz-checksum-type can only be used with x-amz-checksum-algorithm"
            ));
        }
        (Some(algorithm), kind) => Some((algorithm, checksum_kind(algorithm, kind)?)),
    };
    let create = CreateMultipart {
        bucket: req.input.bucket.clone(),
        key: req.input.key.clone(),
        headers: writes::content_headers(&req.headers),
        metadata: req.input.metadata.take().unwrap_or_default().into_iter().collect(),
        tags: writes::tags(&req.headers)?,
        checksum,
        principal: principal(&req)?,
    };
    let upload = backend.store.create_multipart(create).await.map_err(from_store)?;
    let mut response = S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(upload.bucket),
        key: Some(upload.key),
        upload_id: Some(upload.upload_id),
        ..Default::default()
    });
    if let Some((algorithm, kind)) = upload.checksum {
        response.output.checksum_algorithm = Some(dto_name(algorithm));
        response.output.checksum_type = Some(dto_kind(kind));
    }
    Ok(response)
}

/// What the checksum of the finished object covers: as asked, within what S3 allows.
fn checksum_kind(algorithm: ChecksumAlgorithm, asked: Option<&str>) -> S3Result<ChecksumKind> {
    use ChecksumAlgorithm::{Crc64Nvme, Sha1, Sha256};
    match (algorithm, asked) {
        (Crc64Nvme, None | Some(ChecksumType::FULL_OBJECT)) => Ok(ChecksumKind::FullObject),
        (Sha1 | Sha256, Some(ChecksumType::FULL_OBJECT))
        | (Crc64Nvme, Some(ChecksumType::COMPOSITE)) => Err(s3_error!(
            InvalidRequest,
            "the checksum type cannot be used with the {} checksum algorithm",
            checksums::name(algorithm)
        )),
        (_, None | Some(ChecksumType::COMPOSITE)) => Ok(ChecksumKind::Composite),
        (_, Some(ChecksumType::FULL_OBJECT)) => Ok(ChecksumKind::FullObject),
        (_, Some(other)) => Err(s3_error!(InvalidArgument, "unknown checksum type {other:?}")),
    }
}

pub(super) fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(number)).ok_or_else(|| {
        s3_error!(InvalidArgument, "part number must be an integer between 1 and {PARTS_MAX}")
    })
}

pub(super) async fn put_part(
    backend: &Backend,
    mut req: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let mut announced = announced(&req.headers)?;
    announced.expected.size = Some(writes::size(req.input.content_length, &req.headers)?);
    backend.expect_bucket(&req.input.bucket).await?;
    let mut body = req.input.body.take().unwrap_or_else(writes::empty);
    let part = PutPart {
        bucket: req.input.bucket.clone(),
        key: req.input.key.clone(),
        upload_id: req.input.upload_id.clone(),
        number: part_number(req.input.part_number)?,
        expected: announced.expected.clone(),
    };
    let mut writer = backend.store.part_writer(part).await.map_err(from_store)?;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|err| from_body(err.as_ref()))?;
        writer.write(chunk).await.map_err(from_store)?;
    }
    let trailers = checksums::take_trailers(&req);
    if let Some((algorithm, value)) = announced.trailing(trailers.as_ref())? {
        writer.expect_checksum(algorithm, value).map_err(from_store)?;
    }
    let part = writer.finish().await.map_err(from_store)?;
    let mut output = UploadPartOutput { e_tag: Some(etag(&part.etag)), ..Default::default() };
    fill_checksums!(output, &part.checksums);
    Ok(S3Response::new(output))
}

pub(super) async fn complete(
    backend: &Backend,
    mut req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let parts = req.input.multipart_upload.take().and_then(|upload| upload.parts);
    let parts = parts.filter(|parts| !parts.is_empty()).ok_or_else(|| {
        s3_error!(MalformedXML, "a multipart upload is completed with a list of its parts")
    })?;
    let mut named = Vec::with_capacity(parts.len());
    for mut part in parts {
        let (Some(number), Some(tag)) = (part.part_number, part.e_tag.take()) else {
            return Err(s3_error!(MalformedXML, "a part has a number and an entity tag"));
        };
        named.push(CompletedPart {
            number: part_number(number)?,
            etag: tag.into_value(),
            checksums: given_checksums!(part).collect(),
        });
    }
    let expected_size = req.input.mpu_object_size.map(u64::try_from).transpose();
    let complete = CompleteMultipart {
        bucket: req.input.bucket.clone(),
        key: req.input.key.clone(),
        upload_id: req.input.upload_id.clone(),
        parts: named,
        conditions: conditions::of_write(&req.headers),
        expected_size: expected_size
            .map_err(|_| s3_error!(InvalidArgument, "x-amz-mp-object-size is negative"))?,
        expected_checksum: given_checksums!(req.input).next(),
        principal: principal(&req)?,
    };
    if let Some(kind) = &req.input.checksum_type {
        check_kind(backend, &complete, kind).await?;
    }
    let info = backend.store.complete_multipart(complete).await.map_err(from_store)?;
    let version_id = backend.version_of(&info).await?;
    let mut output = CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", info.bucket, super::encoding::encode_key(&info.key))),
        e_tag: Some(etag(&info.etag)),
        checksum_type: checksums::kind_of(&info.checksums),
        version_id,
        bucket: Some(info.bucket),
        key: Some(info.key),
        ..Default::default()
    };
    fill_checksums!(output, &info.checksums);
    Ok(S3Response::new(output))
}

/// A client that says at completion what its checksum covers must have said so at the start.
async fn check_kind(
    backend: &Backend,
    complete: &CompleteMultipart,
    kind: &ChecksumType,
) -> S3Result<()> {
    let upload = backend
        .store
        .upload(&complete.bucket, &complete.key, &complete.upload_id)
        .await
        .map_err(from_store)?;
    if upload.checksum.is_some_and(|(_, started)| dto_kind(started) == *kind) {
        return Ok(());
    }
    Err(s3_error!(
        InvalidRequest,
        "the upload was not created with checksum type {}",
        kind.as_str()
    ))
}

pub(super) async fn abort(
    backend: &Backend,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let AbortMultipartUploadInput { bucket, key, upload_id, .. } = req.input;
    backend.store.abort_multipart(&bucket, &key, &upload_id).await.map_err(from_store)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(super) async fn list(
    backend: &Backend,
    req: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = req.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let limit = page_size(input.max_uploads, "max-uploads")?;
    let key_after = input.key_marker.clone().filter(|marker| !marker.is_empty());
    let page = if limit == 0 {
        backend.existing_bucket(&input.bucket).await?;
        backlot_storage::UploadsPage::default()
    } else {
        let query = UploadsQuery {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: delimiter(input.delimiter.as_ref()),
            // As in S3, an upload id without a key means nothing.
            upload_after: input.upload_id_marker.clone().filter(|_| key_after.is_some()),
            key_after,
            limit,
        };
        backend.store.list_multiparts(query).await.map_err(from_store)?
    };
    let uploads: Vec<_> = page
        .uploads
        .into_iter()
        .map(|upload| MultipartUpload {
            checksum_algorithm: upload.checksum.map(|(algorithm, _)| dto_name(algorithm)),
            checksum_type: upload.checksum.map(|(_, kind)| dto_kind(kind)),
            initiated: Some(time(upload.started_at)),
            initiator: Some(initiator(upload.principal)),
            key: Some(spelling.write(upload.key)),
            owner: Some(owner()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(upload.upload_id),
        })
        .collect();
    let truncated = page.next.is_some();
    let (next_key, next_upload) = page.next.unzip();
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        key_marker: Some(spelling.write(input.key_marker.unwrap_or_default())),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        max_uploads: i32::try_from(limit).ok(),
        is_truncated: Some(truncated),
        uploads: (!uploads.is_empty()).then_some(uploads),
        common_prefixes: spelling.prefixes(page.prefixes),
        delimiter: input.delimiter.map(|delimiter| spelling.write(delimiter)),
        encoding_type: input.encoding_type,
        next_key_marker: next_key.map(|key| spelling.write(key)),
        next_upload_id_marker: next_upload.flatten(),
        request_charged: None,
    }))
}

fn initiator(principal: String) -> Initiator {
    Initiator { id: Some(principal.clone()), display_name: Some(principal) }
}

pub(super) async fn list_parts(
    backend: &Backend,
    req: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let ListPartsInput { bucket, key, upload_id, max_parts, part_number_marker, .. } = req.input;
    let asked = page_size(max_parts, "max-parts")?;
    let after = u32::try_from(part_number_marker.unwrap_or(0))
        .map_err(|_| s3_error!(InvalidArgument, "part-number-marker is negative"))?;
    // A page of no parts still shows whether the upload is there.
    let limit = asked.clamp(1, LIST_MAX);
    let mut page = backend
        .store
        .list_parts(&bucket, &key, &upload_id, after, limit)
        .await
        .map_err(from_store)?;
    if asked == 0 {
        page.parts.clear();
        page.next = None;
    }
    let parts: Vec<_> = page
        .parts
        .into_iter()
        .map(|part| {
            let mut shown = Part {
                e_tag: Some(etag(&part.etag)),
                last_modified: Some(time(part.modified_at)),
                part_number: i32::try_from(part.number).ok(),
                size: Some(signed(part.size)),
                ..Default::default()
            };
            fill_checksums!(shown, &part.checksums);
            shown
        })
        .collect();
    let upload = page.upload;
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(bucket),
        key: Some(key),
        upload_id: Some(upload_id),
        checksum_algorithm: upload.checksum.map(|(algorithm, _)| dto_name(algorithm)),
        checksum_type: upload.checksum.map(|(_, kind)| dto_kind(kind)),
        initiator: Some(initiator(upload.principal)),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        part_number_marker: i32::try_from(after).ok(),
        max_parts: i32::try_from(asked).ok(),
        is_truncated: Some(page.next.is_some()),
        next_part_number_marker: page.next.and_then(|next| i32::try_from(next).ok()),
        parts: (!parts.is_empty()).then_some(parts),
        ..Default::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_covers_what_s3_allows() {
        use ChecksumAlgorithm::{Crc32, Crc64Nvme, Sha256};
        let check = |algorithm, asked: Option<&str>, kind: Option<ChecksumKind>| {
            assert_eq!(checksum_kind(algorithm, asked).ok(), kind, "{algorithm:?} {asked:?}");
        };
        check(Crc32, None, Some(ChecksumKind::Composite));
        check(Crc32, Some("FULL_OBJECT"), Some(ChecksumKind::FullObject));
        check(Crc64Nvme, None, Some(ChecksumKind::FullObject));
        check(Crc64Nvme, Some("COMPOSITE"), None);
        check(Sha256, None, Some(ChecksumKind::Composite));
        check(Sha256, Some("FULL_OBJECT"), None);
        check(Crc32, Some("HALF"), None);
    }

    #[test]
    fn part_numbers_are_bounded() {
        assert_eq!(part_number(1).unwrap(), 1);
        assert_eq!(part_number(10_000).unwrap(), 10_000);
        for number in [0, -1, 10_001, i32::MAX] {
            assert!(part_number(number).is_err(), "{number}");
        }
    }
}
