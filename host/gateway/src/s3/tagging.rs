//! Tags of objects.

use backlot_storage::{ObjectRef, Pairs, RESERVED_TAG_PREFIX, is_reserved_tag};
use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput,
    GetObjectTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::backend::Backend;
use super::encoding::{raw_pairs, try_decode};
use super::errors::from_store;

pub(super) async fn get(
    backend: &Backend,
    req: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    let GetObjectTaggingInput { bucket, key, version_id, .. } = req.input;
    let object = ObjectRef { bucket, key, version: version_id };
    let (version, tags) = backend.store.tags(&object).await.map_err(from_store)?;
    let tag_set = tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) });
    let version_id = backend.version_to_show(&object.bucket, &version).await?;
    Ok(S3Response::new(GetObjectTaggingOutput { tag_set: tag_set.collect(), version_id }))
}

pub(super) async fn put(
    backend: &Backend,
    req: S3Request<PutObjectTaggingInput>,
) -> S3Result<S3Response<PutObjectTaggingOutput>> {
    let PutObjectTaggingInput { bucket, key, version_id, tagging, .. } = req.input;
    let object = ObjectRef { bucket, key, version: version_id };
    let mut tags = Pairs::new();
    let mut reserved = Pairs::new();
    for Tag { key, value } in tagging.tag_set {
        let (Some(key), Some(value)) = (key, value) else {
            return Err(s3_error!(MalformedXML, "a tag has a key and a value"));
        };
        if is_reserved_tag(&key) {
            reserved.insert(key, value);
        } else {
            add(&mut tags, key, value)?;
        }
    }
    // Clients read all tags, change their own and put all of them back.
    if !reserved.is_empty() {
        let (_, now) = backend.store.tags(&object).await.map_err(from_store)?;
        if let Some((name, _)) = reserved.iter().find(|(name, value)| now.get(*name) != Some(value))
        {
            return Err(s3_error!(InvalidTag, "{name:?} is for the server alone to set"));
        }
    }
    let version = backend.store.set_tags(&object, tags).await.map_err(from_store)?;
    let version_id = backend.version_to_show(&object.bucket, &version).await?;
    Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
}

pub(super) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteObjectTaggingInput>,
) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
    let DeleteObjectTaggingInput { bucket, key, version_id, .. } = req.input;
    let object = ObjectRef { bucket, key, version: version_id };
    let version = backend.store.set_tags(&object, Pairs::new()).await.map_err(from_store)?;
    let version_id = backend.version_to_show(&object.bucket, &version).await?;
    Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
}

/// Reads the `x-amz-tagging` header, which is written like a query string.
pub(super) fn parse_header(header: &str) -> S3Result<Pairs> {
    let mut tags = Pairs::new();
    for (key, value) in raw_pairs(header) {
        let (Some(key), Some(value)) = (try_decode(key), try_decode(value)) else {
            return Err(s3_error!(InvalidArgument, "the x-amz-tagging header cannot be decoded"));
        };
        add(&mut tags, key, value)?;
    }
    Ok(tags)
}

fn add(tags: &mut Pairs, key: String, value: String) -> S3Result<()> {
    if key.is_empty() || key.starts_with("aws:") {
        return Err(s3_error!(InvalidTag, "a tag's key is not empty and does not begin with aws:"));
    }
    if is_reserved_tag(&key) {
        let text = format!("tags that begin with {RESERVED_TAG_PREFIX} are for the server to set");
        return Err(s3_error!(InvalidTag, "{text}"));
    }
    match tags.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(s3_error!(InvalidTag, "cannot provide multiple tags with the same key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_like_a_query() {
        let tags = parse_header("a=1&b=x%20y&empty=&flag").unwrap();
        let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(tags, ["a=1", "b=x y", "empty=", "flag="]);
        assert!(parse_header("").unwrap().is_empty());
        for header in ["a=1&a=2", "=1", "aws:x=1", "backlot:x=1", "a=%FF"] {
            assert!(parse_header(header).is_err(), "{header}");
        }
    }
}
