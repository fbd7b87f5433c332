"""Lists: paging over 1,500 keys, delimiters, encodings, markers, tokens; versions."""

from concurrent.futures import ThreadPoolExecutor

from harness import equal, fails, run, s3, signed


def fill(bucket, keys):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b""), keys))


def test_1500_keys_in_pages(bucket):
    keys = sorted(f"{letter}/{number:04}" for letter in "abc" for number in range(500))
    fill(bucket, keys)

    def paged(operation, **more):
        pages = list(s3.get_paginator(operation).paginate(Bucket=bucket, **more))
        contents = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        prefixes = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        return len(pages), contents, prefixes

    for operation in ("list_objects", "list_objects_v2"):
        equal(paged(operation), (2, keys, []))
        equal(paged(operation, Delimiter="/"), (1, [], ["a/", "b/", "c/"]))
        equal(paged(operation, Prefix="b/", Delimiter="/"), (1, keys[500:1000], []))
        few = {"PageSize": 2}
        equal(paged(operation, Delimiter="/", PaginationConfig=few), (2, [], ["a/", "b/", "c/"]))
        tens = paged(operation, Prefix="a/", Delimiter="0", PaginationConfig={"PageSize": 7})
        equal(tens[2], ["a/0"])
        equal(paged(operation, Prefix="a/", PaginationConfig={"PageSize": 99})[1], keys[:500])
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=5000)
    equal((page["KeyCount"], page["MaxKeys"], page["IsTruncated"]), (1000, 1000, True))


def test_markers(bucket):
    fill(bucket, ["a", "b", "b/1", "b/2", "c"])

    def keys(**more):
        page = s3.list_objects_v2(Bucket=bucket, **more)
        return [entry["Key"] for entry in page.get("Contents", [])]

    equal(keys(StartAfter="b"), ["b/1", "b/2", "c"])
    equal(keys(StartAfter="bb"), ["c"])
    equal(keys(StartAfter="c"), [])
    first = s3.list_objects_v2(Bucket=bucket, MaxKeys=2)
    equal(keys(ContinuationToken=first["NextContinuationToken"], StartAfter="zzz"), ["b/1", "b/2", "c"])
    fails("InvalidArgument", s3.list_objects_v2, Bucket=bucket, ContinuationToken="no token!")
    page = s3.list_objects(Bucket=bucket, Marker="b", MaxKeys=2)
    equal([entry["Key"] for entry in page["Contents"]], ["b/1", "b/2"])
    assert page["IsTruncated"] and "NextMarker" not in page, page
    page = s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=3)
    equal((page["NextMarker"], page["CommonPrefixes"]), ("b/", [{"Prefix": "b/"}]))
    page = s3.list_objects(Bucket=bucket, Delimiter="/", Marker=page["NextMarker"])
    equal([entry["Key"] for entry in page["Contents"]], ["c"])
    assert "CommonPrefixes" not in page, page
    empty = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    equal((empty["KeyCount"], empty["IsTruncated"]), (0, False))
    fails("InvalidArgument", s3.list_objects_v2, Bucket=bucket, MaxKeys=-1)


def test_owner_only_on_request(bucket):
    fill(bucket, ["a"])
    assert "Owner" not in s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]["Owner"]["ID"]
    assert s3.list_objects(Bucket=bucket)["Contents"][0]["Owner"]["ID"]


def test_encoding(bucket):
    fill(bucket, ["a b/ü+&", "plain"])
    status, _, body = signed("GET", f"/{bucket}?list-type=2&delimiter=%2F&encoding-type=url")
    equal(status, 200)
    assert b"<Prefix>a%20b/</Prefix>" in body and b"<EncodingType>url</EncodingType>" in body, body
    status, _, body = signed("GET", f"/{bucket}?list-type=2&prefix=a%20b&encoding-type=url")
    assert b"<Key>a%20b/%C3%BC%2B%26</Key>" in body, body
    status, _, body = signed("GET", f"/{bucket}?list-type=2")
    assert "<Key>a b/ü+&amp;</Key>".encode() in body, body
    status, _, body = signed("GET", f"/{bucket}?list-type=2&encoding-type=rot13")
    assert status == 400 and b"InvalidArgument" in body, (status, body)


