"""A Cloud Scheduler of its own for each test, Google's client on it, and an endpoint to call."""

import queue
import time
from typing import Any

import pytest
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)

from emulators.rpc import ApiError
from emulators.scheduler import Server

from ..calling import PATIENCE_S, CallingCloud
from ..clocks import ManualClock


class Cloud(CallingCloud):
    """A Cloud Scheduler server, a client and what was published."""

    server_type = Server
    parent = "projects/p1/locations/us-central1"
    topic = "projects/p1/topics/tick"

    def __init__(self, state_dir, clock, **options) -> None:
        self.published: queue.Queue[tuple[float, str, bytes, dict[str, str]]] = queue.Queue()
        self.refusals: list[ApiError] = []
        super().__init__(state_dir, clock, publish=self._publish, **options)

    def connect(self) -> list[Any]:
        transport = CloudSchedulerGrpcTransport(channel=self.channel())
        self.client = CloudSchedulerClient(transport=transport)
        return [self.client]

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

    def _publish(self, topic: str, data: bytes, attributes: Any) -> str:
        if self.refusals:
            raise self.refusals.pop(0)
        self.published.put((self.clock.now(), topic, data, dict(attributes)))
        return "1"


@pytest.fixture
def clock() -> ManualClock:
    """Half a minute after a full one."""
    return ManualClock(1_800_000_030.0)


@pytest.fixture
def cloud_type() -> type[Cloud]:
    return Cloud


@pytest.fixture
def endpoint(endpoint):
    endpoint.prefix = "X-CloudScheduler-"
    return endpoint
