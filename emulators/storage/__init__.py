"""Cloud Storage: the JSON API over HTTP, objects as files, metadata and notifications in SQLite."""

from __future__ import annotations

from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.serving import HttpService
from emulators.storage.notifier import Notifier, Publish
from emulators.storage.state import State
from emulators.storage.wire import Api

__all__ = ["Publish", "Server"]


class Server:
    """The service on a loopback port; ``STORAGE_EMULATOR_HOST=server.url`` points clients at it.

    ``publish(topic_full_name, data, attributes)`` receives the notifications, from a thread of its
    own; when it raises (or the future that it returns does) the message comes again with backoff.
    Without it, notifications wait in the outbox for a start that has one.
    """

    def __init__(
        self, *, state_dir: Path, clock: Clock, port: int = 0, publish: Publish | None = None
    ) -> None:
        self._service = HttpService(
            "storage", lambda: Api(self.state, clock).application(), (port,)
        )
        self.state = State(Path(state_dir), clock, self._service.url)
        self._notifier = Notifier(self.state, clock, publish) if publish else None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._service.port

    @property
    def url(self) -> str:
        """The value of ``STORAGE_EMULATOR_HOST``."""
        return self._service.url

    def start(self) -> None:
        """Serve, and publish what an earlier process left unpublished."""
        self._service.start()
        if self._notifier:
            self._notifier.start()

    def stop(self) -> None:
        """Stop serving; everything acknowledged is on disk."""
        self._service.stop()
        if self._notifier:
            self._notifier.stop()
        self.state.close()
