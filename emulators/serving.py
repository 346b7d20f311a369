"""What every emulated service shares: loopback ports, an HTTP server in a thread, a SQLite file."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Protocol

from aiohttp import web

LOOPBACK = "127.0.0.1"
UNCLAIMED_PORTS = range(20_000, 32_000)


class PortInUseError(RuntimeError):
    """A port that the local cloud needs is taken; the message names the port and its user."""

    def __init__(self, port: int, service: str) -> None:
        super().__init__(
            f"port {port} ({service}) is in use on {LOOPBACK}: stop what listens there, "
            "or start this cloud elsewhere with --port-base"
        )
        self.port = port


def listening_socket(port: int, service: str) -> socket.socket:
    """A bound, listening loopback socket (port 0: any free one); raises ``PortInUseError``."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((LOOPBACK, port))
        sock.listen(512)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(port, service) from error
        raise
    return sock


def _listening_sockets(ports: tuple[int, ...], service: str) -> list[socket.socket]:
    socks: list[socket.socket] = []
    try:
        for port in ports:
            socks.append(listening_socket(port, service))
    except (OSError, PortInUseError):
        for sock in socks:
            sock.close()
        raise
    return socks


def free_ports(count: int) -> list[int]:
    """``count`` different ports that were free a moment ago.

    They lie below the range from which the system takes the ports of outgoing connections: one of
    those could be taken by any client before the cloud listens on it.
    """
    candidates = random.sample(UNCLAIMED_PORTS, len(UNCLAIMED_PORTS))
    found = list(islice(filter(_is_free, candidates), count))
    if len(found) < count:
        raise PortInUseError(UNCLAIMED_PORTS[0], f"{count} free ports")
    return found


def _is_free(port: int) -> bool:
    try:
        listening_socket(port, "probe").close()
    except PortInUseError:
        return False
    return True


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
        self._socks = _listening_sockets(ports, name)
        self._loop = asyncio.new_event_loop()
        self._app_runner: web.AppRunner | None = None
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
            await web.SockSite(self._app_runner, sock).start()

    async def _close(self) -> None:
        if self._app_runner is not None:
            await self._app_runner.cleanup()
