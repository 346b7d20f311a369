"""The Cloud Scheduler of the local cloud; docs/emulators/scheduler.md says what it does not."""

from __future__ import annotations

from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.outbound import Rewrite, TokenMinter
from emulators.rpc import CallingService
from emulators.scheduler import wire
from emulators.scheduler.execute import Executor, Publish
from emulators.scheduler.state import Jobs

__all__ = ["Server"]


class Server(CallingService):
    """CloudScheduler over gRPC on one loopback port; state under ``state_dir``.

    ``publish(topic, data, attributes)`` delivers Pub/Sub targets (``pubsub.Server.publish``),
    ``token_minter``, ``rewrite``: see ``Outbound``. ``least_attempt_timeout_s`` is in machine
    seconds: on a fast clock an attempt deadline would else leave handlers no time.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        publish: Publish | None = None,
        token_minter: TokenMinter | None = None,
        rewrite: Rewrite | None = None,
        least_attempt_timeout_s: float = 0.0,
        faults: Faults | None = None,
    ) -> None:
        least = least_attempt_timeout_s
        super().__init__("scheduler", clock, port, token_minter, rewrite, least, faults)
        jobs = Jobs(state_dir / "scheduler.sqlite", clock)
        self._jobs = jobs
        executor = Executor(jobs, self._outbound, self._deliveries, publish)
        means = {"has_minter": bool(token_minter), "has_publisher": bool(publish)}
        self._own(jobs, executor, wire.services(jobs, **means))

    @property
    def under_way(self) -> int:
        """0 when every attempt that was due has been made, and its outcome is recorded."""
        return self._jobs.under_way()

    @property
    def in_flight(self) -> int:
        """Attempts under way: 0 when every outcome is recorded."""
        return self._jobs.in_flight()
