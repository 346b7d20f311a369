"""The threads behind the gRPC emulators: as many as are needed, never more than the limit."""

import threading

import pytest

from emulators.workers import Workers

PATIENCE_S = 10


@pytest.fixture
def workers():
    made = Workers(4, "test")
    yield made
    made.shutdown(wait=False)


def ended(work):
    event = threading.Event()
    work.add_done_callback(lambda _: event.set())
    return event.wait(PATIENCE_S)


def test_calls_that_wait_for_each_other_run_at_once(workers):
    """A call finds a thread although all earlier ones are busy, up to the limit."""
    meeting = threading.Barrier(4)
    works = [workers.submit(meeting.wait, PATIENCE_S) for _ in range(4)]
    assert all(ended(work) for work in works)
    assert not meeting.broken


def test_beyond_the_limit_calls_wait_for_a_thread(workers):
    """No more threads than the limit, and nothing that was submitted is forgotten."""
    gate, running, most = threading.Event(), [], []

    def call():
        running.append(None)
        most.append(len(running))
        gate.wait(PATIENCE_S)
        running.pop()

    works = [workers.submit(call) for _ in range(20)]
    gate.set()
    assert all(ended(work) for work in works)
    assert len(most) == 20
    assert max(most) <= 4


def test_an_idle_thread_is_used_again(workers):
    """One call after the other needs one thread."""
    names = set()
    for _ in range(50):
        done = threading.Event()

        def call(done=done):
            names.add(threading.current_thread().name)
            done.set()

        assert ended(workers.submit(call))
        assert done.is_set()
    assert len(names) == 1


def test_a_call_that_raises_ends_like_any_other(workers, caplog):
    """It is logged, its callbacks are called, and the thread goes on."""

    def fail():
        raise ValueError("not an API error")

    assert ended(workers.submit(fail))
    assert "not an API error" in caplog.text
    assert ended(workers.submit(lambda: None))


def test_who_asks_late_is_told_at_once(workers):
    """A callback that is added after the end is called in the thread that adds it."""
    work = workers.submit(lambda: None)
    assert ended(work)
    told = []
    work.add_done_callback(lambda _: told.append(threading.current_thread()))
    assert told == [threading.current_thread()]


def test_shutdown_waits_for_what_runs_and_forgets_what_has_not_begun():
    """cancel_futures: only what has begun is done."""
    workers = Workers(1, "test")
    gate, done = threading.Event(), []
    started = threading.Event()

    def first():
        started.set()
        gate.wait(PATIENCE_S)
        done.append("first")

    workers.submit(first)
    started.wait(PATIENCE_S)
    workers.submit(done.append, "second")
    threading.Timer(0.05, gate.set).start()
    workers.shutdown(wait=True, cancel_futures=True)
    assert done == ["first"]
