"""The decision gate: ordered rules, four outcomes, a reason for each, and errors that hold."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from geminivideo.budget import gate
from geminivideo.budget.decision import Metrics, Move, Recommendation
from geminivideo.budget.gate import AccountHealth, Outcome, RuleOutcome, VelocityWindow
from geminivideo.budget.settling import settle
from geminivideo.budget.signals import AdSignals
from geminivideo.policy import ExecutionMode, Policy

METRICS = Metrics(
    impressions=1,
    clicks=1,
    spend=1,
    age_hours=1,
    ctr=0.01,
    click_weight=0.5,
    roas_weight=0.5,
    click_roas=4.0,
    expected_roas=4.0,
    pipeline_roas=4.0,
    cash_roas=None,
    deals_seen=1,
    deals_expected=1,
    fatigue=1.0,
    drawn=1.0,
    spread=0.1,
)


def wish(new: int, *, old: int | None = 5000, **members: object) -> Recommendation:
    move = Move.INCREASE if new > (old or 0) else Move.DECREASE if new < (old or 0) else Move.KEEP
    told = {"ad_id": "ad", "move": move, "confidence": 0.9, "reason": "", "metrics": METRICS}
    return Recommendation(current=old, recommended=new, **(told | members))


@pytest.fixture
def judged(make_ad: Callable[..., AdSignals], policy: Policy, now: float):
    def judge(recommendation, *, health=None, window=None, policy=policy, rules=None, **members):
        return gate.judge(
            recommendation,
            replace(make_ad("ad"), **members),
            health=health or AccountHealth(),
            window=window or VelocityWindow(),
            policy=policy,
            now=now,
            rules=rules,
        )

    return judge


def rule(verdict, name):
    return next(result for result in verdict.rules if result.rule == name)


def test_a_sound_raise_is_approved_and_every_rule_reported(judged, policy):
    """All nine rules pass, in the policy's order."""
    verdict = judged(wish(6000))
    assert (verdict.outcome, verdict.budget) == (Outcome.APPROVED, 6000)
    assert tuple(result.rule for result in verdict.rules) == policy.gate.order
    assert all(result.reason for result in verdict.rules)


@pytest.mark.parametrize(("age_h", "held"), [(5.9, False), (6.0, True), (None, True)])
def test_old_signals_hold(judged, now, age_h, held):
    """Six hours is too old, and so is an unknown age."""
    at = None if age_h is None else now - age_h * 3600
    assert (judged(wish(6000), observed_at=at).outcome is Outcome.HELD) == held


@pytest.mark.parametrize(
    ("age_hours", "spend", "held"),
    [(47.9, 90_000, True), (48, 99_99, True), (48, 100_00, False)],
)
def test_the_ignorance_zone_forbids_cuts(judged, age_hours, spend, held):
    """Below 48 h or 100.00 nothing is cut."""
    verdict = judged(wish(4500), age_hours=age_hours, spend=spend)
    assert (rule(verdict, "ignorance_zone").result is RuleOutcome.HELD) == held


def test_the_ignorance_zone_lets_raises_pass(judged):
    """It protects from cuts only."""
    assert judged(wish(5500), age_hours=3.0, spend=100).outcome is Outcome.APPROVED


@pytest.mark.parametrize(("sure", "held"), [(0.6999, True), (0.70, False)])
def test_an_unsure_move_is_held(judged, sure, held):
    """0.70 is enough, less is not."""
    assert (judged(wish(6000, confidence=sure)).outcome is Outcome.HELD) == held


@pytest.mark.parametrize(
    ("spend", "value", "held"), [(199_99, 0, True), (200_00, 100_00, True), (200_00, 99_99, False)]
)
def test_a_stop_wants_spend_and_a_bad_roas(judged, spend, value, held):
    """200.00 spent and a ROAS below 0.5."""
    verdict = judged(wish(0, move=Move.KILL), spend=spend, pipeline_value=value)
    assert (verdict.outcome is Outcome.HELD) == held
    assert verdict.budget == (5000 if held else 0)


