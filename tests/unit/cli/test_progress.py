"""A flow's progress: steps in their order, items counted, the worst state shown."""

from __future__ import annotations

import io
from typing import Any

import pytest
from geminivideo.events import ObjectRef
from geminivideo.records import ChangeStatus, ChangeType, Flow, FlowStatus, PendingChange
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.runs import RunState, StepRun
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from emulators import progress


def run(step: str, item: str = "", **changes: Any) -> StepRun:
    """A completed step run."""
    return StepRun(
        **{
            "id": f"{step}:{item}", "step": step, "key": item, "flow_id": "cf-1", "item": item,
            "state": RunState.COMPLETED, "epoch": 1, "attempts": 1, "started_at": 10.0,
            "lease_until_at": 0.0, "finished_at": 12.0,
        }
        | changes
    )  # fmt: skip


def test_items_of_a_fan_out_are_counted_in_one_line():
    """Two of three items done: the step still runs, its time goes on."""
    runs = [
        run("extract_features", "a"),
        run("extract_features", "b", attempts=3),
        run("extract_features", "c", state=RunState.RUNNING, finished_at=None),
    ]
    [step] = progress.summarize(runs, [], now=20.0)
    assert (step.done, step.begun, step.state) == (2, 3, RunState.RUNNING)
    assert (step.attempts, step.seconds) == (3, 10.0)


def test_items_that_have_not_begun_are_waited_for():
    """Two of ten variations done is not a completed step; all ten are."""
    runs = [run("render", "a"), run("render", "b")]
    [step] = progress.summarize(runs, [], 20.0, {"render": 10})
    assert (step.done, step.begun, step.state) == (2, 10, RunState.RUNNING)
    [step] = progress.summarize(runs, [], 20.0, {"render": 2})
    assert (step.done, step.begun, step.state) == (2, 2, RunState.COMPLETED)


@given(st.permutations(["ingest_video", "rank_scenes", "render", "publish_ads"]))
def test_steps_stand_in_the_order_of_the_flow(names: list[str]):
    """However the runs come, the table reads from the first step to the last."""
    shown = [step.step for step in progress.summarize([run(name) for name in names], [], 20.0)]
    assert shown == ["ingest_video", "rank_scenes", "render", "publish_ads"]


def test_a_step_that_the_flow_does_not_know_is_shown_last():
    """Nothing that ran is hidden."""
    shown = progress.summarize([run("novelty"), run("ingest_video")], [], 20.0)
    assert [step.step for step in shown] == ["ingest_video", "novelty"]


@given(st.lists(st.sampled_from(list(RunState)), min_size=1))
def test_a_dead_item_is_never_outshone(states: list[RunState]):
    """One dead item makes the step's state dead; completed only when all are."""
    runs = [run("x", str(n), state=state) for n, state in enumerate(states)]
    [step] = progress.summarize(runs, [], 20.0)
    assert (step.state is RunState.DEAD) == (RunState.DEAD in states)
    assert (step.state is RunState.COMPLETED) == (set(states) == {RunState.COMPLETED})


class Recorded:
    """A watcher that plays a flow back, one look at a time."""

    def __init__(self, looks: list[tuple[Flow | None, list[StepRun]]]) -> None:
        self._looks = looks
        self.clock = Clock()

    def flow(self, _: str) -> Flow | None:
        """The flow at this look."""
        return self._looks[0][0]

    def runs(self, _: str) -> tuple[StepRun, ...]:
        """The runs at this look; the next look is the next one."""
        runs = self._looks[0][1]
        if len(self._looks) > 1:
            self._looks.pop(0)
        return tuple(runs)

    def changes(self, _: str) -> tuple[PendingChange, ...]:
        """No changes in these plays."""
        return ()

    def expected(self, _: str) -> dict[str, int]:
        """Nothing is fanned out in these plays."""
        return {}


