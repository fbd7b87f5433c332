"""Buckets, objects, reads with conditions and ranges, copies, deletes, tags, odd keys."""

import datetime
import hashlib
import base64

from harness import client, equal, fails, http, run, s3, signed

ODD_KEYS = [
    "a//b",
    "//",
    "../x",
    "a/../b",
    "./.",
    " ",
    "  leading and trailing  ",
    "%2F",
    "100%",
    "a+b c&d=e?f#g",
    "ünïcödé/日本語",
    "🎬.mp4",
    "folder/",
    "quote\"'<>&;",
    "back\\slash",
    "tilde~-_.!*'()",
    "k" * 1024,
    "é" * 512,
]


def test_bucket_life(bucket):
    names = [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    assert bucket in names, names
    s3.head_bucket(Bucket=bucket)
    assert not s3.get_bucket_location(Bucket=bucket)["LocationConstraint"]
    fails("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket=bucket)
    fails(404, s3.head_bucket, Bucket="absent")
    fails("NoSuchBucket", s3.get_bucket_location, Bucket="absent")
    fails("NoSuchBucket", s3.delete_bucket, Bucket="absent")
    fails("NoSuchBucket", s3.list_objects_v2, Bucket="absent")
    fails("NoSuchBucket", s3.put_object, Bucket="absent", Key="k", Body=b"")
    status, _, body = signed("PUT", "/Bad_Name")
    assert status == 400 and b"InvalidBucketName" in body, (status, body)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    fails("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)


def test_regions(bucket):
    abroad = client(region="eu-central-1")
    abroad.create_bucket(
        Bucket="abroad", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    s3.delete_bucket(Bucket="abroad")
    fails(
        "IllegalLocationConstraintException",
        s3.create_bucket,
        Bucket="abroad",
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )


def test_buckets_are_paged(bucket):
    for number in range(5):
        s3.create_bucket(Bucket=f"paged-{number}")
    found = []
    for page in s3.get_paginator("list_buckets").paginate(
        Prefix="paged-", PaginationConfig={"PageSize": 2}
    ):
        assert len(page["Buckets"]) <= 2
        found += [entry["Name"] for entry in page["Buckets"]]
    equal(found, [f"paged-{number}" for number in range(5)])
    for name in found:
        s3.delete_bucket(Bucket=name)


def test_put_and_get_with_all_headers(bucket):
    expires = datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    body = b"0123456789"
    put = s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=body,
        ContentType="video/mp4",
        CacheControl="max-age=60",
        ContentDisposition='attachment; filename="a.mp4"',
        ContentEncoding="gzip",
        ContentLanguage="de",
        Expires=expires,
        Metadata={"title": "A film", "x-y": "2"},
        Tagging="genre=short%20film&year=2026",
        ContentMD5=base64.b64encode(hashlib.md5(body).digest()).decode(),
    )
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    equal(put["ETag"], etag)
    assert "VersionId" not in put
    for call in (s3.get_object, s3.head_object):
        got = call(Bucket=bucket, Key="k")
        equal(got["ContentType"], "video/mp4")
        equal(got["CacheControl"], "max-age=60")
        equal(got["ContentDisposition"], 'attachment; filename="a.mp4"')
        equal(got["ContentEncoding"], "gzip")
        equal(got["ContentLanguage"], "de")
        equal(got["Expires"], expires)
        equal(got["Metadata"], {"title": "A film", "x-y": "2"})
        equal(got["ContentLength"], 10)
        equal(got["AcceptRanges"], "bytes")
        equal(got["ETag"], etag)
        assert "VersionId" not in got
    got = s3.get_object(Bucket=bucket, Key="k")
    equal(got["TagCount"], 2)
    equal(got["Body"].read(), body)
    assert got["ResponseMetadata"]["RequestId"]
    s3.put_object(Bucket=bucket, Key="plain", Body=b"")
    plain = s3.get_object(Bucket=bucket, Key="plain")
    equal(plain["ContentType"], "binary/octet-stream")
    equal((plain["ContentLength"], plain["Body"].read()), (0, b""))


def test_response_overrides(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
    wanted = {
        "ResponseContentType": "text/html",
        "ResponseContentLanguage": "en",
        "ResponseCacheControl": "no-cache",
        "ResponseContentDisposition": "inline",
        "ResponseContentEncoding": "br",
        "ResponseExpires": datetime.datetime(2041, 1, 1, tzinfo=datetime.timezone.utc),
    }
    for call in (s3.get_object, s3.head_object):
        got = call(Bucket=bucket, Key="k", **wanted)
        equal(got["ContentType"], "text/html")
        equal(got["ContentLanguage"], "en")
        equal(got["CacheControl"], "no-cache")
        equal(got["ContentDisposition"], "inline")
        equal(got["ContentEncoding"], "br")
        equal(got["Expires"].year, 2041)


def test_metadata_beyond_ascii(bucket):
    # boto3 refuses such metadata; RFC 2047 is how S3 carries it.
    title = "=?UTF-8?B?" + base64.b64encode("Größe".encode()).decode() + "?="
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"title": title})
    got = s3.head_object(Bucket=bucket, Key="k")["Metadata"]["title"]
    equal(got, title)
    fails("MetadataTooLarge", s3.put_object, Bucket=bucket, Key="k", Metadata={"a": "x" * 2048})


def test_what_is_not_there(bucket):
    fails("NoSuchKey", s3.get_object, Bucket=bucket, Key="absent")
    fails(404, s3.head_object, Bucket=bucket, Key="absent")
    fails("NoSuchVersion", s3.get_object, Bucket=bucket, Key="absent", VersionId="nope")
    equal(s3.delete_object(Bucket=bucket, Key="absent")["ResponseMetadata"]["HTTPStatusCode"], 204)
    fails("KeyTooLongError", s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"")
    fails("NoSuchKey", s3.get_object_tagging, Bucket=bucket, Key="absent")


def test_ranges(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")

    def ranged(spec):
        got = s3.get_object(Bucket=bucket, Key="k", Range=spec)
        head = s3.head_object(Bucket=bucket, Key="k", Range=spec)
        for key in ("ContentLength", "ContentRange"):
            equal(head.get(key), got.get(key))
        equal(head["ResponseMetadata"]["HTTPStatusCode"], got["ResponseMetadata"]["HTTPStatusCode"])
        return got["ResponseMetadata"]["HTTPStatusCode"], got.get("ContentRange"), got["Body"].read()

    equal(ranged("bytes=0-3"), (206, "bytes 0-3/10", b"0123"))
    equal(ranged("bytes=0-9"), (206, "bytes 0-9/10", b"0123456789"))
    equal(ranged("bytes=7-"), (206, "bytes 7-9/10", b"789"))
    equal(ranged("bytes=-2"), (206, "bytes 8-9/10", b"89"))
    equal(ranged("bytes=-20"), (206, "bytes 0-9/10", b"0123456789"))
    equal(ranged("bytes=5-99"), (206, "bytes 5-9/10", b"56789"))
    equal(ranged("bytes=0-1,4-5"), (200, None, b"0123456789"))
    equal(ranged("bytes=5-2"), (200, None, b"0123456789"))
    equal(ranged("lines=1-2"), (200, None, b"0123456789"))
    for spec in ("bytes=10-", "bytes=-0", "bytes=20-30"):
        err = fails("InvalidRange", s3.get_object, Bucket=bucket, Key="k", Range=spec)
        equal(err["ResponseMetadata"]["HTTPStatusCode"], 416)
        equal(err["ResponseMetadata"]["HTTPHeaders"]["content-range"], "bytes */10")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    fails("InvalidRange", s3.get_object, Bucket=bucket, Key="empty", Range="bytes=0-")


def test_conditional_reads(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789", CacheControl="max-age=1")
    head = s3.head_object(Bucket=bucket, Key="k")
    etag, modified = head["ETag"], head["LastModified"]
    before = modified - datetime.timedelta(seconds=10)
    for call in (s3.get_object, s3.head_object):

        def ask(**conditions):
            return call(Bucket=bucket, Key="k", **conditions)

        ask(IfMatch=etag)
        ask(IfMatch="*")
        ask(IfNoneMatch='"other"')
        ask(IfModifiedSince=before)
        ask(IfUnmodifiedSince=modified)
        ask(IfMatch=etag, IfUnmodifiedSince=before)
        ask(IfNoneMatch='"other"', IfModifiedSince=modified)
        fails(412, ask, IfMatch='"other"')
        fails(412, ask, IfUnmodifiedSince=before)
        fails(412, ask, IfMatch='"other"', IfNoneMatch=etag)
        err = fails(304, ask, IfNoneMatch=etag)
        headers = err["ResponseMetadata"]["HTTPHeaders"]
        equal((headers["etag"], headers["cache-control"]), (etag, "max-age=1"))
        assert "last-modified" in headers and "content-length" not in headers, headers
        fails(304, ask, IfNoneMatch=f'"other", W/{etag}')
        fails(304, ask, IfModifiedSince=modified)
        fails(304, ask, IfMatch=etag, IfNoneMatch=etag)
        # A precondition is judged before a range.
        fails(412, ask, IfMatch='"other"', Range="bytes=99-")


def test_if_range(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    head = s3.head_object(Bucket=bucket, Key="k")
    date = head["LastModified"].strftime("%a, %d %b %Y %H:%M:%S GMT")

    def ask(value):
        headers = {"Range": "bytes=2-3", "If-Range": value}
        status, _, body = signed("GET", f"/{bucket}/k", headers=headers)
        return status, body

    equal(ask(head["ETag"]), (206, b"23"))
    equal(ask(date), (206, b"23"))
    equal(ask('"other"'), (200, b"0123456789"))
    equal(ask("Sun, 06 Nov 1994 08:49:37 GMT"), (200, b"0123456789"))


def test_conditional_writes(bucket):
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    fails(412, s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    fails(412, s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch='"other"')
    fails("NoSuchKey", s3.put_object, Bucket=bucket, Key="absent", Body=b"2", IfMatch=put["ETag"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=put["ETag"])
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"3")
    fails(412, s3.delete_object, Bucket=bucket, Key="k", IfMatch=put["ETag"])
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"3")


def test_odd_keys_survive(bucket):
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ODD_KEYS:
        equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), key.encode())
        s3.copy_object(
            Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key}
        )
        equal(s3.get_object(Bucket=bucket, Key="copy")["Body"].read(), key.encode())
    s3.delete_object(Bucket=bucket, Key="copy")
    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    equal(listed, sorted(ODD_KEYS, key=lambda key: key.encode()))
    answer = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in ODD_KEYS]}
    )
    equal(sorted(entry["Key"] for entry in answer["Deleted"]), sorted(ODD_KEYS))
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)


