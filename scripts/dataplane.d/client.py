"""client.py SOURCE INTERVAL: opens a new connection from the address SOURCE every INTERVAL seconds, one after
the other, to the address that the last line of standard input named ("ADDRESS PORT"). Prints one line for
each: when it began, by the monotonic clock, and the address that answered, or "-" and why none did."""

import itertools
import os
import socket
import struct
import sys
import threading
import time

PATIENCE = 1
# A close resets the connection: no port waits in TIME_WAIT, and no conntrack entry for two minutes.
RESET = struct.pack("ii", 1, 0)
# Each port in its turn: one that is used again within seconds can still belong to an earlier pod, by conntrack.
PORTS = itertools.cycle(range(10_000, 60_000))


def answer(source, target):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind((source, next(PORTS)))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.connect(target)
            return connection.recv(100).decode() or "-closed"
    except OSError as error:
        return "-" + type(error).__name__


def main(source, interval):
    target = []

    def listen():
        for line in sys.stdin:
            address, port = line.split()
            target[:] = [(address, int(port))]
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        begun = time.monotonic()
        if target:
            print(f"{begun:.6f} {answer(source, target[0])}", flush=True)
        time.sleep(max(0, begun + float(interval) - time.monotonic()))


main(*sys.argv[1:])
