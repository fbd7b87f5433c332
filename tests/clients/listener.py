"""The listener against peers that are slow, large, many or rude. Raw sockets."""

import socket
import threading
import time

from harness import PROGRAM, READY, ENDPOINT, Credentials, S3SigV4Auth, AWSRequest, equal, run, s3

HOST, PORT = READY["s3"].rsplit(":", 1)


def connect():
    stream = socket.create_connection((HOST, int(PORT)), timeout=40)
    return stream


def read_all(stream):
    answer = b""
    try:
        while chunk := stream.recv(65536):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def head(method, path, length, **headers):
    """A signed head for a body that is sent by hand."""
    request = AWSRequest(method=method, url=ENDPOINT + path, headers=headers)
    auth = S3SigV4Auth(Credentials(READY["access_key"], READY["secret_key"]), "s3", "us-east-1")
    auth.payload = lambda _: "UNSIGNED-PAYLOAD"
    auth.add_auth(request)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {READY['s3']}", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def test_slow_head_is_cut_off(bucket):
    streams = [connect() for _ in range(20)]
    begun = time.monotonic()
    for stream in streams:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    ended = threading.Event()

    def trickle():
        while not ended.wait(1):
            for stream in streams:
                try:
                    stream.sendall(b"X-A: b\r\n")
                except OSError:
                    pass

    threading.Thread(target=trickle, daemon=True).start()
    s3.head_bucket(Bucket=bucket)
    for stream in streams:
        read_all(stream)
    ended.set()
    assert time.monotonic() - begun < 30, time.monotonic() - begun


def test_large_heads_are_refused(bucket):
    for extra in ("X-Large: " + "x" * 60_000, "\r\n".join(f"X-{n}: 1" for n in range(200))):
        stream = connect()
        stream.sendall(f"GET / HTTP/1.1\r\nHost: x\r\n{extra}\r\n\r\n".encode())
        status = stream.recv(64)
        assert b" 431 " in status, status
    s3.head_bucket(Bucket=bucket)


def test_slow_body_is_cut_off(bucket):
    stream = connect()
    stream.sendall(head("PUT", f"/{bucket}/k", 1_000_000) + b"x")
    begun = time.monotonic()
    answer = read_all(stream)
    assert 15 < time.monotonic() - begun < 38, time.monotonic() - begun
    assert b" 400 " in answer and b"<Code>RequestTimeout</Code>" in answer, answer
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_an_upload_that_breaks_off_leaves_nothing(bucket):
    stream = connect()
    stream.sendall(head("PUT", f"/{bucket}/k", 1_000_000) + b"x" * 500_000)
    stream.close()
    time.sleep(0.2)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_body_over_the_limit_is_refused_at_once(bucket):
    stream = connect()
    stream.sendall(head("PUT", f"/{bucket}/k", 6 << 30, Expect="100-continue"))
    answer = stream.recv(4096)
    assert b" 400 " in answer and b"EntityTooLarge" in answer, answer


def test_documents_are_bounded(bucket):
    stream = connect()
    stream.sendall(head("POST", f"/{bucket}?delete=", 3 << 20))
    try:
        stream.sendall(b" " * (3 << 20))
    except OSError:
        pass
    answer = stream.recv(4096)
    assert b" 400 " in answer and b"MaxMessageLengthExceeded" in answer, answer


def test_a_refused_upload_gets_to_read_why(bucket):
    stream = connect()
    stream.sendall(head("PUT", f"/{PROGRAM}-absent/k", 2 << 20))
    stream.sendall(b"x" * (2 << 20))
    answer = stream.recv(4096)
    assert b" 404 " in answer and b"NoSuchBucket" in answer, answer


def test_uninvited_bodies_are_not_read(bucket):
    stream = connect()
    stream.sendall(head("PUT", f"/{PROGRAM}-absent/k", 1000, Expect="100-continue"))
    answer = read_all(stream)
    assert answer.startswith(b"HTTP/1.1 404 ") and b"connection: close" in answer, answer


def test_connections_are_kept(bucket):
    stream = connect()
    for number in range(3):
        stream.sendall(head("PUT", f"/{bucket}/k{number}", 1) + b"x")
        answer = stream.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"x-amz-request-id" in answer, answer
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 3)


run(globals())
