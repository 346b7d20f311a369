"""The changes' queue of a simulation in one process: at Cloud Tasks' rate, like the real one."""

from geminivideo.events import ChangeDue
from geminivideo.topology import CHANGES_QUEUE
from hypothesis import given
from hypothesis import strategies as st

from emulators.simulation.ports import BURST, GRID_S, Queue
from emulators.tasks.rules import burst


def _queue(times: list[float]) -> Queue:
    queue = Queue()
    for number, at in enumerate(times):
        queue.put(ChangeDue(flow_id="f", change_id=f"c{number}"), at, f"t{number}")
    return queue


@given(st.lists(st.floats(0, 9), max_size=40))
def test_everything_leaves_in_time_order_and_no_moment_more_than_the_bucket_holds(times):
    """Nothing is lost, nothing leaves early, and what the rate holds back goes a moment later."""
    queue, now, left = _queue(times), 0.0, []
    while queue.next_at() is not None:
        taken = queue.take(now)
        assert len(taken) <= BURST
        left += [(int(one.change_id[1:]), now) for one in taken]
        assert queue.spent(now) == (len(taken) == BURST)
        now += GRID_S
    order = sorted(range(len(times)), key=lambda number: (times[number], number))
    assert [number for number, _ in left] == order
    assert all(times[number] <= at for number, at in left)


def test_a_moment_that_is_asked_again_gives_no_more():
    """The bucket fills with time, not with questions."""
    queue = _queue([1.0] * (BURST + 2))
    assert len(queue.take(3.0)) == BURST
    assert queue.take(3.0) == []
    assert queue.spent(3.0)
    assert len(queue.take(6.0)) == 2
    assert not queue.spent(6.0)


def test_a_name_is_used_once():
    """A second task of the same name is none."""
    queue = _queue([1.0])
    queue.put(ChangeDue(flow_id="f", change_id="again"), 2.0, "t0")
    assert [one.change_id for one in queue.take(9.0)] == ["c0"]
    assert burst(CHANGES_QUEUE.max_dispatches_per_second) == BURST
