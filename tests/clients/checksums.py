"""What protects a body on its way: digests in headers, in trailers, and signed chunks."""

import base64
import hashlib
import hmac
import zlib

from harness import (
    ENDPOINT,
    READY,
    AWSRequest,
    Credentials,
    S3SigV4Auth,
    an_hour_ago,
    equal,
    fails,
    http,
    run,
    s3,
    signed,
)

BODY = b"123456789" * 1000


def base64_of(digest):
    return base64.b64encode(digest).decode()


def crc32(data):
    return base64_of(zlib.crc32(data).to_bytes(4, "big"))


def absent(bucket, key="k"):
    fails(404, s3.head_object, Bucket=bucket, Key=key)


def refused(answer, code):
    status, _, body = answer
    assert status == 400 and f"<Code>{code}</Code>".encode() in body, (status, body)


def test_digest_headers(bucket):
    digests = {
        "ChecksumCRC32": crc32(BODY),
        "ChecksumSHA1": base64_of(hashlib.sha1(BODY).digest()),
        "ChecksumSHA256": base64_of(hashlib.sha256(BODY).digest()),
    }
    for name, value in digests.items():
        put = s3.put_object(Bucket=bucket, Key=name, Body=BODY, **{name: value})
        equal((put[name], put["ChecksumType"]), (value, "FULL_OBJECT"))
        got = s3.get_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED")
        equal((got[name], got["Body"].read()), (value, BODY))
        equal(s3.head_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED")[name], value)
        part = s3.get_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED", Range="bytes=0-1")
        assert name not in part, part
        wrong = base64_of(b"\0" * len(base64.b64decode(value)))
        fails("BadDigest", s3.put_object, Bucket=bucket, Key="k", Body=BODY, **{name: wrong})
    # The check values of the CRC catalogue.
    for header, value in (("crc32c", "4waSgw=="), ("crc64nvme", "rosUhgp5mIg=")):
        headers = {f"x-amz-checksum-{header}": value}
        equal(signed("PUT", f"/{bucket}/{header}", b"123456789", headers)[0], 200)
        refused(signed("PUT", f"/{bucket}/k", b"123456780", headers), "BadDigest")
    absent(bucket)


def test_content_md5(bucket):
    right = base64_of(hashlib.md5(BODY).digest())
    equal(signed("PUT", f"/{bucket}/right", BODY, {"Content-MD5": right})[0], 200)
    wrong = base64_of(hashlib.md5(b"other").digest())
    refused(signed("PUT", f"/{bucket}/k", BODY, {"Content-MD5": wrong}), "BadDigest")
    refused(signed("PUT", f"/{bucket}/k", BODY, {"Content-MD5": "x"}), "InvalidDigest")
    absent(bucket)


def test_two_checksums_are_one_too_many(bucket):
    headers = {"x-amz-checksum-crc32": crc32(BODY), "x-amz-checksum-sha1": "x"}
    refused(signed("PUT", f"/{bucket}/k", BODY, headers), "InvalidRequest")
    headers = {"x-amz-sdk-checksum-algorithm": "CRC32"}
    refused(signed("PUT", f"/{bucket}/k", BODY, headers), "InvalidRequest")
    absent(bucket)


def test_signed_payload(bucket):
    other = hashlib.sha256(b"other").hexdigest()
    answer = signed("PUT", f"/{bucket}/k", BODY, content_sha256=other)
    refused(answer, "XAmzContentSHA256Mismatch")
    absent(bucket)
    equal(signed("PUT", f"/{bucket}/k", BODY, content_sha256="UNSIGNED-PAYLOAD")[0], 200)


def chunked(body, trailer):
    """An unsigned aws-chunked body in two chunks, with a trailer."""
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[:half], body[half:]) if c)
    return chunks + b"0\r\n" + trailer + b"\r\n"