@pytest.mark.parametrize(("roas", "budget"), [(3.0, 5500), (3.01, 6000), (None, 5500)])
def test_scaling_hard_wants_a_high_roas(judged, roas, budget):
    """Beyond 10 % only above a ROAS of 3.0; else the raise is clamped to 10 %."""
    metrics = replace(METRICS, expected_roas=roas)
    verdict = judged(wish(6000, metrics=metrics), **({"spend": 0} if roas is None else {}))
    scaled = rule(verdict, "scale")
    assert (scaled.budget or 6000) == budget


@pytest.mark.parametrize(
    ("start", "new", "budget"),
    [(5000, 9000, 6000), (5000, 1000, 4000), (4500, 6000, 5400), (None, 9000, 6000)],
)
def test_velocity_clamps_against_the_windows_start(judged, start, new, budget):
    """20 % of the budget when the window began; without it, of the live one."""
    verdict = judged(wish(new), window=VelocityWindow(start_budget=start))
    assert (verdict.outcome, verdict.budget) == (Outcome.APPROVED_CLAMPED, budget)


def test_the_cap_of_the_account_clamps_raises(judged):
    """3.00 are left under the cap."""
    health = AccountHealth(live_total=99_700, daily_cap=100_000)
    assert judged(wish(6000), health=health).budget == 5300


def test_a_cap_without_knowing_what_is_live_holds(judged):
    """A limit that cannot be checked is not passed."""
    assert judged(wish(6000), health=AccountHealth(daily_cap=10)).outcome is Outcome.HELD


def test_an_exhausted_cap_holds_a_raise_but_no_cut(judged):
    """Nothing is left for a raise; a cut always fits."""
    health = AccountHealth(live_total=200, daily_cap=100)
    assert judged(wish(6000), health=health).outcome is Outcome.HELD
    assert judged(wish(4500), health=health).outcome is Outcome.APPROVED


def test_an_open_breaker_holds_with_its_reason(judged):
    """The account's trouble is repeated in the verdict."""
    verdict = judged(wish(6000), health=AccountHealth(breakers=("Meta 368: blocked",)))
    assert verdict.outcome is Outcome.HELD
    assert "Meta 368" in verdict.reason


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        (ExecutionMode.OBSERVE, Outcome.HELD),
        (ExecutionMode.APPROVE, Outcome.NEEDS_APPROVAL),
        (ExecutionMode.AUTO, Outcome.APPROVED),
    ],
)
def test_the_mode_decides_who_has_the_last_word(judged, policy, mode, outcome):
    """Observe: nothing leaves; approve: a person; auto: it goes."""
    other = replace(policy, executor=replace(policy.executor, mode=mode))
    assert judged(wish(6000), policy=other).outcome is outcome


def test_a_rule_that_errors_holds(judged):
    """A defect in a rule never lets money through, and says what happened."""

    def broken(case):
        raise KeyError("boom")

    verdict = judged(wish(6000), rules=gate.RULES | {"velocity": broken})
    assert verdict.outcome is Outcome.HELD
    assert "KeyError" in rule(verdict, "velocity").reason


def test_a_rule_that_is_declared_but_missing_holds(judged, policy):
    """A misspelt rule in a policy is an error, not a pass."""
    other = replace(policy, gate=replace(policy.gate, order=("velocitee",)))
    assert judged(wish(6000), policy=other).outcome is Outcome.HELD


def test_every_rule_answers_after_one_has_held(judged):
    """The reader sees everything that stands in the way at once."""
    verdict = judged(wish(4000, confidence=0.1), age_hours=1.0, observed_at=None)
    held = [result.rule for result in verdict.rules if result.result is RuleOutcome.HELD]
    assert held == ["data_fresh", "ignorance_zone", "confidence"]


def test_no_change_is_held_because_nothing_changes(judged):
    """A recommendation to keep needs no executor."""
    verdict = judged(wish(5000))
    assert (verdict.outcome, verdict.reason) == (Outcome.HELD, "nothing changes")


