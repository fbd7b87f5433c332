"""What is not implemented says so, and nothing happens: never a false success."""

import datetime

from harness import ENDPOINT, equal, fails, http, run, s3, signed

BUCKET_CALLS = {
    "get_bucket_acl": {},
    "put_bucket_acl": {"ACL": "public-read"},
    "get_bucket_policy": {},
    "put_bucket_policy": {"Policy": "{}"},
    "delete_bucket_policy": {},
    "get_bucket_policy_status": {},
    "get_bucket_cors": {},
    "put_bucket_cors": {
        "CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}
    },
    "delete_bucket_cors": {},
    "get_bucket_lifecycle_configuration": {},
    "put_bucket_lifecycle_configuration": {
        "LifecycleConfiguration": {
            "Rules": [{"Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}]
        }
    },
    "delete_bucket_lifecycle": {},
    "get_bucket_encryption": {},
    "put_bucket_encryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        }
    },
    "delete_bucket_encryption": {},
    "get_bucket_website": {},
    "put_bucket_website": {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "index.html"}}},
    "delete_bucket_website": {},
    "get_bucket_notification_configuration": {},
    "put_bucket_notification_configuration": {
        "NotificationConfiguration": {
            "QueueConfigurations": [{"QueueArn": "arn:x", "Events": ["s3:ObjectCreated:*"]}]
        }
    },
    "get_bucket_logging": {},
    "put_bucket_logging": {"BucketLoggingStatus": {}},
    "get_bucket_tagging": {},
    "put_bucket_tagging": {"Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}},
    "delete_bucket_tagging": {},
    "get_bucket_replication": {},
    "delete_bucket_replication": {},
    "get_bucket_request_payment": {},
    "put_bucket_request_payment": {"RequestPaymentConfiguration": {"Payer": "Requester"}},
    "get_bucket_accelerate_configuration": {},
    "put_bucket_accelerate_configuration": {"AccelerateConfiguration": {"Status": "Enabled"}},
    "get_bucket_ownership_controls": {},
    "put_bucket_ownership_controls": {
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    },
    "delete_bucket_ownership_controls": {},
    "get_public_access_block": {},
    "put_public_access_block": {"PublicAccessBlockConfiguration": {"BlockPublicAcls": False}},
    "delete_public_access_block": {},
    "get_object_lock_configuration": {},
    "put_object_lock_configuration": {
        "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}
    },
    "list_bucket_analytics_configurations": {},
    "list_bucket_inventory_configurations": {},
    "list_bucket_metrics_configurations": {},
    "list_bucket_intelligent_tiering_configurations": {},
    "delete_bucket_inventory_configuration": {"Id": "x"},
    "delete_bucket_metrics_configuration": {"Id": "x"},
}
LATER = datetime.datetime(2040, 1, 1, tzinfo=datetime.timezone.utc)
OBJECT_CALLS = {
    "get_object_acl": {},
    "put_object_acl": {"ACL": "public-read"},
    "get_object_legal_hold": {},
    "put_object_legal_hold": {"LegalHold": {"Status": "ON"}},
    "get_object_retention": {},
    "put_object_retention": {"Retention": {"Mode": "GOVERNANCE", "RetainUntilDate": LATER}},
    "get_object_torrent": {},
    "restore_object": {"RestoreRequest": {"Days": 1}},
    "select_object_content": {
        "Expression": "select * from s3object",
        "ExpressionType": "SQL",
        "InputSerialization": {"CSV": {}},
        "OutputSerialization": {"CSV": {}},
    },
}
KEY = "A" * 32
WRITE_OPTIONS = [
    {"ACL": "public-read"},
    {"ACL": "authenticated-read"},
    {"GrantRead": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'},
    {"GrantFullControl": "id=1"},
    {"ServerSideEncryption": "AES256"},
    {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "x"},
    {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY},
    {"StorageClass": "GLACIER"},
    {"StorageClass": "STANDARD_IA"},
    {"WebsiteRedirectLocation": "/elsewhere"},
    {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": LATER},
    {"ObjectLockLegalHoldStatus": "ON"},
]


def test_bucket_configuration(bucket):
    for name, arguments in BUCKET_CALLS.items():
        try:
            fails(("NotImplemented", 501), getattr(s3, name), Bucket=bucket, **arguments)
        except AssertionError as err:
            raise AssertionError(f"{name}: {err}") from err
    s3.head_bucket(Bucket=bucket)


def test_object_configuration(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for name, arguments in OBJECT_CALLS.items():
        try:
            fails(("NotImplemented", 501), getattr(s3, name), Bucket=bucket, Key="k", **arguments)
        except AssertionError as err:
            raise AssertionError(f"{name}: {err}") from err
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"x")


def test_write_options(bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=b"x")
    source = {"Bucket": bucket, "Key": "source"}
    for options in WRITE_OPTIONS:
        fails("NotImplemented", s3.put_object, Bucket=bucket, Key="k", Body=b"x", **options)
        fails("NotImplemented", s3.create_multipart_upload, Bucket=bucket, Key="k", **options)
        fails(
            "NotImplemented", s3.copy_object, Bucket=bucket, Key="k", CopySource=source, **options
        )
    fails(404, s3.head_object, Bucket=bucket, Key="k")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    # What asks for what we do anyway is fine.
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="private", StorageClass="STANDARD")
    fails(
        "NotImplemented",
        s3.get_object,
        Bucket=bucket,
        Key="k",
        SSECustomerAlgorithm="AES256",
        SSECustomerKey=KEY,
    )
    fails("AccessDenied", s3.put_object, Bucket=bucket, Key="k", ExpectedBucketOwner="1" * 12)


def test_bucket_options(bucket):
    for options in (
        {"ACL": "public-read"},
        {"ObjectLockEnabledForBucket": True},
        {"ObjectOwnership": "ObjectWriter"},
        {"GrantRead": "id=1"},
        {"CreateBucketConfiguration": {"Bucket": {"Type": "Directory"}}},
    ):
        fails("NotImplemented", s3.create_bucket, Bucket="refused", **options)
    fails(404, s3.head_bucket, Bucket="refused")
    fails(
        "NotImplemented",
        s3.put_bucket_versioning,
        Bucket=bucket,
        VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"},
    )
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)


