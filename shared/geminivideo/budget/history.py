"""An ad's days in its state: recent ones day by day, those before as settled totals. Pure.

Writing the same day again replaces it, so that what Meta corrects later is corrected here and no
window counts twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from geminivideo.records import AdState, PerformanceDay, SettledTotals


class AdDay(msgspec.Struct, array_like=True, frozen=True):
    """One day as the state keeps it; money is minor units, ``begins_at`` its midnight (epoch).

    ``hours`` is how long it is: 23 or 25 where the account's clocks change on it.
    """

    date: str
    begins_at: float
    impressions: int
    clicks: int
    spend: int
    conversions: float = 0.0
    cash_revenue: int = 0
    frequency: float | None = None
    hours: float = 24.0
    purchases: float = 0.0

    @property
    def ends_at(self) -> float:
        """Its next midnight (epoch)."""
        return self.begins_at + self.hours * 3600.0


_DAYS = msgspec.json.Decoder(tuple[AdDay, ...])


def ad_day(day: PerformanceDay) -> AdDay:
    """A day's document as the state keeps it."""
    return AdDay(
        date=day.date,
        begins_at=day.begins_at or 0.0,
        impressions=day.impressions,
        clicks=day.clicks,
        spend=day.spend,
        conversions=day.conversions or 0.0,
        cash_revenue=day.conversion_value or 0,
        frequency=day.frequency,
        hours=day.hours,
        purchases=day.purchases or 0.0,
    )


def days_of(state: AdState) -> tuple[AdDay, ...]:
    """The state's days, oldest first."""
    return _DAYS.decode(state.days) if state.days else ()


def packed(days: Iterable[AdDay]) -> str:
    """Days as the state holds them."""
    return msgspec.json.encode(tuple(days)).decode()


def absorb(state: AdState, days: Iterable[AdDay], keep: int) -> AdState:
    """The state after these days were read: they replace those of their dates.

    Of more than ``keep`` days the oldest are settled. A day that is settled already stays as it
    is.
    """
    by_date = {day.date: day for day in days_of(state)}
    by_date |= {day.date: day for day in days if day.date > state.settled.through}
    ordered = [by_date[date] for date in sorted(by_date)]
    surplus = max(0, len(ordered) - keep)
    settled = _settle(state.settled, ordered[:surplus])
    return _totalled(replace(state, settled=settled, days=packed(ordered[surplus:])))


def absorb_before(state: AdState, before: AdDay | None, through: str) -> AdState:
    """The state after all that was before its days was read at once; a second time changes nothing.

    ``through`` is the last day of that time; ``before`` ``None`` when there was no delivery.
    """
    if state.settled.through >= through:
        return state
    settled = SettledTotals(through=through)
    kept = [day for day in days_of(state) if day.date > through]
    if before is not None:
        settled = replace(_settle(settled, [before]), through=through)
    return _totalled(replace(state, settled=settled, days=packed(kept)))


def _settle(settled: SettledTotals, days: list[AdDay]) -> SettledTotals:
    if not days:
        return settled
    return SettledTotals(
        through=max(settled.through, days[-1].date),
        impressions=settled.impressions + sum(day.impressions for day in days),
        clicks=settled.clicks + sum(day.clicks for day in days),
        spend=settled.spend + sum(day.spend for day in days),
        conversions=settled.conversions + sum(day.conversions for day in days),
        cash_revenue=settled.cash_revenue + sum(day.cash_revenue for day in days),
        purchases=settled.purchases + sum(day.purchases for day in days),
    )


def _totalled(state: AdState) -> AdState:
    total = _settle(state.settled, list(days_of(state)))
    return replace(
        state,
        impressions=total.impressions,
        clicks=total.clicks,
        spend=total.spend,
        conversions=total.conversions,
        cash_revenue=total.cash_revenue,
        purchases=total.purchases,
    )
