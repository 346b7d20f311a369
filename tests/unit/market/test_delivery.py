"""What a market's ads do under their budgets."""

from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.market import BudgetHistory, Delivery, Market
from emulators.market.calendar import hour_of, local_date, midnight

START, DAY = 1_789_948_800.0, 86_400.0
SEEDS = st.integers(0, 2**40)
Even = Callable[..., Delivery]


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, stops=st.lists(st.floats(0, 3 * DAY), max_size=12), cut=st.floats(0, 2 * DAY))
def test_the_steps_in_which_it_is_asked_change_nothing(
    seed: int, stops: list[float], cut: float
) -> None:
    """Asked once or at any moments between: the same hours, deals and events."""

    def play(moments: list[float]) -> Delivery:
        history = BudgetHistory([[(START, 50_00)] for _ in range(4)])
        delivery = market.delivery(history)
        for moment in sorted(moments):
            if moment >= cut and history.live(1, START + cut) == 50_00:
                history.set(1, START + cut, 10_00)
            delivery.advance(START + moment)
        return delivery

    market, end = Market(seed, 4, start=START), START + 3 * DAY
    once, often = play([cut, 3 * DAY]), play([*stops, cut, 3 * DAY])
    for ad in range(4):
        assert once.rows(ad, START, end) == often.rows(ad, START, end)
    assert once.deals(end) == often.deals(end)
    assert list(once.deal_events(START, end)) == list(often.deal_events(START, end))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_an_ad_does_not_depend_on_its_neighbours(seed: int) -> None:
    """An ad's hours are the same alone and among twenty (they do not compete)."""
    market = Market(seed, 20, start=START)
    history = BudgetHistory([[(START, 50_00)] for _ in range(20)])
    among = market.delivery(history).rows(2, START, START + DAY)
    assert market.spend(2, [(START, 50_00)], START + DAY) == among


def test_what_was_over_is_not_changed_by_a_later_budget(even: Even) -> None:
    """A budget set now leaves the hours that are over as they were, played before or not."""
    market = Market(5, 3, start=START)
    asked, unasked = even(market), even(market)
    before = asked.rows(0, START, START + 10 * 3600)
    for delivery in (asked, unasked):
        delivery.budgets.set(0, START + 10 * 3600, 500_00)
    end = START + DAY
    assert unasked.rows(0, START, end)[:10] == before
    assert asked.rows(0, START, end) == unasked.rows(0, START, end)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, budget=st.floats(1_00, 2_000_00))
def test_spend_keeps_to_the_budget(seed: int, budget: float) -> None:
    """No day goes over by more than 75 %, no whole week over seven times the daily budget."""
    history = BudgetHistory([[(START - 3 * DAY, budget)]])  # from a Friday on
    market = Market(seed, 1, start=START - DAY)  # hours from a Sunday on
    delivery = market.delivery(history)
    days = [
        sum(row.spend for row in delivery.rows(0, at, at + DAY))
        for at in (START + n * DAY for n in range(-1, 13))
    ]
    assert max(days) <= 1.75 * budget + 1
    for week in (days[:7], days[7:]):
        assert 0.93 * 7 * budget - 7 <= sum(week) <= 7 * budget + 1


def test_a_paused_ad_spends_nothing_and_is_shown_to_nobody(even: Even) -> None:
    """From the pause on there is no delivery; from the resumption on there is again."""
    delivery = even(Market(3, 2, start=START))
    delivery.budgets.set(1, START + DAY, 0)
    delivery.budgets.set(1, START + 2 * DAY, 50_00)
    paused = delivery.rows(1, START + DAY, START + 2 * DAY)
    assert len(paused) == 24
    assert all((row.spend, row.impressions, row.clicks) == (0, 0, 0) for row in paused)
    assert sum(row.spend for row in delivery.rows(1, START + 2 * DAY, START + 3 * DAY)) > 0


def test_a_budget_counts_for_the_part_of_the_hour_that_it_was_live() -> None:
    """Half an hour of a doubled budget is one and a half times the hour's mean."""
    history = BudgetHistory([[(START, 10_00), (START + 1800, 30_00)]])
    assert history.mean(START, START + 3600)[0] == pytest.approx(20_00)
    assert history.mean(START - 1800, START + 1800)[0] == pytest.approx(5_00)
    assert history.mean(START - 7200, START - 3600)[0] == 0


def test_a_planned_step_is_forgotten_when_something_comes_before_it() -> None:
    """What is set for an earlier moment than the last step takes the last step's place."""
    history = BudgetHistory([[(START, 10_00), (START + DAY, 30_00)]])
    history.set(0, START + 3600, 0)
    assert history.live(0, START + 2 * DAY) == 0


def test_twice_the_money_is_less_than_twice_the_people(even: Even) -> None:
    """Returns are concave: each doubling of a day's budget buys fewer impressions per unit."""
    per_unit = []
    for budget in (25_00, 50_00, 100_00, 200_00, 400_00):
        rows = even(Market(3, 1, start=START), budget).rows(0, START, START + DAY)
        per_unit.append(sum(r.impressions for r in rows) / sum(r.spend for r in rows))
    assert all(more < less for less, more in pairwise(per_unit))


