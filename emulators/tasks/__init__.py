"""The Cloud Tasks of the local cloud; docs/emulators/tasks.md says what it does and does not."""

from __future__ import annotations

from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.outbound import Rewrite, TokenMinter
from emulators.rpc import CallingService
from emulators.tasks import wire
from emulators.tasks.dispatch import Dispatcher
from emulators.tasks.state import Queues

__all__ = ["Server"]


class Server(CallingService):
    """CloudTasks over gRPC on one loopback port; state under ``state_dir``.

    ``token_minter``, ``rewrite``: see ``Outbound``. ``least_dispatch_timeout_s`` is in machine
    seconds: on a fast clock a dispatch deadline would else leave real handlers no time.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        token_minter: TokenMinter | None = None,
        rewrite: Rewrite | None = None,
        least_dispatch_timeout_s: float = 0.0,
        faults: Faults | None = None,
    ) -> None:
        least = least_dispatch_timeout_s
        super().__init__("tasks", clock, port, token_minter, rewrite, least, faults)
        self._queues = Queues(state_dir / "tasks.sqlite", clock)
        self._dispatcher = Dispatcher(self._queues, self._outbound, self._deliveries)
        services = wire.services(self._queues, self._dispatcher, bool(token_minter))
        self._own(self._queues, self._dispatcher, services)

    @property
    def under_way(self) -> int:
        """0 when every task that may run by now has been dispatched, and its outcome recorded."""
        return self._queues.under_way()

    @property
    def next_due(self) -> float:
        """When the next task may be dispatched; infinity for not by time."""
        return self._queues.next_due()

    @property
    def in_flight(self) -> int:
        """Dispatches under way: 0 when every outcome is recorded."""
        return self._queues.in_flight()
