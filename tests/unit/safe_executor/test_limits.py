"""How far a budget may move, as a pure rule: properties over random histories."""

import dataclasses

import pytest
from geminivideo.policy import ExecutorPolicy
from geminivideo.safe_executor.ledger import AccountTotal, BudgetEntry, BudgetWindow
from geminivideo.safe_executor.limits import (
    BudgetSituation,
    bounds,
    fix_budget,
    fuzzed,
    trimmed,
    with_drift,
)
from hypothesis import given
from hypothesis import strategies as st

HOUR = 3600.0
NOW = 1_790_000_000.0
POLICY = ExecutorPolicy()


def situation(**rest: object) -> BudgetSituation:
    """A rise from 50.00 to 55.00 with an empty history."""
    values: dict[str, object] = {
        "change_id": "ch-1",
        "requested": 5500,
        "rising": True,
        "live": 5000,
        "minimum": 100,
        "now": NOW,
        "jitter_s": 5.0,
        "policy": POLICY,
        "window": BudgetWindow(),
    }
    return BudgetSituation(**(values | rest))  # type: ignore[arg-type]


def entry(hours_ago: float, before: int, after: int, **rest: object) -> BudgetEntry:
    return BudgetEntry(
        change_id=f"ch-{hours_ago}",
        at=NOW - hours_ago * HOUR,
        before=before,
        after=after,
        **rest,  # type: ignore[arg-type]
    )


def test_fifty_dollars_become_almost_fifty() -> None:
    """The fuzz is at most half a percent, drawn once per change: asked again it is the same."""
    drawn = {fuzzed(f"ch-{n}", 5000, POLICY) for n in range(400)}
    assert min(drawn) >= 4975
    assert max(drawn) <= 5025
    assert len(drawn) > 20
    assert fuzzed("ch-7", 5000, POLICY) == fuzzed("ch-7", 5000, POLICY)


def test_the_fuzz_can_be_switched_off() -> None:
    """Without fuzz the request goes out as it is."""
    exact = dataclasses.replace(POLICY, fuzz=0.0)
    assert fuzzed("ch-1", 5000, exact) == 5000


@given(
    live=st.integers(200, 10_000_000),
    factor=st.floats(0.05, 20.0),
    change_id=st.text(min_size=1, max_size=8),
)
def test_the_first_change_is_bounded_too(live: int, factor: float, change_id: str) -> None:
    """No history: still never more than 20 % from what is live, and never the wrong way."""
    requested = max(1, round(live * factor))
    rising = requested > live
    fixed = fix_budget(
        situation(change_id=change_id, live=live, requested=requested, rising=rising)
    )
    if fixed.value is None:
        assert fixed.overtaken or fixed.until_at is not None
        return
    assert abs(fixed.value - live) <= 0.20 * live
    assert (fixed.value > live) == rising
    assert fixed.value >= 100


@given(
    start=st.integers(500, 1_000_000),
    moves=st.lists(st.tuples(st.floats(0.0, 8.0), st.floats(0.5, 2.0)), min_size=1, max_size=25),
)
def test_no_six_hours_see_more_than_a_fifth(start: int, moves: list[tuple[float, float]]) -> None:
    """Random wishes at random times: between any two moments at most six hours apart the budget
    differs by at most 20 % of the earlier one."""
    live, now, window = start, NOW, BudgetWindow()
    seen = [(now, live)]
    for number, (hours, factor) in enumerate(moves):
        now += hours * HOUR
        requested = round(live * factor)
        fixed = fix_budget(
            situation(
                change_id=f"ch-{number}",
                live=live,
                requested=requested,
                rising=requested > live,
                now=now,
                window=window,
            )
        )
        if fixed.value is None:
            continue
        made = BudgetEntry(change_id=f"ch-{number}", at=now, before=live, after=fixed.value)
        window = trimmed(BudgetWindow(entries=(*window.entries, made)), now, POLICY)
        live = fixed.value
        seen.append((now, live))
    for index, (at, budget) in enumerate(seen):
        start_of_window = at - 6 * HOUR
        before = [b for t, b in seen[:index] if t > start_of_window]
        earlier = [b for t, b in seen[:index] if t <= start_of_window]
        for was in [*before, *earlier[-1:]]:
            assert abs(budget - was) <= 0.20 * was + 1e-6


def test_the_window_start_counts_not_the_last_step() -> None:
    """50 -> 55 -> 60 in an hour is the limit: 20 % of 50, not of 55."""
    window = BudgetWindow(entries=(entry(1.0, 5000, 5500),))
    assert bounds(window, 5500, NOW, POLICY) == (4400, 6000)


