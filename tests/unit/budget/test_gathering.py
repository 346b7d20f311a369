"""From states and deals to signals: one budget an ad set, value on the day of its click."""

import dataclasses

import pytest
from geminivideo.budget import gathering
from geminivideo.budget.calendar import Calendar
from geminivideo.budget.history import AdDay, absorb
from geminivideo.budget.signals import DAY_S, LagCurve, ValueBasis, contradiction
from geminivideo.policy import Policy
from geminivideo.records import AdState, Deal
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

NOON = 1_795_348_800.0
MIDNIGHT = NOON - DAY_S / 2


def ad_day(back, impressions=100):
    begins = MIDNIGHT - back * DAY_S
    return AdDay(
        date=f"2026-{1000 - back:04d}", begins_at=begins, impressions=impressions, clicks=10,
        spend=1000,
    )  # fmt: skip


def state(ad_id="a", adset="s", days=5, **members):
    base = AdState(
        id=ad_id, account_id="acme", currency="USD", updated_at=NOON, adset_id=adset,
        daily_budget=5000, insights_at=NOON, created_at=NOON - days * DAY_S, **members,
    )  # fmt: skip
    return absorb(base, [ad_day(back) for back in range(days)], 37)


def deal(at, value=100_00, **members):
    return Deal(
        id="1-1", portal_id=1, deal_id="1", account_id="acme", currency="USD", updated_at=NOON,
        ad_id="a", credited=value, **{"clicked_at": at, **members},
    )  # fmt: skip


def signals(*states, deals=(), **options):
    (unit,) = gathering.units_of(states)
    credits = gathering.credits_of(deals)
    return gathering.signals(unit, credits=credits, now=NOON, policy=Policy(), **options)


def test_an_ad_alone_has_its_own_name_and_ads_together_their_ad_sets():
    """The unit of a budget is the ad set."""
    units = gathering.units_of([state("a", "s1"), state("b", "s2"), state("c", "s2")])
    assert [(unit.id, unit.ad_ids) for unit in units] == [("a", ("a",)), ("s2", ("b", "c"))]


def test_ads_of_one_budget_are_summed_by_day():
    """Impressions add up; how many people two ads reached together is not known."""
    found = signals(state("a"), state("b"))
    assert found.impressions == 1000
    assert [day.impressions for day in found.days] == [200] * 5
    assert found.days[0].frequency is None


def test_a_click_that_came_late_does_not_stop_the_ad_from_being_decided():
    """On a day without delivery a click belongs to the day before; nothing contradicts."""
    late = absorb(state("a"), [replace(ad_day(1), impressions=0, clicks=2, spend=0), ad_day(0)], 37)
    found = signals(late)
    assert [day.clicks for day in found.days] == [10, 10, 12, 0, 10]
    assert contradiction(found) is None
    untrue = absorb(state("a"), [replace(ad_day(back), clicks=101) for back in range(5)], 37)
    assert contradiction(signals(untrue)) is not None


def test_today_is_as_long_as_it_lasts_so_far_and_the_first_day_since_its_creation():
    """At noon today has 12 hours, and an ad created at noon had 12 on its first day."""
    found = signals(state(days=3))
    assert [day.hours for day in found.days] == [24.0, 24.0, 12.0]
    assert signals(state(days=1)).days[0].hours == pytest.approx(12.0)


def test_a_day_is_as_long_as_its_clocks_make_it():
    """25 and 23 hours where clocks change, for one ad and for two of one budget alike."""
    berlin = Calendar.of_zone("Europe/Berlin")
    dates = ("2026-10-24", "2026-10-25", "2026-10-26")
    days = [
        AdDay(
            date=date, begins_at=berlin.begins_at(date), impressions=100, clicks=1, spend=1000,
            hours=berlin.hours(date),
        )
        for date in dates
    ]  # fmt: skip
    ads = [absorb(state(name, days=0), days, 37) for name in "ab"]
    ads = [dataclasses.replace(ad, created_at=1.0) for ad in ads]
    for found in (signals(*ads[:1]), signals(*ads)):
        assert [day.hours for day in found.days] == [24.0, 25.0, 24.0]
        ends = [day.at + day.hours * 3600.0 for day in found.days]
        assert ends[:-1] == [day.at for day in found.days[1:]]


def test_value_counts_to_the_day_of_its_click():
    """A deal credited today that came of a click three days ago belongs to that day."""
    found = signals(state(), deals=[deal(NOON - 3 * DAY_S)])
    assert [day.pipeline_value for day in found.days] == [0, 100_00, 0, 0, 0]


def test_a_click_before_all_days_is_not_counted_to_one():
    """What is older than the history is in the totals only."""
    found = signals(state(), deals=[deal(NOON - 20 * DAY_S)])
    assert sum(day.pipeline_value for day in found.days) == 0


def test_a_click_of_unknown_time_is_said():
    """The deal's beginning stands for it, and the signals are degraded."""
    found = signals(state(), deals=[deal(None, began_at=NOON - DAY_S)])
    assert found.days[3].pipeline_value == 100_00
    assert gathering.CLICK_UNKNOWN in found.degraded


@given(st.lists(st.tuples(st.floats(0, 4), st.integers(1, 10**6)), max_size=8))
def test_no_value_is_lost_or_doubled_between_days(clicks):
    """Credits of clicks inside the history add up over the days."""
    deals = [deal(NOON - back * DAY_S, value) for back, value in clicks]
    found = signals(state(), deals=deals)
    assert sum(day.pipeline_value for day in found.days) == sum(value for _, value in clicks)


