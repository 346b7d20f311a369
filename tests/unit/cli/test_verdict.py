"""The verdict on a flow: true only when every part of it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from geminivideo.degraded import INPUT_REASONS, OFFLINE_REASONS
from geminivideo.events import ObjectRef
from geminivideo.records import (
    Blueprint,
    ChangeStatus,
    ChangeType,
    Check,
    Flow,
    FlowStatus,
    HistoryRow,
    HookType,
    PendingChange,
    Scene,
    Variation,
    VariationStatus,
    Verdict,
)
from geminivideo.runtime.runs import RunState, StepRun
from hypothesis import given
from hypothesis import strategies as st

from emulators.verdict import complaints, counts, degraded, report, timings
from emulators.watch import AdAtMeta, Facts

VIDEO = ObjectRef(bucket="b", name="demo/v.mp4", generation=7)


def true_facts(ads: int = 3) -> Facts:
    """A flow in which everything is as it must be."""
    return Facts(
        flow=Flow(
            id="cf-1", kind="creative", status=FlowStatus.COMPLETED, video=VIDEO,
            account_id="demo", created_at=1.0, updated_at=9.0, finished_at=9.0,
        ),
        runs=(run("ingest_video", 1.0, 2.0),),
        scenes=(Scene(id="cf-1-000", flow_id="cf-1", index=0, start_s=0, end_s=4),),
        blueprints=tuple(blueprint(n) for n in range(ads)),
        variations=tuple(variation(n) for n in range(ads)),
        changes=tuple(change(n) for n in range(ads)),
        history=tuple(terminal(n) for n in range(ads)),
        ads=tuple(ad(n) for n in range(ads)),
        files={f"v{n}": Path(f"ads/v{n}.mp4") for n in range(ads)},
    )  # fmt: skip


def run(step: str, start: float, end: float | None, **rest: Any) -> StepRun:
    """A step run."""
    return StepRun(
        id=f"{step}:{start}", step=step, key="k", flow_id="cf-1", item="",
        state=RunState.COMPLETED, epoch=1, attempts=1, started_at=start, lease_until_at=0,
        finished_at=end, **rest,
    )  # fmt: skip


def blueprint(n: int) -> Blueprint:
    """An approved plan."""
    return Blueprint(
        id=f"bp{n}", flow_id="cf-1", title="t", hook_text="h", hook_type=HookType.STORY,
        shots=(), cta_text="c", cta_type="SHOP_NOW", caption="", emotional_triggers=(),
        grade="none", mode="m", verdict=Verdict.APPROVED, council_score=90.0 + n,
    )  # fmt: skip


def variation(n: int) -> Variation:
    """A rendered and checked file."""
    return Variation(
        id=f"v{n}", render_job_id="rj", flow_id="cf-1", blueprint_id=f"bp{n}",
        status=VariationStatus.RENDERED, media=VIDEO, width=1080, height=1920, duration_s=12.0,
        checks=(Check(name="loudness", passed=True, measured=-16.1, wanted=-16.0),),
    )  # fmt: skip


def change(n: int) -> PendingChange:
    """An executed change."""
    return PendingChange(
        id=f"c{n}", change_type=ChangeType.CREATE_AD, status=ChangeStatus.COMPLETED,
        account_id="demo", campaign_id="k", ad_id=None, payload={}, requested_by="r",
        reasoning="w", created_at=1, not_before_at=1, jitter_s=3, flow_id="cf-1",
        variation_id=f"v{n}", meta_id=f"m{n}",
    )  # fmt: skip


def terminal(n: int) -> HistoryRow:
    """The one terminal row of a change."""
    return HistoryRow(
        id=f"c{n}-end", change_id=f"c{n}", status="COMPLETED", at=8, account_id="demo",
        change_type="CREATE_AD", requested_by="r", reasoning="w", terminal=True,
    )  # fmt: skip


def ad(n: int, status: str = "PAUSED") -> AdAtMeta:
    """An ad at Meta."""
    return AdAtMeta(id=f"m{n}", name=f"ad {n}", status=status, effective_status=status)


def first(items: tuple[Any, ...], **changes: Any) -> tuple[Any, ...]:
    """The tuple with its first item changed."""
    return (replace(items[0], **changes), *items[1:])


@given(st.integers(3, 12))
def test_a_true_flow_has_no_complaint(ads: int):
    """Any number of ads from three on, when all counts agree."""
    assert complaints(true_facts(ads)) == []


@given(st.integers(0, 2))
def test_fewer_than_three_ads_are_not_enough(ads: int):
    """A consistent flow with too few variations is still not true."""
    assert any("at least 3" in said for said in complaints(true_facts(ads)))


FAULTS: dict[str, tuple[Callable[[Facts], dict[str, Any]], str]] = {
    "no flow": (lambda f: {"flow": None}, "no record of the flow"),
    "dead": (lambda f: {"flow": replace(f.flow, status=FlowStatus.DEAD, reason="x")}, "DEAD: x"),
    "running": (lambda f: {"flow": replace(f.flow, status=FlowStatus.RUNNING)}, "is RUNNING"),
    "rejected": (lambda f: {"flow": replace(f.flow, status=FlowStatus.REJECTED)}, "REJECTED"),
    "no scene": (lambda f: {"scenes": ()}, "No scene"),
    "unapproved": (
        lambda f: {"blueprints": first(f.blueprints, verdict=Verdict.REJECTED)},
        "2 approved, 3 rendered",
    ),
    "render failed": (
        lambda f: {"variations": first(f.variations, status=VariationStatus.FAILED, reason="r")},
        "Variation v0 is FAILED: r",
    ),
    "unchecked": (lambda f: {"variations": first(f.variations, checks=())}, "was not checked"),
    "check failed": (
        lambda f: {
            "variations": first(
                f.variations, checks=(Check(name="size", passed=False, measured=1, wanted=2),)
            )
        },
        "failed size: 1, wanted 2",
    ),
    "change failed": (
        lambda f: {"changes": first(f.changes, status=ChangeStatus.FAILED, last_error="e")},
        "Change c0 is FAILED: e",
    ),
    "change pending": (
        lambda f: {"changes": first(f.changes, status=ChangeStatus.PENDING)},
        "Change c0 is PENDING",
    ),
    "no history": (lambda f: {"history": f.history[1:]}, "c0 has 0 terminal"),
    "two ends": (lambda f: {"history": (*f.history, f.history[0])}, "c0 has 2 terminal"),
    "lost ad": (lambda f: {"ads": f.ads[1:]}, "m0 is recorded but is not at Meta"),
    "orphan ad": (lambda f: {"ads": (*f.ads, ad(9))}, "m9 is at Meta but no change owns it"),
    "one ad twice": (lambda f: {"changes": first(f.changes, meta_id="m1")}, "claimed by 2"),
    "active ad": (lambda f: {"ads": (ad(0, "ACTIVE"), *f.ads[1:])}, "m0 is ACTIVE"),
    "degraded flow": (
        lambda f: {"flow": replace(f.flow, degraded=("no-features",))},
        "does not explain: no-features",
    ),
    "degraded run": (
        lambda f: {"runs": (run("rank_scenes", 1, 2, degraded=("invented",)),)},
        "does not explain: invented",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_single_fault_is_named(fault: str):
    """One thing wrong in an otherwise true flow is a complaint that says which."""
    change_of, said = FAULTS[fault]
    facts = true_facts()
    assert any(said in complaint for complaint in complaints(replace(facts, **change_of(facts))))


@given(st.sets(st.sampled_from(sorted(FAULTS)), min_size=1))
def test_any_combination_of_faults_is_never_true(faults: set[str]):
    """Faults do not cancel each other out."""
    facts = true_facts()
    for fault in sorted(faults):
        if fault != "no flow" and facts.flow is None:
            continue
        facts = replace(facts, **FAULTS[fault][0](facts))
    assert complaints(facts)


@given(st.sets(st.sampled_from(sorted(OFFLINE_REASONS))))
def test_documented_offline_reasons_do_not_spoil_the_flow(reasons: set[str]):
    """What offline use explains is shown, not held against the flow."""
    facts = true_facts()
    facts = replace(facts, flow=replace(facts.flow, degraded=tuple(sorted(reasons))))
    assert complaints(facts) == []
    assert set(degraded(facts)) == reasons


@pytest.mark.parametrize("reason", sorted(INPUT_REASONS))
def test_what_the_video_lacks_is_not_an_offline_reason(reason: str):
    """The sample has everything, so a missing part of it is a fault."""
    facts = true_facts()
    facts = replace(facts, flow=replace(facts.flow, degraded=(reason,)))
    assert complaints(facts)


def test_the_counts_are_taken_from_five_independent_places():
    """Plans, files, wishes, executed wishes and Meta itself."""
    assert counts(true_facts(4)) == dict.fromkeys(
        ["approved", "rendered", "queued", "completed", "ads at Meta"], 4
    )


def test_a_steps_time_is_from_its_first_start_to_its_last_end():
    """Items of a fan-out overlap; their span counts, not their sum."""
    runs = (run("x", 1.0, 3.0), run("x", 2.0, 6.5), run("y", 2.0, None), run("z", 0.0, 0.25))
    assert timings(replace(true_facts(), runs=runs)) == {"x": 5.5, "z": 0.25}


def test_the_executors_time_leaves_out_the_jitter():
    """From the first change's earliest time to the last one's end."""
    changes = (
        replace(change(0), created_at=1.0, not_before_at=5.0, finished_at=6.0),
        replace(change(1), created_at=1.0, not_before_at=9.0, finished_at=9.5),
        change(2),
    )
    assert timings(replace(true_facts(), runs=(), changes=changes)) == {"execute_change": 4.5}


def test_the_report_has_the_agreed_shape_and_is_json():
    """Scripts read report.json: its members are a contract."""
    facts = true_facts()
    facts = replace(facts, ads=(*facts.ads, ad(9)))
    told = json.loads(json.dumps(report(facts, "cf-1")))
    assert list(told) == [
        "flow_id", "status", "degraded", "scenes", "variations", "changes", "ads", "timings",
    ]  # fmt: skip
    assert told["variations"][0] == {
        "id": "v0",
        "path": "ads/v0.mp4",
        "width": 1080,
        "height": 1920,
        "duration": 12.0,
        "council_score": 90.0,
        "checks": [{"name": "loudness", "passed": True, "measured": -16.1, "wanted": -16.0}],
    }
    assert told["changes"][0] == {"id": "c0", "status": "COMPLETED"}
    assert told["ads"][0] == {"change_id": "c0", "meta_id": "m0", "status": "PAUSED"}
    assert told["ads"][-1] == {"change_id": None, "meta_id": "m9", "status": "PAUSED"}
