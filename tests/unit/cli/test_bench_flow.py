"""The arithmetic of the flow's cost: unions of time, sums of work, what is waiting on purpose."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from geminivideo.events import ObjectRef
from geminivideo.records import (
    ChangeStatus,
    ChangeType,
    Flow,
    FlowStatus,
    PendingChange,
)
from geminivideo.runtime.runs import RunState, StepRun
from hypothesis import given
from hypothesis import strategies as st

from emulators.watch import Facts

PATH = Path(__file__).resolve().parents[3] / "bench" / "flow.py"
SPEC = importlib.util.spec_from_file_location("bench_flow", PATH)
flow = importlib.util.module_from_spec(SPEC)
sys.modules["bench_flow"] = flow
SPEC.loader.exec_module(flow)

SPANS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda s: (s[0], s[0] + s[1]))
)


@given(SPANS)
def test_the_covered_time_is_the_number_of_seconds_in_any_span(spans: list[tuple[int, int]]):
    """Counted one second at a time, the union is the same."""
    seconds = {second for start, end in spans for second in range(start, end)}
    assert flow.covered(spans) == len(seconds)


def run(step: str, start: float, end: float, work: float) -> StepRun:
    """A completed run."""
    return StepRun(
        id=f"{step}:{start}", step=step, key="", flow_id="f", item="", epoch=1, attempts=1,
        state=RunState.COMPLETED, started_at=start, lease_until_at=0, finished_at=end,
        work_s=work,
    )  # fmt: skip


def facts(**changes: Any) -> Facts:
    """A flow of two steps, the second with overlapping items, and one change."""
    video = ObjectRef(bucket="b", name="n", generation=1)
    change = PendingChange(
        id="c", change_type=ChangeType.CREATE_AD, status=ChangeStatus.COMPLETED,
        account_id="a", campaign_id=None, ad_id=None, payload={}, requested_by="r",
        reasoning="w", created_at=12.0, not_before_at=17.0, jitter_s=5.0, finished_at=18.0,
    )  # fmt: skip
    ended = Flow(
        id="f", kind="creative", status=FlowStatus.COMPLETED, video=video, account_id="a",
        created_at=0.0, updated_at=18.0, finished_at=18.0,
    )  # fmt: skip
    runs = (run("x", 0, 4, 3.0), run("y", 6, 10, 4.0), run("y", 7, 12, 5.0))
    return Facts(**({"flow": ended, "runs": runs, "changes": (change,)} | changes))


def test_the_cost_of_a_flow_keeps_work_hand_over_and_jitter_apart():
    """Wall 0-12, work 3 + 4 + 5, nobody at work from 4 to 6, then 5 s of jitter in 6 s."""
    cost = flow.cost_of(facts())
    assert (cost.wall_s, cost.work_s, cost.busy_s, cost.idle_s) == (12, 12, 10, 2)
    assert (cost.execution_s, cost.jitter_s, cost.ratio) == (6, 5, 1.0)
    assert [(s.step, s.runs, s.work_s, s.span_s) for s in cost.steps] == [
        ("x", 1, 3.0, 4),
        ("y", 2, 9.0, 6),
    ]


def test_an_unfinished_flow_has_no_cost_yet():
    """Nothing is measured of what has not ended."""
    with pytest.raises(ValueError, match="not finished"):
        flow.cost_of(facts(flow=None))
