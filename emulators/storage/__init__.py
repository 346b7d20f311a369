"""Cloud Storage: the JSON API over HTTP, objects as files, metadata and notifications in SQLite."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from aiohttp import web
from geminivideo.runtime.clock import Clock

from emulators import service_accounts
from emulators.faults import shapes
from emulators.faults.engine import Faults
from emulators.faults.http_hook import HttpFaults
from emulators.faults.rules import Rule
from emulators.serving import HttpService
from emulators.storage import errors
from emulators.storage.lifecycle import Sweeper
from emulators.storage.notifier import Notifier, Publish
from emulators.storage.state import State
from emulators.storage.wire import Api

__all__ = ["Publish", "Server"]


class Server(HttpService):
    """The service on a loopback port; ``STORAGE_EMULATOR_HOST=server.url`` points clients at it.

    ``publish(topic_full_name, data, attributes)`` receives the notifications, from a thread of its
    own; when it raises (or the future that it returns does) the message comes again with backoff.
    Without it, notifications wait in the outbox for a start that has one. Signed URLs are verified
    against the keys that ``emulators.service_accounts`` keeps under the same ``state_dir``.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        publish: Publish | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults(clock)
        hook = HttpFaults("storage", self.faults, render=_scripted)
        super().__init__("storage", self._application, (port,), hook)
        self._keys, self._clock = Path(state_dir), clock
        self.state = State(Path(state_dir), clock, self.url)
        self._notifier = Notifier(self.state, clock, publish) if publish else None
        self._sweeper = Sweeper(self.state, clock)

    def start(self) -> None:
        """Serve, and publish what an earlier process left unpublished."""
        super().start()
        self._sweeper.start()
        if self._notifier:
            self._notifier.start()

    def stop(self) -> None:
        """Stop serving; everything acknowledged is on disk."""
        super().stop()
        self._sweeper.stop()
        if self._notifier:
            self._notifier.stop()
        self.state.close()

    def clock_moved(self) -> None:
        """Tell the server that its clock jumped, so that it looks at what is due now."""
        self._sweeper.look()
        if self._notifier:
            self._notifier.wake()

    def _application(self) -> web.Application:
        key_of = partial(service_accounts.public_key, self._keys)
        return Api(self.state, self._clock, key_of, self.url, self._sweeper.look).application()


def _scripted(_: web.Request, rule: Rule) -> web.StreamResponse:
    message = shapes.message_of(rule)
    raise errors.scripted(shapes.status_of(rule), message, shapes.retry_after(rule))
