"""The queue's rate against arithmetic: any rate, any steps of time, never more than allowed."""

import math
import tempfile
from pathlib import Path

import pytest
from geminivideo.runtime.clock import Clock
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.outbound import Answer
from emulators.tasks.rules import Queue, Task
from emulators.tasks.state import CATCH_UP_S, Pending, Queues

PARENT = "projects/p1/locations/l"
NAME = f"{PARENT}/queues/q"


class Still(Clock):
    def __init__(self):
        super().__init__()
        object.__setattr__(self, "times", [1_000.0])

    def now(self):
        return self.times[-1]


def filled(directory, clock, rate, concurrent, count):
    queues = Queues(Path(directory) / "t.sqlite", clock)
    queue = Queue(name=NAME)
    queue.rate_limits.max_dispatches_per_second = rate
    queue.rate_limits.max_concurrent_dispatches = concurrent
    queues.create_queue(PARENT, queue)
    for _ in range(count):
        task = Task()
        task.http_request.url = "http://x"
        queues.create_task(NAME, task)
    return queues


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([15 / 3600, 0.1, 0.5, 1, 2.5, 7]),
    steps=st.lists(st.floats(0.01, 400), min_size=1, max_size=15),
)
def test_any_window_holds_the_rate_and_the_burst(rate, steps):
    """Token bucket: in any span of t seconds at most burst + rate * t dispatches (and what the
    machine's own lateness, at most a quarter of a second, had held back)."""
    clock = Still()
    with tempfile.TemporaryDirectory() as directory:
        queues = filled(directory, clock, rate, 1000, 60)
        sent = [(clock.now(), len(queues.take(NAME)))]
        for step in steps:
            clock.times.append(clock.now() + step)
            sent.append((clock.now(), len(queues.take(NAME))))
        queues.close()
    burst = max(1, math.ceil(rate))
    for i in range(len(sent)):
        for j in range(i, len(sent)):
            count = sum(n for _, n in sent[i : j + 1])
            allowed = burst + rate * (sent[j][0] - sent[i][0] + CATCH_UP_S)
            assert count <= allowed + 1e-6


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([15 / 3600, 0.3, 2.5, 500]),
    concurrent=st.integers(1, 4),
    count=st.integers(1, 20),
)
def test_following_the_next_time_sends_everything_as_early_as_allowed(rate, concurrent, count):
    """Queues.next_time: waking when it says so, and only then, dispatches every task once."""
    clock = Still()
    with tempfile.TemporaryDirectory() as directory:
        queues = filled(directory, clock, rate, concurrent, count)
        names, started, wakes = [], clock.now(), 0
        while len(names) < count:
            taken = queues.take(NAME)
            assert len(taken) <= concurrent
            names += [dispatch.body.name for dispatch in taken]
            for dispatch in taken:
                queues.finished(dispatch, Answer(200), True)
            due = queues.next_time(NAME)
            if math.isfinite(due):
                clock.times.append(max(clock.now(), due))
            wakes += 1
            assert wakes < 20 * count + 20
        assert queues.tasks(NAME) == {}
        queues.close()
    assert len(set(names)) == count
    burst = max(1, math.ceil(rate))
    assert clock.now() - started <= max(0, count - burst) / rate + 1e-3


def test_a_restart_gives_no_tokens(tmp_path):
    """RateLimits hold over a restart: the bucket is as full as the last dispatch left it."""
    clock = Still()
    queues = filled(tmp_path, clock, 15 / 3600, 1000, 5)
    assert len(queues.take(NAME)) == 1
    queues.close()
    queues = Queues(tmp_path / "t.sqlite", clock)
    assert queues.take(NAME) == []
    clock.times.append(clock.now() + 239)
    assert queues.take(NAME) == []
    clock.times.append(clock.now() + 1)
    assert len(queues.take(NAME)) == 1
    queues.close()


def test_a_restart_keeps_the_queue_slowed(tmp_path):
    """HttpRequest: a queue that 429 slowed stays slowed for its time, also by the next process."""
    clock = Still()
    queues = filled(tmp_path, clock, 500, 1, 2)
    [dispatch] = queues.take(NAME)
    queues.finished(dispatch, Answer(429, {"Retry-After": "30"}), success=False)
    queues.close()
    queues = Queues(tmp_path / "t.sqlite", clock)
    clock.times.append(clock.now() + 29.9)
    assert queues.take(NAME) == []
    clock.times.append(clock.now() + 0.2)
    assert len(queues.take(NAME)) == 1
    queues.close()


