"""What the client programs share: a signed client for the server under test, and a tiny runner.

Each program is started as `python PROGRAM.py READY.json` by tests/tests/s3_clients.rs and runs every
function called `test_*` in the order of the file, each with a bucket of its own.
"""

import contextlib
import datetime
import json
import os
import pathlib
import sys
import time
import traceback
import urllib.error
import urllib.request

import boto3
import botocore.auth
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

with open(sys.argv[1], encoding="utf-8") as file:
    READY = json.load(file)
PROGRAM = pathlib.Path(sys.argv[0]).stem
SCHEME = os.environ.get("BACKLOT_TEST_SCHEME", "http")
ENDPOINT = f"{SCHEME}://{READY['s3']}"


def client(access_key=None, secret_key=None, endpoint=None, addressing="path", **config):
    """A boto3 client that tries once and says what it got."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint or ENDPOINT,
        region_name=config.pop("region", "us-east-1"),
        aws_access_key_id=access_key or READY["access_key"],
        aws_secret_access_key=secret_key or READY["secret_key"],
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": addressing},
            retries={"total_max_attempts": 1},
            **config,
        ),
    )


s3 = client()


def fails(code, call, *args, **kwargs):
    """The call must fail with this code (or one of these; or this status)."""
    codes = code if isinstance(code, tuple) else (code,)
    try:
        answer = call(*args, **kwargs)
    except ClientError as err:
        got = err.response["Error"]["Code"]
        status = err.response["ResponseMetadata"]["HTTPStatusCode"]
        assert got in codes or status in codes, f"{got} ({status}) instead of {codes}: {err}"
        return err.response
    raise AssertionError(f"succeeded instead of {codes}: {answer}")


def equal(got, expected):
    assert got == expected, f"{got!r} instead of {expected!r}"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


def http(method, url, body=None, headers=None):
    """One plain HTTP request: status, headers, body."""
    if not url.startswith("http"):
        url = ENDPOINT + url
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    # urllib adds a type of its own, which a signature does not cover.
    if body is not None and not request.has_header("Content-type"):
        request.add_unredirected_header("Content-type", "binary/octet-stream")
    try:
        with OPENER.open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as err:
        return err.code, err.headers, err.read()


def signed(method, path, body=b"", headers=None, content_sha256=None, **keys):
    """Like `http`, signed by hand, for what boto3 would not send."""
    request = AWSRequest(method=method, url=ENDPOINT + path, data=body, headers=headers or {})
    credentials = Credentials(
        keys.get("access_key", READY["access_key"]), keys.get("secret_key", READY["secret_key"])
    )
    auth = S3SigV4Auth(credentials, "s3", "us-east-1")
    if content_sha256:
        auth.payload = lambda _: content_sha256
    auth.add_auth(request)
    return http(method, ENDPOINT + path, body or None, dict(request.headers.items()))


@contextlib.contextmanager
def an_hour_ago():
    """What is signed in here carries an old date."""
    original = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *arguments, **more: original(
        *arguments, **more
    ) - datetime.timedelta(hours=1)
    try:
        yield
    finally:
        botocore.auth.get_current_datetime = original


def empty_bucket(name):
    """Deletes every version, marker and upload; works in any bucket."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        keys = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        if keys:
            answer = s3.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
            assert not answer.get("Errors"), answer["Errors"]
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=name):
        for upload in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])


def run(scope):
    """Runs the tests of a program; the exit code says whether all passed."""
    tests = [item for name, item in scope.items() if name.startswith("test_")]
    failed = 0
    for number, test in enumerate(tests):
        bucket = f"{PROGRAM}-{number}"
        begun = time.monotonic()
        try:
            s3.create_bucket(Bucket=bucket)
            test(bucket)
            empty_bucket(bucket)
            s3.delete_bucket(Bucket=bucket)
            print(f"ok      {test.__name__} ({time.monotonic() - begun:.2f} s)")
        except Exception:
            failed += 1
            print(f"FAILED  {test.__name__}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(tests) - failed} of {len(tests)} passed")
    sys.exit(1 if failed else 0)
