//! The query parameters and `x-amz-*` headers that each operation honours. Whatever else a
//! request carries asks for something we do not do, and is answered with `NotImplemented`: an
//! unknown sub-resource would otherwise be taken for the resource itself (a `DELETE` of a bucket's
//! policy for a `DELETE` of the bucket).

use http::{HeaderMap, Uri};
use s3s::{S3Result, s3_error};

use super::encoding;

/// Honoured with every operation. The checksums are verified where there is a document.
const HEADERS_OF_ALL: &[&str] = &[
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Headers with one value that asks for what we do anyway.
const ONLY: &[(&str, &str)] = &[
    ("x-amz-acl", "private"),
    ("x-amz-bucket-object-lock-enabled", "false"),
    ("x-amz-object-ownership", "BucketOwnerEnforced"),
    ("x-amz-server-side-encryption-bucket-key-enabled", "false"),
    ("x-amz-storage-class", "STANDARD"),
];

const RESPONSE_QUERIES: &[&str] = &[
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];

/// What one operation honours beyond what all do.
struct Operation {
    queries: &'static [&'static str],
    headers: &'static [&'static str],
    /// Takes user metadata.
    metadata: bool,
}

const fn with(queries: &'static [&'static str], headers: &'static [&'static str]) -> Operation {
    Operation { queries, headers, metadata: false }
}

const fn storing(queries: &'static [&'static str], headers: &'static [&'static str]) -> Operation {
    Operation { queries, headers, metadata: true }
}

fn operation(name: &str) -> Option<Operation> {
    const LIST: &[&str] = &["x-amz-optional-object-attributes"];
    const NONE: &[&str] = &[];
    Some(match name {
        "ListBuckets" => {
            with(&["bucket-region", "continuation-token", "max-buckets", "prefix"], NONE)
        }
        "CreateBucket" | "DeleteBucket" | "HeadBucket" => with(NONE, NONE),
        "GetBucketLocation" => with(&["location"], NONE),
        "GetBucketVersioning" | "PutBucketVersioning" => with(&["versioning"], NONE),
        "ListObjects" => {
            with(&["delimiter", "encoding-type", "marker", "max-keys", "prefix"], LIST)
        }
        "ListObjectsV2" => with(
            &[
                "continuation-token",
                "delimiter",
                "encoding-type",
                "fetch-owner",
                "list-type",
                "max-keys",
                "prefix",
                "start-after",
            ],
            LIST,
        ),
        "ListObjectVersions" => with(
            &[
                "delimiter",
                "encoding-type",
                "key-marker",
                "max-keys",
                "prefix",
                "version-id-marker",
                "versions",
            ],
            LIST,
        ),
        "ListMultipartUploads" => with(
            &[
                "delimiter",
                "encoding-type",
                "key-marker",
                "max-uploads",
                "prefix",
                "upload-id-marker",
                "uploads",
            ],
            NONE,
        ),
        "DeleteObjects" => with(&["delete"], &["x-amz-bypass-governance-retention"]),
        "GetObject" | "HeadObject" => with(&["partNumber", "versionId"], &["x-amz-checksum-mode"]),
        "GetObjectAttributes" => with(
            &["attributes", "versionId"],
            &["x-amz-max-parts", "x-amz-object-attributes", "x-amz-part-number-marker"],
        ),
        "PutObject" => storing(NONE, &["x-amz-tagging"]),
        "CopyObject" => storing(
            NONE,
            &[
                "x-amz-checksum-algorithm",
                "x-amz-copy-source",
                "x-amz-copy-source-if-match",
                "x-amz-copy-source-if-modified-since",
                "x-amz-copy-source-if-none-match",
                "x-amz-copy-source-if-unmodified-since",
                "x-amz-metadata-directive",
                "x-amz-tagging",
                "x-amz-tagging-directive",
            ],
        ),
        "DeleteObject" => with(&["versionId"], &["x-amz-bypass-governance-retention"]),
        "CreateMultipartUpload" => storing(
            &["uploads"],
            &["x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-tagging"],
        ),
        "UploadPart" => with(&["partNumber", "uploadId"], NONE),
        "UploadPartCopy" => with(
            &["partNumber", "uploadId"],
            &[
                "x-amz-copy-source",
                "x-amz-copy-source-if-match",
                "x-amz-copy-source-if-modified-since",
                "x-amz-copy-source-if-none-match",
                "x-amz-copy-source-if-unmodified-since",
                "x-amz-copy-source-range",
            ],
        ),
        "CompleteMultipartUpload" => {
            with(&["uploadId"], &["x-amz-checksum-type", "x-amz-mp-object-size"])
        }
        "AbortMultipartUpload" => with(&["uploadId"], NONE),
        "ListParts" => with(&["max-parts", "part-number-marker", "uploadId"], NONE),
        "GetObjectTagging" | "PutObjectTagging" | "DeleteObjectTagging" => {
            with(&["tagging", "versionId"], NONE)
        }
        _ => return None,
    })
}