def test_a_full_window_says_when_it_is_free() -> None:
    """No room upwards: the change waits until the oldest entry leaves, plus its jitter."""
    window = BudgetWindow(entries=(entry(5.0, 5000, 6000),))
    fixed = fix_budget(situation(live=6000, requested=7000, window=window))
    assert fixed.value is None
    assert fixed.until_at == NOW + HOUR + 5.0
    assert fixed.results[-1].rule == "velocity"


def test_an_open_entry_counts_whatever_its_age() -> None:
    """What may have happened is taken as having happened."""
    window = BudgetWindow(entries=(entry(9.0, 5000, 6000, open=True),))
    assert bounds(window, 6000, NOW, POLICY) == (4800, 6000)


def test_the_fifth_change_of_an_hour_waits() -> None:
    """Meta allows four an hour on an ad set; the fifth is due when the first is an hour old."""
    steps = [(0.9, 5000, 5050), (0.7, 5050, 5100), (0.5, 5100, 5150), (0.3, 5150, 5200)]
    window = BudgetWindow(entries=tuple(entry(*step) for step in steps))
    fixed = fix_budget(situation(live=5200, window=window))
    assert fixed.results[-1].rule == "adset_rate"
    assert fixed.until_at == NOW - 0.9 * HOUR + HOUR + 5.0


def test_somebody_elses_change_begins_a_new_history() -> None:
    """A person set 300.00 by hand: bounds are those of 300.00, and it counts in the hour."""
    window = with_drift(BudgetWindow(entries=(entry(1.0, 10000, 11000),)), 30000, NOW)
    assert window.entries[-1].foreign
    assert bounds(window, 30000, NOW, POLICY) == (24000, 36000)
    assert fix_budget(situation(live=30000, requested=12000, window=window)).overtaken


def test_a_rise_below_what_is_live_is_overtaken() -> None:
    """Asked 55.00, somebody set 80.00 meanwhile: nothing is sent, and the reason says why."""
    fixed = fix_budget(situation(live=8000))
    assert fixed.overtaken
    assert fixed.value is None
    assert "8000 is live" in fixed.reason


@pytest.mark.parametrize(("rising", "requested", "live"), [(True, 5500, 2000), (False, 4500, 9000)])
def test_what_a_person_moved_the_other_way_since_is_overtaken(
    rising: bool, requested: int, live: int
) -> None:
    """Decided on 50.00; a person has cut (or raised) it since: nothing is sent against that. What
    our own change left is no person's."""
    wish = situation(live=live, requested=requested, rising=rising)
    decided = dataclasses.replace(wish, decided_on=5000)
    fixed = fix_budget(decided)
    assert fixed.overtaken
    assert f"decided on 5000, and somebody else has set {live} since" in fixed.reason
    assert not fix_budget(wish).overtaken
    ours = BudgetWindow(entries=(entry(8.0, 5000, live),))
    assert fix_budget(dataclasses.replace(decided, window=ours)).value is not None
    theirs = with_drift(BudgetWindow(entries=(entry(8.0, 5000, 5100),)), live, NOW)
    assert fix_budget(dataclasses.replace(decided, window=theirs)).overtaken


def test_a_cut_stops_at_metas_minimum() -> None:
    """Never below what Meta takes."""
    fixed = fix_budget(situation(live=110, requested=20, rising=False))
    assert fixed.value == 100
    assert fixed.results[-2].result == "clamped"


def test_the_account_cap_holds_a_rise_and_lets_a_cut_pass() -> None:
    """The sum of the live budgets stays within the cap; without a total nothing rises."""
    capped = dataclasses.replace(POLICY, account_daily_cap=20_000)
    near = AccountTotal(minor=19_900, as_of_at=NOW)
    far = AccountTotal(minor=15_000, as_of_at=NOW)
    assert fix_budget(situation(policy=capped, total=near)).value is None
    assert fix_budget(situation(policy=capped, total=None)).value is None
    assert fix_budget(situation(policy=capped, total=far)).value is not None
    cut = situation(policy=capped, total=near, requested=4500, rising=False)
    assert fix_budget(cut).value is not None


def test_every_rule_says_what_it_saw() -> None:
    """A clamped change carries the numbers that clamped it."""
    fixed = fix_budget(situation(requested=9000))
    assert fixed.value == 6000
    velocity = next(result for result in fixed.results if result.rule == "velocity")
    assert velocity.result == "clamped"
    assert "5000 -> 6000, asked 9000" in velocity.reason