def test_a_new_queue_of_an_old_name_starts_afresh(tmp_path):
    """queues.delete and create: nothing of the old queue's rate is left, also after a restart."""
    clock = Still()
    queues = filled(tmp_path, clock, 15 / 3600, 1000, 2)
    [dispatch] = queues.take(NAME)
    queues.delete_queue(NAME)
    queues.finished(dispatch, Answer(503), success=False)
    queues.close()
    queues = filled(tmp_path, clock, 15 / 3600, 1000, 1)
    queues.close()
    queues = Queues(tmp_path / "t.sqlite", clock)
    assert len(queues.take(NAME)) == 1
    queues.close()


def test_many_tasks_cost_what_they_are(tmp_path, monkeypatch):
    """Creating, dispatching, retrying and finishing tasks looks at the next one on a heap, and
    never walks over the others: 2,000 tasks are looked at a few times each."""
    looks = []
    due = Pending.due.fget
    monkeypatch.setattr(Pending, "due", property(lambda task: looks.append(1) or due(task)))
    clock, count = Still(), 2_000
    queues = filled(tmp_path, clock, 500, 5000, count)
    done = 0
    while done < count:
        clock.times.append(clock.now() + 1)
        for dispatch in queues.take(NAME):
            failed = dispatch.body.name.endswith("7") and dispatch.retry_count == 0
            queues.finished(dispatch, Answer(500 if failed else 200), success=not failed)
            done += not failed
    assert queues.tasks(NAME) == {}
    assert math.isinf(queues.next_time(NAME))
    queues.close()
    assert len(looks) < 15 * count


class Fast(Still):
    """A clock at 3,600 times the machine's speed."""

    def real_seconds(self, seconds):
        return seconds / 3600


def test_a_late_wake_up_costs_a_fast_clock_no_dispatch(tmp_path):
    """RateLimits on a fast clock: woken 20 s late each time (6 ms of the machine), a queue of 15 an
    hour still makes 361 dispatches in a day."""
    clock = Fast()
    queues = filled(tmp_path, clock, 15 / 3600, 1000, 400)
    started, sent = clock.now(), 0
    while True:
        for dispatch in queues.take(NAME):
            queues.finished(dispatch, Answer(200), success=True)
            sent += 1
        if (due := queues.next_time(NAME)) + 20 > started + 86_420:
            break
        clock.times.append(due + 20)
    queues.close()
    assert sent == 361


def test_a_sleep_brings_one_bucket(tmp_path):
    """RateLimits: a machine that slept, or a clock that jumped, gives a full bucket and no more."""
    clock = Fast()
    queues = filled(tmp_path, clock, 15 / 3600, 1000, 20)
    assert len(queues.take(NAME)) == 1
    clock.times.append(clock.now() + 86_400)
    assert len(queues.take(NAME)) == 1
    assert queues.next_time(NAME) == pytest.approx(clock.now() + 240)
    queues.close()


def test_a_pause_earns_no_more_than_a_bucket(tmp_path):
    """queues.pause: the time in which a queue was paused is not made up for."""
    clock = Fast()
    queues = filled(tmp_path, clock, 2.5, 1000, 30)
    queues.set_state(NAME, Queue.PAUSED)
    clock.times.append(clock.now() + 60)
    queues.set_state(NAME, Queue.RUNNING)
    assert len(queues.take(NAME)) == 3
    queues.close()


def test_a_full_queue_earns_no_more_than_a_bucket(tmp_path):
    """RateLimits: time spent at max_concurrent_dispatches is not made up for."""
    clock = Fast()
    queues = filled(tmp_path, clock, 2.5, 2, 30)
    first = queues.take(NAME)
    assert len(first) == 2
    clock.times.append(clock.now() + 60)
    for dispatch in first:
        queues.finished(dispatch, Answer(200), success=True)
    sent = 0
    while taken := queues.take(NAME):
        sent += len(taken)
        for dispatch in taken:
            queues.finished(dispatch, Answer(200), success=True)
    assert sent == 3
    queues.close()
