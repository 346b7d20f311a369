"""kill -9 around scheduled minutes: none is lost, and none comes twice but those that were cut."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime

import grpc
import pytest
from geminivideo.runtime.clock import SharedClock
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)

from emulators.clock import OwnedClock

from ..calling import PATIENCE_S

PARENT = "projects/p1/locations/us-central1"
MINUTES = 40
SERVE = """
import pathlib, sys
from emulators.scheduler import Server
from geminivideo.runtime.clock import Clock
server = Server(state_dir=pathlib.Path(sys.argv[1]), clock=Clock.from_env())
server.start()
print(server.port, flush=True)
for line in sys.stdin:
    server.clock_moved()
"""


class Mortal:
    """A scheduler in a process of its own, on a clock that the test moves."""

    def __init__(self, state_dir, clock: SharedClock):
        self.state_dir, self.clock = state_dir, clock
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self.state_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.clock.to_env()},
        )
        self.port = int(self.process.stdout.readline())

    def tell(self):
        self.process.stdin.write("moved\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.process.stdin.close()


@pytest.fixture
def mortal(tmp_path):
    clock = OwnedClock(tmp_path / "clock", speed=0)
    server = Mortal(tmp_path / "state", clock)
    yield server
    server.kill()
    clock.close()


def test_killed_around_its_minutes(mortal, endpoint):
    """Forty minutes with a kill in some of them: each minute is called, in order; those whose
    attempt a kill cut off may come twice, with the same scheduled time."""
    create(mortal, endpoint)
    moments, seen, cut = random.Random(3), Counter(), set()
    for minute in range(MINUTES):
        mortal.clock.advance(60)
        due = mortal.clock.now() // 60 * 60
        mortal.tell()
        if minute % 14 == 5:
            time.sleep(moments.uniform(0, 0.01))
            mortal.kill()
            mortal.start()
            cut |= {due - 60, due}  # the outcome of the minute before may not be recorded yet
        took(endpoint, seen, due)
    assert endpoint.stays_silent(0.1)
    assert len(seen) == MINUTES
    minutes = sorted(seen)
    assert minutes == [minutes[0] + 60 * n for n in range(MINUTES)]
    assert {minute for minute, count in seen.items() if count > 1} <= cut
    assert max(seen.values()) <= 2


def test_missed_minutes_are_made_up_for_once(mortal, endpoint):
    """Minutes that pass while nothing runs: the last of them is called, as documented."""
    create(mortal, endpoint)
    mortal.kill()
    mortal.clock.advance(3600)
    mortal.start()
    seen = Counter()
    took(endpoint, seen, mortal.clock.now() // 60 * 60)
    assert endpoint.stays_silent(0.1)
    assert seen.total() == 1


def create(mortal, endpoint):
    channel = grpc.insecure_channel(f"127.0.0.1:{mortal.port}")
    with channel:
        client = CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=channel))
        target = {"http_target": {"uri": endpoint.url}}
        job = {"name": f"{PARENT}/jobs/j", "schedule": "* * * * *", **target}
        client.create_job(parent=PARENT, job=job)


def took(endpoint, seen, due):
    """Take the calls until the minute ``due`` has come."""
    until = time.monotonic() + PATIENCE_S
    while not seen[due]:
        assert time.monotonic() < until
        [call] = endpoint.take()
        seen[datetime.fromisoformat(call.header("ScheduleTime")).timestamp()] += 1
