//! May this user do this, and does the request ask only for what we implement.

use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::{CopyObjectInput, CopySource, UploadPartCopyInput};
use s3s::path::S3Path;
use s3s::{S3Request, S3Result, s3_error};

use super::users::Need;
use super::{Caller, vocabulary};

/// The rules, as `s3s` asks for them: before it reads an operation's input.
pub(super) struct Rules;

#[async_trait::async_trait]
impl S3Access for Rules {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(caller) = cx.extensions_mut().get::<Caller>().cloned() else {
            return Err(s3_error!(AccessDenied));
        };
        let name = cx.s3_op().name();
        let bucket = match cx.s3_path() {
            S3Path::Root => None,
            S3Path::Bucket { bucket } | S3Path::Object { bucket, .. } => Some(bucket),
        };
        if let Some(bucket) = bucket
            && !caller.user.may(bucket, need(name))
        {
            return Err(s3_error!(AccessDenied, "{} may not call {name} here", caller.user.name));
        }
        vocabulary::check(name, cx.uri(), cx.headers())
    }

    async fn copy_object(&self, req: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        may_read_source(&req.input.copy_source, req.extensions.get())
    }

    async fn upload_part_copy(&self, req: &mut S3Request<UploadPartCopyInput>) -> S3Result<()> {
        may_read_source(&req.input.copy_source, req.extensions.get())
    }
}

/// What an operation needs on the bucket of its path. An operation that is not named here is not
/// implemented; it needs the most.
fn need(operation: &str) -> Need {
    match operation {
        "HeadBucket"
        | "GetBucketLocation"
        | "GetBucketVersioning"
        | "ListObjects"
        | "ListObjectsV2"
        | "ListObjectVersions"
        | "ListMultipartUploads"
        | "ListParts"
        | "GetObject"
        | "HeadObject"
        | "GetObjectAttributes"
        | "GetObjectTagging" => Need::Read,
        "PutObject"
        | "CopyObject"
        | "DeleteObject"
        | "DeleteObjects"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload"
        | "AbortMultipartUpload"
        | "PutObjectTagging"
        | "DeleteObjectTagging" => Need::Write,
        _ => Need::Manage,
    }
}

fn may_read_source(source: &CopySource, caller: Option<&Caller>) -> S3Result<()> {
    let CopySource::Bucket { bucket, .. } = source else {
        return Err(s3_error!(NotImplemented, "access points are not implemented"));
    };
    match caller {
        Some(caller) if caller.user.may(bucket, Need::Read) => Ok(()),
        _ => Err(s3_error!(AccessDenied, "the source of the copy may not be read")),
    }
}