def change(status: ChangeStatus, **changes: Any) -> PendingChange:
    """A change of an ad."""
    return PendingChange(
        **{
            "id": "c", "change_type": ChangeType.CREATE_AD, "status": status,
            "account_id": "demo", "campaign_id": None, "ad_id": None, "payload": {},
            "requested_by": "r", "reasoning": "w", "created_at": 1.0, "not_before_at": 10.0,
            "jitter_s": 3.0,
        }
        | changes
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "state", "done"),
    [
        ([ChangeStatus.COMPLETED, ChangeStatus.PENDING], RunState.RUNNING, 1),
        ([ChangeStatus.COMPLETED, ChangeStatus.COMPLETED], RunState.COMPLETED, 2),
        ([ChangeStatus.COMPLETED, ChangeStatus.FAILED], RunState.DEAD, 2),
        ([ChangeStatus.UNKNOWN, ChangeStatus.EXECUTING], RunState.RUNNING, 0),
        ([ChangeStatus.CANCELLED], RunState.REJECTED, 1),
    ],
)
def test_the_executor_has_a_line_made_of_its_changes(statuses, state, done):
    """Changes are the SafeExecutor's work: counted like the items of a step, shown last."""
    changes = [change(status, finished_at=12.0) for status in statuses]
    *_, step = progress.summarize([run("ingest_video")], changes, 20.0)
    assert (step.step, step.state, step.done, step.begun, step.seconds) == (
        "execute_change", state, done, len(statuses), 2.0,
    )  # fmt: skip


def flow(status: FlowStatus) -> Flow:
    """A flow in a status."""
    video = ObjectRef(bucket="b", name="n", generation=1)
    return Flow(
        id="cf-1", kind="creative", status=status, video=video, account_id="demo",
        created_at=1.0, updated_at=1.0,
    )  # fmt: skip


def test_without_a_terminal_each_change_is_one_line_and_nothing_twice(monkeypatch):
    """A log file of a demo reads like a story."""
    monkeypatch.setattr(progress, "LOOK_S", 0.0)
    busy = [run("ingest_video", state=RunState.RUNNING, finished_at=None)]
    failing = [run("ingest_video", state=RunState.FAILED, finished_at=None, error="no disk")]
    done = [run("ingest_video", attempts=2, degraded=("no-audio",))]
    running, ended = flow(FlowStatus.RUNNING), flow(FlowStatus.COMPLETED)
    looks = [(None, []), (running, busy), (running, busy), (running, failing), (ended, done)]
    out = io.StringIO()
    found = progress.follow(
        Recorded(looks), "cf-1", Console(file=out, width=100, force_terminal=False), 10
    )
    assert found.status is FlowStatus.COMPLETED
    lines = out.getvalue().splitlines()
    assert [line.split()[3] for line in lines] == ["RUNNING", "FAILED", "COMPLETED"]
    assert "no disk" in lines[1]
    assert lines[2].endswith("attempt 2  no-audio")


def test_a_terminal_gets_a_live_table(monkeypatch):
    """The same flow, drawn in place."""
    monkeypatch.setattr(progress, "LOOK_S", 0.0)
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True)
    progress.follow(Recorded([(flow(FlowStatus.COMPLETED), [run("render")])]), "cf-1", console, 10)
    assert "render" in out.getvalue()
    assert "flow cf-1" in out.getvalue()


@pytest.mark.parametrize(
    ("record", "said"),
    [(flow(FlowStatus.RUNNING), "it is at render"), (None, "see logs/ingest-video.log")],
)
def test_a_flow_that_does_not_end_is_an_error_that_says_where_it_stands(monkeypatch, record, said):
    """Nobody waits for ever, and nobody is left guessing."""
    monkeypatch.setattr(progress, "LOOK_S", 0.0)
    monkeypatch.setattr(progress, "FIRST_SIGN_S", 0.0)
    runs = [run("render", state=RunState.RUNNING, finished_at=None)]
    with pytest.raises(progress.FlowStuckError, match=said):
        progress.wait(Recorded([(record, runs)]), "cf-1", 0.0)