def test_copies(bucket):
    s3.put_object(
        Bucket=bucket,
        Key="source",
        Body=b"0123456789",
        ContentType="text/plain",
        Metadata={"a": "1"},
        Tagging="t=1",
    )
    source = {"Bucket": bucket, "Key": "source"}
    etag = s3.head_object(**source)["ETag"]
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    equal(copied["CopyObjectResult"]["ETag"], etag)
    got = s3.get_object(Bucket=bucket, Key="copy")
    equal((got["Body"].read(), got["Metadata"]), (b"0123456789", {"a": "1"}))
    equal((got["ContentType"], got["TagCount"]), ("text/plain", 1))
    s3.copy_object(
        Bucket=bucket,
        Key="copy",
        CopySource=source,
        MetadataDirective="REPLACE",
        TaggingDirective="REPLACE",
        ContentType="text/html",
        Metadata={"b": "2"},
        Tagging="u=2&v=3",
    )
    got = s3.get_object(Bucket=bucket, Key="copy")
    equal((got["ContentType"], got["Metadata"], got["TagCount"]), ("text/html", {"b": "2"}, 2))

    def copy(**more):
        return s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, **more)

    copy(CopySourceIfMatch=etag)
    fails(412, copy, CopySourceIfMatch='"other"')
    copy(CopySourceIfNoneMatch='"other"')
    fails(412, copy, CopySourceIfNoneMatch=etag)
    now = datetime.datetime.now(datetime.timezone.utc)
    fails(412, copy, CopySourceIfUnmodifiedSince=now - datetime.timedelta(days=1))
    copy(CopySourceIfModifiedSince=now - datetime.timedelta(days=1))
    copy(CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=now - datetime.timedelta(days=1))
    fails(412, copy, IfNoneMatch="*")
    fails(412, copy, IfMatch='"other"')
    fails("InvalidArgument", copy, MetadataDirective="MERGE")
    fails("InvalidRequest", s3.copy_object, Bucket=bucket, Key="source", CopySource=source)
    s3.copy_object(
        Bucket=bucket,
        Key="source",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"c": "3"},
    )
    equal(s3.head_object(**source)["Metadata"], {"c": "3"})
    absent = {"Bucket": bucket, "Key": "absent"}
    fails("NoSuchKey", s3.copy_object, Bucket=bucket, Key="copy", CopySource=absent)
    fails(
        "NoSuchBucket", s3.copy_object, Bucket="absent", Key="copy", CopySource=source
    )


