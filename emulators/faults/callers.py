"""Who calls: the child process at the other end of a connection, found by its port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import psutil

from emulators.faults.engine import EXTERNAL

KEPT_S = 5.0  # machine seconds: a port may belong to another process after that

Children = Callable[[], Iterable[tuple[str, int]]]


class Callers:
    """Names of callers by their local ports; asked for only when a rule names callers.

    ``children()`` gives name and process id of each child. The answer is kept for a while, since a
    connection carries many calls and looking through processes costs milliseconds.
    """

    def __init__(self, children: Children) -> None:
        self._children = children
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[float, str]] = {}

    def at(self, port: int) -> str:
        """The child that calls from ``port``, ``external`` when none of them does."""
        now = time.monotonic()
        with self._lock:
            kept = self._kept.get(port)
            if kept is not None and now - kept[0] < KEPT_S:
                return kept[1]
            self._kept = {p: k for p, k in self._kept.items() if now - k[0] < KEPT_S}
            found = next((name for name, p in self._ports() if p == port), EXTERNAL)
            self._kept[port] = (now, found)
            return found

    def _ports(self) -> Iterator[tuple[str, int]]:
        for name, pid in self._children():
            for process in _family(pid):
                yield from ((name, port) for port in _local_ports(process))


def _family(pid: int) -> list[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return []


def _local_ports(process: psutil.Process) -> list[int]:
    try:
        return [c.laddr.port for c in process.net_connections(kind="tcp") if c.laddr]
    except psutil.Error:
        return []
