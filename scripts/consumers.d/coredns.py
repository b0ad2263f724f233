"""CoreDNS, asked by DNS on loopback."""

import contextlib
import random
import socket
import struct

import parts
from common import free_ports, locked, write
from consumer import LEADER, Consumer, consumer
from world import NAMESPACE, leader_of

A, IN = 1, 1
NXDOMAIN = "NXDOMAIN"
CODES = {2: "SERVFAIL", 3: NXDOMAIN, 5: "REFUSED"}


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def after_name(answer, at):
    """Where the name at a place of a message ends."""
    while answer[at]:
        if answer[at] >= 0xC0:
            return at + 2
        at += 1 + answer[at]
    return at + 1


def resolve(server, name):
    """The addresses of a name, or the word for why there are none."""
    number = random.getrandbits(16)
    query = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + encoded(name) + struct.pack(">2H", A, IN)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(2)
        udp.connect(server)
        udp.send(query)
        answer = udp.recv(4096)
    found, flags, _, count, _, _ = struct.unpack_from(">6H", answer)
    if found != number:
        return "another question's answer"
    if flags & 0xF:
        return CODES.get(flags & 0xF, f"code {flags & 0xF}")
    addresses, at = [], after_name(answer, 12) + 4
    for _ in range(count):
        at = after_name(answer, at)
        kind, _, _, length = struct.unpack_from(">2HIH", answer, at)
        if kind == A:
            addresses.append(socket.inet_ntoa(answer[at + 10 : at + 10 + length]))
        at += 10 + length
    return addresses


@consumer
class CoreDNS(Consumer):
    name = "CoreDNS"
    note = "A records by DNS"
    build = "1 min"
    ci = True
    expected = {
        "ClusterIP": [["cluster IP"]] * 5 + [NXDOMAIN],
        "Headless": [LEADER] * 4 + [NXDOMAIN] * 2,
    }

    def version(self):
        return parts.version("coredns")

    def start(self, world):
        with locked(parts.cache(), "waiting for another build to end"):
            if not parts.is_current("coredns"):
                parts.build("coredns")
        port, health = free_ports(2)
        self.server = ("127.0.0.1", port)
        corefile = f"""
            .:{port} {{
                bind 127.0.0.1
                errors
                ready 127.0.0.1:{health}
                kubernetes cluster.local {{
                    kubeconfig {world.kubeconfig}
                    ttl 5
                }}
            }}
        """
        write(world.path("Corefile"), corefile)
        world.spawn("coredns", [parts.place("coredns"), "-conf", world.path("Corefile")])
        world.until("CoreDNS answers", self.knows_a_service)

    def knows_a_service(self):
        with contextlib.suppress(OSError):
            return isinstance(resolve(self.server, "kubernetes.default.svc.cluster.local"), list)
        return False

    def ask(self, world, source):
        try:
            answer = resolve(self.server, f"{leader_of(source)}.{NAMESPACE}.svc.cluster.local")
        except OSError as error:
            return str(error)
        return [world.name(address) for address in answer] if isinstance(answer, list) else answer
