"""``geminivideo learn`` tells a cycle in a table, in JSON, and by its exit code."""

import json
from io import StringIO

import pytest
from geminivideo.learning_records import CycleStatus, LearningCycle, LoopStatus
from geminivideo.services.learning_cycle import view_of
from geminivideo.services.learning_loops import LOOPS, LoopResult, ended
from rich.console import Console

from emulators.commands import learn

STARTED = LearningCycle(
    id="lc-1", account_id="demo", trigger="command", status=CycleStatus.RUNNING, started_at=100.0
)


def cycle(*statuses):
    made = STARTED
    for loop, status in zip(LOOPS, statuses, strict=False):
        found = LoopResult({"n": loop.number, "rate": 0.123456, "what": [1, 2], "none": None})
        reason = None if status is LoopStatus.COMPLETED else "it broke"
        made = ended(made, loop, status, found, reason, 100.0 + loop.number)
    return view_of(made)


def shown(view):
    out = StringIO()
    Console(file=out, width=200).print(learn._table(view))
    return out.getvalue()


def test_a_whole_cycle_is_told_loop_by_loop():
    """Each loop has a line with its seconds and what it found; lists by length, unknown as such."""
    view = cycle(*[LoopStatus.COMPLETED] * 7)
    text = shown(view)
    assert "lc-1 of demo: completed, 7.0 s" in text
    for loop in LOOPS:
        assert f"{loop.number} {loop.name}" in text
    assert "rate: 0.1235" in text
    assert "what: 2" in text
    assert "none: unknown" in text
    assert learn._is_whole(view)


@pytest.mark.parametrize("status", [LoopStatus.FAILED, LoopStatus.TIMED_OUT])
def test_a_lost_loop_is_told_with_its_reason(status):
    """Its reason stands where its result would, and the cycle is not whole."""
    view = cycle(*[LoopStatus.COMPLETED] * 6, status)
    assert "it broke" in shown(view)
    assert not learn._is_whole(view)


def test_a_cycle_that_is_not_over_is_not_whole():
    """Loops that have not begun are waiting, without seconds."""
    view = cycle(LoopStatus.COMPLETED)
    assert shown(view).count("waiting") == 6
    assert "running" in shown(view)
    assert not learn._is_whole(view)


def test_json_has_the_seven_steps(capsys):
    """The machine's answer is the route's: steps keyed 1 to 7."""
    learn._tell([cycle(*[LoopStatus.COMPLETED] * 7)], as_json=True)
    (told,) = json.loads(capsys.readouterr().out)["cycles"]
    assert list(told["steps"]) == [str(number) for number in range(1, 8)]
    assert told["steps"]["3"]["result"]["n"] == 3
