"""Publishes the notifications that committed changes left in the outbox, at least once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec
from geminivideo.runtime.clock import Clock

from emulators.storage import rules
from emulators.storage.rules import Row
from emulators.storage.state import State

Publish = Callable[[str, bytes, dict[str, str]], object]
"""``publish(topic_full_name, data, attributes)``; a future that it returns is waited for."""

_LOG = logging.getLogger(__name__)
_FIRST_BACKOFF_S = 1.0
_MAX_BACKOFF_S = 60.0
_IDLE_S = 1.0
_PUBLISH_TIMEOUT_S = 60.0


class Notifier:
    """A thread that empties the outbox; a message that fails comes again with backoff."""

    def __init__(self, state: State, clock: Clock, publish: Publish) -> None:
        self._state = state
        self._clock = clock
        self._publish = publish
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="storage-notifier", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier process left unpublished."""
        self._state.committed = self._wake.set
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread; what is unpublished waits for the next start."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_PUBLISH_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(_IDLE_S)
            self._wake.clear()
            for message in self._state.unpublished(self._clock.now()):
                if self._stopped:
                    return
                self._send(message)

    def _send(self, message: Row) -> None:
        try:
            attributes = msgspec.json.decode(message["attributes"], type=dict[str, str])
            sent = self._publish(message["topic"], message["data"], attributes)
            if callable(result := getattr(sent, "result", None)):
                result(timeout=_PUBLISH_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001  whatever the topic answers, it is tried again
            self._postpone(message, error)
        else:
            self._state.published(message["id"])

    def _postpone(self, message: Row, error: Exception) -> None:
        now = self._clock.now()
        if now > message["created"] + rules.NOTIFICATION_LIFETIME_S:
            _LOG.error("notification to %s dropped after 7 days: %s", message["topic"], error)
            self._state.published(message["id"])
            return
        _LOG.warning("notification to %s not published, again later: %s", message["topic"], error)
        backoff = min(_FIRST_BACKOFF_S * 2 ** message["attempts"], _MAX_BACKOFF_S)
        self._state.postpone(message["id"], now + backoff)
