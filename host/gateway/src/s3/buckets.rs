//! Buckets: list, create, delete, head, location, versioning.

use backlot_storage::Versioning;
use s3s::dto::{
    Bucket, BucketVersioningStatus, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput, PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::REGION;
use super::backend::{Backend, caller, owner, time};
use super::errors::from_store;

/// Most buckets on a page, as S3's.
const PAGE_MAX: usize = 10_000;

/// The buckets that the caller may read or write.
pub(super) async fn list(
    backend: &Backend,
    req: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let user = caller(&req)?.user.clone();
    let ListBucketsInput { bucket_region, continuation_token, max_buckets, prefix } = req.input;
    let page = match max_buckets {
        None => PAGE_MAX,
        Some(max) => usize::try_from(max)
            .ok()
            .filter(|max| (1..=PAGE_MAX).contains(max))
            .ok_or_else(|| s3_error!(InvalidArgument, "max-buckets must be 1 to {PAGE_MAX}"))?,
    };
    let elsewhere = bucket_region.is_some_and(|region| region.as_str() != REGION);
    let begins = prefix.clone().unwrap_or_default();
    let after = continuation_token.unwrap_or_default();
    let mut found: Vec<_> = backend
        .store
        .buckets()
        .await
        .map_err(from_store)?
        .into_iter()
        .filter(|bucket| !elsewhere && user.sees(&bucket.name))
        .filter(|bucket| bucket.name.starts_with(&begins) && after < bucket.name)
        .collect();
    let more = page < found.len();
    found.truncate(page);
    let next = found.last().filter(|_| more).map(|bucket| bucket.name.clone());
    let buckets = found.into_iter().map(|bucket| Bucket {
        name: Some(bucket.name),
        creation_date: Some(time(bucket.created_at)),
        bucket_region: None,
    });
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets.collect()),
        continuation_token: next,
        owner: Some(owner()),
        prefix,
    }))
}

pub(super) async fn create(
    backend: &Backend,
    req: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    if let Some(configuration) = &req.input.create_bucket_configuration {
        if configuration.bucket.is_some() || configuration.location.is_some() {
            return Err(s3_error!(NotImplemented, "directory buckets are not implemented"));
        }
        // There is one place. A client names its own region, for which it also signs.
        let region = caller(&req)?.region.as_deref().unwrap_or(REGION);
        if let Some(wanted) = &configuration.location_constraint
            && !wanted.as_str().is_empty()
            && wanted.as_str() != region
        {
            return Err(s3_error!(
                IllegalLocationConstraintException,
                "the location constraint is not the region this request was signed for"
            ));
        }
    }
    let name = &req.input.bucket;
    backend.forget_versioning(name);
    backend.store.create_bucket(name).await.map_err(from_store)?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
}

pub(super) async fn delete(
    backend: &Backend,
    req: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    let bucket = &req.input.bucket;
    backend.store.delete_bucket(bucket).await.map_err(from_store)?;
    backend.forget_versioning(bucket);
    Ok(S3Response::with_status(DeleteBucketOutput {}, http::StatusCode::NO_CONTENT))
}

pub(super) async fn head(
    backend: &Backend,
    req: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    backend.existing_bucket(&req.input.bucket).await?;
    let region = REGION.to_owned();
    Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(region), ..Default::default() }))
}

/// S3 spells its first region, which is ours, by leaving it out.
pub(super) async fn location(
    backend: &Backend,
    req: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    backend.existing_bucket(&req.input.bucket).await?;
    Ok(S3Response::new(GetBucketLocationOutput::default()))
}

pub(super) async fn versioning(
    backend: &Backend,
    req: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let status = match backend.existing_bucket(&req.input.bucket).await?.versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    Ok(S3Response::new(GetBucketVersioningOutput {
        status: status.map(BucketVersioningStatus::from_static),
        mfa_delete: None,
    }))
}

pub(super) async fn set_versioning(
    backend: &Backend,
    req: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let configuration = &req.input.versioning_configuration;
    if configuration.mfa_delete.as_ref().is_some_and(|mfa| mfa.as_str() != "Disabled") {
        return Err(s3_error!(NotImplemented, "MFA delete is not implemented"));
    }
    let status = configuration.status.as_ref().map(BucketVersioningStatus::as_str);
    let versioning = match status {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        _ => return Err(s3_error!(MalformedXML, "the status must be Enabled or Suspended")),
    };
    let bucket = &req.input.bucket;
    backend.forget_versioning(bucket);
    let done = backend.store.set_versioning(bucket, versioning).await.map_err(from_store);
    backend.forget_versioning(bucket);
    done?;
    Ok(S3Response::new(PutBucketVersioningOutput {}))
}
