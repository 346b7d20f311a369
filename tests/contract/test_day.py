"""Twenty-four hours of schedules and of a slow queue, on a clock that is moved: exact counts.

The day begins at 2027-03-13 14:00 UTC; New York's clocks go forward in its night.
"""

import time
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

from emulators import scheduler, tasks

from .calling import PATIENCE_S, CallingCloud
from .clocks import ManualClock

PARENT = "projects/p1/locations/us-central1"
QUEUE = f"{PARENT}/queues/slow"
START = datetime(2027, 3, 13, 14, tzinfo=UTC).timestamp()
DAY_S = 86_400
STEP_S = 60
PER_HOUR = 15
SPACING_S = 3600 / PER_HOUR
TASKS = 400
JOBS = {
    "five": ("*/5 * * * *", "Etc/UTC"),
    "hourly": ("0 * * * *", "Asia/Kolkata"),
    "daily": ("30 9 * * *", "America/New_York"),
    "weekdays": ("0 6 * * 1-5", "Europe/Berlin"),
}


class Day(CallingCloud):
    """Cloud Tasks; the Scheduler on the same clock; every call's product time by path."""

    server_type = tasks.Server

    def __init__(self, state_dir, clock) -> None:
        self.published: list[float] = []
        self.scheduler = scheduler.Server(
            state_dir=state_dir, clock=clock, publish=lambda *_: self._published()
        )
        self.scheduler.start()
        super().__init__(state_dir, clock)

    def connect(self):
        import grpc

        transport = CloudTasksGrpcTransport(channel=self.channel())
        self.client = CloudTasksClient(transport=transport)
        channel = grpc.insecure_channel(self.scheduler.host)
        self.schedules = CloudSchedulerClient(
            transport=CloudSchedulerGrpcTransport(channel=channel)
        )
        return [self.client, self.schedules]

    def stop(self) -> None:
        super().stop()
        self.scheduler.stop()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.scheduler.clock_moved()

    def settle(self) -> None:
        super().settle()
        until = time.monotonic() + PATIENCE_S
        while self.scheduler.in_flight:
            assert time.monotonic() < until, "an execution stays under way"
            time.sleep(0.002)

    def _published(self) -> str:
        self.published.append(self.clock.now())
        return "1"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def cloud_type() -> type[Day]:
    return Day


def begin(cloud, endpoint) -> None:
    """The jobs, and the queue with its tasks."""
    for name, (schedule, zone) in JOBS.items():
        target = {"http_target": {"uri": f"{endpoint.url}/{name}"}}
        job = {"name": f"{PARENT}/jobs/{name}", "schedule": schedule, "time_zone": zone, **target}
        cloud.schedules.create_job(parent=PARENT, job=job)
    topic = {"topic_name": "projects/p1/topics/tick", "data": b"tick"}
    minute = {"name": f"{PARENT}/jobs/minute", "schedule": "* * * * *", "pubsub_target": topic}
    cloud.schedules.create_job(parent=PARENT, job=minute)
    limits = {"max_dispatches_per_second": PER_HOUR / 3600}
    cloud.client.create_queue(parent=PARENT, queue={"name": QUEUE, "rate_limits": limits})
    task = {"http_request": {"url": f"{endpoint.url}/task"}}
    for _ in range(TASKS):
        cloud.client.create_task(parent=QUEUE, task=task)


def due_at(moment: float) -> Counter[str]:
    """The calls of a full minute, by arithmetic on the calendar alone."""
    counts = Counter(at_minute(moment) if moment > START else ())
    passed = moment - START
    if passed % SPACING_S == 0 and passed / SPACING_S < TASKS:
        counts["task"] += 1
    return counts


def at_minute(moment: float) -> set[str]:
    """The HTTP jobs that are due at a full minute."""
    utc = datetime.fromtimestamp(moment, UTC)
    new_york = utc.astimezone(ZoneInfo("America/New_York"))
    india = utc.astimezone(ZoneInfo("Asia/Kolkata"))
    berlin = utc.astimezone(ZoneInfo("Europe/Berlin"))
    due = {
        "five": utc.minute % 5 == 0,
        "hourly": india.minute == 0,
        "daily": (new_york.hour, new_york.minute) == (9, 30),
        "weekdays": (berlin.hour, berlin.minute) == (6, 0) and berlin.isoweekday() <= 5,
    }
    return {name for name, is_due in due.items() if is_due}


def live_through(cloud, endpoint, seconds: float) -> dict[str, list[float]]:
    """Pass the time minute by minute; the product times of the calls, by path."""
    times: dict[str, list[float]] = {}
    end = cloud.clock.now() + seconds
    while True:
        due = due_at(cloud.clock.now())
        for seen in endpoint.take(due.total()):
            path = seen.path.rpartition("/")[2]
            times.setdefault(path, []).append(seen.at)
            due[path] -= 1
        assert not any(due.values()), f"at {cloud.clock.now()}: {due}"
        if cloud.clock.now() >= end:
            cloud.settle()
            return times
        cloud.advance(STEP_S)


def test_a_day_passes_in_seconds_with_exact_counts(cloud, endpoint, clock):
    """24 hours: 288, 24, 2 and 0 executions, 1440 messages, and one task every 240 s exactly."""
    began = time.monotonic()
    begin(cloud, endpoint)
    times = live_through(cloud, endpoint, DAY_S)
    assert clock.now() == START + DAY_S
    assert endpoint.stays_silent(0.1)
    counts = {path: len(seen) for path, seen in times.items()}
    assert counts == {"five": 288, "hourly": 24, "daily": 2, "task": 361}
    assert len(cloud.published) == 1440
    assert times["task"] == [START + SPACING_S * number for number in range(361)]
    assert {after - before for before, after in pairwise(times["five"])} == {300}
    assert {after - before for before, after in pairwise(times["hourly"])} == {3600}
    assert times["daily"] == [START + 1800, START + 1800 + 23 * 3600]
    assert len(list(cloud.client.list_tasks(parent=QUEUE))) == TASKS - 361
    assert time.monotonic() - began < 60


def test_the_queue_empties_at_its_rate_and_not_sooner(cloud, endpoint, clock):
    """A restart in the middle gives no second burst: the spacing stays 240 s."""
    limits = {"max_dispatches_per_second": PER_HOUR / 3600}
    cloud.client.create_queue(parent=PARENT, queue={"name": QUEUE, "rate_limits": limits})
    for _ in range(8):
        task = {"http_request": {"url": f"{endpoint.url}/task"}}
        cloud.client.create_task(parent=QUEUE, task=task)
    [first] = endpoint.take()
    moments = [first.at]
    for number in range(7):
        cloud.advance(SPACING_S / 2)
        cloud.settle()
        if number % 2:
            cloud.restart()
        assert endpoint.stays_silent(0.02)
        cloud.advance(SPACING_S / 2)
        moments.append(endpoint.take()[0].at)
    assert {after - before for before, after in pairwise(moments)} == {SPACING_S}
