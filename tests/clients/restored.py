"""Objects of every kind, and whether another bucket has them exactly.

`restored.py READY write BUCKET` makes the bucket and fills it, `restored.py READY compare BUCKET
OTHER` compares. See tests/backup.rs."""

import base64
import hashlib
import sys

from harness import equal, s3

# Keys that no file system would take as they are, or that would leave it.
ODD = [
    "README",
    "both",
    "both/inside.txt",
    "v1.2/notes",
    "../../escape.txt",
    "./here",
    "folder/",
    "double//slash.txt",
    "star*?.txt",
    "end%20",
    "100%",
    "back\\slash",
    "new\nline",
    "Größe & Maß.txt",
    "x" * 600 + "/" + "y" * 300,
    "backlot~beside",
]


def write(bucket):
    s3.create_bucket(Bucket=bucket)
    for key in ODD:
        s3.put_object(Bucket=bucket, Key=key, Body=f"this is {key!r}".encode())
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    s3.put_object(
        Bucket=bucket,
        Key="described.json",
        Body=b'{"n": 1}',
        ContentType="application/json",
        CacheControl="max-age=60",
        ContentDisposition='attachment; filename="a.json"',
        ContentLanguage="de",
        ContentEncoding="identity",
        Metadata={"owner": "ann", "state": "final"},
        Tagging="team=blue&tier=1",
        ChecksumAlgorithm="SHA256",
    )
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts.bin", Metadata={"in": "parts"})
    name = {"Bucket": bucket, "Key": "parts.bin", "UploadId": upload["UploadId"]}
    parts = []
    for number in (1, 2, 3):
        body = hashlib.shake_256(str(number).encode()).digest(5 << 20)
        part = s3.upload_part(**name, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(**name, MultipartUpload={"Parts": parts})


def described(bucket):
    """All that can be asked about each object, by key, with a digest of its bytes."""
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for key in (one["Key"] for one in page.get("Contents", [])):
            got = s3.get_object(Bucket=bucket, Key=key)
            body = got.pop("Body").read()
            for what in ("ResponseMetadata", "LastModified", "ETag", "AcceptRanges"):
                got.pop(what, None)
            # A whole one, and one of parts, are of the same bytes.
            got = {name: value for name, value in got.items() if "Checksum" not in name}
            got["Body"] = base64.b64encode(hashlib.sha256(body).digest())
            tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
            got["Tags"] = sorted((tag["Key"], tag["Value"]) for tag in tags)
            found[key] = got
    return found


def compare(bucket, other):
    wanted, found = described(bucket), described(other)
    equal(sorted(found), sorted(wanted))
    for key, one in wanted.items():
        equal((key, found[key]), (key, one))
    print(f"{len(wanted)} objects are the same")


if sys.argv[2] == "write":
    write(sys.argv[3])
else:
    compare(sys.argv[3], sys.argv[4])