def test_batch_delete(bucket):
    keys = [f"k{number}" for number in range(10)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    etag = s3.head_object(Bucket=bucket, Key="k0")["ETag"]
    answer = s3.delete_objects(
        Bucket=bucket,
        Delete={
            "Objects": [
                {"Key": "k0", "ETag": etag},
                {"Key": "k1", "ETag": '"other"'},
                {"Key": "k2", "Size": 1},
                {"Key": "absent"},
            ]
        },
    )
    equal(sorted(entry["Key"] for entry in answer["Deleted"]), ["absent", "k0"])
    errors = {entry["Key"]: entry["Code"] for entry in answer["Errors"]}
    equal(errors, {"k1": "PreconditionFailed", "k2": "NotImplemented"})
    quiet = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
    )
    assert "Deleted" not in quiet and "Errors" not in quiet, quiet
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)
    too_many = [{"Key": str(number)} for number in range(1001)]
    fails("MalformedXML", s3.delete_objects, Bucket=bucket, Delete={"Objects": too_many})


def test_batch_delete_is_verified(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    status, _, answer = signed("POST", f"/{bucket}?delete", body, {"Content-MD5": wrong})
    assert status == 400 and b"BadDigest" in answer, (status, answer)
    right = base64.b64encode(hashlib.md5(body).digest()).decode()
    status, _, answer = signed("POST", f"/{bucket}?delete", b"<Delete>", {})
    assert status == 400 and b"MalformedXML" in answer, (status, answer)
    s3.head_object(Bucket=bucket, Key="k")
    status, _, answer = signed("POST", f"/{bucket}?delete", body, {"Content-MD5": right})
    equal(status, 200)
    fails(404, s3.head_object, Bucket=bucket, Key="k")


def test_tags(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    equal(s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"], [])
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b c", "Value": "ü"}]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
    equal(s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"], tags)
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    equal(s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"], [])

    def put(tags):
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})

    fails("InvalidTag", put, [{"Key": str(number), "Value": "x"} for number in range(11)])
    fails("InvalidTag", put, [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}])
    fails("InvalidTag", put, [{"Key": "k" * 129, "Value": "x"}])
    fails("InvalidTag", put, [{"Key": "k", "Value": "v" * 257}])
    fails("InvalidTag", s3.put_object, Bucket=bucket, Key="k", Body=b"", Tagging="a=1&a=2")


def test_attributes(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"123456789", ChecksumAlgorithm="CRC32")
    got = s3.get_object_attributes(
        Bucket=bucket,
        Key="k",
        ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"],
    )
    equal((got["ObjectSize"], got["StorageClass"]), (9, "STANDARD"))
    equal(got["ETag"].strip('"'), hashlib.md5(b"123456789").hexdigest())
    equal(got["Checksum"]["ChecksumCRC32"], "y/Q5Jg==")
    assert "ObjectParts" not in got, got


def test_part_number_of_a_plain_object(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=1)
    equal((got["ContentRange"], got["Body"].read()), ("bytes 0-9/10", b"0123456789"))
    fails(416, s3.get_object, Bucket=bucket, Key="k", PartNumber=2)
    fails("InvalidArgument", s3.get_object, Bucket=bucket, Key="k", PartNumber=0)
    fails("InvalidRequest", s3.get_object, Bucket=bucket, Key="k", PartNumber=1, Range="bytes=0-1")


def test_a_missing_length_is_refused(bucket):
    status, _, body = http("GET", f"/{bucket}/k")
    assert status == 403 and b"AccessDenied" in body, (status, body)


run(globals())
