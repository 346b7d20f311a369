"""What is done about a step as it was left, and whole histories under random faults."""

from collections.abc import Callable
from typing import Any

import pytest
from geminivideo.records import ChangeStatus
from geminivideo.safe_executor.saga import Move, Step, StepState, next_move, sent_by
from hypothesis import given
from hypothesis import strategies as st

SETTLE = 5.0
steps = st.builds(
    Step,
    state=st.sampled_from(StepState),
    name=st.just("n"),
    owner=st.sampled_from(["me", "other"]),
    epoch=st.integers(1, 3),
    at=st.floats(0, 100),
    meta_id=st.just("1"),
)


@given(step=st.none() | steps, lives=st.booleans(), now=st.floats(0, 200))
def test_an_open_step_is_never_created_blindly(step: Step | None, lives: bool, now: float) -> None:
    """CREATE only where nothing can exist; an open step is looked up, after it has settled."""
    decided = next_move(step, change_id="me", owner_lives=lives, now=now, settle_s=SETTLE)
    may_exist = step is not None and step.state in (StepState.INTENT, StepState.UNKNOWN)
    assert (decided.move is Move.CREATE) == (
        step is None or step.state in (StepState.REFUSED, StepState.REMOVED)
    )
    assert (decided.move is Move.USE) == (step is not None and step.state is StepState.DONE)
    if decided.move is Move.FIND:
        assert may_exist
        assert step is not None
        assert now >= step.at + SETTLE
    if decided.move is Move.WAIT:
        assert decided.until_at > now


def test_anothers_living_step_is_waited_for() -> None:
    """A shared step in the hands of a living execution is left alone."""
    step = Step(state=StepState.INTENT, name="n", owner="other", epoch=1, at=0.0)
    waiting = next_move(step, change_id="me", owner_lives=True, now=100.0, settle_s=SETTLE)
    assert waiting.move is Move.WAIT
    taking = next_move(step, change_id="me", owner_lives=False, now=100.0, settle_s=SETTLE)
    assert taking.move is Move.FIND


def test_a_history_names_only_what_the_change_sent() -> None:
    """Objects that another change created are not in this one's row."""
    mine = Step(state=StepState.DONE, name="n", owner="me", epoch=1, at=0.0, sent={"a": 1})
    other = Step(state=StepState.DONE, name="n", owner="other", epoch=1, at=0.0)
    rows = sent_by("me", {"campaign": other}, {"ad": mine})
    assert [row["step"] for row in rows] == ["ad"]


def script_of(seed: int) -> list[tuple[str, dict[str, Any]]]:
    """A mix of faults; ``skip`` spreads them over the flow."""
    return [
        ("POST *", {"drop": "after", "skip": seed % 5}),
        ("POST *", {"drop": "before", "skip": seed}),
        ("GET *", {"drop": "before", "skip": seed % 3}),
        ("POST *", {"code": 2, "status": 500, "transient": True, "skip": (3 * seed) % 11}),
        ("POST */ads", {"drop": "after", "times": 1 + seed % 2}),
    ]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script_of(seed), marks=[pytest.mark.long] if seed > 1 else [])
        for seed in range(6)
    ],
)
def test_random_faults_leave_every_object_once(
    build: Callable[..., Any], script: list[tuple[str, dict[str, Any]]]
) -> None:
    """Lost answers, lost requests and server errors in any mix: the double's log shows each name
    created once, one terminal row per change, and nothing that is not paused."""
    world = build()
    changes = world.plan(3)
    for match, members in script:
        world.meta.fault(match, **members)
    world.drain()
    world.check_invariants()
    assert {world.change(c.id).status for c in changes} == {ChangeStatus.COMPLETED}
    for change in changes:
        rows = sorted(world.history(change.id), key=lambda row: row.at)
        assert rows[-1].terminal
        assert len({row.id for row in rows}) == len(rows)
