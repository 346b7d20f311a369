"""Actuals that cannot be true, and days that are far from all others."""

from dataclasses import replace

import numpy as np
import pytest
from geminivideo.ml.guarding import DAY_S, PoisonedActualsError, guarded
from geminivideo.ml.judging import Row
from geminivideo.policy import TrainingPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY, NOW = TrainingPolicy(), 100 * DAY_S


def days(count=20, per_day=5, rate=0.02, account="a"):
    """Some ads a day, their clicks as chance has them."""
    rng = np.random.default_rng(count)
    return [
        Row(
            values={"motion": 0.5, "faces": None},
            impressions=3000,
            clicks=int(rng.binomial(3000, rate)),
            at=DAY_S * day + 3600.0 * ad,
            account_id=account,
        )
        for day in range(count)
        for ad in range(per_day)
    ]


def test_what_can_be_true_stays():
    """Ordinary days are all learned from."""
    rows = days()
    found = guarded(rows, POLICY, NOW)
    assert (found.rows, found.left_out) == (rows, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"clicks": 3001},
        {"clicks": -1},
        {"clicks": 1600},
        {"at": NOW + 1},
        {"at": float("nan")},
        {"values": {"motion": float("inf")}},
    ],
)
def test_what_cannot_be_true_is_left_out(wrong):
    """One such ad is left out and counted; many of them stop the learning."""
    rows = days()
    found = guarded([replace(rows[0], **wrong), *rows[1:]], POLICY, NOW)
    assert len(found.rows) == len(rows) - 1
    assert found.left_out == ("1 ads with actuals that cannot be true",)
    many = [replace(row, **wrong) for row in rows[:15]] + rows[15:]
    with pytest.raises(PoisonedActualsError, match="15 of 100 ads"):
        guarded(many, POLICY, NOW)


def test_few_impressions_may_have_any_rate():
    """Two clicks of three impressions is chance, not poison."""
    odd = Row(values={}, impressions=3, clicks=2, at=1.0, account_id="a")
    assert odd in guarded([odd, *days()], POLICY, NOW).rows


@pytest.mark.parametrize("clicks", [900, 0])
def test_a_poisoned_day_is_left_out(clicks):
    """A day on which everybody clicked, or nobody, where hundreds were to be expected."""
    rows = days()
    poisoned = [replace(row, clicks=clicks) if row.at // DAY_S == 7 else row for row in rows]
    found = guarded(poisoned, POLICY, NOW)
    assert len(found.rows) == 95
    assert all(row.at // DAY_S != 7 for row in found.rows)
    assert found.left_out == ("5 ads of 1 days far from all others",)


def test_a_poisoned_month_stops_the_learning():
    """When a third of the days are far from the rest, nobody knows which third is true."""
    rows = days()
    poisoned = [replace(row, clicks=900) if row.at // DAY_S < 6 else row for row in rows]
    with pytest.raises(PoisonedActualsError, match="30 of 100 ads began on days"):
        guarded(poisoned, POLICY, NOW)


def test_a_change_of_taste_is_no_poison():
    """Rates that double from one day on are a change to learn, and accounts have their own."""
    rows = [replace(row, clicks=row.clicks * 2) if row.at > 10 * DAY_S else row for row in days()]
    assert guarded(rows, POLICY, NOW).rows == rows
    other = days(rate=0.12, account="b")
    assert guarded([*days(), *other], POLICY, NOW).left_out == ()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-5, 200), st.integers(-5, 200), st.floats()), max_size=12))
def test_whatever_comes_in_only_the_possible_comes_out(counts):
    """Any counts and times: what is let through can be learned from, or nothing is."""
    rows = [Row(values={}, impressions=n, clicks=k, at=at) for n, k, at in counts]
    try:
        found = guarded(rows, POLICY, NOW)
    except PoisonedActualsError:
        return
    assert all(0 <= row.clicks <= row.impressions and row.at <= NOW for row in found.rows)
    assert set(map(id, found.rows)) <= set(map(id, rows))
