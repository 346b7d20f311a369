"""Callers who send each day's own counts: found out by how counts fall, and remembered as days."""

from dataclasses import replace

import numpy as np
import pytest
from geminivideo.budget.memory import AdMemory, are_of_a_day, recall_days, remember
from geminivideo.budget.signals import DAY_S, HOUR_S, AdSignals, contradiction
from hypothesis import given
from hypothesis import strategies as st


def counts(clicks: int, age_days: float, value: int = 0) -> AdSignals:
    return AdSignals(
        ad_id="a",
        age_hours=24 * age_days,
        impressions=clicks * 50,
        clicks=clicks,
        spend=clicks * 100,
        pipeline_value=value,
    )


def sightings(clicks: list[int], every_s: float = DAY_S) -> AdMemory:
    """The memory of an ad seen at equal times, first when it was one such time old."""
    memory = None
    for number, seen in enumerate(clicks, start=1):
        at = number * every_s
        memory = remember(memory, counts(seen, at / DAY_S), at)
    return memory


DAILY = st.lists(st.integers(0, 400), min_size=2, max_size=30)


@given(DAILY)
def test_days_that_are_sent_are_the_days_that_are_recalled(clicks):
    """Whatever the days were: each is one day, and the totals are their sums."""
    memory = sightings(clicks)
    ad = recall_days(memory, counts(clicks[-1], len(clicks)))
    assert [day.clicks for day in ad.days] == clicks
    assert [day.hours for day in ad.days] == [24.0] * len(clicks)
    assert (ad.clicks, ad.spend) == (sum(clicks), 100 * sum(clicks))
    assert contradiction(ad) is None


@given(DAILY)
def test_totals_are_never_taken_for_days(clicks):
    """Totals only grow: however unevenly they do, nothing falls."""
    assert not are_of_a_day([sightings(np.cumsum(clicks).tolist())])


@pytest.mark.parametrize("seed", range(20))
def test_ten_ads_are_found_out_on_the_third_day(seed):
    """Delivery that varies by a tenth around the same level is no total of anything."""
    rng = np.random.default_rng(seed)
    ads = [sightings(rng.normal(1000, 100, 3).astype(int).tolist()) for _ in range(10)]
    assert are_of_a_day(ads)


def test_two_corrections_in_a_month_are_not_days():
    """Meta took clicks back twice: the counts are totals still."""
    clicks = list(range(100, 3100, 100))
    clicks[10], clicks[20] = clicks[9] - 5, clicks[19] - 5
    memory = sightings(clicks)
    assert sum(memory.fell) == 2
    assert not are_of_a_day([memory])


def test_totals_seen_every_hour_are_no_days_for_two_corrections():
    """What falls is counted by days, so that who asks often is not misread sooner."""
    clicks = list(range(100, 340))
    clicks[50], clicks[150] = clicks[49] - 1, clicks[149] - 1
    assert not are_of_a_day([sightings(clicks, every_s=HOUR_S)])


def test_a_day_that_is_looked_at_many_times_is_one_day():
    """The day's counts grow through the day and begin again at midnight: two days of 240."""
    memory = sightings([*range(10, 250, 10)] * 2, every_s=HOUR_S)
    assert [day.clicks for day in memory.windows] == [240, 240]


def test_ads_that_rest_prove_nothing():
    """Thirty days without delivery do not hide that the others' counts are days."""
    resting = [sightings([0] * 30) for _ in range(20)]
    assert are_of_a_day([*resting, sightings([100, 60, 90, 50])])


@pytest.mark.parametrize("kind", ["pipeline_value", "cash_revenue"])
def test_a_value_that_is_known_as_a_total_is_counted_once(kind):
    """Deals, or purchases, are known by their sum: each day has what came with it."""
    memory = None
    for day, value in enumerate([0, 9000, 9000, 4000], start=1):
        sent = replace(counts(50, day), **{kind: value})
        memory = remember(memory, sent, day * DAY_S, totals=[kind])
    ad = recall_days(memory, replace(counts(50, 4), **{kind: 4000}))
    assert [getattr(day, kind) for day in ad.days] == [0, 9000, 0, -5000]
    assert getattr(ad, kind) == 4000
