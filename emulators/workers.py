"""The threads that answer gRPC calls: as many as there are calls at once, up to a limit.

``ThreadPoolExecutor`` makes a future with a condition for each call and walks through three locks
on the way; a call to a local emulator is so short that this was a third of what it cost the
server. gRPC asks of what it gets back only to be told of the end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from queue import Empty, SimpleQueue
from typing import Any

_LOG = logging.getLogger(__name__)


class Work:
    """One submitted call; ``add_done_callback`` as of a future, ``cancel`` never succeeds."""

    __slots__ = ("_call", "_callbacks", "_ended", "_lock")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._callbacks: list[Callable[[Any], Any]] = []
        self._ended = False
        self._lock = threading.Lock()

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        """Call ``callback`` with this when the call has ended; at once, if it has."""
        with self._lock:
            if not self._ended:
                self._callbacks.append(callback)
                return
        callback(self)

    def cancel(self) -> bool:
        """A call that was taken in is answered."""
        return False

    def run(self) -> None:
        """Make the call; what it raises is logged, since nobody asks for a result."""
        try:
            self._call()
        except Exception:  # noqa: BLE001  logged: there is nobody to raise it to
            _LOG.exception("a call ended with an exception that gRPC does not know of")

    def end(self) -> None:
        """Tell those who wait for the end."""
        with self._lock:
            self._ended = True
        for callback in self._callbacks:
            callback(self)


class Workers(Executor):
    """At most ``limit`` threads, each started when a call finds the others busy."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._spare = 0  # threads less calls, taken or waiting

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """Run ``fn`` in a thread; returns its ``Work``."""
        work = Work(lambda: fn(*args, **named))
        self._queue.put(work)
        with self._lock:
            self._spare -= 1
            if self._spare < 0 and len(self._threads) < self._limit:
                self._spare += 1
                self._start()
        return work

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads when they are done; ``cancel_futures`` forgets what has not begun."""
        while cancel_futures and not self._queue.empty():
            try:
                self._queue.get_nowait()
            except Empty:
                break
        with self._lock:
            threads = list(self._threads)
        for _ in threads:
            self._queue.put(None)
        for thread in threads if wait else ():
            thread.join()

    def _start(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            work.run()
            with self._lock:
                self._spare += 1
            work.end()
            del work