def test_condensed_days_keep_their_sums():
    """For very large accounts all before a week is one stretch of the same totals."""
    whole, short = signals(state(days=20)), signals(state(days=20), condense=True)
    assert len(short.days) < 10
    for member in ("impressions", "clicks", "spend", "hours"):
        assert sum(getattr(d, member) for d in short.days) == pytest.approx(
            sum(getattr(d, member) for d in whole.days)
        )


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"daily_budget": None}, gathering.NO_BUDGET),
        ({"adset_id": None}, gathering.NO_ADSET),
        ({"insights_at": None}, gathering.NEVER_READ),
    ],
)
def test_what_cannot_be_decided_says_why(members, reason):
    """No budget of its own, no ad set, or never read."""
    from dataclasses import replace

    (unit,) = gathering.units_of([replace(state(), **members)])
    assert gathering.undecidable(unit) == reason


def test_beginnings_are_from_the_click_to_the_deal():
    """Where the click's time is known; what begins in the future or long ago is left out."""
    known = deal(NOON - 5 * DAY_S, began_at=NOON - 3 * DAY_S)
    unknown = deal(None, began_at=NOON - 3 * DAY_S)
    later = deal(NOON - 5 * DAY_S, began_at=NOON + 1)
    deleted = deal(NOON - 5 * DAY_S, began_at=NOON - 3 * DAY_S, deleted_at=NOON)
    found = gathering.beginnings_of([known, unknown, later, deleted], NOON, 90.0)
    assert [(d.days, d.observed_days, d.weight) for d in found] == [(2, 5, 1)]
    assert gathering.beginnings_of([known], NOON, 4.0) == []


def test_deals_are_counted_to_the_day_of_their_click_lost_ones_too():
    """Two clicks of one day, one of them lost: two deals, one worth something."""
    deals = [deal(NOON - 3 * DAY_S), deal(NOON - 3 * DAY_S, 0)]
    found = signals(state(), deals=deals)
    assert [day.deals for day in found.days] == [0, 2, 0, 0, 0]
    assert [day.pipeline_value for day in found.days] == [0, 100_00, 0, 0, 0]
    assert found.days[1].ripe == 2.0


def test_a_deal_ripens_from_its_beginning():
    """Half of its value after two days: a deal that began two days ago counts half as ripe."""
    curve = LagCurve(days=(0.0, 4.0), shares=(0.0, 1.0))
    begun = deal(NOON - 4 * DAY_S, began_at=NOON - 2 * DAY_S)
    found = signals(state(), deals=[begun], ripening=curve)
    assert found.days[0].ripe == pytest.approx(0.5)
    assert found.days[0].deals == 1


def test_ripenings_are_from_the_beginning_to_each_rise():
    """Two rises of one deal are two delays, weighted by how much they raise."""
    rises = [(NOON - back * DAY_S, rise) for back, rise in ((4, 200), (2, 300))]
    begun = deal(NOON - 9 * DAY_S, began_at=NOON - 5 * DAY_S)
    found = gathering.ripenings_of([begun], lambda _: rises, NOON, 90.0)
    assert [(d.days, d.observed_days, d.weight) for d in found] == [(1, 5, 200), (3, 5, 300)]


def test_nobody_is_stopped_for_want_of_value_where_nobody_has_any():
    """Without a CRM no certainty of a loss is enough; with one credit anywhere it is as before."""
    policy = Policy()
    without = gathering.deciding_policy(policy, [signals(state())])
    assert without.allocation.kill_certainty > 1
    valued = signals(state(pipeline_value=1))
    assert gathering.deciding_policy(policy, [valued]) == policy


# Direct mode ----------------------------------------------------------------------------------

SHOP = dataclasses.replace(Policy(), sampler=dataclasses.replace(Policy().sampler, mode="direct"))


def test_what_a_shop_sells_is_counted_to_the_day_on_which_it_was_bought():
    """Its purchases by number and worth; deals are counted to the day of their click."""
    sold = absorb(state(), [replace(ad_day(1), cash_revenue=90_00, purchases=3.0)], 37)
    shop = gathering.signals(gathering.units_of([sold])[0], credits={}, now=NOON, policy=SHOP)
    assert (shop.basis, shop.cash_revenue, shop.cash_count) == (ValueBasis.CREDIT, 90_00, 3)
    assert signals(sold).basis is ValueBasis.CLICK
    assert signals(state()).cash_count is None


def test_a_day_without_delivery_is_one_only_where_something_was_bought():
    """Meta has a row for it when an earlier click became a lead: that makes it no day of the ad."""
    nothing = replace(ad_day(1), impressions=0, clicks=0, spend=0, conversions=1.0)
    days = len(signals(absorb(state(), [nothing], 37)).days)
    bought = replace(nothing, cash_revenue=50_00)
    assert len(signals(absorb(state(), [bought], 37)).days) == days + 1 == 5


def test_the_budget_of_several_ads_counts_the_purchases_of_all():
    """Number and worth, by day and in total."""
    one, other = (
        absorb(state(ad_id), [replace(ad_day(1), cash_revenue=cash, purchases=1.0)], 37)
        for ad_id, cash in (("a", 40_00), ("b", 20_00))
    )
    both = signals(one, other)
    assert (both.cash_count, both.cash_revenue) == (2, 60_00)
    assert sum(day.cash_revenue for day in both.days) == 60_00
