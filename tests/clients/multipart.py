"""Multipart uploads: order, sizes, copies, conditions, lists, checksums."""

import base64
import hashlib
import os
import zlib

from harness import equal, fails, run, s3

PART = 5 * 1024 * 1024
BODIES = [os.urandom(PART), os.urandom(PART), os.urandom(1000)]


def start(bucket, key="k", **more):
    return s3.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]


def put(bucket, upload, number, body, **more):
    answer = s3.upload_part(
        Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body, **more
    )
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(bucket, upload, parts, **more):
    return s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}, **more
    )


def test_parts_in_any_order(bucket):
    upload = start(bucket, ContentType="video/mp4", Metadata={"a": "1"}, Tagging="t=1")
    parts = {number: put(bucket, upload, number, BODIES[number - 1]) for number in (3, 1, 2)}
    put(bucket, upload, 7, b"not used")
    fails("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")
    fails("InvalidPartOrder", complete, bucket, upload, [parts[2], parts[1], parts[3]])
    wrong = {"PartNumber": 3, "ETag": parts[1]["ETag"]}
    fails("InvalidPart", complete, bucket, upload, [parts[1], parts[2], wrong])
    absent = {"PartNumber": 5, "ETag": parts[1]["ETag"]}
    fails("InvalidPart", complete, bucket, upload, [parts[1], absent])
    fails(("MalformedXML", "MissingRequestBodyError"), complete, bucket, upload, [])
    done = complete(bucket, upload, [parts[1], parts[2], parts[3]])
    digests = b"".join(hashlib.md5(body).digest() for body in BODIES)
    equal(done["ETag"], f'"{hashlib.md5(digests).hexdigest()}-3"')
    got = s3.get_object(Bucket=bucket, Key="k")
    equal(got["Body"].read(), b"".join(BODIES))
    equal((got["ContentType"], got["Metadata"], got["TagCount"]), ("video/mp4", {"a": "1"}, 1))
    across = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={PART - 3}-{PART + 2}")
    equal(across["Body"].read(), BODIES[0][-3:] + BODIES[1][:3])
    for number, body in enumerate(BODIES, start=1):
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        equal(got["PartsCount"], 3)
        equal(got["Body"].read(), body)
        equal(s3.head_object(Bucket=bucket, Key="k", PartNumber=number)["ContentLength"], len(body))
    fails(416, s3.get_object, Bucket=bucket, Key="k", PartNumber=4)
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"], MaxParts=2
    )["ObjectParts"]
    equal((attributes["TotalPartsCount"], attributes["IsTruncated"]), (3, True))
    fails("NoSuchUpload", complete, bucket, upload, [parts[1]])


def test_part_rules(bucket):
    upload = start(bucket)
    small = put(bucket, upload, 1, b"small")
    last = put(bucket, upload, 2, b"last")
    fails("EntityTooSmall", complete, bucket, upload, [small, last])
    for number in (0, 10_001):
        fails("InvalidArgument", put, bucket, upload, number, b"x")
    put(bucket, upload, 10_000, b"x")
    fails("NoSuchUpload", put, bucket, "absent", 1, b"x")
    # A part that is sent again replaces the first one.
    again = put(bucket, upload, 1, b"again")
    fails("InvalidPart", complete, bucket, upload, [small])
    complete(bucket, upload, [again])
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"again")


def test_abort(bucket):
    upload = start(bucket)
    put(bucket, upload, 1, b"x")
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    fails("NoSuchUpload", s3.abort_multipart_upload, Bucket=bucket, Key="k", UploadId=upload)
    fails("NoSuchUpload", s3.list_parts, Bucket=bucket, Key="k", UploadId=upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_conditions(bucket):
    upload = start(bucket)
    part = put(bucket, upload, 1, b"x")
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"first")
    fails(412, complete, bucket, upload, [part], IfNoneMatch="*")
    fails(412, complete, bucket, upload, [part], IfMatch='"other"')
    fails(400, complete, bucket, upload, [part], MpuObjectSize=2)
    complete(bucket, upload, [part], IfMatch=first["ETag"], MpuObjectSize=1)
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"x")