def put_with_trailer(bucket, key, trailer, announced="x-amz-checksum-crc32", body=BODY):
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(len(BODY)),
        "X-Amz-Trailer": announced,
    }
    return signed(
        "PUT",
        f"/{bucket}/{key}",
        chunked(body, trailer),
        headers,
        content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )


def test_trailers(bucket):
    right = f"x-amz-checksum-crc32:{crc32(BODY)}\r\n".encode()
    status, headers, body = put_with_trailer(bucket, "right", right)
    equal((status, headers["x-amz-checksum-crc32"]), (200, crc32(BODY)))
    got = s3.get_object(Bucket=bucket, Key="right", ChecksumMode="ENABLED")
    equal((got["Body"].read(), got["ChecksumCRC32"]), (BODY, crc32(BODY)))
    assert "ContentEncoding" not in got, got["ContentEncoding"]
    refused(put_with_trailer(bucket, "k", b"x-amz-checksum-crc32:AAAAAA==\r\n"), "BadDigest")
    refused(put_with_trailer(bucket, "k", b""), "InvalidRequest")
    refused(put_with_trailer(bucket, "k", b"x-amz-meta-a:1\r\n"), "InvalidRequest")
    refused(put_with_trailer(bucket, "k", right, announced="x-amz-meta-a"), "InvalidRequest")
    refused(put_with_trailer(bucket, "k", right, body=BODY[:-2]), "IncompleteBody")
    absent(bucket)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    query = f"k?partNumber=1&uploadId={upload}"
    refused(put_with_trailer(bucket, query, b"x-amz-checksum-crc32:AAAAAA==\r\n"), "BadDigest")
    equal(put_with_trailer(bucket, query, right)[0], 200)


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


def put_in_signed_chunks(bucket, key, chunks, spoil=None):
    """STREAMING-AWS4-HMAC-SHA256-PAYLOAD, as the SDKs without trailers send it."""
    length = sum(len(chunk) for chunk in chunks)
    request = AWSRequest(
        method="PUT",
        url=f"{ENDPOINT}/{bucket}/{key}",
        headers={
            "Content-Encoding": "aws-chunked",
            "X-Amz-Decoded-Content-Length": str(length),
        },
    )
    auth = S3SigV4Auth(Credentials(READY["access_key"], READY["secret_key"]), "s3", "us-east-1")
    auth.payload = lambda _: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    auth.add_auth(request)
    at = request.headers["X-Amz-Date"]
    previous = request.headers["Authorization"].rpartition("Signature=")[2]
    scope = f"{at[:8]}/us-east-1/s3/aws4_request"
    signing = ("AWS4" + READY["secret_key"]).encode()
    for part in scope.split("/"):
        signing = sign(signing, part).digest()
    body = b""
    for number, chunk in enumerate([*chunks, b""]):
        text = "\n".join(
            [
                "AWS4-HMAC-SHA256-PAYLOAD",
                at,
                scope,
                previous,
                hashlib.sha256(b"").hexdigest(),
                hashlib.sha256(chunk).hexdigest(),
            ]
        )
        previous = sign(signing, text).hexdigest()
        sent = b"X" * len(chunk) if number == spoil else chunk
        body += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(chunk), previous.encode(), sent)
    return http("PUT", f"/{bucket}/{key}", body, dict(request.headers.items()))


def test_signed_chunks(bucket):
    chunks = [b"a" * 65536, b"b" * 65536, b"c" * 10]
    equal(put_in_signed_chunks(bucket, "right", chunks)[0], 200)
    equal(s3.get_object(Bucket=bucket, Key="right")["Body"].read(), b"".join(chunks))
    status, _, body = put_in_signed_chunks(bucket, "k", chunks, spoil=1)
    assert status == 403 and b"SignatureDoesNotMatch" in body, (status, body)
    absent(bucket)


def test_old_signatures_are_refused(bucket):
    with an_hour_ago():
        status, _, body = signed("GET", f"/{bucket}")
    assert status == 403 and b"RequestTimeTooSkewed" in body, (status, body)


run(globals())