def test_versions_without_versioning(bucket):
    fill(bucket, ["a", "b"])
    fill(bucket, ["a"])
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    page = s3.list_object_versions(Bucket=bucket)
    entries = [(entry["Key"], entry["VersionId"], entry["IsLatest"]) for entry in page["Versions"]]
    equal(entries, [("a", "null", True), ("b", "null", True)])
    assert "DeleteMarkers" not in page
    s3.get_object(Bucket=bucket, Key="a", VersionId="null")
    s3.delete_object(Bucket=bucket, Key="a", VersionId="null")
    fails("NoSuchKey", s3.get_object, Bucket=bucket, Key="a")


def test_versioning(bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    equal(s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled")
    ids = [s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % n)["VersionId"] for n in range(3)]
    assert len(set(ids)) == 3 and "null" not in ids, ids
    got = s3.get_object(Bucket=bucket, Key="k")
    equal((got["VersionId"], got["Body"].read()), (ids[2], b"2"))
    for number, version in enumerate(ids):
        got = s3.get_object(Bucket=bucket, Key="k", VersionId=version)
        equal(got["Body"].read(), b"%d" % number)
    equal(s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read(), b"before")
    s3.put_object_tagging(
        Bucket=bucket, Key="k", VersionId=ids[0], Tagging={"TagSet": [{"Key": "a", "Value": "1"}]}
    )
    equal(len(s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=ids[0])["TagSet"]), 1)
    equal(s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"], [])

    deleted = s3.delete_object(Bucket=bucket, Key="k")
    assert deleted["DeleteMarker"] and deleted["VersionId"] not in ids, deleted
    err = fails("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")
    headers = err["ResponseMetadata"]["HTTPHeaders"]
    equal((headers["x-amz-delete-marker"], headers["x-amz-version-id"]), ("true", deleted["VersionId"]))
    err = fails(405, s3.get_object, Bucket=bucket, Key="k", VersionId=deleted["VersionId"])
    equal(err["ResponseMetadata"]["HTTPHeaders"]["allow"], "DELETE")
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)

    page = s3.list_object_versions(Bucket=bucket)
    equal([entry["VersionId"] for entry in page["Versions"]], [ids[2], ids[1], ids[0], "null"])
    assert not any(entry["IsLatest"] for entry in page["Versions"])
    equal([entry["VersionId"] for entry in page["DeleteMarkers"]], [deleted["VersionId"]])
    assert page["DeleteMarkers"][0]["IsLatest"]
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 2}
    )
    walked = [
        entry["VersionId"]
        for page in pages
        for entry in page.get("Versions", []) + page.get("DeleteMarkers", [])
    ]
    equal(sorted(walked), sorted([*ids, "null", deleted["VersionId"]]))
    fails("InvalidArgument", s3.list_object_versions, Bucket=bucket, VersionIdMarker=ids[0])

    undone = s3.delete_object(Bucket=bucket, Key="k", VersionId=deleted["VersionId"])
    assert undone["DeleteMarker"], undone
    equal(s3.get_object(Bucket=bucket, Key="k")["VersionId"], ids[2])
    s3.delete_object(Bucket=bucket, Key="k", VersionId=ids[2])
    equal(s3.get_object(Bucket=bucket, Key="k")["VersionId"], ids[1])
    copied = s3.copy_object(
        Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "k", "VersionId": ids[0]}
    )
    equal(copied["CopySourceVersionId"], ids[0])
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"0")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})
    entry = answer["Deleted"][0]
    assert entry["DeleteMarker"] and entry["DeleteMarkerVersionId"], entry

    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    equal(s3.put_object(Bucket=bucket, Key="k", Body=b"after")["VersionId"], "null")
    equal(s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read(), b"after")
    equal(s3.get_object(Bucket=bucket, Key="k", VersionId=ids[0])["Body"].read(), b"0")
    fails("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)


def test_common_prefixes_of_versions(bucket):
    fill(bucket, ["a/1", "a/2", "b"])
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    equal([entry["Key"] for entry in page["Versions"]], ["b"])
    equal(page["CommonPrefixes"], [{"Prefix": "a/"}])


run(globals())
