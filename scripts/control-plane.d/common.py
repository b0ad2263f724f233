"""Small helpers of control-plane."""

import contextlib
import fcntl
import json
import os
import random
import shutil
import socket
import sys


class Fail(Exception):
    """An error to show without a traceback."""


def say(message):
    print("control-plane: " + message, file=sys.stderr, flush=True)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def write(path, text, mode=0o600):
    """Replaces a file in one step."""
    temporary = f"{path}.tmp{os.getpid()}"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def tail(path, offset=0, lines=15):
    """The last lines of a log, of what comes after offset."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "".join(f"    {line}\n" for line in text.splitlines()[-lines:])


@contextlib.contextmanager
def locked(directory, waiting):
    """Holds the lock of a directory: one command at a time."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def need(tool, package, why):
    if not shutil.which(tool):
        raise Fail(f"{tool} is missing ({why}); install it, on Debian: apt-get install {package}")


def exchange(connection, method, path, body=None):
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text.strip()


def free_ports(count):
    """Free ports below the ephemeral and the NodePort range, so that no client
    connection takes one while its server is down for a moment."""
    chosen = []
    while len(chosen) < count:
        port = random.randint(20000, 29999)
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                if port not in chosen:
                    chosen.append(port)
    return chosen
