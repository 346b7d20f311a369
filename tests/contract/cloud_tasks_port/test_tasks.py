"""The port against the local Cloud Tasks, over gRPC, with a real HTTP target."""

import queue
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from geminivideo.cloud.tasks import Tasks
from geminivideo.runtime.clock import Clock
from google.api_core.exceptions import NotFound
from google.cloud import tasks_v2

from emulators.tasks import Server

PARENT = "projects/p/locations/us-central1"
QUEUE = f"{PARENT}/queues/meta-changes"


class Target:
    """An HTTP endpoint that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[float, dict[str, str], bytes]] = queue.Queue()
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                calls.put((time.time(), dict(self.headers), body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.server.shutdown()
    target.server.server_close()


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tasks]:
    """The port on an emulator that has the queue; tokens name what they were asked for."""
    server = Server(
        state_dir=tmp_path,
        clock=Clock(),
        token_minter=lambda audience, account: f"token-for-{account}-at-{audience}",
    )
    server.start()
    monkeypatch.setenv("GV_TASKS_ENDPOINT", f"127.0.0.1:{server.port}")
    port = Tasks()
    port.client.create_queue(parent=PARENT, queue=tasks_v2.Queue(name=QUEUE))
    yield port
    server.stop()


def test_a_task_reaches_its_target_with_body_and_identity(tasks: Tasks, target: Target) -> None:
    """The body arrives as it is, as JSON, with a token for the target."""
    tasks.enqueue(QUEUE, target.url, b'{"change_id":"ch-1"}', invoker="exec@p.iam")
    _, headers, body = target.calls.get(timeout=10)
    assert body == b'{"change_id":"ch-1"}'
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == f"Bearer token-for-exec@p.iam-at-{target.url}"


def test_a_task_waits_for_its_time(tasks: Tasks, target: Target) -> None:
    """schedule_time is kept to the fraction of a second: never earlier."""
    at = time.time() + 1.2
    tasks.enqueue(QUEUE, target.url, b"{}", at=at)
    called, _, _ = target.calls.get(timeout=10)
    assert called >= at


def test_a_used_name_is_success_and_no_second_task(tasks: Tasks, target: Target) -> None:
    """ALREADY_EXISTS on a name is what the caller wanted."""
    for _ in range(3):
        tasks.enqueue(QUEUE, target.url, b"{}", name="abc-1")
    target.calls.get(timeout=10)
    tasks.enqueue(QUEUE, target.url, b"{}", name="abc-2")
    target.calls.get(timeout=10)
    assert target.calls.empty()


def test_a_queue_that_is_missing_is_an_error(tasks: Tasks, target: Target) -> None:
    """Only a used name is swallowed."""
    with pytest.raises(NotFound):
        tasks.enqueue(f"{PARENT}/queues/other", target.url, b"{}")


def test_a_paused_queue_keeps_its_tasks(tasks: Tasks, target: Target) -> None:
    """While it is paused nothing is dispatched; afterwards everything is."""
    tasks.pause(QUEUE)
    tasks.enqueue(QUEUE, target.url, b"{}")
    with pytest.raises(queue.Empty):
        target.calls.get(timeout=0.5)
    tasks.resume(QUEUE)
    target.calls.get(timeout=10)


def test_the_deadline_and_the_schedule_are_in_the_task(tasks: Tasks) -> None:
    """What infra declares as the function's time-out can be given per task."""
    at = time.time() + 500
    tasks.enqueue(QUEUE, "http://127.0.0.1:9/", b"{}", at=at, name="x", dispatch_deadline_s=540)
    task = tasks.client.get_task(name=f"{QUEUE}/tasks/x")
    assert task.dispatch_deadline.total_seconds() == 540
    assert task.schedule_time.timestamp() == pytest.approx(at, abs=1e-3)
