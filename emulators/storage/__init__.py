"""Cloud Storage: the JSON API over HTTP, objects as files, metadata and notifications in SQLite."""

from __future__ import annotations

from pathlib import Path

from geminivideo.runtime.clock import Clock

from emulators.serving import HttpService
from emulators.storage.notifier import Notifier, Publish
from emulators.storage.state import State
from emulators.storage.wire import Api

__all__ = ["Publish", "Server"]


class Server(HttpService):
    """The service on a loopback port; ``STORAGE_EMULATOR_HOST=server.url`` points clients at it.

    ``publish(topic_full_name, data, attributes)`` receives the notifications, from a thread of its
    own; when it raises (or the future that it returns does) the message comes again with backoff.
    Without it, notifications wait in the outbox for a start that has one.
    """

    def __init__(
        self, *, state_dir: Path, clock: Clock, port: int = 0, publish: Publish | None = None
    ) -> None:
        super().__init__("storage", lambda: Api(self.state, clock).application(), (port,))
        self.state = State(Path(state_dir), clock, self.url)
        self._notifier = Notifier(self.state, clock, publish) if publish else None

    def start(self) -> None:
        """Serve, and publish what an earlier process left unpublished."""
        super().start()
        if self._notifier:
            self._notifier.start()

    def stop(self) -> None:
        """Stop serving; everything acknowledged is on disk."""
        super().stop()
        if self._notifier:
            self._notifier.stop()
        self.state.close()
