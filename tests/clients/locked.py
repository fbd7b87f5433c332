"""An S3 server with Object Lock (moto), beside the one under test.

Prints its address, waits for a line, and then tries to delete what is in its bucket: every file must
be locked for about 30 days. See tests/backup.rs."""

import datetime
import sys

import boto3
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

BUCKET = "repository"

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
s3 = boto3.client(
    "s3",
    endpoint_url=f"http://{host}:{port}",
    region_name="us-east-1",
    aws_access_key_id="key",
    aws_secret_access_key="secret",
)
s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
print(f"{host}:{port}", flush=True)
sys.stdin.readline()

soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=29)
versions = s3.list_object_versions(Bucket=BUCKET)["Versions"]
for version in versions:
    name = {"Bucket": BUCKET, "Key": version["Key"], "VersionId": version["VersionId"]}
    head = s3.head_object(**name)
    assert head["ObjectLockMode"] == "COMPLIANCE", head
    assert soon < head["ObjectLockRetainUntilDate"], head
    try:
        s3.delete_object(**name)
    except ClientError as err:
        assert err.response["Error"]["Code"] == "AccessDenied", err
    else:
        raise AssertionError(f"{version['Key']} was deleted")
print(f"{len(versions)} files are locked")
server.stop()
