"""What every emulated service shares: loopback ports, an HTTP server in a thread, a SQLite file."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from emulators.sockets import (
    LOOPBACK,
    UNCLAIMED_PORTS,
    PortInUseError,
    free_ports,
    listening_socket,
    listening_sockets,
)

__all__ = [
    "LOOPBACK",
    "UNCLAIMED_PORTS",
    "Hook",
    "HttpService",
    "PortInUseError",
    "atomically",
    "free_ports",
    "listening_socket",
    "open_database",
]


def open_database(path: Path) -> sqlite3.Connection:
    """A SQLite file in WAL mode, usable from any thread (callers hold their own lock)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.row_factory = sqlite3.Row
    return database


class Hook(Protocol):
    """What is put around an application before it serves."""

    def install(self, app: web.Application) -> None:
        """Add middlewares and signals."""


@contextmanager
def atomically(
    database: sqlite3.Connection, lock: AbstractContextManager[Any]
) -> Iterator[sqlite3.Connection]:
    """One transaction under a re-entrant lock; an inner one joins the outer."""
    with lock:
        if database.in_transaction:
            yield database
            return
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


class HttpService:
    """An aiohttp application on one or more loopback ports, in a thread with its own loop.

    A service of one port inherits from it; it binds (``super().__init__``) before it opens files.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], web.Application | Awaitable[web.Application]],
        ports: tuple[int, ...] = (0,),
        hook: Hook | None = None,
    ) -> None:
        self.name = name
        self._hook = hook
        self._build = build
        self._socks = listening_sockets(ports, name)
        self._loop = asyncio.new_event_loop()
        self._app_runner: web.AppRunner | None = None
        self._sites: dict[int, web.SockSite] = {}
        self._thread = threading.Thread(target=self._serve, name=f"http-{name}", daemon=True)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports it listens on, in the order asked for."""
        return tuple(sock.getsockname()[1] for sock in self._socks)

    @property
    def port(self) -> int:
        """Its first port."""
        return self.ports[0]

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT`` of its first port."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop its handlers run on."""
        return self._loop

    def start(self) -> None:
        """Serve; returns when the ports answer, raises what the application raised."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def stop(self) -> None:
        """Stop serving, close the application, end the thread."""
        if not self._thread.is_alive():
            self._abandon()
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=15)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def listen(self, port: int) -> None:
        """Serve on one more port while running; raises ``PortInUseError``."""
        sock = listening_socket(port, self.name)
        self._socks.append(sock)
        asyncio.run_coroutine_threadsafe(self._open_site(sock), self._loop).result()

    def unlisten(self, port: int) -> None:
        """Serve no longer on one of the ports; what it is answering is answered."""
        asyncio.run_coroutine_threadsafe(self._sites.pop(port).stop(), self._loop).result()
        self._socks = [sock for sock in self._socks if sock.fileno() != -1]

    def clock_moved(self) -> None:
        """Its clock was moved; a service in which something waits for a time wakes it here."""

    def _abandon(self) -> None:
        """Give back what a service holds that was never started, or has been stopped."""
        for sock in self._socks:
            sock.close()
        if not self._loop.is_closed():
            self._loop.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self) -> None:
        built = self._build()
        app = built if isinstance(built, web.Application) else await built
        if self._hook is not None:
            self._hook.install(app)
        self._app_runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await self._app_runner.setup()
        for sock in self._socks:
            await self._open_site(sock)

    async def _open_site(self, sock: socket.socket) -> None:
        assert self._app_runner is not None
        site = web.SockSite(self._app_runner, sock)
        await site.start()
        self._sites[sock.getsockname()[1]] = site

    async def _close(self) -> None:
        if self._app_runner is not None:
            await self._app_runner.cleanup()
