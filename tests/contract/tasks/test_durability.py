"""Tasks survive restarts and kill -9: counts, schedules and blocked names included."""

import os
import signal
import subprocess
import sys

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

PROGRAM = """
import pathlib, sys, time
from emulators.tasks import Server
from geminivideo.runtime.clock import Clock
server = Server(state_dir=pathlib.Path(sys.argv[1]), clock=Clock())
server.start()
print(server.port, flush=True)
time.sleep(600)
"""


def test_queues_and_scheduled_tasks_survive_a_restart(cloud, endpoint):
    """What was created is there after a restart and goes out at its time."""
    queue = cloud.queue(rate=2.5)
    task = cloud.task(queue, endpoint.url, name="later", delay=60, http={"body": b"b"})
    cloud.restart()
    assert cloud.client.get_queue(name=queue).rate_limits.max_dispatches_per_second == 2.5
    assert cloud.client.get_task(name=task).name == task
    assert endpoint.stays_silent(0.05)
    cloud.advance(60.1)
    assert endpoint.take()[0].raw == b"b"


def test_attempts_survive_a_restart(cloud, endpoint):
    """Retry counts go on and the next attempt keeps its time."""
    queue = cloud.queue(min_backoff={"seconds": 10}, max_backoff={"seconds": 10})
    endpoint.script = [400]
    cloud.task(queue, endpoint.url)
    endpoint.take()
    cloud.settle()
    cloud.restart()
    assert endpoint.stays_silent(0.05)
    cloud.advance(10.1)
    [seen] = endpoint.take()
    assert seen.header("TaskRetryCount") == "1"
    assert seen.header("TaskExecutionCount") == "1"
    assert seen.header("TaskPreviousResponse") == "400"


def test_blocked_names_survive_a_restart(cloud, endpoint):
    """De-duplication holds over a restart."""
    queue = cloud.queue()
    cloud.task(queue, endpoint.url, name="once")
    endpoint.take()
    cloud.waits_until_done(queue)
    cloud.restart()
    with pytest.raises(exceptions.AlreadyExists):
        cloud.task(queue, endpoint.url, name="once")


def test_a_paused_queue_stays_paused(cloud, endpoint):
    """The state of a queue is durable."""
    queue = cloud.queue()
    cloud.client.pause_queue(name=queue)
    cloud.task(queue, endpoint.url)
    cloud.restart()
    assert cloud.client.get_queue(name=queue).state.name == "PAUSED"
    assert endpoint.stays_silent(0.05)


def test_kill_9_loses_no_task(tmp_path, endpoint, cloud_on):
    """At-least-once over kill -9: every created task succeeds in the end."""
    state = tmp_path / "cloud0"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(state)], stdout=subprocess.PIPE, text=True
    )
    channel = grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}")
    client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))
    parent = "projects/p1/locations/us-central1"
    queue = client.create_queue(parent=parent, queue={"name": f"{parent}/queues/q"}).name
    endpoint.status = 500
    names = {
        client.create_task(parent=queue, task={"http_request": {"url": endpoint.url}}).name
        for _ in range(50)
    }
    endpoint.take(10)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    channel.close()
    while not endpoint.seen.empty():
        endpoint.seen.get()
    endpoint.status = 200
    cloud = cloud_on(Clock.starting_now(60))
    cloud.waits_until_done(queue)
    seen = {f"{queue}/tasks/{each.header('TaskName')}" for each in endpoint.take(50)}
    assert seen == names
