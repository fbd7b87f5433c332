#!/usr/bin/env python3
"""What `make run` does after the build: a server in an empty folder, a sample film uploaded over S3
with a progress bar, its encoding watched, and at the end a URL that plays.

    tests/demo.py BACKLOT_BINARY [--exit]

With --exit the server is stopped once the film is ready (for tests); else it runs until Ctrl-C.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

START_SECS_MAX = 60
ENCODE_SECS_MAX = 1_800
HERE = pathlib.Path(__file__).parent


def main() -> int:
    binary = sys.argv[1]
    data = pathlib.Path(tempfile.mkdtemp(prefix="backlot-"))
    film = pathlib.Path(tempfile.gettempdir()) / "backlot-sample" / "film.mp4"
    credit = subprocess.run(
        [HERE / "sample.sh", film], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    ready_file = data / "ready.json"
    server = subprocess.Popen(
        [binary, "serve", "--data", data / "data", "--s3", "127.0.0.1:0", "--http", "127.0.0.1:0",
         "--functions", "127.0.0.1:0",
         "--ready-file", ready_file],
        # A demonstration should not take long; the default is smaller and slower.
        env={"BACKLOT_ENCODER_PRESET": "fast"} | os.environ,
    )
    try:
        ready = wait_for_server(server, ready_file)
        upload(data, ready, film)
        page = wait_for_content(ready)
        print(f"\n{film.name}: {credit}\nWatch it: {page}\nThe list: http://{ready['http']}/")
        print(f"Everything is in {data}", flush=True)
        if "--exit" in sys.argv:
            return 0
        print("Ctrl-C stops the server.", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=START_SECS_MAX)


def wait_for_server(server, ready_file):
    deadline = time.monotonic() + START_SECS_MAX
    while not ready_file.exists():
        if server.poll() is not None:
            raise SystemExit(f"the server ended with status {server.returncode}")
        if deadline < time.monotonic():
            raise SystemExit(f"the server was not ready within {START_SECS_MAX} s")
        time.sleep(0.05)
    return json.loads(ready_file.read_text())


def upload(data, ready, film):
    """An ordinary S3 client, told where the server is by its own configuration file."""
    config = data / "s3cfg"
    config.touch(mode=0o600)
    config.write_text(
        "[default]\n"
        f"access_key = {ready['access_key']}\nsecret_key = {ready['secret_key']}\n"
        f"host_base = {ready['s3']}\nhost_bucket = {ready['s3']}\nuse_https = False\n"
    )
    subprocess.run(
        ["s3cmd", "--config", config, "--progress", "put", film, "s3://uploads/film.mp4"],
        check=True,
    )


def wait_for_content(ready):
    deadline = time.monotonic() + ENCODE_SECS_MAX
    shown = None
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://{ready['http']}/api/v1/content", timeout=10) as answer:
            jobs = json.load(answer)["content"]
        for job in jobs:
            rungs = [rung for rung in job["progress"]["rungs"] if rung["unit"] == "frames"]
            done = sum(rung["stored"] for rung in rungs)
            total = sum(rung["total"] for rung in rungs)
            line = f"{job['state']}: {done} of {total} frames encoded and stored"
            if job["state"] == "ready":
                return f"http://{ready['http']}/watch/{job['id']}"
            if line != shown:
                print(line, flush=True)
                shown = line
            if job["state"] == "failed":
                raise SystemExit(f"encoding failed: {job['reason']}")
        time.sleep(0.5)
    raise SystemExit(f"the film was not ready within {ENCODE_SECS_MAX} s")


if __name__ == "__main__":
    sys.exit(main())
