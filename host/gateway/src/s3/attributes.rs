//! `GetObjectAttributes`: what is known about an object, on request only.

use backlot_storage::{LIST_MAX, ObjectRef};
use s3s::dto::{
    Checksum, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts,
    ObjectAttributes, ObjectPart, StorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, etag, signed, time};
use super::checksums::{self, fill_checksums};
use super::errors::from_store;
use super::listing::page_size;
use super::quarantine;

pub(super) async fn get(
    backend: &Backend,
    req: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let input = req.input;
    let max_parts = page_size(input.max_parts, "max-parts")?.min(LIST_MAX);
    let after = u32::try_from(input.part_number_marker.unwrap_or(0))
        .map_err(|_| s3_error!(InvalidArgument, "part-number-marker is negative"))?;
    let object = ObjectRef { bucket: input.bucket, key: input.key, version: input.version_id };
    let (info, parts) = backend.store.object_parts(&object).await.map_err(from_store)?;
    quarantine::check(&info)?;
    // `s3s` does not take a list in one header line apart.
    let wanted: Vec<&str> = input
        .object_attributes
        .iter()
        .flat_map(|attribute| attribute.as_str().split(','))
        .map(str::trim)
        .collect();
    let wants = |attribute: &str| wanted.contains(&attribute);

    let mut output = GetObjectAttributesOutput {
        last_modified: Some(time(info.modified_at)),
        version_id: backend.version_of(&info).await?,
        ..Default::default()
    };
    if wants(ObjectAttributes::ETAG) {
        output.e_tag = Some(etag(&info.etag));
    }
    if wants(ObjectAttributes::OBJECT_SIZE) {
        output.object_size = Some(signed(info.size));
    }
    if wants(ObjectAttributes::STORAGE_CLASS) {
        output.storage_class = Some(StorageClass::from_static(StorageClass::STANDARD));
    }
    if wants(ObjectAttributes::CHECKSUM) && !info.checksums.is_empty() {
        let kind = checksums::kind_of(&info.checksums);
        let mut checksum = Checksum { checksum_type: kind, ..Default::default() };
        fill_checksums!(checksum, &info.checksums);
        output.checksum = Some(checksum);
    }
    if wants(ObjectAttributes::OBJECT_PARTS) && 0 < info.part_count {
        let mut rest = parts.into_iter().filter(|part| after < part.number).peekable();
        let mut shown = Vec::new();
        while shown.len() < max_parts as usize
            && let Some(part) = rest.next()
        {
            let mut entry = ObjectPart {
                part_number: i32::try_from(part.number).ok(),
                size: Some(signed(part.size)),
                ..Default::default()
            };
            fill_checksums!(entry, &part.checksums);
            shown.push(entry);
        }
        output.object_parts = Some(GetObjectAttributesParts {
            is_truncated: Some(rest.peek().is_some()),
            max_parts: i32::try_from(max_parts).ok(),
            next_part_number_marker: shown.last().and_then(|part| part.part_number),
            part_number_marker: i32::try_from(after).ok(),
            total_parts_count: i32::try_from(info.part_count).ok(),
            parts: (!shown.is_empty()).then_some(shown),
        });
    }
    Ok(S3Response::new(output))
}
