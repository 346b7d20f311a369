"""What becomes of a market's clicks."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from emulators.market import BudgetHistory, Delivery, Market
from emulators.market.deals import OPEN, PURCHASE_DAYS, chance_of_winning

START, DAY = 1_789_948_800.0, 86_400.0
Even = Callable[..., Delivery]


@pytest.fixture(scope="module")
def month() -> Delivery:
    """Twenty ads, thirty days."""
    market = Market(4, 20, start=START)
    delivery = market.delivery(BudgetHistory([[(START, 50_00)]] * 20))
    delivery.advance(START + 30 * DAY)
    return delivery


def test_a_deal_begins_one_to_ten_days_after_its_click(month: Delivery) -> None:
    """Lags are between 1 and 10 days, and spread over that range."""
    lags = [(d.converted_at - d.clicked_at) / DAY for d in month.deals(START + 30 * DAY)]
    assert 1 <= min(lags) < 2
    assert 8 < max(lags) <= 10
    assert 3 < sum(lags) / len(lags) < 5


def test_deals_are_as_frequent_as_the_truth_says(month: Delivery) -> None:
    """Over all ads the deals are the expected share of the link clicks."""
    market, expected = month.market, 0.0
    for ad in range(20):
        rows = month.rows(ad, START, START + 30 * DAY)
        expected += sum(row.link_clicks * market.truth_at(row.at, 20).deal_rate[ad] for row in rows)
    assert len(month.deals(START + 30 * DAY)) == pytest.approx(expected, rel=0.1)


def test_deals_walk_through_the_stages_to_an_end(month: Delivery) -> None:
    """Each begins at the first stage, rises or falls back by one, and ends won or lost."""
    steps_back = 0
    for deal in month.deals(START + 30 * DAY):
        stages = [step.stage for step in deal.steps]
        assert stages[0] == OPEN[0]
        assert stages[-1] == ("closedwon" if deal.won else "closedlost")
        places = [OPEN.index(stage) for stage in stages[:-1]]
        assert all(abs(b - a) == 1 for a, b in pairwise(places))
        steps_back += any(b < a for a, b in pairwise(places))
        assert [step.at for step in deal.steps] == sorted(step.at for step in deal.steps)
    assert steps_back > 0


def test_some_deals_are_lost_after_they_were_credited(month: Delivery) -> None:
    """Lost deals have passed a stage that is worth something: the credit must be taken back."""
    ends = Counter(deal.won for deal in month.deals(START + 30 * DAY))
    assert 0.25 < ends[True] / ends.total() < 0.5
    assert all(len(d.steps) >= 2 for d in month.deals(START + 30 * DAY) if not d.won)


def test_the_chance_to_win_is_that_of_the_stage_map() -> None:
    """Of the deals that reach a stage, the stage map's share is won in the end."""
    chances = chance_of_winning(0.35)
    assert chances["appointmentscheduled"] == pytest.approx(0.35)
    assert list(chances.values()) == sorted(chances.values())


def test_events_are_cut_at_any_moment_without_loss_or_repetition(month: Delivery) -> None:
    """(since, until] windows side by side give each event once, in the order of time."""
    end = START + 30 * DAY
    whole = list(month.deal_events(START, end))
    cuts = [START, START + 3.3 * DAY, START + 11 * DAY, whole[100].at, end]
    cuts.sort()
    pieces = [e for a, b in pairwise(cuts) for e in month.deal_events(a, b)]
    assert pieces == whole
    assert [event.at for event in whole] == sorted(event.at for event in whole)
    assert len({(e.deal_id, e.at) for e in whole}) == len(whole)


def test_an_event_shows_the_deal_as_a_crm_has_it(month: Delivery) -> None:
    """Strings under HubSpot's names; the amount in major units once it is known."""
    event = next(iter(month.deal_events(START, START + 30 * DAY)))
    assert event.created
    assert event.properties["pipeline"] == "default"
    assert event.properties["dealstage"] == "appointmentscheduled"
    assert event.properties["createdate"] == event.properties["hs_lastmodifieddate"]
    amounts = {
        e.properties["amount"]
        for e in month.deal_events(START, START + 30 * DAY)
        if "amount" in e.properties
    }
    assert all(len(amount.partition(".")[2]) == 2 for amount in amounts)


def test_most_deals_say_where_they_came_from_and_some_do_not(even: Even) -> None:
    """utm_content names the ad by the id that it was given; a few deals carry nothing."""
    market = Market(4, 20, start=START)
    delivery = market.delivery(even(market).budgets, [f"ad-{n}" for n in range(20)])
    created = [e for e in delivery.deal_events(START, START + 30 * DAY) if e.created]
    by_id = {deal.id: deal for deal in delivery.deals(START + 30 * DAY)}
    for event in created:
        deal = by_id[event.deal_id]
        told = event.properties.get("utm_content")
        assert told == (f"ad-{deal.ad}" if deal.tagged else None)
        assert event.properties.get("hs_facebook_click_id", "") == deal.fbclid
    untold = [e for e in created if not {"utm_content", "hs_facebook_click_id"} & set(e.properties)]
    assert 0 < len(untold) < 0.08 * len(created)


def test_cash_is_what_has_been_won_by_then(month: Delivery) -> None:
    """Cash counts amounts when they are earned, not when the click or the deal was."""
    end = START + 30 * DAY
    won = [d for d in month.deals(end) if d.paid_at is not None and d.paid_at <= end]
    assert month.cash(end) == sum(deal.amount for deal in won)
    assert month.cash(START + 3 * DAY) == 0


def test_in_direct_mode_clicks_buy(even: Even) -> None:
    """Every deal is a purchase at its time, and a CRM sees nothing."""
    delivery = even(Market(4, 5, start=START, mode="direct"))
    deals = delivery.deals(START + 10 * DAY)
    assert deals
    assert all(d.won and [s.stage for s in d.steps] == ["closedwon"] for d in deals)
    assert list(delivery.deal_events(START, START + 10 * DAY)) == []
    assert delivery.cash(START + 10 * DAY) > 0


def test_most_purchases_come_within_a_day_and_few_after_a_week(even: Even) -> None:
    """Counted over some markets, of clicks whose purchases have all come."""
    days = np.array(
        [
            (deal.converted_at - deal.clicked_at) / DAY
            for seed in range(5)
            for deal in even(Market(seed, 10, start=START, mode="direct")).deals(START + 10 * DAY)
        ]
    )
    assert 0.6 < (days <= 1).mean() < 0.85
    assert 0.001 < (days > 7).mean() < 0.04
    assert days.max() <= PURCHASE_DAYS


def test_what_is_captured_comes_true(even: Even) -> None:
    """Over several markets the expected value is what the won deals pay in the end."""
    expected = paid = 0.0
    for seed in range(4):
        delivery = even(Market(seed, 20, start=START), 200_00)
        expected += delivery.value(START + 15 * DAY)
        paid += sum(d.amount for d in delivery.deals(START + 15 * DAY) if d.won)
    assert paid == pytest.approx(expected, rel=0.06)
