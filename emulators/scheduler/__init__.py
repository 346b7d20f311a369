"""The Cloud Scheduler of the local cloud; docs/emulators/scheduler.md says what it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.outbound import Outbound
from emulators.rpc import RpcServer
from emulators.scheduler import wire
from emulators.scheduler.execute import Executor
from emulators.scheduler.state import Jobs

__all__ = ["Server"]


class Server:
    """CloudScheduler over gRPC on one loopback port; state under ``state_dir``.

    ``publish(topic, data, attributes)`` delivers Pub/Sub targets (``pubsub.Server.publish``),
    ``token_minter(audience, service_account_email)`` gives the bearer of HTTP targets,
    ``rewrite(url)`` the address a URL has on this machine. ``least_attempt_timeout_s`` is in
    machine seconds: on a fast clock an attempt deadline would else leave handlers no time.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        publish: Callable[[str, bytes, Mapping[str, str]], str] | None = None,
        token_minter: Callable[[str, str], str] | None = None,
        rewrite: Callable[[str], str] | None = None,
        least_attempt_timeout_s: float = 0.0,
    ) -> None:
        self._jobs = Jobs(state_dir / "scheduler.sqlite", clock)
        self._outbound = Outbound("scheduler", clock)
        self._executor = Executor(
            self._jobs,
            self._outbound,
            clock,
            publish=publish,
            token_minter=token_minter,
            rewrite=rewrite,
            least_timeout_s=least_attempt_timeout_s,
        )
        services = wire.services(
            self._jobs,
            self._executor,
            has_minter=bool(token_minter),
            has_publisher=bool(publish),
        )
        self._rpc = RpcServer("scheduler", port, services)

    @property
    def port(self) -> int:
        """The gRPC port."""
        return self._rpc.port

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT`` for an insecure channel."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Answer calls and keep the schedules."""
        self._outbound.start()
        self._executor.start()
        self._rpc.start()

    def stop(self) -> None:
        """End calls and executions; schedules go on at the next start."""
        self._rpc.stop()
        self._outbound.stop()
        self._jobs.close()

    def clock_moved(self) -> None:
        """Tell the server that its clock jumped, so that it looks at what is due now."""
        self._executor.ring_all()