def verdicts(judged, *wishes):
    """Verdicts of ads a, b, ... with live budgets of 5000 each."""
    made = [
        replace(judged(w), ad_id=name, budget=w.recommended if w.confidence >= 0.7 else 5000)
        for name, w in zip("abcdef", wishes, strict=False)
    ]
    return made, dict.fromkeys("abcdef"[: len(wishes)], 5000)


def test_raises_are_paid_for_by_the_cuts_that_were_let_through(judged):
    """One of two cuts is held: both raises share what the other releases, to the cent."""
    made, live = verdicts(judged, wish(6000), wish(5501), wish(4000), wish(4499, confidence=0.1))
    settled = settle(made, live, 20_000)
    assert [v.budget for v in settled] == [5666, 5334, 4000, 5000]
    assert sum(v.budget for v in settled) == 20_000
    assert settled[0].outcome is Outcome.APPROVED_CLAMPED
    assert settled[0].rules[-1].rule == "conservation"


def test_cuts_that_feed_no_raise_are_undone(judged):
    """The raise is held: the cut would only spend less than was decided."""
    made, live = verdicts(judged, wish(6000, confidence=0.1), wish(4000))
    assert [v.budget for v in settle(made, live, 10_000)] == [5000, 5000]


def test_a_settled_split_is_left_as_it_is(judged):
    """When everything was let through there is nothing to do."""
    made, live = verdicts(judged, wish(6000), wish(4000))
    assert list(settle(made, live, 10_000)) == made


def test_a_limit_never_turns_a_raise_into_a_cut(judged):
    """Somebody raised far beyond the window: a wish for more is held, not cut to the window."""
    verdict = judged(wish(10500, old=10000), window=VelocityWindow(start_budget=5000))
    assert (verdict.outcome, verdict.budget) == (Outcome.HELD, 10000)
    assert "velocity" in verdict.reason
    same = judged(wish(10000, old=10000), window=VelocityWindow(start_budget=5000))
    assert (same.outcome, same.budget) == (Outcome.HELD, 10000)
    down = judged(wish(2000, old=3000), window=VelocityWindow(start_budget=5000))
    assert (down.outcome, down.budget) == (Outcome.HELD, 3000)


def test_yen_are_told_as_yen(judged):
    """A currency without cents has none in the reasons either."""
    verdict = judged(wish(9000), currency="JPY")
    assert "6000 JPY" in rule(verdict, "velocity").reason
    assert ".00 JPY" not in " ".join(result.reason for result in verdict.rules)


@pytest.mark.parametrize("old", [None, 0])
def test_a_budget_that_is_not_known_is_not_raised(judged, old):
    """From nothing there is no fifth: any sum would pass, so none does."""
    verdict = judged(wish(10**12, old=old), daily_budget=old)
    assert verdict.outcome is Outcome.HELD
    assert rule(verdict, "velocity").result is RuleOutcome.HELD


@pytest.mark.parametrize(
    ("mode", "money", "stopped", "raised"),
    [
        ("direct", {"cash_revenue": 50_00}, True, 5500),
        ("direct", {"cash_revenue": 900_00}, False, 6000),
        ("direct", {"cash_revenue": 50_00, "pipeline_value": 900_00}, True, 5500),
        ("pipeline", {"cash_revenue": 900_00, "pipeline_value": 50_00}, True, 5500),
    ],
)
def test_the_roas_of_the_mode_stops_and_scales(judged, policy, mode, money, stopped, raised):
    """A shop's ad is judged by its purchases, a service's by its deals, never by the other."""
    moded = replace(policy, sampler=replace(policy.sampler, mode=mode))
    seen = {"spend": 200_00, "pipeline_value": 0, "policy": moded} | money
    kill = judged(wish(0, move=Move.KILL), **seen)
    assert (rule(kill, "kill").result is RuleOutcome.PASSED) == stopped
    unasked = replace(METRICS, expected_roas=None)
    assert (rule(judged(wish(6000, metrics=unasked), **seen), "scale").budget or 6000) == raised
