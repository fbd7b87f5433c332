//! Lists of objects and of their versions.

use backlot_storage::{LIST_MAX, ListPage, ListQuery, ObjectInfo, VersionsQuery};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, EncodingType, ListObjectVersionsInput,
    ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, ObjectStorageClass, ObjectVersion, ObjectVersionStorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, etag, owner, signed, time};
use super::checksums;
use super::encoding::encode_key;
use super::errors::from_store;

/// How keys are written in an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Plain,
    Url,
}

impl Spelling {
    pub(super) fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "invalid encoding method")),
        }
    }

    pub(super) fn write(self, key: impl Into<String>) -> String {
        let key = key.into();
        if self == Self::Url { encode_key(&key) } else { key }
    }

    pub(super) fn prefixes(self, prefixes: Vec<String>) -> Option<Vec<CommonPrefix>> {
        let prefixes: Vec<_> = prefixes
            .into_iter()
            .map(|prefix| CommonPrefix { prefix: Some(self.write(prefix)) })
            .collect();
        (!prefixes.is_empty()).then_some(prefixes)
    }
}

/// The size of a page: what was asked for, up to S3's limit.
pub(super) fn page_size(asked: Option<i32>, what: &str) -> S3Result<u32> {
    match asked.map(u32::try_from) {
        None => Ok(LIST_MAX),
        Some(Ok(asked)) => Ok(asked.min(LIST_MAX)),
        Some(Err(_)) => Err(s3_error!(InvalidArgument, "{what} must be 0 to 2147483647")),
    }
}

/// An empty delimiter is none.
pub(super) fn delimiter(given: Option<&String>) -> Option<String> {
    given.filter(|delimiter| !delimiter.is_empty()).cloned()
}

pub(super) async fn v1(
    backend: &Backend,
    req: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = req.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let limit = page_size(input.max_keys, "max-keys")?;
    let page = page(
        backend,
        ListQuery {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: delimiter(input.delimiter.as_ref()),
            after: input.marker.clone().filter(|marker| !marker.is_empty()),
            limit,
        },
    )
    .await?;
    // As S3, whose clients otherwise go on from the last key.
    let next_marker = page.next.clone().filter(|_| input.delimiter.is_some());
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        marker: Some(spelling.write(input.marker.unwrap_or_default())),
        max_keys: i32::try_from(limit).ok(),
        is_truncated: Some(page.next.is_some()),
        contents: objects(page.objects, spelling, true),
        common_prefixes: spelling.prefixes(page.prefixes),
        delimiter: input.delimiter.map(|delimiter| spelling.write(delimiter)),
        next_marker: next_marker.map(|marker| spelling.write(marker)),
        encoding_type: input.encoding_type,
        request_charged: None,
    }))
}

pub(super) async fn v2(
    backend: &Backend,
    req: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = req.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let limit = page_size(input.max_keys, "max-keys")?;
    let token = input.continuation_token.as_deref().map(read_token).transpose()?;
    let page = page(
        backend,
        ListQuery {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: delimiter(input.delimiter.as_ref()),
            after: token.or_else(|| input.start_after.clone().filter(|key| !key.is_empty())),
            limit,
        },
    )
    .await?;
    let count = page.objects.len() + page.prefixes.len();
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        max_keys: i32::try_from(limit).ok(),
        key_count: i32::try_from(count).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_deref().map(write_token),
        contents: objects(page.objects, spelling, input.fetch_owner.unwrap_or(false)),
        common_prefixes: spelling.prefixes(page.prefixes),
        delimiter: input.delimiter.map(|delimiter| spelling.write(delimiter)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|key| spelling.write(key)),
        request_charged: None,
    }))
}

/// A page of nothing asks for nothing but whether the bucket is there.
async fn page(backend: &Backend, query: ListQuery) -> S3Result<ListPage> {
    if query.limit == 0 {
        backend.existing_bucket(&query.bucket).await?;
        return Ok(ListPage::default());
    }
    backend.store.list(query).await.map_err(from_store)
}

fn objects(found: Vec<ObjectInfo>, spelling: Spelling, with_owner: bool) -> Option<Vec<Object>> {
    let objects: Vec<_> = found
        .into_iter()
        .map(|info| Object {
            checksum_algorithm: algorithms(&info),
            checksum_type: checksums::kind_of(&info.checksums),
            e_tag: Some(etag(&info.etag)),
            key: Some(spelling.write(info.key)),
            last_modified: Some(time(info.modified_at)),
            owner: with_owner.then(owner),
            restore_status: None,
            size: Some(signed(info.size)),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        })
        .collect();
    (!objects.is_empty()).then_some(objects)
}

