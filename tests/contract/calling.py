"""What the tests of every service that calls endpoints share: an endpoint and a cloud."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
import msgspec
from aiohttp import web

from emulators.serving import HttpService

PATIENCE_S = 20.0  # machine seconds until a test gives up waiting for what must come


@dataclass
class Seen:
    """One request as it arrived; ``header`` reads those that start with the service's prefix."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float
    prefix: str

    def header(self, name: str) -> str | None:
        return self.headers.get(self.prefix + name)

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.raw)

    @property
    def message(self) -> dict[str, Any]:
        """The Pub/Sub message of a push."""
        return self.body["message"]


@dataclass
class Endpoint:
    """Records what is sent to it; answers from ``script`` (a status each), then ``status``."""

    now: Callable[[], float]
    path: str = "/work"
    prefix: str = ""
    status: int = 200
    answer_headers: dict[str, str] = field(default_factory=dict)
    script: list[int] = field(default_factory=list)
    seen: "queue.Queue[Seen]" = field(default_factory=queue.Queue)
    gate: threading.Event | None = None
    open_now: int = 0
    open_most: int = 0

    def __post_init__(self) -> None:
        self.service = HttpService("endpoint", self._application)

    @property
    def url(self) -> str:
        return self.service.url + self.path

    def stop(self) -> None:
        if self.gate is not None:
            self.gate.set()
        self.service.stop()

    def take(self, count: int = 1) -> list[Seen]:
        return [self.seen.get(timeout=PATIENCE_S) for _ in range(count)]

    def stays_silent(self, seconds: float = 0.15) -> bool:
        time.sleep(seconds)
        return self.seen.empty()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        raw = await request.read()
        status = self.script.pop(0) if self.script else self.status
        self.seen.put(self._record(request, raw))
        if self.gate is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.gate.wait, PATIENCE_S)
        self.open_now -= 1
        return web.Response(status=status, headers=self.answer_headers)

    def _record(self, request: web.Request, raw: bytes) -> Seen:
        headers = dict(request.headers)
        return Seen(request.method, request.path, headers, raw, self.now(), self.prefix)


class CallingCloud:
    """A server, its clock and clients; ``restart`` replaces the server over the same state.

    A service's own cloud names its ``server_type`` and connects its clients.
    """

    server_type: ClassVar[Any]

    def __init__(self, state_dir, clock, **options) -> None:
        self.state_dir, self.clock, self.options = state_dir, clock, options
        self.minted: list[tuple[str, str]] = []
        self._start()

    def connect(self) -> list[Any]:
        """Build the clients of the running server; all of them, to be closed with it."""
        raise NotImplementedError

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.server.host)

    def mint(self, audience: str, account: str) -> str:
        """What the server signs with; looked up at each call, so that a test can replace it."""
        self.minted.append((audience, account))
        return f"token-of-{account}"

    def stop(self) -> None:
        for client in self._clients:
            client.transport.close()
        self.server.stop()

    def restart(self) -> None:
        self.stop()
        self._start()

    def advance(self, seconds: float) -> None:
        """Let what is under way be recorded at its time, then move the clock."""
        self.settle()
        self.clock.advance(seconds)
        self.server.clock_moved()

    def settle(self) -> None:
        """Wait until the outcome of every request under way is recorded."""
        until = time.monotonic() + PATIENCE_S
        while self.server.in_flight:
            assert time.monotonic() < until, "a request stays under way"
            time.sleep(0.002)

    def _start(self) -> None:
        self.server = self.server_type(
            state_dir=self.state_dir,
            clock=self.clock,
            token_minter=lambda audience, account: self.mint(audience, account),
            **self.options,
        )
        self.server.start()
        self._clients = self.connect()
