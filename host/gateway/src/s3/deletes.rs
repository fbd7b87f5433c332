//! Delete of objects, one by one and in batches.

use backlot_storage::{Conditions, DELETE_MANY_MAX, Delete, Deleted, EtagMatch};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    Error, ObjectIdentifier,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::backend::{Backend, principal};
use super::conditions;
use super::errors::from_store;

pub(super) async fn one(
    backend: &Backend,
    req: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let bucket = req.input.bucket.clone();
    let delete = Delete {
        bucket: bucket.clone(),
        key: req.input.key.clone(),
        version: req.input.version_id.clone(),
        conditions: conditions::of_write(&req.headers),
        content_id: None,
        effect: None,
        principal: principal(&req)?,
    };
    let deleted = backend.store.delete(delete).await.map_err(from_store)?;
    let version_id = version_to_show(backend, &bucket, &deleted).await?;
    let output = DeleteObjectOutput {
        delete_marker: deleted.delete_marker.then_some(true),
        version_id,
        request_charged: None,
    };
    Ok(S3Response::new(output))
}

pub(super) async fn many(
    backend: &Backend,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let principal = principal(&req)?;
    let DeleteObjectsInput { bucket, delete, .. } = req.input;
    if delete.objects.is_empty() || DELETE_MANY_MAX < delete.objects.len() {
        return Err(s3_error!(MalformedXML, "a batch has 1 to {DELETE_MANY_MAX} keys"));
    }
    let quiet = delete.quiet.unwrap_or(false);
    let mut deletes = Vec::new();
    let mut asked = Vec::new();
    let mut errors = Vec::new();
    for object in delete.objects {
        if object.size.is_some() || object.last_modified_time.is_some() {
            let err = s3_error!(
                NotImplemented,
                "conditions on size and modification time are not implemented"
            );
            errors.push(error(&object, &err));
            continue;
        }
        deletes.push(Delete {
            bucket: bucket.clone(),
            key: object.key.clone(),
            version: object.version_id.clone(),
            conditions: Conditions {
                if_match: object.e_tag.as_ref().map(|tag| match tag.value() {
                    "*" => EtagMatch::Any,
                    value => EtagMatch::Is(value.to_owned()),
                }),
                if_none_match: None,
            },
            content_id: None,
            effect: None,
            principal: principal.clone(),
        });
        asked.push(object);
    }
    let results = backend.store.delete_many(deletes).await.map_err(from_store)?;
    let mut done = Vec::new();
    for (object, result) in asked.into_iter().zip(results) {
        match result {
            Err(err) => errors.push(error(&object, &from_store(err))),
            Ok(_) if quiet => {}
            Ok(deleted) => {
                let shown = version_to_show(backend, &bucket, &deleted).await?;
                let marker = deleted.delete_marker;
                done.push(DeletedObject {
                    key: Some(object.key),
                    // The version that was named and removed, or the marker that came of it.
                    version_id: object.version_id,
                    delete_marker: marker.then_some(true),
                    delete_marker_version_id: shown.filter(|_| marker),
                });
            }
        }
    }
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!done.is_empty()).then_some(done),
        errors: (!errors.is_empty()).then_some(errors),
        request_charged: None,
    }))
}

async fn version_to_show(
    backend: &Backend,
    bucket: &str,
    deleted: &Deleted,
) -> S3Result<Option<String>> {
    match &deleted.version_id {
        Some(version_id) => backend.version_to_show(bucket, version_id).await,
        None => Ok(None),
    }
}

fn error(object: &ObjectIdentifier, err: &S3Error) -> Error {
    Error {
        code: Some(err.code().as_str().to_owned()),
        key: Some(object.key.clone()),
        message: err.message().map(str::to_owned),
        version_id: object.version_id.clone(),
    }
}
