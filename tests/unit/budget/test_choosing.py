"""From recommendations to verdicts: gated, worth a change, few enough, and paid for."""

from dataclasses import replace

import pytest
from geminivideo.budget import choosing
from geminivideo.budget.decision import Request
from geminivideo.budget.gate import AccountHealth, Outcome
from geminivideo.budget.scoring import decide
from geminivideo.budget.signals import DAY_S, AdSignals, Day, LagCurve
from geminivideo.policy import AllocationPolicy, ExecutionMode, ExecutorPolicy, GatePolicy, Policy
from hypothesis import given, settings
from hypothesis import strategies as st

NOON = 1_795_348_800.0
AUTO = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))


def ad(number, clicks, value, days=5, budget=5000):
    shown = tuple(
        Day(
            at=NOON - back * DAY_S, impressions=2000, clicks=clicks, spend=5000,
            pipeline_value=value // days,
        )
        for back in range(days, 0, -1)
    )  # fmt: skip
    return AdSignals(
        ad_id=f"ad{number:02d}", adset_id=f"s{number}", age_hours=24.0 * days,
        impressions=2000 * days, clicks=clicks * days, spend=5000 * days, pipeline_value=value,
        pipeline_count=3, daily_budget=budget, observed_at=NOON - 60, days=shown,
    )  # fmt: skip


def chosen(ads, policy=AUTO, total=None):
    request = Request(
        account_id="acme", decided_at=NOON, ads=tuple(ads), lag=LagCurve.immediate(), seed=7,
        policy=policy, total=total,
    )  # fmt: skip
    record = decide(request)
    verdicts = choosing.choose(record, health=AccountHealth(), policy=policy, now=NOON)
    return record, verdicts


accounts = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 40_000_00), st.integers(500, 20_000)),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(accounts, st.integers(0, 20))
def test_what_leaves_never_spends_more_than_was_decided(found, most):
    """Held moves, trivial moves and a full cycle never leave a raise that nothing pays for."""
    gate = GatePolicy(max_changes=most, min_confidence=0.0)
    ads = [ad(n, clicks, value, budget=b) for n, (clicks, value, b) in enumerate(found)]
    record, verdicts = chosen(ads, replace(AUTO, gate=gate))
    live = {one.ad_id: one.daily_budget for one in ads}
    assert sum(v.budget for v in verdicts) <= record.total
    moving = [v for v in verdicts if v.outcome is not Outcome.HELD]
    assert len(moving) <= most
    assert all(abs(v.budget / live[v.ad_id] - 1) <= 0.2 + 1e-9 or v.budget == 0 for v in moving)
    assert all(abs(v.budget / live[v.ad_id] - 1) >= gate.min_move for v in moving)
    assert all(v.budget == live[v.ad_id] for v in verdicts if v.outcome is Outcome.HELD)


def test_verdicts_stand_in_the_order_of_the_recommendations():
    """One verdict for each, and the counts add up."""
    record, verdicts = chosen([ad(n, 20 * n + 5, 10_000_00 * n) for n in range(4)])
    assert [v.ad_id for v in verdicts] == [r.ad_id for r in record.recommendations]
    assert sum(choosing.outcomes(verdicts).values()) == 4


def test_a_raise_wants_room_in_the_total():
    """Ads in the ignorance zone cannot be cut, so that only a larger total raises one."""
    young = [ad(1, 80, 50_000_00, days=1), ad(2, 5, 0, days=1)]
    _, kept = chosen(young)
    assert {v.outcome for v in kept} == {Outcome.HELD}
    more = replace(AUTO, allocation=AllocationPolicy(daily_total=12_000))
    _, raised = chosen(young, more, total=12_000)
    assert sum(v.budget for v in raised) > 10_000


def test_the_summary_counts_what_held_each_budget():
    """The line that ends a cycle without changes names the rules."""
    observe = replace(AUTO, executor=ExecutorPolicy(mode=ExecutionMode.OBSERVE))
    _, verdicts = chosen([ad(1, 80, 50_000_00), ad(2, 5, 0)], observe)
    text = choosing.summary(verdicts)
    assert text.startswith("2 budgets stay as they are:")
    assert "approval" in text or "confidence" in text


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_the_least_move_is_the_policys(least):
    """At 0 every move is worth a change; beyond the velocity limit none is."""
    gate = GatePolicy(min_move=least, min_confidence=0.0)
    _, verdicts = chosen(
        [ad(n, 20 * n + 5, 10_000_00 * n) for n in range(4)], replace(AUTO, gate=gate)
    )
    held = [v for v in verdicts if v.reason.startswith("min_move")]
    assert bool(held) == (least > 0)
