"""A Cloud Tasks of its own for each test, Google's client on it, and an endpoint to call."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from aiohttp import web
from geminivideo.runtime.clock import Clock
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

from emulators.serving import HttpService
from emulators.tasks import Server

PATIENCE_S = 20.0  # machine seconds until a test gives up waiting for what must come


class ManualClock(Clock):
    """Stands still until a test advances it; waits end only when the server is told of it."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        super().__init__()
        self.times = [start]

    def now(self) -> float:
        return self.times[-1]

    def real_seconds(self, seconds: float) -> float:
        return 60.0  # no wait of a test's length ends by itself

    def advance(self, seconds: float) -> None:
        self.times.append(self.times[-1] + seconds)


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float

    def header(self, name: str) -> str | None:
        return self.headers.get(f"X-CloudTasks-{name}")


@dataclass
class Endpoint:
    """Records what is posted to it; answers from ``script`` (a status each), then ``status``."""

    now: Callable[[], float]
    status: int = 200
    answer_headers: dict[str, str] = field(default_factory=dict)
    script: list[int] = field(default_factory=list)
    seen: "queue.Queue[Seen]" = field(default_factory=queue.Queue)
    gate: threading.Event | None = None
    open_now: int = 0
    open_most: int = 0
    service: Any = None

    @property
    def url(self) -> str:
        return self.service.url + "/work"

    async def handle(self, request: web.Request) -> web.Response:
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        raw = await request.read()
        status = self.script.pop(0) if self.script else self.status
        self.seen.put(Seen(request.method, request.path, dict(request.headers), raw, self.now()))
        if self.gate is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.gate.wait, PATIENCE_S)
        self.open_now -= 1
        return web.Response(status=status, headers=self.answer_headers)

    def take(self, count: int = 1) -> list[Seen]:
        return [self.seen.get(timeout=PATIENCE_S) for _ in range(count)]

    def stays_silent(self, seconds: float = 0.15) -> bool:
        time.sleep(seconds)
        return self.seen.empty()


class Cloud:
    """A server, its clock and a client; ``restart`` replaces the server over the same state."""

    parent = "projects/p1/locations/us-central1"

    def __init__(self, state_dir, clock, **options) -> None:
        self.state_dir, self.clock, self.options = state_dir, clock, options
        self.minted: list[tuple[str, str]] = []
        self._start()

    def _start(self) -> None:
        self.server = Server(
            state_dir=self.state_dir, clock=self.clock, token_minter=self._mint, **self.options
        )
        self.server.start()
        channel = grpc.insecure_channel(self.server.host)
        self.client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))

    def _mint(self, audience: str, account: str) -> str:
        self.minted.append((audience, account))
        return f"token-of-{account}"

    def stop(self) -> None:
        self.client.transport.close()
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

    def queue(self, name: str = "q", *, rate: float = 0, concurrent: int = 0, **retry) -> str:
        full = f"{self.parent}/queues/{name}"
        limits = {"max_dispatches_per_second": rate, "max_concurrent_dispatches": concurrent}
        queue = {"name": full, "rate_limits": limits, "retry_config": retry}
        self.client.create_queue(parent=self.parent, queue=queue)
        return full

    def task(self, queue: str, url: str, *, name: str = "", delay: float = 0, **fields) -> str:
        http = {"url": url, **fields.pop("http", {})}
        task: dict[str, Any] = {"http_request": http, **fields}
        if name:
            task["name"] = f"{queue}/tasks/{name}"
        if delay:
            task["schedule_time"] = datetime.fromtimestamp(self.clock.now() + delay, UTC)
        return self.client.create_task(parent=queue, task=task).name

    def waits_until_done(self, queue: str) -> None:
        """Until no task is left; the outcome of a dispatch is recorded after its answer."""
        until = time.monotonic() + PATIENCE_S
        while list(self.client.list_tasks(parent=queue)):
            assert time.monotonic() < until, "tasks are left"
            time.sleep(0.01)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cloud(tmp_path, clock):
    cloud = Cloud(tmp_path, clock)
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud_on(tmp_path):
    """Build a cloud with another clock or other options."""
    built = []

    def build(clock: Clock, **options) -> Cloud:
        built.append(Cloud(tmp_path / f"cloud{len(built)}", clock, **options))
        return built[-1]

    yield build
    for cloud in built:
        cloud.stop()


@pytest.fixture
def endpoint(clock):
    endpoint = Endpoint(now=clock.now)

    def build() -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{tail:.*}", endpoint.handle)
        return app

    endpoint.service = HttpService("endpoint", build)
    endpoint.service.start()
    yield endpoint
    if endpoint.gate is not None:
        endpoint.gate.set()
    endpoint.service.stop()
