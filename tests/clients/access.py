"""Who may do what: several users, anonymous callers, wrong secrets, presigned URLs, host names.

The server is started with users `reader` (may read the bucket `shared`) and `writer` (may write
there), whose keys are `readerKEY` / `reader-secret-0123456789` and likewise, and with the base domain
`s3.localhost`.
"""

import socket

from botocore.auth import S3SigV4QueryAuth
from harness import (
    ENDPOINT,
    READY,
    SCHEME,
    AWSRequest,
    Credentials,
    an_hour_ago,
    client,
    equal,
    fails,
    http,
    run,
    s3,
    signed,
)

READER = ("readerKEY", "reader-secret-0123456789")
WRITER = ("writerKEY", "writer-secret-0123456789")


def refused(answer, code, status=403):
    got, _, body = answer
    assert got == status and f"<Code>{code}</Code>".encode() in body, (got, body)


def test_users(bucket):
    s3.create_bucket(Bucket="shared")
    s3.put_object(Bucket="shared", Key="k", Body=b"x")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    reader, writer = client(*READER), client(*WRITER)
    equal(reader.get_object(Bucket="shared", Key="k")["Body"].read(), b"x")
    equal(reader.list_objects_v2(Bucket="shared")["KeyCount"], 1)
    fails("AccessDenied", reader.put_object, Bucket="shared", Key="k", Body=b"y")
    fails("AccessDenied", reader.delete_object, Bucket="shared", Key="k")
    fails("AccessDenied", reader.get_object, Bucket=bucket, Key="k")
    fails("AccessDenied", reader.get_object, Bucket="absent", Key="k")
    writer.put_object(Bucket="shared", Key="new", Body=b"y")
    fails("AccessDenied", writer.get_object, Bucket="shared", Key="k")
    fails("AccessDenied", writer.list_objects_v2, Bucket="shared")
    for user in (reader, writer):
        equal([entry["Name"] for entry in user.list_buckets()["Buckets"]], ["shared"])
        fails("AccessDenied", user.create_bucket, Bucket="own-bucket")
        fails("AccessDenied", user.delete_bucket, Bucket="shared")
        versioning = {"Status": "Enabled"}
        fails(
            "AccessDenied",
            user.put_bucket_versioning,
            Bucket="shared",
            VersioningConfiguration=versioning,
        )
    # A copy needs the right to read its source.
    for source in ({"Bucket": bucket, "Key": "k"}, {"Bucket": "shared", "Key": "k"}):
        fails("AccessDenied", writer.copy_object, Bucket="shared", Key="c", CopySource=source)
    for key in ("k", "new"):
        s3.delete_object(Bucket="shared", Key=key)
    s3.delete_bucket(Bucket="shared")


def test_wrong_signatures(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    path = f"/{bucket}/k"
    refused(http("GET", path), "AccessDenied")
    refused(http("PUT", path, b"y"), "AccessDenied")
    refused(http("GET", "/"), "AccessDenied")
    refused(signed("GET", path, secret_key="wrong"), "SignatureDoesNotMatch")
    refused(signed("GET", path, access_key="unknown"), "InvalidAccessKeyId")
    v2 = {"Authorization": f"AWS {READY['access_key']}:c2lnbmF0dXJl"}
    refused(http("GET", path, headers=v2), "InvalidRequest", 400)
    refused(signed("GET", path, headers={"X-Amz-Security-Token": "x"}), "InvalidToken", 400)
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"x")


def url(operation, bucket, key="k", expires=60, **more):
    parameters = {"Bucket": bucket, "Key": key, **more}
    return s3.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires)


def test_presigned_urls(bucket):
    put = url("put_object", bucket)
    equal(http("PUT", put, b"presigned")[0], 200)
    status, headers, body = http("GET", url("get_object", bucket))
    equal((status, body), (200, b"presigned"))
    typed = url("get_object", bucket, ResponseContentType="text/html")
    equal(http("GET", typed)[1]["content-type"], "text/html")
    equal(http("GET", typed, headers={"Range": "bytes=0-2"})[2], b"pre")
    odd = "a//b ü+%2F🎬"
    equal(http("PUT", url("put_object", bucket, odd), b"odd")[0], 200)
    equal(http("GET", url("get_object", bucket, odd))[2], b"odd")
    refused(http("PUT", url("get_object", bucket), b"y"), "SignatureDoesNotMatch")
    refused(http("GET", url("get_object", bucket) + "&versionId=x"), "SignatureDoesNotMatch")
    refused(http("GET", url("get_object", bucket).replace("/k?", "/other?")), "SignatureDoesNotMatch")
    with an_hour_ago():
        expired = url("get_object", bucket)
    refused(http("GET", expired), "AccessDenied")
    long = url("get_object", bucket, expires=604_801)
    refused(http("GET", long), "AuthorizationQueryParametersError", 400)
    # Whoever holds a URL to upload must not be able to make a copy of it.
    s3.put_object(Bucket=bucket, Key="secret", Body=b"secret")
    stolen = {"x-amz-copy-source": f"/{bucket}/secret"}
    refused(http("PUT", url("put_object", bucket), b"", stolen), "AccessDenied")
    refused(http("PUT", url("put_object", bucket), b"", {"x-amz-meta-a": "1"}), "AccessDenied")
    with_metadata = url("put_object", bucket, Metadata={"a": "1"})
    equal(http("PUT", with_metadata, b"y", {"x-amz-meta-a": "1"})[0], 200)


def test_headers_in_presigned_queries(bucket):
    """The Go SDK moves headers into the query; they must not get lost there."""

    def presigned(**headers):
        query = "&".join(f"{name.replace('_', '-')}={value}" for name, value in headers.items())
        request = AWSRequest(method="PUT", url=f"{ENDPOINT}/{bucket}/k?{query}")
        credentials = Credentials(READY["access_key"], READY["secret_key"])
        S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=60).add_auth(request)
        return request.url

    equal(http("PUT", presigned(X_Amz_Meta_Title="film"), b"x")[0], 200)
    equal(s3.head_object(Bucket=bucket, Key="k")["Metadata"], {"title": "film"})
    refused(http("PUT", presigned(X_Amz_Acl="public-read"), b"y"), "NotImplemented", 501)
    refused(
        http("PUT", presigned(X_Amz_Server_Side_Encryption="AES256"), b"y"), "NotImplemented", 501
    )


def test_virtual_hosts(bucket):
    """The bucket in the host name; resolved here, because names below localhost may not be."""
    host, port = READY["s3"].rsplit(":", 1)
    hosted = client(endpoint=f"{SCHEME}://s3.localhost:{port}", addressing="virtual")
    original = socket.getaddrinfo
    asked = []

    def here(name, *arguments, **more):
        asked.append(name)
        return original(host, *arguments, **more)

    socket.getaddrinfo = here
    try:
        hosted.put_object(Bucket=bucket, Key="a//k", Body=b"hosted")
        equal(hosted.get_object(Bucket=bucket, Key="a//k")["Body"].read(), b"hosted")
        equal(hosted.list_objects_v2(Bucket=bucket)["KeyCount"], 1)
        assert bucket in [entry["Name"] for entry in hosted.list_buckets()["Buckets"]]
    finally:
        socket.getaddrinfo = original
    assert f"{bucket}.s3.localhost" in asked, asked
    equal(s3.get_object(Bucket=bucket, Key="a//k")["Body"].read(), b"hosted")


run(globals())
