"""server.py PORT NETWORK...: the pods of a network namespace. Every address of the networks is a pod that
answers with that address. The line "down ADDRESS" on standard input ends one, so that connections to it
are reset, and "up ADDRESS" starts it again."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading

RESET = struct.pack("ii", 1, 0)


def listen_to_orders(down):
    for line in sys.stdin:
        order, address = line.split()
        (down.add if order == "down" else down.discard)(address)
        print(line, end="", flush=True)
    os._exit(0)


def main(port, *networks):
    for network in networks:
        subprocess.run(["ip", "route", "add", "local", network, "dev", "lo"], check=True)
    down = set()
    listener = socket.create_server(("0.0.0.0", int(port)), backlog=128)
    threading.Thread(target=listen_to_orders, args=(down,), daemon=True).start()
    while True:
        connection = listener.accept()[0]
        with contextlib.suppress(OSError), connection:
            address = connection.getsockname()[0]
            if address in down:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                connection.sendall(address.encode())


main(*sys.argv[1:])
