"""A Cloud Scheduler of its own for each test, Google's client on it, and an endpoint to call."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from aiohttp import web
from geminivideo.runtime.clock import Clock
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)

from emulators.rpc import ApiError
from emulators.scheduler import Server
from emulators.serving import HttpService

PATIENCE_S = 20.0  # machine seconds until a test gives up waiting for what must come


class ManualClock(Clock):
    """Stands still until a test advances it; waits end only when the server is told of it."""

    def __init__(self, start: float = 1_800_000_030.0) -> None:
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
        return self.headers.get(f"X-CloudScheduler-{name}")


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
    """A server, its clock, a client and what was published; ``restart`` keeps the state."""

    parent = "projects/p1/locations/us-central1"
    topic = "projects/p1/topics/tick"

    def __init__(self, state_dir, clock, **options) -> None:
        self.state_dir, self.clock, self.options = state_dir, clock, options
        self.minted: list[tuple[str, str]] = []
        self.published: queue.Queue[tuple[float, str, bytes, dict[str, str]]] = queue.Queue()
        self.refusals: list[ApiError] = []
        self._start()

    def _start(self) -> None:
        self.server = Server(
            state_dir=self.state_dir,
            clock=self.clock,
            publish=self._publish,
            token_minter=self._mint,
            **self.options,
        )
        self.server.start()
        channel = grpc.insecure_channel(self.server.host)
        self.client = CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=channel))

    def _publish(self, topic: str, data: bytes, attributes: Any) -> str:
        if self.refusals:
            raise self.refusals.pop(0)
        self.published.put((self.clock.now(), topic, data, dict(attributes)))
        return "1"

    def _mint(self, audience: str, account: str) -> str:
        self.minted.append((audience, account))
        return f"token-of-{account}"

    def stop(self) -> None:
        self.client.transport.close()
        self.server.stop()

    def restart(self, down: float = 0.0) -> None:
        self.stop()
        if down:
            self.clock.advance(down)
        self._start()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.server.clock_moved()

    def job(self, schedule: str = "* * * * *", name: str = "j", url: str = "", **fields) -> str:
        full = f"{self.parent}/jobs/{name}"
        target: dict[str, Any] = {"pubsub_target": {"topic_name": self.topic, "data": b"tick"}}
        if url:
            target = {"http_target": {"uri": url, **fields.pop("http", {})}}
        job = {"name": full, "schedule": schedule, **target, **fields}
        self.client.create_job(parent=self.parent, job=job)
        return full

    def ticks(self, count: int = 1) -> list[tuple[float, str, bytes, dict[str, str]]]:
        return [self.published.get(timeout=PATIENCE_S) for _ in range(count)]

    def quiet(self, seconds: float = 0.05) -> bool:
        time.sleep(seconds)
        return self.published.empty()

    def recorded(self, name: str, at: float) -> Any:
        """The job once its last attempt is recorded at ``at``."""
        until = time.monotonic() + PATIENCE_S
        while True:
            job = self.client.get_job(name=name)
            if job.last_attempt_time and job.last_attempt_time.timestamp() >= at:
                return job
            assert time.monotonic() < until, "no attempt was recorded"
            time.sleep(0.005)


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
