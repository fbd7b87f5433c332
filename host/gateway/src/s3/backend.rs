//! The operations, as `s3s` asks for them. Each is written in the module of its subject.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use backlot_storage::{NULL_VERSION, ObjectInfo, Store, Versioning};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput,
    DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectTaggingInput,
    DeleteObjectTaggingOutput, DeleteObjectsInput, DeleteObjectsOutput, ETag,
    GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectInput,
    GetObjectOutput, GetObjectTaggingInput, GetObjectTaggingOutput, HeadBucketInput,
    HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput,
    ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectVersionsInput,
    ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, ListPartsInput, ListPartsOutput, Owner, PutBucketVersioningInput,
    PutBucketVersioningOutput, PutObjectInput, PutObjectOutput, PutObjectTaggingInput,
    PutObjectTaggingOutput, Timestamp, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::Caller;
use super::errors::from_store;

/// Buckets whose versioning is remembered; beyond that the memory starts anew.
const REMEMBERED_BUCKETS_MAX: usize = 10_000;

/// S3 over the store.
pub(super) struct Backend {
    pub(super) store: Store,
    /// Whether a bucket keeps versions, remembered because every answer for an object without a
    /// version of its own needs it. Only this front door changes it.
    versioning: Mutex<HashMap<String, Versioning>>,
}

impl Backend {
    pub(super) fn new(store: Store) -> Self {
        Self { store, versioning: Mutex::default() }
    }

    /// The version id to answer: none where the bucket never kept versions.
    pub(super) async fn version_of(&self, object: &ObjectInfo) -> S3Result<Option<String>> {
        self.version_to_show(&object.bucket, &object.version_id).await
    }

    pub(super) async fn version_to_show(
        &self,
        bucket: &str,
        version_id: &str,
    ) -> S3Result<Option<String>> {
        if version_id != NULL_VERSION {
            return Ok(Some(version_id.to_owned()));
        }
        let kept = self.versioning(bucket).await? != Versioning::Off;
        Ok(kept.then(|| version_id.to_owned()))
    }

    async fn versioning(&self, bucket: &str) -> S3Result<Versioning> {
        let remembered = |backend: &Self| {
            let map = backend.versioning.lock().unwrap_or_else(PoisonError::into_inner);
            map.get(bucket).copied()
        };
        if let Some(versioning) = remembered(self) {
            return Ok(versioning);
        }
        let versioning = self.existing_bucket(bucket).await?.versioning;
        let mut map = self.versioning.lock().unwrap_or_else(PoisonError::into_inner);
        if REMEMBERED_BUCKETS_MAX <= map.len() {
            map.clear();
        }
        map.insert(bucket.to_owned(), versioning);
        Ok(versioning)
    }

    /// Refuses a write to a bucket that is not there before its body is read. The commit decides:
    /// a bucket that was deleted elsewhere may still be remembered.
    pub(super) async fn expect_bucket(&self, name: &str) -> S3Result<()> {
        self.versioning(name).await.map(|_| ())
    }

    /// To be called before and after a bucket changes, so that no reader that began in between
    /// leaves the old state behind.
    pub(super) fn forget_versioning(&self, bucket: &str) {
        self.versioning.lock().unwrap_or_else(PoisonError::into_inner).remove(bucket);
    }

    pub(super) async fn existing_bucket(&self, name: &str) -> S3Result<backlot_storage::Bucket> {
        let bucket = self.store.bucket(name).await.map_err(from_store)?;
        bucket.ok_or_else(|| s3_error!(NoSuchBucket, "the bucket does not exist"))
    }
}

/// Who calls; the gate has put it there.
pub(super) fn caller<T>(req: &S3Request<T>) -> S3Result<&Caller> {
    req.extensions.get().ok_or_else(|| s3_error!(AccessDenied))
}

pub(super) fn principal<T>(req: &S3Request<T>) -> S3Result<String> {
    Ok(caller(req)?.user.name.clone())
}

/// The one owner of everything: there are no accounts here.
pub(super) fn owner() -> Owner {
    Owner { id: Some("backlot".to_owned()), display_name: Some("backlot".to_owned()) }
}

pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

pub(super) fn time(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from(std::time::SystemTime::from(at))
}

/// Sizes are at most 5 TiB, so they always fit; S3's model has them signed.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// One method for each operation, and nothing in it but where it is written.
macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident = $module:ident::$function:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Backend {
            $(async fn $name(
                &self,
                req: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                super::$module::$function(self, req).await
            })*
        }
    };
}

operations! {
    list_buckets(ListBucketsInput) -> ListBucketsOutput = buckets::list;
    create_bucket(CreateBucketInput) -> CreateBucketOutput = buckets::create;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = buckets::delete;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = buckets::head;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = buckets::location;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput
        = buckets::versioning;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput
        = buckets::set_versioning;

    put_object(PutObjectInput) -> PutObjectOutput = writes::put;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copies::copy;
    get_object(GetObjectInput) -> GetObjectOutput = reads::get;
    head_object(HeadObjectInput) -> HeadObjectOutput = reads::head;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput
        = attributes::get;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = deletes::one;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = deletes::many;

    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = tagging::get;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = tagging::put;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput
        = tagging::delete;

    list_objects(ListObjectsInput) -> ListObjectsOutput = listing::v1;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = listing::v2;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput
        = listing::versions;

    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput
        = multipart::create;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::put_part;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = copies::copy_part;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput
        = multipart::complete;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput
        = multipart::abort;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput
        = multipart::list;
    list_parts(ListPartsInput) -> ListPartsOutput = multipart::list_parts;
}
