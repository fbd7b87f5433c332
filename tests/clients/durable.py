"""Uploads until the server dies, noting each key only after its 200; then checks every note.

`write NOTES` uploads and notes; `check NOTES` reads back what was noted.
"""

import hashlib
import pathlib
import sys
import threading

from harness import client

BUCKET = "durable"
THREADS = 8
# Both sides of what the store keeps in its ledger, and a body of several pieces.
SIZES = [10, 1_000, 70_000, 700_000]


def body(key):
    size = SIZES[int(key.rsplit("-", 1)[1]) % len(SIZES)]
    return (hashlib.sha256(key.encode()).digest() * (size // 32 + 1))[:size]


def write(notes):
    client().create_bucket(Bucket=BUCKET)
    lock = threading.Lock()

    def upload(name):
        s3 = client()
        for number in range(1_000_000):
            key = f"{name}-{number}"
            try:
                s3.put_object(Bucket=BUCKET, Key=key, Body=body(key))
            except Exception:
                return
            with lock:
                notes.write(key + "\n")
                notes.flush()

    threads = [threading.Thread(target=upload, args=(name,)) for name in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check(keys):
    s3 = client()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    listed = {entry["Key"] for page in pages for entry in page.get("Contents", [])}
    missing = [key for key in keys if key not in listed]
    assert not missing, f"{len(missing)} of {len(keys)} acknowledged objects are lost: {missing[:5]}"
    # At most one upload of each thread was under way; it may have been committed or not.
    assert len(listed) - len(keys) <= THREADS, (len(listed), len(keys))
    for key in listed:
        got = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert got == body(key), f"{key}: {len(got)} bytes"
    print(f"{len(keys)} acknowledged, {len(listed)} there")


path = pathlib.Path(sys.argv[3])
if sys.argv[2] == "write":
    with path.open("w", encoding="utf-8") as notes:
        write(notes)
else:
    check(path.read_text(encoding="utf-8").split())
