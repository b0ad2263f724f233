"""pods.py NETNS PORT NAME=ADDRESS...: the pods in a network namespace, each at an address of its own
on the loopback interface: every connection gets the pod's name."""

import ctypes
import os
import socket
import subprocess
import sys
import threading

CLONE_NEWNET = 0x40000000


def serve(listener, name):
    while True:
        connection = listener.accept()[0]
        with connection:
            connection.sendall(name.encode())


def main(netns, port, *pods):
    descriptor = os.open("/run/netns/" + netns, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    for pod in pods:
        name, _, address = pod.partition("=")
        subprocess.run(["ip", "address", "add", address + "/32", "dev", "lo"], check=True)
        listener = socket.create_server((address, int(port)))
        threading.Thread(target=serve, args=(listener, name), daemon=True).start()
    threading.Event().wait()


main(*sys.argv[1:])
