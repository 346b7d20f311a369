"""Meta's insights rows as days of an ad: exact money, each conversion counted once.

A row's money is a decimal string in major units of the account's currency; counts are strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from math import isfinite
from typing import Any

from geminivideo import money
from geminivideo.budget.calendar import Calendar
from geminivideo.records import PerformanceDay

SOURCE = "meta-insights"
# Meta reports one purchase under several types. ``omni_purchase`` is all of them, each once;
# ``purchase`` those of pixel and shop; the rest are parts (Meta, "Insights: action types").
PURCHASE = (
    ("omni_purchase",),
    ("purchase",),
    (
        "offsite_conversion.fb_pixel_purchase",
        "onsite_conversion.purchase",
        "app_custom_event.fb_mobile_purchase",
    ),
)
LEAD = (
    ("lead",),
    ("offsite_conversion.fb_pixel_lead", "onsite_conversion.lead_grouped"),
)
WITHIN_DAY, WITHIN_WEEK = "1d_click", "7d_click"  # Meta's windows after a click
CLICKS_BEYOND = "clicks-exceed-impressions"
SPEND_WITHOUT = "spend-without-impressions"
ROUNDED = "spend-rounded"


class InsightsError(ValueError):
    """A row that cannot be taken over; the message names the ad, the day and what is wrong."""


class CurrencyMismatchError(InsightsError):
    """Meta counts the account in another currency than we do."""


def day_id(ad_id: str, day: str) -> str:
    """The document id of one ad's day."""
    return f"{ad_id}-{day}"


def performance_day(
    row: Mapping[str, Any],
    *,
    account_id: str,
    currency: str,
    calendar: Calendar,
    fetched_at: float,
) -> PerformanceDay:
    """One row as a day of the account's calendar.

    Raises ``InsightsError`` for what is missing, is none, or is in another currency. A row over
    several days keeps its first: only its sums are used then.
    """
    ad_id, day = _text(row, "ad_id"), _day(row)
    shown = row.get("account_currency") or currency
    if shown != currency:
        raise CurrencyMismatchError(
            f"account {account_id} is in {shown} at Meta and in {currency} here: set the currency "
            f"of accounts/{account_id} to {shown}"
        )
    impressions, clicks = _count(row, "impressions"), _count(row, "clicks")
    spend, finer = _money(row.get("spend", "0"), currency, row)
    return PerformanceDay(
        id=day_id(ad_id, day),
        ad_id=ad_id,
        account_id=account_id,
        date=day,
        impressions=impressions,
        clicks=clicks,
        spend=spend,
        currency=currency,
        source=SOURCE,
        fetched_at=fetched_at,
        begins_at=calendar.begins_at(day),
        hours=calendar.hours(day),
        conversions=_conversions(row),
        conversion_value=_value(row, currency),
        frequency=_number(row.get("frequency"), row) if row.get("frequency") else None,
        purchases=_bought(row, "value"),
        bought_within_day=_bought(row, WITHIN_DAY),
        bought_within_week=_bought(row, WITHIN_WEEK),
        warnings=(*contradictions(impressions, clicks, spend), *finer),
    )


def contradictions(impressions: int, clicks: int, spend: int) -> tuple[str, ...]:
    """What cannot be true of one day's counts, by name."""
    found = []
    if clicks > impressions:
        found.append(f"{CLICKS_BEYOND}:{clicks}/{impressions}")
    if spend > 0 and impressions == 0:
        found.append(SPEND_WITHOUT)
    return tuple(found)


def _conversions(row: Mapping[str, Any]) -> float | None:
    """Purchases and leads, each once; ``None`` when the row tells of neither."""
    kinds = [_once(row, "actions", kind) for kind in (PURCHASE, LEAD)]
    known = [_number(amount, row) for amounts in kinds for amount in amounts]
    return sum(known) if known else None


def _bought(row: Mapping[str, Any], window: str) -> float | None:
    """The purchases of a window, each once; ``None`` when the row tells of none at all."""
    amounts = _once(row, "actions", PURCHASE, window)
    return max(0.0, sum(_number(amount, row) for amount in amounts)) if amounts else None


def _value(row: Mapping[str, Any], currency: str) -> int | None:
    """What the purchases were worth; a fraction of a minor unit is rounded by Meta's own hand."""
    amounts = _once(row, "action_values", PURCHASE)
    if not amounts:
        return None
    try:
        return sum(money.minor(amount, currency) for amount in amounts)
    except money.AmountError as error:
        raise InsightsError(f"{_where(row)}: action_values: {error}") from error


def _once(
    row: Mapping[str, Any],
    member: str,
    families: Sequence[tuple[str, ...]],
    window: str = "value",
) -> list[str | float]:
    """The amounts of the first family that the row has: the others count the same again."""
    by_type: dict[str, Any] = {}
    for action in row.get(member) or ():
        by_type.setdefault(str(action.get("action_type")), action.get(window, 0))
    for family in families:
        found = [by_type[name] for name in family if name in by_type]
        if found:
            return found
    return []


def _count(row: Mapping[str, Any], member: str) -> int:
    value = _number(row.get(member) or 0, row)
    if value < 0 or value != int(value):
        raise InsightsError(f"{_where(row)}: {member} {row.get(member)!r} is no count")
    return int(value)


def _number(raw: Any, row: Mapping[str, Any]) -> float:
    try:
        number = float(raw)
    except (TypeError, ValueError) as error:
        raise InsightsError(f"{_where(row)}: {raw!r} is no number") from error
    if not isfinite(number):
        raise InsightsError(f"{_where(row)}: {raw!r} is no number")
    return number


def _money(raw: Any, currency: str, row: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """The amount, and a warning when it was finer than the currency's smallest unit."""
    try:
        return money.minor_exactly(raw or "0", currency), ()
    except money.AmountError:
        pass
    try:
        return money.minor(raw, currency), (f"{ROUNDED}:{raw}",)
    except money.AmountError as error:
        raise InsightsError(f"{_where(row)}: spend: {error}") from error


def _day(row: Mapping[str, Any]) -> str:
    day = _text(row, "date_start")
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError as error:
        raise InsightsError(f"ad {row.get('ad_id')}: date_start {day!r} is no day") from error


def _text(row: Mapping[str, Any], member: str) -> str:
    value = row.get(member)
    if not value:
        raise InsightsError(f"a row without {member}")
    return str(value)


def _where(row: Mapping[str, Any]) -> str:
    return f"ad {row.get('ad_id')} on {row.get('date_start')}"
