"""relay.py NETNS PORT: listens on 127.0.0.1:PORT inside a network namespace and
passes every connection on to the same port outside: how kube-proxy, put into a
namespace of its own, reaches an apiserver that listens on loopback."""

import contextlib
import ctypes
import os
import socket
import sys
import threading

CLONE_NEWNET = 0x40000000


def enter(descriptor):
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def main(netns, port):
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    enter(os.open("/run/netns/" + netns, os.O_RDONLY))
    listener = socket.create_server(("127.0.0.1", port))
    enter(outside)
    while True:
        inner = listener.accept()[0]
        try:
            outer = socket.create_connection(("127.0.0.1", port))
        except OSError:
            inner.close()
            continue
        for pair in ((inner, outer), (outer, inner)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


main(sys.argv[1], int(sys.argv[2]))
