"""Writers at once: of conditional writes exactly one wins; readers see whole objects."""

from concurrent.futures import ThreadPoolExecutor
import threading

from botocore.exceptions import ClientError
from harness import client, equal, run, s3

WRITERS = 16


def outcomes(attempt):
    """Lets all writers go at the same moment; counts their codes."""
    clients = [client() for _ in range(WRITERS)]
    gate = threading.Barrier(WRITERS)

    def one(number):
        gate.wait()
        try:
            attempt(clients[number], number)
            return "won", number
        except ClientError as err:
            return err.response["Error"]["Code"], number

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(one, range(WRITERS)))


def one_winner(results):
    winners = [number for code, number in results if code == "won"]
    losers = {code for code, _ in results if code != "won"}
    assert len(winners) == 1 and losers == {"PreconditionFailed"}, results
    return winners[0]


def test_creating(bucket):
    for round in range(5):
        key = f"k{round}"
        results = outcomes(
            lambda s3, n: s3.put_object(Bucket=bucket, Key=key, Body=b"%d" % n, IfNoneMatch="*")
        )
        got = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        equal(got, b"%d" % one_winner(results))


def test_replacing(bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"old")["ETag"]
    results = outcomes(
        lambda s3, n: s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % n, IfMatch=etag)
    )
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"%d" % one_winner(results))


def test_completing(bucket):
    uploads = []
    for number in range(WRITERS):
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        part = s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"%d" % number
        )
        uploads.append((upload, {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}))

    def complete(s3, number):
        upload, parts = uploads[number]
        s3.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts, IfNoneMatch="*"
        )

    winner = one_winner(outcomes(complete))
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"%d" % winner)


def test_readers_see_whole_objects(bucket):
    bodies = [bytes([65 + number]) * 300_000 for number in range(4)]
    s3.put_object(Bucket=bucket, Key="k", Body=bodies[0])
    done = threading.Event()

    def write():
        writer = client()
        for round in range(20):
            writer.put_object(Bucket=bucket, Key="k", Body=bodies[round % 4])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    reads = 0
    while not done.is_set():
        got = s3.get_object(Bucket=bucket, Key="k")["Body"].read()
        assert got in bodies, f"{len(got)} bytes of {set(got)}"
        reads += 1
    thread.join()
    assert reads


run(globals())