/// Refuses a request that asks for more than the operation does.
pub(super) fn check(name: &str, uri: &Uri, headers: &HeaderMap) -> S3Result<()> {
    let Some(operation) = operation(name) else {
        return Err(s3_error!(NotImplemented, "{name} is not implemented"));
    };
    let reads = matches!(name, "GetObject" | "HeadObject");
    for (query, _) in encoding::query_pairs(uri) {
        let query = query.as_ref();
        let known = query == "x-id"
            || operation.queries.contains(&query)
            || (reads && RESPONSE_QUERIES.contains(&query));
        if !known {
            return Err(s3_error!(
                NotImplemented,
                "the query parameter {query:?} implies functionality that is not implemented"
            ));
        }
    }
    for (header, value) in headers {
        check_header(&operation, header.as_str(), value.to_str().unwrap_or_default())?;
    }
    Ok(())
}

fn check_header(operation: &Operation, header: &str, value: &str) -> S3Result<()> {
    let writes_conditionally =
        matches!(header, "content-range" | "if-modified-since" | "if-unmodified-since");
    if !header.starts_with("x-amz-") && !writes_conditionally {
        return Ok(());
    }
    if matches!(header, "x-amz-expected-bucket-owner" | "x-amz-source-expected-bucket-owner") {
        // There are no account ids here, so none can be the owner's.
        return Err(s3_error!(AccessDenied, "the bucket does not belong to that account"));
    }
    let known = HEADERS_OF_ALL.contains(&header)
        || operation.headers.contains(&header)
        || (operation.metadata && header.starts_with("x-amz-meta-"))
        || ONLY.iter().any(|(name, only)| *name == header && only.eq_ignore_ascii_case(value));
    if known {
        return Ok(());
    }
    Err(s3_error!(
        NotImplemented,
        "the header {header:?} implies functionality that is not implemented"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: &str, uri: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        match super::check(op, &uri.parse().unwrap(), &map) {
            Ok(()) => "fine".to_owned(),
            Err(err) => err.code().as_str().to_owned(),
        }
    }

    #[test]
    fn an_unknown_sub_resource_is_not_the_resource() {
        assert_eq!(check("DeleteBucket", "/b", &[]), "fine");
        assert_eq!(check("DeleteBucket", "/b?newFeature", &[]), "NotImplemented");
        assert_eq!(check("DeleteObject", "/b/k?acl", &[]), "NotImplemented");
        assert_eq!(check("PutObject", "/b/k?renameObject", &[]), "NotImplemented");
        assert_eq!(check("GetObject", "/b/k?x-id=GetObject&response-expires=x", &[]), "fine");
        assert_eq!(check("ListObjects", "/b?list-type=3", &[]), "NotImplemented");
        assert_eq!(check("GetBucketAcl", "/b?acl", &[]), "NotImplemented");
    }

    #[test]
    fn headers_that_promise_something_else_are_refused() {
        let put = |name, value| check("PutObject", "/b/k", &[(name, value)]);
        assert_eq!(put("x-amz-meta-title", "x"), "fine");
        assert_eq!(put("x-amz-acl", "private"), "fine");
        assert_eq!(put("x-amz-acl", "public-read"), "NotImplemented");
        assert_eq!(put("x-amz-storage-class", "STANDARD"), "fine");
        assert_eq!(put("x-amz-storage-class", "GLACIER"), "NotImplemented");
        assert_eq!(put("x-amz-server-side-encryption", "AES256"), "NotImplemented");
        assert_eq!(put("x-amz-object-lock-mode", "GOVERNANCE"), "NotImplemented");
        assert_eq!(put("x-amz-website-redirect-location", "/x"), "NotImplemented");
        assert_eq!(put("x-amz-grant-read", "id=1"), "NotImplemented");
        assert_eq!(put("x-amz-write-offset-bytes", "5"), "NotImplemented");
        assert_eq!(put("content-range", "bytes 0-1/2"), "NotImplemented");
        assert_eq!(put("x-amz-expected-bucket-owner", "123456789012"), "AccessDenied");
        assert_eq!(put("content-type", "video/mp4"), "fine");
    }
}