fn algorithms(info: &ObjectInfo) -> Option<Vec<s3s::dto::ChecksumAlgorithm>> {
    let names: Vec<_> =
        info.checksums.iter().map(|checksum| checksums::dto_name(checksum.algorithm)).collect();
    (!names.is_empty()).then_some(names)
}

pub(super) async fn versions(
    backend: &Backend,
    req: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = req.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let limit = page_size(input.max_keys, "max-keys")?;
    let key_after = input.key_marker.clone().filter(|marker| !marker.is_empty());
    let version_after = input.version_id_marker.clone().filter(|marker| !marker.is_empty());
    if version_after.is_some() && key_after.is_none() {
        return Err(s3_error!(
            InvalidArgument,
            "a version-id marker cannot be specified without a key marker"
        ));
    }
    let page = if limit == 0 {
        backend.existing_bucket(&input.bucket).await?;
        backlot_storage::VersionsPage::default()
    } else {
        let query = VersionsQuery {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: delimiter(input.delimiter.as_ref()),
            key_after,
            version_after,
            limit,
        };
        backend.store.list_versions(query).await.map_err(from_store)?
    };
    let (markers, versions): (Vec<_>, Vec<_>) =
        page.versions.into_iter().partition(|info| info.delete_marker);
    let versions: Vec<_> = versions.into_iter().map(|info| version(info, spelling)).collect();
    let markers: Vec<_> = markers.into_iter().map(|info| marker(info, spelling)).collect();
    let truncated = page.next.is_some();
    let (next_key, next_version) = page.next.unzip();
    Ok(S3Response::new(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(spelling.write(input.prefix.unwrap_or_default())),
        key_marker: Some(spelling.write(input.key_marker.unwrap_or_default())),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        max_keys: i32::try_from(limit).ok(),
        is_truncated: Some(truncated),
        versions: (!versions.is_empty()).then_some(versions),
        delete_markers: (!markers.is_empty()).then_some(markers),
        common_prefixes: spelling.prefixes(page.prefixes),
        delimiter: input.delimiter.map(|delimiter| spelling.write(delimiter)),
        encoding_type: input.encoding_type,
        next_key_marker: next_key.map(|key| spelling.write(key)),
        next_version_id_marker: next_version.flatten(),
        request_charged: None,
    }))
}

fn version(info: ObjectInfo, spelling: Spelling) -> ObjectVersion {
    let standard = ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD);
    ObjectVersion {
        checksum_algorithm: algorithms(&info),
        checksum_type: checksums::kind_of(&info.checksums),
        e_tag: Some(etag(&info.etag)),
        is_latest: Some(info.is_latest),
        key: Some(spelling.write(info.key)),
        last_modified: Some(time(info.modified_at)),
        owner: Some(owner()),
        restore_status: None,
        size: Some(signed(info.size)),
        storage_class: Some(standard),
        version_id: Some(info.version_id),
    }
}

fn marker(info: ObjectInfo, spelling: Spelling) -> DeleteMarkerEntry {
    DeleteMarkerEntry {
        is_latest: Some(info.is_latest),
        key: Some(spelling.write(info.key)),
        last_modified: Some(time(info.modified_at)),
        owner: Some(owner()),
        version_id: Some(info.version_id),
    }
}

/// A continuation token is the last entry of a page, made opaque: clients pass it back through
/// headers, shells and URLs, where a key might not survive.
fn write_token(last: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last)
}

fn read_token(token: &str) -> S3Result<String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|key| !key.is_empty())
        .ok_or_else(|| s3_error!(InvalidArgument, "the continuation token provided is incorrect"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were() {
        for key in ["a", "a//b", "🎬", "%2F", "\u{1}"] {
            assert_eq!(read_token(&write_token(key)).unwrap(), key);
        }
        for token in ["", "!!!", "_w", "a"] {
            assert!(read_token(token).is_err(), "{token}");
        }
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page_size(None, "max-keys").unwrap(), 1_000);
        assert_eq!(page_size(Some(0), "max-keys").unwrap(), 0);
        assert_eq!(page_size(Some(5_000), "max-keys").unwrap(), 1_000);
        assert!(page_size(Some(-1), "max-keys").is_err());
    }
}
