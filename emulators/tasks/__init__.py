"""The Cloud Tasks of the local cloud; docs/emulators/tasks.md says what it does and does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.outbound import Outbound
from emulators.rpc import RpcServer
from emulators.tasks import wire
from emulators.tasks.dispatch import Dispatcher
from emulators.tasks.faults import DispatchFault, DuplicateDispatches, LostAnswers
from emulators.tasks.state import Queues

__all__ = ["DispatchFault", "DuplicateDispatches", "LostAnswers", "Server"]


class Server:
    """CloudTasks over gRPC on one loopback port; state under ``state_dir``.

    ``token_minter(audience, service_account_email)`` gives the bearer of authenticated tasks,
    ``rewrite(url)`` the address a URL has on this machine. ``least_dispatch_timeout_s`` is in
    machine seconds: on a fast clock a dispatch deadline would else leave real handlers no time.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        token_minter: Callable[[str, str], str] | None = None,
        rewrite: Callable[[str], str] | None = None,
        least_dispatch_timeout_s: float = 0.0,
    ) -> None:
        self._queues = Queues(state_dir / "tasks.sqlite", clock)
        self._outbound = Outbound("tasks", clock)
        self._dispatcher = Dispatcher(
            self._queues,
            self._outbound,
            token_minter=token_minter,
            rewrite=rewrite,
            least_timeout_s=least_dispatch_timeout_s,
        )
        services = wire.services(self._queues, self._dispatcher, bool(token_minter))
        self._rpc = RpcServer("tasks", port, services)

    @property
    def port(self) -> int:
        """The gRPC port."""
        return self._rpc.port

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT`` for an insecure channel."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Answer calls and dispatch what waits."""
        self._outbound.start()
        self._dispatcher.start()
        self._rpc.start()

    def stop(self) -> None:
        """End calls and dispatches; what has not succeeded is dispatched at the next start."""
        self._rpc.stop()
        self._outbound.stop()
        self._queues.close()

    def set_delivery_fault(self, fault: DispatchFault | None) -> None:
        """Send every dispatch through ``fault`` from now on; None for none."""
        self._dispatcher.fault = fault

    @property
    def in_flight(self) -> int:
        """Dispatches under way: 0 when every outcome is recorded."""
        return self._queues.in_flight()

    def clock_moved(self) -> None:
        """Tell the server that its clock jumped, so that it looks at what is due now."""
        self._dispatcher.ring_all()
