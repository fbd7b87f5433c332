"""What becomes of objects in buckets that are validated: `docs` denies reads, `inbox` moves to
quarantine, `lenient` only tags, `kept` keeps versions and moves. See tests/validator.rs."""

import gzip
import io
import json
import struct
import time
import urllib.request
import zipfile
import zlib

from botocore.exceptions import ClientError

from harness import READY, equal, fails, http, run, s3

GOOD = b'{"n": 1}'
BROKEN = b'{"n": '
JSON = "application/json"
PATIENCE = 60
RESERVED = "backlot:"


def own(tags):
    return {name: value for name, value in tags.items() if not name.startswith(RESERVED)}


def tags_of(bucket, key, **more):
    answer = s3.get_object_tagging(Bucket=bucket, Key=key, **more)
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def wait_for(what, look):
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        found = look()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE} s")


def verdict(bucket, key, **more):
    """Its verdict's name, once there is one."""
    return wait_for(
        f"a verdict about {key}",
        lambda: tags_of(bucket, key, **more).get("backlot:verdict"),
    )


def record(bucket, key):
    """The record about what is (or was) under a key, once there is one."""

    def look():
        try:
            body = s3.get_object(Bucket="validator", Key=f"verdicts/{bucket}/{key}")["Body"]
        except ClientError as err:
            equal(err.response["Error"]["Code"], "NoSuchKey")
            return None
        return json.load(body)

    return wait_for(f"a record about {key}", look)


def moved(bucket, key):
    """The entry of what was moved from there into quarantine, once it is."""

    def look():
        try:
            s3.head_object(Bucket=bucket, Key=key)
            return None
        except ClientError:
            found = [one for one in quarantine() if (one["bucket"], one["key"]) == (bucket, key)]
            return found[-1] if found else None

    return wait_for(f"{key} in quarantine", look)


