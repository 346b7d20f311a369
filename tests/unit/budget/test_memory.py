"""What the service remembers of ads whose callers send totals only."""

from dataclasses import replace

import pytest
from geminivideo.budget.memory import recall, remember
from geminivideo.budget.signals import DAY_S, AdSignals, ValueBasis, contradiction

NOW = 1_700_000_000.0


def totals(clicks: int, value: int = 0) -> AdSignals:
    return AdSignals(
        ad_id="a",
        age_hours=48,
        impressions=clicks * 50,
        clicks=clicks,
        spend=clicks * 100,
        pipeline_value=value,
    )


def test_the_first_sighting_is_one_stretch_as_long_as_the_ad_is_old():
    """Nothing tells the days before apart, so nothing is invented about them."""
    memory = remember(None, totals(100), NOW)
    assert [(day.at, day.hours, day.clicks) for day in memory.days] == [
        (NOW - 2 * DAY_S, 48.0, 100)
    ]


def test_a_day_later_the_difference_is_a_day():
    """100 clicks then 130: the day had 30, with the value credited in it."""
    memory = remember(remember(None, totals(100), NOW), totals(130, 9000), NOW + DAY_S)
    assert (memory.days[-1].clicks, memory.days[-1].pipeline_value) == (30, 9000)
    assert memory.days[-1].hours == pytest.approx(24)


def test_many_sightings_of_a_day_are_one_day():
    """Calling every hour does not make many days; a new one begins after 24 hours."""
    memory = remember(None, totals(100), NOW)
    for hour in range(1, 49):
        memory = remember(memory, totals(100 + hour), NOW + hour * 3600)
    assert [day.clicks for day in memory.days] == [100, 24, 24]


def test_the_same_sighting_twice_changes_nothing():
    """A repeated call is not a new day of zero clicks."""
    memory = remember(None, totals(100), NOW)
    assert remember(memory, totals(100), NOW) == memory


def test_totals_that_went_back_begin_anew():
    """An ad counted anew has no negative days."""
    memory = remember(remember(None, totals(100), NOW), totals(5), NOW + DAY_S)
    assert [day.clicks for day in memory.days] == [5]


def test_a_reversed_credit_is_a_negative_day():
    """A lost deal takes value back on the day it is lost; clicks go on."""
    memory = remember(remember(None, totals(100, 9000), NOW), totals(110, 0), NOW + DAY_S)
    assert memory.days[-1].pipeline_value == -9000


def test_days_older_than_a_month_are_forgotten():
    """The memory of an ad does not grow without end."""
    memory = remember(None, totals(100), NOW)
    for day in range(1, 60):
        memory = remember(memory, totals(100 + day), NOW + day * DAY_S)
    assert len(memory.days) <= 31


def test_recalled_days_count_value_when_it_was_credited():
    """A total does not tell which click a deal came from."""
    memory = remember(None, totals(100), NOW)
    assert recall(memory, totals(100)).basis is ValueBasis.CREDIT


def test_days_that_the_caller_sent_stand():
    """Who knows the days better is believed."""
    memory = remember(None, totals(100), NOW)
    own = replace(totals(100), days=memory.days[:1])
    assert recall(memory, own) is own


def test_a_small_correction_is_taken_from_the_latest_days():
    """Meta takes back what it should not have charged: the days before are still told apart."""
    memory = None
    for day in range(1, 6):
        memory = remember(memory, totals(100 * day), NOW + day * DAY_S)
    memory = remember(memory, totals(480), NOW + 6 * DAY_S)
    assert [day.clicks for day in memory.days] == [100, 100, 100, 100, 80, 0]
    assert sum(day.spend for day in memory.days) == 480 * 100
    assert all(day.clicks <= day.impressions for day in memory.days)


def test_a_late_click_counts_to_the_day_it_came_of():
    """A click on a day without delivery does not make the ad's numbers untrue."""
    memory = remember(remember(None, totals(100), NOW), totals(120), NOW + DAY_S)
    late = replace(totals(120), clicks=123)
    memory = remember(memory, late, NOW + 2 * DAY_S)
    assert [day.clicks for day in memory.days] == [100, 23, 0]
    assert contradiction(recall(memory, late)) is None
