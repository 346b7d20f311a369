"""Meta's rows as days: exact money, each conversion once, contradictions named."""

import pytest
from geminivideo.budget import insights
from geminivideo.budget.calendar import Calendar
from hypothesis import given
from hypothesis import strategies as st

ROW = {
    "ad_id": "1", "date_start": "2026-11-20", "date_stop": "2026-11-20", "impressions": "1000",
    "clicks": "50", "spend": "19.99", "account_currency": "USD",
}  # fmt: skip


def parsed(currency="USD", **members):
    return insights.performance_day(
        {**ROW, "account_currency": currency, **members},
        account_id="acme", currency=currency, calendar=Calendar.of_zone("America/New_York"),
        fetched_at=9.0,
    )  # fmt: skip


def actions(**values):
    return [{"action_type": name.replace("__", "."), "value": v} for name, v in values.items()]


@given(st.integers(0, 10**12))
def test_dollars_become_cents_exactly(cents):
    """Every amount of two decimals is taken over to the cent, however large."""
    assert parsed(spend=f"{cents // 100}.{cents % 100:02d}").spend == cents


@given(st.integers(0, 10**12))
def test_whole_unit_currencies_have_no_cents(yen):
    """A yen is one unit."""
    assert parsed("JPY", spend=str(yen)).spend == yen


def test_a_finer_amount_is_rounded_and_named():
    """Half a cent goes to the even one, and the day says that it was rounded."""
    day = parsed(spend="0.125")
    assert (day.spend, day.warnings) == (12, ("spend-rounded:0.125",))


def test_one_purchase_under_many_names_counts_once():
    """Meta tells the same purchase as omni, as purchase and as the pixel's."""
    told = actions(
        omni_purchase="3", purchase="3", offsite_conversion__fb_pixel_purchase="2", link_click="50"
    )
    day = parsed(actions=told, action_values=actions(omni_purchase="60.50", purchase="60.50"))
    assert (day.conversions, day.conversion_value) == (3.0, 6050)


def test_without_the_sum_its_parts_are_added():
    """Pixel and shop purchases are different ones."""
    told = actions(
        offsite_conversion__fb_pixel_purchase="2", onsite_conversion__purchase="1", lead="4"
    )
    assert parsed(actions=told).conversions == 7.0


def windows(**counts):
    return [{"action_type": "omni_purchase", **counts}]


def test_purchases_are_told_by_how_soon_they_came():
    """Meta's windows of a day and a week after the click, beside what the account attributes."""
    told = windows(**{"value": "6", "1d_click": "3", "7d_click": "5"})
    day = parsed(actions=[*told, *actions(lead="9")])
    assert (day.purchases, day.bought_within_day, day.bought_within_week) == (6.0, 3.0, 5.0)


def test_a_window_in_which_nobody_bought_is_left_out_by_meta():
    """Purchases that only followed a view are none within a week of a click."""
    day = parsed(actions=windows(**{"value": "2"}))
    assert (day.purchases, day.bought_within_day, day.bought_within_week) == (2.0, 0.0, 0.0)


def test_purchases_that_were_taken_back_are_none():
    """A count below zero is no count of people who bought."""
    day = parsed(actions=windows(**{"value": "-1", "1d_click": "-2", "7d_click": "-3"}))
    assert (day.purchases, day.bought_within_day, day.bought_within_week) == (0.0, 0.0, 0.0)


def test_of_no_purchase_nothing_is_known():
    """Leads are no purchases."""
    day = parsed(actions=actions(lead="9"))
    assert (day.purchases, day.bought_within_day, day.bought_within_week) == (None, None, None)


def test_no_conversion_told_is_unknown():
    """Absent is not zero."""
    day = parsed(actions=actions(link_click="9"))
    assert (day.conversions, day.conversion_value) == (None, None)


def test_a_day_begins_at_the_accounts_midnight():
    """New York's 20 November begins at 05:00 UTC."""
    day = parsed()
    assert day.begins_at == 1_795_150_800.0
    assert day.hours == 24.0


def test_another_currency_is_refused_by_name():
    """The message says both currencies and what to set."""
    with pytest.raises(insights.CurrencyMismatchError, match="EUR at Meta and in USD here"):
        insights.performance_day(
            {**ROW, "account_currency": "EUR"},
            account_id="acme", currency="USD", calendar=Calendar(), fetched_at=0.0,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"spend": "lots"}, "spend"),
        ({"spend": "nan"}, "spend"),
        ({"impressions": "inf"}, "inf"),
        ({"date_start": "yesterday"}, "date_start"),
        ({"impressions": "-1"}, "impressions"),
        ({"clicks": "1.5"}, "clicks"),
        ({"ad_id": ""}, "ad_id"),
        ({"actions": actions(purchase="many")}, "many"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_by_member(members, named):
    """The message names the ad, the day and what is wrong."""
    with pytest.raises(insights.InsightsError, match=named):
        parsed(**members)


def test_contradictions_are_named_and_kept():
    """The day is taken over as it is."""
    day = parsed(impressions="0", clicks="5")
    assert (day.clicks, len(day.warnings)) == (5, 2)
