"""State and rules of the host: slots, restarts, identities. No transport here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emulators.host import errors
from emulators.host.processes import Child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emulators.topology.graph import FunctionSpec

ALL_USERS = "allUsers"
PENDING_S = 10.0  # how long Cloud Run keeps a request that no instance can take
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 10.0
MAX_BODY_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ProcessInfo:
    """A running process of the host, for people and tests."""

    function: str
    pid: int
    started_at: float
    in_flight: int
    memory_bytes: int


class Gate:
    """At most ``concurrency`` requests inside; the others wait, not for ever.

    The cloud would start up to ``max_instances`` processes; here there is one. So a request that
    the cloud would have taken at once may wait for ``patience_s`` (the function's own time-out),
    and one beyond the cloud's capacity waits ``PENDING_S`` and is then refused, as there.
    """

    def __init__(
        self, function: str, concurrency: int, max_instances: int, patience_s: float
    ) -> None:
        self._function = function
        self._capacity = concurrency * max_instances
        self._patience_s = patience_s
        self._slots = asyncio.Semaphore(concurrency)
        self.present = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot; raises the 429 refusal when none came free in time."""
        over = self.present >= self._capacity
        self.present += 1
        try:
            await self._acquire(PENDING_S if over else self._patience_s)
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self.present -= 1

    async def _acquire(self, patience_s: float) -> None:
        try:
            async with asyncio.timeout(patience_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise errors.no_instance(self._function) from error


class Backoff:
    """How long to wait before starting again what keeps dying (machine seconds)."""

    def __init__(self) -> None:
        self.failures = 0

    def failed(self) -> None:
        """A process died that nobody had asked to stop."""
        self.failures += 1

    def worked(self) -> None:
        """A process answered."""
        self.failures = 0

    @property
    def wait_s(self) -> float:
        """0 after a success, then 0.1 s doubling up to 10 s."""
        if not self.failures:
            return 0.0
        return min(FIRST_BACKOFF_S * 2 ** min(self.failures - 1, 10), MAX_BACKOFF_S)


class Instance:
    """One process of a function and the requests inside it."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port
        self.in_flight = 0
        self.retired = False  # asked to go; its end is no failure
        self.unreachable = False  # it refused or lost a connection, whatever its process does
        self.answered = False

    @property
    def usable(self) -> bool:
        """Whether new requests may go to it."""
        return self.child.alive and self.wanted

    @property
    def wanted(self) -> bool:
        """Whether it shall go on running."""
        return not (self.retired or self.unreachable)


def is_open(spec: FunctionSpec, exempt: Iterable[str]) -> bool:
    """Whether anyone may call: ``allUsers`` is an invoker, or the local profile exempts it."""
    return ALL_USERS in spec.invokers or spec.name in frozenset(exempt)


def may_invoke(spec: FunctionSpec, email: str) -> bool:
    """Whether the graph's IAM gives ``email`` the invoker role on this function."""
    members = {f"serviceAccount:{email}", f"user:{email}", "allAuthenticatedUsers"}
    return not members.isdisjoint(spec.invokers)