def refused(answer, code="NotImplemented"):
    status, _, body = answer
    assert 400 <= status and f"<Code>{code}</Code>".encode() in body, (status, body)


def test_unknown_parameters_and_headers(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused(signed("DELETE", f"/{bucket}?newFeature"))
    refused(signed("DELETE", f"/{bucket}/k?newFeature"))
    refused(signed("PUT", f"/{bucket}/k?renameObject", b""))
    refused(signed("PUT", f"/{bucket}/k?append", b"y"))
    refused(signed("PUT", f"/{bucket}/k", b"y", {"x-amz-write-offset-bytes": "1"}))
    refused(signed("PUT", f"/{bucket}/k", b"y", {"Content-Range": "bytes 0-0/2"}))
    refused(signed("PUT", f"/{bucket}/k", b"y", {"If-Unmodified-Since": "x"}))
    refused(signed("GET", f"/{bucket}/k?newFeature"))
    refused(signed("POST", f"/{bucket}/k", b"y"))
    refused(signed("PATCH", f"/{bucket}/k", b"y"))
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"x")


def test_forms(bucket):
    post = s3.generate_presigned_post(bucket, "k")
    boundary = "----boundary"
    fields = {**post["fields"], "file": "x"}
    body = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    body = (body + f"--{boundary}--\r\n").encode()
    refused(http("POST", f"{ENDPOINT}/{bucket}", body, headers))
    fails(404, s3.head_object, Bucket=bucket, Key="k")


run(globals())
