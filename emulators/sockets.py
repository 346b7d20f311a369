"""Loopback ports: bound, free, or taken by whom. Light to import."""

from __future__ import annotations

import errno
import random
import socket
from itertools import islice

LOOPBACK = "127.0.0.1"
UNCLAIMED_PORTS = range(20_000, 32_000)


class PortInUseError(RuntimeError):
    """A port that the local cloud needs is taken; the message names the port and its user."""

    def __init__(self, port: int, service: str) -> None:
        super().__init__(
            f"port {port} ({service}) is in use on {LOOPBACK}: stop what listens there, "
            "or start this cloud elsewhere with --port-base"
        )
        self.port = port


def listening_socket(port: int, service: str) -> socket.socket:
    """A bound, listening loopback socket (port 0: any free one); raises ``PortInUseError``."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((LOOPBACK, port))
        sock.listen(512)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(port, service) from error
        raise
    return sock


def listening_sockets(ports: tuple[int, ...], service: str) -> list[socket.socket]:
    """All of them, or none; raises ``PortInUseError``."""
    socks: list[socket.socket] = []
    try:
        for port in ports:
            socks.append(listening_socket(port, service))
    except (OSError, PortInUseError):
        for sock in socks:
            sock.close()
        raise
    return socks


def free_ports(count: int) -> list[int]:
    """``count`` different ports that were free a moment ago.

    They lie below the range from which the system takes the ports of outgoing connections: one of
    those could be taken by any client before the cloud listens on it.
    """
    candidates = random.sample(UNCLAIMED_PORTS, len(UNCLAIMED_PORTS))
    found = list(islice(filter(_is_free, candidates), count))
    if len(found) < count:
        raise PortInUseError(UNCLAIMED_PORTS[0], f"{count} free ports")
    return found


def _is_free(port: int) -> bool:
    try:
        listening_socket(port, "probe").close()
    except PortInUseError:
        return False
    return True
