"""Days that cannot be true: contradictions of one ad, and jumps of all at once."""

from __future__ import annotations

import numpy as np
import pytest
from geminivideo.learning.plausible import (
    CONTRADICTS,
    DISAGREE,
    JUMPED,
    LEAPT,
    AdDay,
    Doubt,
    doubts,
)
from geminivideo.policy import PlausibilityPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = PlausibilityPolicy()


def day(number):
    return f"2026-11-{number:02d}"


def market(seed, ads=12, days=14, shown=2000, changed=None):
    """Ads of their own rates over days; ``changed`` is {day: factor} of everybody's clicks."""
    draws = np.random.default_rng(seed)
    rates = 0.02 * np.exp(draws.normal(0, 0.5, ads))
    rows = []
    for number in range(1, days + 1):
        factor = (changed or {}).get(number, 1.0)
        for ad, rate in enumerate(rates):
            impressions = int(draws.integers(shown // 2, shown * 2))
            clicks = int(draws.binomial(impressions, min(rate * factor, 1.0)))
            rows.append(AdDay(f"ad{ad}", day(number), impressions, clicks))
    return rows


@pytest.mark.parametrize("factor", [0.0, 0.15, 6.0, 25.0])
def test_a_day_on_which_all_ads_jump_is_doubted(factor):
    """A lost pixel or a flood of robots, on one day of two weeks, is found and only that."""
    (found,) = doubts(market(1, changed={9: factor}), POLICY)
    assert (found.date, found.ad_id) == (day(9), None)
    assert found.reason.startswith(JUMPED)


def told(rows, date, clicks):
    """The rows with the clicks of every other ad on a date as ``clicks(row)`` has them."""
    return [
        AdDay(r.ad_id, r.date, r.impressions, min(r.impressions, round(clicks(r))))
        if r.date == date and int(r.ad_id[2:]) % 2 == 0
        else r
        for r in rows
    ]


@pytest.mark.parametrize("number", [2, 9, 14])
@pytest.mark.parametrize("factor", [0, 5, 20])
def test_a_day_on_which_ads_disagree_is_doubted(factor, number):
    """Clicks lost, or told many times, of every other ad: that day is left out, of all ads."""
    (found,) = doubts(told(market(1), day(number), lambda r: r.clicks * factor), POLICY)
    assert (found.date, found.ad_id) == (day(number), None)
    assert found.reason.startswith(DISAGREE)


def test_ads_that_change_for_good_are_believed_once_later_days_say_so():
    """Half of the ads do a third as well from a day on: doubted that day, and never after."""
    rows = market(8)
    for number in range(9, 15):
        rows = told(rows, day(number), lambda r: r.clicks / 3)
    first = [row for row in rows if row.date <= day(9)]
    assert [one.date for one in doubts(first, POLICY)] == [day(9)]
    assert doubts(rows, POLICY) == ()


def test_ads_that_leap_before_days_can_be_compared_are_doubted_of_these():
    """On its first day an ad has no day before: only those that leap far are left out."""
    found = doubts(told(market(1), day(1), lambda r: r.clicks * 20), POLICY)
    assert {(one.date, one.ad_id) for one in found} == {(day(1), f"ad{n}") for n in range(0, 12, 2)}
    assert all(one.reason.startswith(LEAPT) for one in found)


def test_two_bad_days_are_both_found():
    """The larger one does not hide the other by moving what is usual."""
    found = doubts(market(2, changed={3: 20.0, 11: 0.05}), POLICY)
    assert [one.date for one in found] == [day(3), day(11)]


@pytest.mark.parametrize("factor", [0.6, 1.6, 2.2])
def test_good_and_bad_days_are_believed(factor):
    """A holiday that doubles the rates of all ads is news, not an error."""
    assert doubts(market(3, changed={9: factor}), POLICY) == ()


def test_ordinary_markets_are_believed():
    """Of 40 markets without a fault, small ads included, no day is doubted."""
    assert all(doubts(market(seed, shown=150, days=7), POLICY) == () for seed in range(40))


def test_one_ad_that_jumps_is_its_own_matter():
    """A single ad may catch fire: a day is doubted when nearly all ads jump."""
    rows = [
        AdDay(one.ad_id, one.date, one.impressions, min(one.impressions, one.clicks * 20))
        if (one.ad_id, one.date) == ("ad0", day(9))
        else one
        for one in market(4)
    ]
    assert doubts(rows, POLICY) == ()


def test_four_ads_are_too_few_to_call_it_everybody():
    """Below the policy's number of ads a common jump proves nothing."""
    assert doubts(market(5, ads=4, changed={9: 20.0}), POLICY) == ()


def test_an_ad_with_more_clicks_than_impressions_is_doubted_alone():
    """The day contradicts itself for that ad; the others keep theirs."""
    rows = [*market(6), AdDay("odd", day(2), 100, 101), AdDay("odd", day(3), 100, 1)]
    assert doubts(rows, POLICY) == (Doubt(day(2), CONTRADICTS, "odd"),)


def test_a_single_day_cannot_be_compared():
    """On an account's first day nothing says what is usual."""
    assert doubts(market(7, days=1, changed={1: 20.0}), POLICY) == ()


ROWS = st.lists(
    st.builds(
        AdDay,
        st.sampled_from([f"ad{i}" for i in range(7)]),
        st.sampled_from([day(i) for i in range(1, 8)]),
        st.integers(0, 5000),
        st.integers(0, 6000),
    ),
    max_size=40,
    unique_by=lambda one: (one.ad_id, one.date),
)


@settings(max_examples=15)
@given(ROWS, st.randoms())
def test_any_rows_are_judged_in_any_order(rows, shuffler):
    """No row breaks it, the order of rows changes nothing, and every contradiction is named."""
    found = doubts(rows, POLICY)
    mixed = list(rows)
    shuffler.shuffle(mixed)
    assert doubts(mixed, POLICY) == found
    impossible = {(r.ad_id, r.date) for r in rows if r.clicks > r.impressions}
    assert {(d.ad_id, d.date) for d in found if d.ad_id} == impossible
    assert len([d for d in found if d.ad_id is None]) <= POLICY.max_jumps
