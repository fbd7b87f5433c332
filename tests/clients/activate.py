"""Starts a server as a service manager does, with sockets that are open already (sd_listen_fds(3)).

Started as `python activate.py BINARY FOLDER NAME=KIND...`. A KIND is `tcp`, a listening socket to
which a request is sent before there is a server; or one that no server can use: `bound`, `udp`,
`unix`, `file`. Prints as JSON what the requests were answered, where the server says it listens, how
it ended and what it wrote.
"""

import fcntl
import json
import os
import pathlib
import signal
import socket
import sys

BINARY, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
FIRST = 3
# The longest a start may take on a loaded machine, in seconds.
PATIENCE = 120


def opened(kind):
    if kind == "udp":
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if kind == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(FOLDER / "unix"))
        listener.listen()
        return listener
    if kind == "file":
        return open(FOLDER / "file", "w", encoding="utf-8")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    if kind == "tcp":
        listener.listen()
    return listener


def start(sockets, names):
    """As the child sees it: the sockets from descriptor 3 on, and its own number as LISTEN_PID."""
    child = os.fork()
    if child:
        return child
    # Out of the way of where they are to be.
    high = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, FIRST + 100) for one in sockets]
    for at, one in enumerate(high, FIRST):
        os.dup2(one, at)
    log = os.open(FOLDER / "server.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(FIRST + len(sockets), 4096)
    nowhere = "192.0.2.1:1"
    environment = os.environ | {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(sockets)),
        "LISTEN_FDNAMES": ":".join(names),
    }
    # Whatever is handed over must not be opened as configured: nobody can listen there.
    environment |= {f"BACKLOT_{name.upper()}_ADDRESS": nowhere for name in names}
    arguments = ["serve", "--data", str(FOLDER / "data")]
    arguments += ["--ready-file", str(FOLDER / "ready.json")]
    os.execve(BINARY, [BINARY, *arguments], environment)


names, kinds = zip(*(argument.split("=") for argument in sys.argv[3:]))
sockets = [opened(kind) for kind in kinds]
clients = {}
for name, listener, kind in zip(names, sockets, kinds):
    if kind == "tcp":
        address = listener.getsockname()
        clients[name] = socket.create_connection(address, timeout=PATIENCE)
        clients[name].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
addresses = {name: "%s:%d" % listener.getsockname()
             for name, listener, kind in zip(names, sockets, kinds) if kind == "tcp"}

child = start(sockets, names)
for listener in sockets:
    listener.close()
answers = {}
usable = all(kind == "tcp" for kind in kinds) and set(names) <= {"s3", "http", "functions"}
if usable and len(set(names)) == len(names):
    for name, client in clients.items():
        answers[name] = client.makefile("rb").read().decode()
    os.kill(child, signal.SIGTERM)
_, status = os.waitpid(child, 0)
ready = FOLDER / "ready.json"
print(json.dumps({
    "addresses": addresses,
    "answers": answers,
    "ready": json.loads(ready.read_text()) if ready.is_file() else None,
    "ended": os.waitstatus_to_exitcode(status),
    "log": (FOLDER / "server.log").read_text(),
}))