def test_lists(bucket):
    uploads = {key: start(bucket, key) for key in ("a/1", "a/2", "b", "c")}
    page = s3.list_multipart_uploads(Bucket=bucket)
    equal([entry["Key"] for entry in page["Uploads"]], ["a/1", "a/2", "b", "c"])
    equal([entry["UploadId"] for entry in page["Uploads"]], list(uploads.values()))
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    equal([entry["Key"] for entry in page["Uploads"]], ["b", "c"])
    equal(page["CommonPrefixes"], [{"Prefix": "a/"}])
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 1}
    )
    equal([entry["Key"] for page in pages for entry in page["Uploads"]], ["a/1", "a/2", "b", "c"])

    upload = start(bucket)
    for number in (5, 1, 3):
        put(bucket, upload, number, b"x" * number)
    page = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)
    equal([(part["PartNumber"], part["Size"]) for part in page["Parts"]], [(1, 1), (3, 3), (5, 5)])
    page = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload, MaxParts=2)
    assert page["IsTruncated"] and page["NextPartNumberMarker"] == 3, page
    page = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload, PartNumberMarker=3)
    equal([part["PartNumber"] for part in page["Parts"]], [5])


def test_part_copies(bucket):
    body = BODIES[0] + b"tail"
    s3.put_object(Bucket=bucket, Key="source", Body=body)
    source = {"Bucket": bucket, "Key": "source"}
    etag = s3.head_object(**source)["ETag"]
    upload = start(bucket)

    def copy(number, **more):
        answer = s3.upload_part_copy(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, CopySource=source, **more
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    whole = copy(1)
    equal(whole["ETag"].strip('"'), hashlib.md5(body).hexdigest())
    some = copy(2, CopySourceRange="bytes=2-5", CopySourceIfMatch=etag)
    equal(some["ETag"].strip('"'), hashlib.md5(body[2:6]).hexdigest())
    fails("InvalidRange", copy, 3, CopySourceRange=f"bytes=0-{len(body)}")
    fails("InvalidArgument", copy, 3, CopySourceRange="bytes=5-")
    fails(412, copy, 3, CopySourceIfMatch='"other"')
    complete(bucket, upload, [whole, some])
    s3.delete_object(**source)
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), body + body[2:6])


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def test_checksums(bucket):
    upload = start(bucket, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    parts = [put(bucket, upload, number, body) for number, body in enumerate(BODIES, start=1)]
    whole = crc32(b"".join(BODIES))
    fails("BadDigest", complete, bucket, upload, parts, ChecksumCRC32="AAAAAA==")
    fails("InvalidRequest", complete, bucket, upload, parts, ChecksumType="COMPOSITE")
    done = complete(bucket, upload, parts, ChecksumCRC32=whole, ChecksumType="FULL_OBJECT")
    equal((done["ChecksumCRC32"], done["ChecksumType"]), (whole, "FULL_OBJECT"))
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    equal(got["ChecksumCRC32"], whole)
    equal(got["Body"].read(), b"".join(BODIES))

    upload = start(bucket, ChecksumAlgorithm="SHA256")
    answers = [
        s3.upload_part(
            Bucket=bucket,
            Key="k",
            UploadId=upload,
            PartNumber=number,
            Body=body,
            ChecksumAlgorithm="SHA256",
        )
        for number, body in enumerate(BODIES, start=1)
    ]
    parts = [
        {"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}
        for number, part in enumerate(answers, start=1)
    ]
    equal(
        parts[0]["ChecksumSHA256"], base64.b64encode(hashlib.sha256(BODIES[0]).digest()).decode()
    )
    swapped = [{**parts[0], "ChecksumSHA256": parts[1]["ChecksumSHA256"]}, *parts[1:]]
    fails("InvalidPart", complete, bucket, upload, swapped)
    done = complete(bucket, upload, parts)
    digests = b"".join(hashlib.sha256(body).digest() for body in BODIES)
    composite = base64.b64encode(hashlib.sha256(digests).digest()).decode()
    equal((done["ChecksumSHA256"], done["ChecksumType"]), (f"{composite}-3", "COMPOSITE"))
    fails("InvalidRequest", start, bucket, ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")
    fails("InvalidRequest", start, bucket, ChecksumAlgorithm="CRC64NVME", ChecksumType="COMPOSITE")


run(globals())
