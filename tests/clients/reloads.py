"""Asks for as long as certificates are swapped, each time on a new connection.

Started as `python reloads.py READY.json SWAP SECONDS AUTHORITY...`; SWAP is a command that swaps the
certificate, and is run again and again. Prints counts as JSON.
"""

import hashlib
import http.client
import json
import ssl
import subprocess
import sys
import threading
import time

with open(sys.argv[1], encoding="utf-8") as file:
    HOST, PORT = json.load(file)["http"].rsplit(":", 1)
SWAP, SECONDS, AUTHORITIES = sys.argv[2], float(sys.argv[3]), sys.argv[4:]
THREADS = 4

context = ssl.create_default_context()
for authority in AUTHORITIES:
    context.load_verify_locations(authority)

stop = threading.Event()
lock = threading.Lock()
counts = {"asked": 0, "swaps": 0, "failed": [], "certificates": []}


def ask():
    # One that stays: it was made with the first certificate and is used to the end.
    kept = http.client.HTTPSConnection(HOST, int(PORT), timeout=30, context=context)
    while not stop.is_set():
        for connection in (
            kept,
            http.client.HTTPSConnection(HOST, int(PORT), timeout=30, context=context),
        ):
            try:
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                body = answer.read()
                shown = connection.sock.getpeercert(binary_form=True)
                failure = None if (answer.status, body) == (200, b"ok\n") else answer.status
            except Exception as err:
                shown, failure = b"", repr(err)
            with lock:
                counts["asked"] += 1
                digest = hashlib.sha256(shown).hexdigest()
                if failure is not None:
                    counts["failed"].append(failure)
                elif digest not in counts["certificates"]:
                    counts["certificates"].append(digest)
        connection.close()
    kept.close()


threads = [threading.Thread(target=ask) for _ in range(THREADS)]
for thread in threads:
    thread.start()
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    subprocess.run([SWAP], check=True)
    counts["swaps"] += 1
    time.sleep(0.05)
stop.set()
for thread in threads:
    thread.join()
counts["failed"] = counts["failed"][:10]
print(json.dumps(counts))