def api(method, path, body=None):
    request = urllib.request.Request(
        f"http://{READY['http']}/api/v1/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {READY['admin_token']}"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as err:
        return err.code, json.load(err)


def quarantine():
    status, answer = api("GET", "quarantine?limit=1000")
    equal(status, 200)
    return answer["quarantine"]


def test_a_good_one_is_tagged_and_served(_):
    s3.put_object(Bucket="docs", Key="good.json", Body=GOOD, ContentType=JSON, Tagging="mine=1")
    equal(verdict("docs", "good.json"), "valid")
    equal(s3.get_object(Bucket="docs", Key="good.json")["Body"].read(), GOOD)
    equal(own(tags_of("docs", "good.json")), {"mine": "1"})
    kept = record("docs", "good.json")
    equal((kept["verdict"], kept["format"], kept["became"]), ("valid", "JSON", "kept"))


def test_a_broken_one_is_not_read_in_any_way(bucket):
    s3.put_object(Bucket="docs", Key="broken.json", Body=BROKEN, ContentType=JSON)
    equal(verdict("docs", "broken.json"), "invalid")
    found = record("docs", "broken.json")
    equal((found["where"], found["what"]), (6, "the value is not finished"))
    place = {"Bucket": "docs", "Key": "broken.json"}
    answer = fails("AccessDenied", s3.get_object, **place)
    assert "backlot quarantine release" in answer["Error"]["Message"], answer
    fails("AccessDenied", s3.get_object, **place, Range="bytes=0-1")
    fails(403, s3.head_object, **place)
    fails("AccessDenied", s3.get_object_attributes, **place, ObjectAttributes=["ETag"])
    fails("AccessDenied", s3.copy_object, Bucket=bucket, Key="copy", CopySource=place)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = {"Bucket": bucket, "Key": "parts", "UploadId": upload, "PartNumber": 1}
    fails("AccessDenied", s3.upload_part_copy, **part, CopySource=place)
    status, _, body = http("GET", s3.generate_presigned_url("get_object", Params=place))
    assert status == 403 and b"in quarantine" in body, (status, body)
    # It can be seen, and deleted.
    assert "broken.json" in [one["Key"] for one in s3.list_objects_v2(Bucket="docs")["Contents"]]
    equal(tags_of("docs", "broken.json")["backlot:verdict"], "invalid")


def test_clients_cannot_change_what_the_server_says(bucket):
    place = {"Bucket": "docs", "Key": "sly.json"}
    fails("InvalidTag", s3.put_object, **place, Body=GOOD, Tagging="backlot:verdict=valid")
    s3.put_object(**place, Body=BROKEN, ContentType=JSON)
    equal(verdict("docs", "sly.json"), "invalid")
    before = tags_of("docs", "sly.json")

    def put(tags):
        tags = [{"Key": name, "Value": value} for name, value in tags.items()]
        return s3.put_object_tagging(**place, Tagging={"TagSet": tags})

    put({"mine": "1"})
    equal(tags_of("docs", "sly.json"), before | {"mine": "1"})
    # Read, change, write back: what everybody does.
    put(before | {"mine": "2"})
    equal(tags_of("docs", "sly.json"), before | {"mine": "2"})
    try:
        put({"backlot:released": "me"})
        raise AssertionError("a client released an object")
    except ClientError as err:
        equal(err.response["Error"]["Code"], "InvalidTag")
    s3.delete_object_tagging(**place)
    equal(tags_of("docs", "sly.json"), before)
    # What was said of one object is not said of a copy.
    s3.put_object(Bucket="docs", Key="fine.json", Body=GOOD, Tagging="mine=3")
    equal(verdict("docs", "fine.json"), "valid")
    s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": "docs", "Key": "fine.json"})
    equal(tags_of(bucket, "c"), {"mine": "3"})


def test_a_new_upload_is_judged_anew(_):
    place = {"Bucket": "docs", "Key": "again.json"}
    for body, wanted in [(BROKEN, "invalid"), (GOOD, "valid"), (BROKEN, "invalid")]:
        s3.put_object(**place, Body=body, ContentType=JSON)
        equal(verdict("docs", "again.json"), wanted)
    s3.put_object(**place, Body=GOOD, ContentType=JSON)
    equal(s3.get_object(**place)["Body"].read(), GOOD)


def test_a_release_puts_back_exactly(_):
    place = {"Bucket": "inbox", "Key": "folder/ä b.json"}
    upload = s3.create_multipart_upload(
        **place,
        ContentType=JSON,
        CacheControl="max-age=5",
        ContentDisposition="attachment",
        Metadata={"who": "me"},
        Tagging="mine=1&other=2",
    )["UploadId"]
    body = BROKEN + b" " * (5 << 20)
    parts = []
    for number, piece in enumerate([body[: 5 << 20], body[5 << 20 :]], 1):
        part = s3.upload_part(**place, UploadId=upload, PartNumber=number, Body=piece)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    made = s3.complete_multipart_upload(
        **place, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    entry = moved(**{"bucket": "inbox", "key": place["Key"]})
    equal((entry["became"], entry["verdict"]), ("moved", "invalid"))
    fails("NoSuchKey", s3.get_object, **place)
    status, shown = api("GET", f"quarantine/{entry['id']}")
    equal((status, shown["key"]), (200, place["Key"]))

    equal(api("POST", f"quarantine/{entry['id']}/release")[0], 200)
    answer = s3.get_object(**place)
    equal(answer["Body"].read(), body)
    equal(answer["ETag"], made["ETag"])
    equal(answer["ContentType"], JSON)
    equal(answer["CacheControl"], "max-age=5")
    equal(answer["ContentDisposition"], "attachment")
    equal(answer["Metadata"], {"who": "me"})
    equal(s3.get_object(**place, PartNumber=2)["Body"].read(), b" " * len(BROKEN))
    equal(verdict("inbox", place["Key"]), "skipped")
    equal(own(tags_of("inbox", place["Key"])), {"mine": "1", "other": "2"})
    equal(api("GET", f"quarantine/{entry['id']}")[0], 404)
    equal(api("POST", f"quarantine/{entry['id']}/release")[0], 404)
    # Whoever uploads it again is not released.
    s3.put_object(**place, Body=BROKEN, ContentType=JSON)
    moved("inbox", place["Key"])


def test_a_release_does_not_overwrite(_):
    place = {"Bucket": "inbox", "Key": "taken.json"}
    s3.put_object(**place, Body=BROKEN, ContentType=JSON)
    entry = moved("inbox", "taken.json")
    s3.put_object(**place, Body=GOOD, ContentType=JSON)
    status, answer = api("POST", f"quarantine/{entry['id']}/release")
    assert status == 409 and "--replace" in answer["error"]["message"], answer
    equal(s3.get_object(**place)["Body"].read(), GOOD)
    equal(api("POST", f"quarantine/{entry['id']}/release", {"replace": True})[0], 200)
    equal(s3.get_object(**place)["Body"].read(), BROKEN)


def test_a_denied_one_is_released_or_dropped(_):
    place = {"Bucket": "docs", "Key": "held.json"}
    s3.put_object(**place, Body=BROKEN, ContentType=JSON, Tagging="mine=1")
    equal(verdict("docs", "held.json"), "invalid")
    (entry,) = [one for one in quarantine() if one["key"] == "held.json"]
    equal((entry["became"], entry["there"]), ("denied", True))
    equal(api("POST", f"quarantine/{entry['id']}/release")[0], 200)
    equal(s3.get_object(**place)["Body"].read(), BROKEN)
    equal(verdict("docs", "held.json"), "skipped")
    equal(own(tags_of("docs", "held.json")), {"mine": "1"})

    s3.put_object(**place, Body=BROKEN, ContentType=JSON)
    equal(verdict("docs", "held.json"), "invalid")
    (entry,) = [one for one in quarantine() if one["key"] == "held.json"]
    equal(api("DELETE", f"quarantine/{entry['id']}")[0], 200)
    fails("NoSuchKey", s3.get_object, **place)

    # What replaced it is not dropped with it, and not released for it.
    s3.put_object(**place, Body=BROKEN, ContentType=JSON)
    equal(verdict("docs", "held.json"), "invalid")
    s3.put_object(**place, Body=GOOD, ContentType=JSON)
    (entry,) = [one for one in quarantine() if one["key"] == "held.json"]
    equal(entry["there"], False)
    status, answer = api("POST", f"quarantine/{entry['id']}/release")
    assert status == 409 and "drop" in answer["error"]["message"], answer
    equal(api("DELETE", f"quarantine/{entry['id']}")[0], 200)
    equal(s3.get_object(**place)["Body"].read(), GOOD)


def test_versions_are_judged_one_by_one(_):
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    place = {"Bucket": "kept", "Key": "page.json"}
    first = s3.put_object(**place, Body=GOOD, ContentType=JSON)["VersionId"]
    equal(verdict("kept", "page.json", VersionId=first), "valid")
    second = s3.put_object(**place, Body=BROKEN, ContentType=JSON)["VersionId"]
    entry = wait_for(
        "the second version in quarantine",
        lambda: next((one for one in quarantine() if one["version"] == second), None),
    )
    wait_for(
        "the first version to be current again",
        lambda: True if s3.head_object(**place)["VersionId"] == first else None,
    )
    fails("NoSuchVersion", s3.get_object, **place, VersionId=second)
    equal(s3.get_object(**place)["Body"].read(), GOOD)
    equal(api("POST", f"quarantine/{entry['id']}/release", {"replace": True})[0], 200)
    equal(s3.get_object(**place)["Body"].read(), BROKEN)
    equal(s3.get_object(**place, VersionId=first)["Body"].read(), GOOD)


def test_policies_decide(_):
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0\0"))
        + chunk(b"IEND", b"")
    )
    for key, body, content_type, wanted in [
        ("a.png", png, "image/png", "valid"),
        ("no-extension", png, "binary/octet-stream", "valid"),
        ("a.jpg", png, "image/jpeg", "invalid"),
        ("a.gif", png, "image/png", "invalid"),
        ("cut.png", png[:-1], "image/png", "invalid"),
        ("flipped.png", png[:50] + bytes([png[50] ^ 1]) + png[51:], "image/png", "invalid"),
        ("poly.png", png + b"<script>alert(1)</script>", "image/png", "invalid"),
        ("html.png", b"<html><body></body></html>", "image/png", "invalid"),
        ("what", bytes(range(128, 256)) + b"\0", "", "unsupported"),
        ("empty", b"", "", "skipped"),
        ("folder/", b"", "application/x-directory", "skipped"),
    ]:
        s3.put_object(Bucket="lenient", Key=key, Body=body, ContentType=content_type)
        found = verdict("lenient", key)
        assert found == wanted, f"{key}: {found} instead of {wanted}: {record('lenient', key)}"
        # This bucket only says so.
        equal(s3.get_object(Bucket="lenient", Key=key)["Body"].read(), body)
    for key, body, wanted in [("a.png", png, "valid"), ("a.json", GOOD, "invalid")]:
        s3.put_object(Bucket="pictures", Key=key, Body=body)
        equal(verdict("pictures", key), wanted)
    what = record("pictures", "a.json")["what"]
    equal(what, "it is JSON, and the bucket takes only image/*")
    s3.put_object(Bucket="pictures", Key="large.png", Body=png + b"\0" * 2000)
    equal(verdict("pictures", "large.png"), "invalid")
    s3.put_object(Bucket="pictures", Key="odd", Body=bytes(range(128, 256)) + b"\0")
    equal(verdict("pictures", "odd"), "invalid")


def chunk(kind, data):
    sum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum)


def test_bombs_and_lies_about_sizes(_):
    zeros = b"\0" * (64 << 20)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", zeros)
    lie = b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + b"\xff\xff\xff\xf0mdat" + b"\0" * 100
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.zip", bomb.getvalue())
    # An archive in an archive is bytes: nothing here opens it.
    for key, body, wanted in [
        ("bomb.zip", bomb.getvalue(), "invalid"),
        ("bomb.gz", gzip.compress(zeros), "invalid"),
        ("lie.mp4", lie, "invalid"),
        ("nested.zip", nested.getvalue(), "valid"),
    ]:
        s3.put_object(Bucket="lenient", Key=key, Body=body)
        found = verdict("lenient", key)
        assert found == wanted, f"{key}: {found} instead of {wanted}: {record('lenient', key)}"
        if wanted == "invalid":
            print(f"        {key}: {record('lenient', key)['what']}")


run(globals())
