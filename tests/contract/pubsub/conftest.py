"""A Pub/Sub of its own for each test, Google's clients on it, and an endpoint to push to."""

import asyncio
import queue
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import msgspec
import pytest
from aiohttp import web
from geminivideo.runtime.clock import Clock
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from emulators.pubsub import Server
from emulators.serving import HttpService

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
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.raw)

    @property
    def message(self) -> dict[str, Any]:
        return self.body["message"]


@dataclass
class Endpoint:
    """Records what is posted to it; answers from ``script`` (a status each), then ``status``."""

    now: Callable[[], float]
    status: int = 200
    script: list[int] = field(default_factory=list)
    seen: "queue.Queue[Seen]" = field(default_factory=queue.Queue)
    gate: threading.Event | None = None
    open_now: int = 0
    open_most: int = 0
    service: Any = None

    @property
    def url(self) -> str:
        return self.service.url + "/push"

    async def handle(self, request: web.Request) -> web.Response:
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        raw = await request.read()
        status = self.script.pop(0) if self.script else self.status
        self.seen.put(Seen(request.path, dict(request.headers), raw, self.now()))
        if self.gate is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.gate.wait, PATIENCE_S)
        self.open_now -= 1
        return web.Response(status=status)

    def take(self, count: int = 1) -> list[Seen]:
        return [self.seen.get(timeout=PATIENCE_S) for _ in range(count)]

    def stays_silent(self, seconds: float = 0.15) -> bool:
        time.sleep(seconds)
        return self.seen.empty()


class Cloud:
    """A server, its clock and clients; ``restart`` replaces the server over the same state."""

    project = "projects/p1"

    def __init__(self, state_dir, clock, **options) -> None:
        self.state_dir, self.clock, self.options = state_dir, clock, options
        self.minted: list[tuple[str, str]] = []
        self._start()

    def _start(self) -> None:
        self.server = Server(
            state_dir=self.state_dir, clock=self.clock, token_minter=self._mint, **self.options
        )
        self.server.start()
        self.publisher = PublisherClient(
            transport=PublisherGrpcTransport(channel=grpc.insecure_channel(self.server.host))
        )
        self.subscriber = SubscriberClient(
            transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(self.server.host))
        )

    def _mint(self, audience: str, account: str) -> str:
        self.minted.append((audience, account))
        return f"token-of-{account}"

    def stop(self) -> None:
        self.publisher.transport.close()
        self.subscriber.transport.close()
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

    def topic(self, name: str = "top", **fields) -> str:
        full = f"{self.project}/topics/{name}"
        self.publisher.create_topic(request={"name": full, **fields})
        return full

    def subscription(self, topic: str, name: str = "sub", **fields) -> str:
        full = f"{self.project}/subscriptions/{name}"
        self.subscriber.create_subscription(request={"name": full, "topic": topic, **fields})
        return full

    def publish(self, topic: str, data: bytes = b"x", key: str = "", **attributes: str) -> str:
        message = {"data": data, "attributes": attributes, "ordering_key": key}
        answer = self.publisher.publish(topic=topic, messages=[message])
        return answer.message_ids[0]

    def pull(self, subscription: str, count: int = 10, now: bool = False):
        request = {"subscription": subscription, "max_messages": count}
        if now:
            request["return_immediately"] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # return_immediately still works
            return list(self.subscriber.pull(request=request, timeout=10).received_messages)

    def ack(self, subscription: str, *received) -> None:
        ids = [each.ack_id for each in received]
        self.subscriber.acknowledge(request={"subscription": subscription, "ack_ids": ids})

    def nack(self, subscription: str, *received, seconds: int = 0) -> None:
        ids = [each.ack_id for each in received]
        self.subscriber.modify_ack_deadline(
            request={"subscription": subscription, "ack_ids": ids, "ack_deadline_seconds": seconds}
        )


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