def test_people_tire_of_what_they_have_seen(even: Even) -> None:
    """After a month at a high budget the CTR is far below that of the first days."""
    delivery = even(Market(3, 20, start=START, changes=0), 400_00)
    delivery.advance(START + 30 * DAY)

    def ctr(first: float, last: float) -> float:
        rows = [r for ad in range(20) for r in delivery.rows(ad, START + first, START + last)]
        return sum(r.link_clicks for r in rows) / sum(r.impressions for r in rows)

    assert ctr(28 * DAY, 30 * DAY) < 0.75 * ctr(0, 2 * DAY)


def test_clicks_follow_the_hidden_rate(even: Even) -> None:
    """Over a week the link clicks of every ad are what its truth says, within the noise."""
    market = Market(8, 10, start=START, changes=0)
    delivery = even(market, 200_00)
    for ad in range(10):
        rows = delivery.rows(ad, START, START + 7 * DAY)
        shown, truth = sum(r.impressions for r in rows), market.truth(ad)
        tired = 1 / (1 + shown / 2 / truth.audience / truth.fatigue)
        expected = shown * truth.ctr * tired
        assert sum(r.link_clicks for r in rows) == pytest.approx(expected, rel=0.2)


def test_after_its_change_an_ad_is_another_one(even: Even) -> None:
    """The changed ad's clicks per impression move by about the change's factor."""
    market = Market(2, 6, start=START)
    (change,) = market.changed
    delivery = even(market, 200_00)

    def ctr(first: float, last: float) -> float:
        rows = delivery.rows(change.ad, first, last)
        return sum(r.link_clicks for r in rows) / sum(r.impressions for r in rows)

    moved = ctr(change.at, change.at + 4 * DAY) / ctr(change.at - 4 * DAY, change.at)
    assert moved == pytest.approx(change.ctr, rel=0.25)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_counts_are_possible_and_add_up(seed: int) -> None:
    """Clicks are of impressions; the dates' numbers are the sums of their hours."""
    market = Market(seed, 3, start=START + 5 * 3600, timezone="America/New_York")
    history = BudgetHistory([[(market.start, 80_00)] for _ in range(3)])
    delivery, end = market.delivery(history), START + 3 * DAY
    rows = {ad: delivery.rows(ad, market.start, end) for ad in range(3)}
    for row in (row for of_ad in rows.values() for row in of_ad):
        assert 0 <= row.link_clicks <= row.clicks <= row.impressions
    days = delivery.days(date(2026, 9, 19), date(2026, 9, 25), end)
    for ad in range(3):
        of_ad = [day for day in days if day.ad == ad]
        for name in ("spend", "impressions", "clicks", "link_clicks"):
            assert sum(getattr(d, name) for d in of_ad) == sum(getattr(r, name) for r in rows[ad])
    assert sum(day.spend for day in days) == delivery.spend(end)


def test_a_date_is_that_of_the_account(even: Even) -> None:
    """In Tokyo the date begins at 15:00 UTC of the day before."""
    tokyo = Market(1, 1, start=START, timezone="Asia/Tokyo")
    assert midnight(date(2026, 9, 22), "Asia/Tokyo") == START + 15 * 3600
    days = even(tokyo).days(date(2026, 9, 22), date(2026, 9, 22), START + 2 * DAY)
    rows = even(tokyo).rows(0, START + 15 * 3600, START + 15 * 3600 + DAY)
    assert [d.spend for d in days] == [sum(r.spend for r in rows)]


def test_the_week_of_budgets_begins_on_sunday() -> None:
    """Saturday is the last day of a week, Sunday the first of another."""
    saturday, sunday = hour_of(START - 2 * DAY, "UTC"), hour_of(START - DAY, "UTC")
    assert saturday.last_day
    assert not sunday.last_day
    assert sunday.week == saturday.week + 1


def test_a_hundred_ads_for_thirty_days_take_a_moment(even: Even) -> None:
    """Every ad of a large account has delivered, each day."""
    delivery = even(Market(1, 100, start=START))
    days = delivery.days(date(2026, 9, 21), date(2026, 10, 20), START + 30 * DAY)
    assert len(days) == 3000
    assert np.isclose(delivery.spend(START + 30 * DAY), 100 * 30 * 50_00, rtol=0.02)


def test_what_the_pixel_sees_is_dated_when_it_happens(even: Even) -> None:
    """Every deal is on the date of its conversion, once, and none before it has happened."""
    market = Market(6, 5, start=START, mode="direct", timezone="Asia/Tokyo")
    delivery, end = even(market), START + 8 * DAY
    first, last = date(2026, 9, 1), date(2026, 10, 31)
    seen = list(delivery.conversions(first, last, end))
    assert {len(deals) for _, _, deals in seen} != {0}
    for ad, day, deals in seen:
        assert {deal.ad for deal in deals} == {ad}
        assert {local_date(deal.converted_at, "Asia/Tokyo") for deal in deals} == {day}
    told = sorted(deal.id for _, _, deals in seen for deal in deals)
    assert told == sorted(d.id for d in delivery.deals(end) if d.converted_at <= end)


def test_a_date_that_was_told_does_not_change_once_it_is_over(even: Even) -> None:
    """What comes later is dated later: Meta corrects nothing that is past."""
    delivery = even(Market(6, 5, start=START, mode="direct"))
    day, over = date.fromtimestamp(START) + timedelta(days=2), START + 4 * DAY
    before = [deals for _, _, deals in delivery.conversions(day, day, over)]
    assert before
    assert [deals for _, _, deals in delivery.conversions(day, day, over + 9 * DAY)] == before
