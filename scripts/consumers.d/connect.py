"""connect.py ADDRESS PORT COUNT: connects so often; prints who answered, or why there was no connection,
once for each."""

import socket
import sys


def answer(address, port):
    try:
        with socket.create_connection((address, port), timeout=1) as connection:
            return connection.recv(100).decode() or "closed"
    except TimeoutError:
        return "no answer"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return error.strerror


def main(address, port, count):
    found = []
    for _ in range(int(count)):
        each = answer(address, int(port))
        if each not in found:
            found.append(each)
        if each == "no answer":
            break
    print("\n".join(found))


main(*sys.argv[1:])
