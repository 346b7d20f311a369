"""Cloud Run jobs: the Admin API v2 in REST; every task is a real process."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.faults.http_hook import HttpFaults
from emulators.run.runner import GRACE_S, Launch, NotReadyError, Runner
from emulators.run.state import LaunchSpec, State
from emulators.run.wire import Api
from emulators.serving import HttpService

__all__ = ["Launch", "LaunchSpec", "NotReadyError", "Server"]


class Server(HttpService):
    """The service on a loopback port, for clients with the ``rest`` transport over http.

    ``launch(spec)`` starts one attempt of one task, in a session of its own
    (``start_new_session=True``) and with ``spec.env``; it raises ``NotReadyError`` while it cannot
    start anything yet. ``max_parallel`` bounds the processes of this server, whatever parallelism
    the jobs declare. ``least_attempt_timeout_s`` is machine time that every attempt has, however
    fast the clock runs; ``grace_s`` is machine time between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        launch: Launch,
        max_parallel: int = 2,
        least_attempt_timeout_s: float = 0.0,
        grace_s: float = GRACE_S,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults(clock)
        hook = HttpFaults("run", self.faults)
        super().__init__("run", self._application, (port,), hook)
        self.state = State(Path(state_dir), clock)
        self._runner = Runner(
            self.state, clock, launch, max_parallel, least_attempt_timeout_s, grace_s
        )

    def start(self) -> None:
        """Serve, and start again what an earlier process was running."""
        self._runner.recover()
        super().start()
        self._runner.start()

    def clock_moved(self) -> None:
        """End the attempts whose time has passed."""
        self._runner.wake()

    def stop(self) -> None:
        """End every task process, then stop serving."""
        self._runner.stop()
        super().stop()
        self.state.close()

    def _application(self) -> web.Application:
        return Api(self.state, self._runner).application()
