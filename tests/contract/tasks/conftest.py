"""A Cloud Tasks of its own for each test, Google's client on it, and an endpoint to call."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

from emulators.tasks import Server

from ..calling import PATIENCE_S, CallingCloud


class Cloud(CallingCloud):
    """A Cloud Tasks server and a client."""

    server_type = Server
    parent = "projects/p1/locations/us-central1"

    def connect(self) -> list[Any]:
        self.client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=self.channel()))
        return [self.client]

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
def cloud_type() -> type[Cloud]:
    return Cloud


@pytest.fixture
def endpoint(endpoint):
    endpoint.prefix = "X-CloudTasks-"
    return endpoint
