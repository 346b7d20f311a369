"""What the service remembers of an ad whose caller sends only its totals, now and then.

Totals come day by day; the differences are its days. Value is counted to the day it was credited,
because a total does not tell which click it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from geminivideo.budget.signals import DAY_S, HOUR_S, AdSignals, Day, ValueBasis, whole_life

_KEPT_DAYS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class AdMemory:
    """The last totals of an ad, when they were seen, and the days made of all before."""

    ad_id: str
    seen_at: float
    impressions: int
    clicks: int
    spend: int
    pipeline_value: int
    cash_revenue: int
    days: tuple[Day, ...] = ()


def remember(memory: AdMemory | None, ad: AdSignals, at: float) -> AdMemory:
    """The memory after a caller sent ``ad`` at ``at`` (epoch seconds); days in ``ad`` win.

    Totals that went back (an ad counted anew) begin a new memory; a sighting not later than the
    last changes nothing.
    """
    if memory is not None and at <= memory.seen_at:
        return memory
    if memory is None or _went_back(memory, ad):
        return _snapshot(ad, at, whole_life(ad, at))
    return _snapshot(ad, at, _joined(memory.days, _difference(memory, ad, at), at))


def recall(memory: AdMemory, ad: AdSignals) -> AdSignals:
    """The caller's signals with the remembered days; what the caller sent itself stands."""
    if ad.days:
        return ad
    return replace(ad, days=memory.days, basis=ValueBasis.CREDIT)


def _went_back(memory: AdMemory, ad: AdSignals) -> bool:
    return (
        ad.impressions < memory.impressions or ad.clicks < memory.clicks or ad.spend < memory.spend
    )


def _snapshot(ad: AdSignals, at: float, days: tuple[Day, ...]) -> AdMemory:
    return AdMemory(
        ad_id=ad.ad_id,
        seen_at=at,
        impressions=ad.impressions,
        clicks=ad.clicks,
        spend=ad.spend,
        pipeline_value=ad.pipeline_value,
        cash_revenue=ad.cash_revenue,
        days=tuple(day for day in days if day.at + day.hours * HOUR_S > at - _KEPT_DAYS * DAY_S),
    )


def _difference(memory: AdMemory, ad: AdSignals, at: float) -> Day:
    return Day(
        at=memory.seen_at,
        hours=(at - memory.seen_at) / HOUR_S,
        impressions=ad.impressions - memory.impressions,
        clicks=ad.clicks - memory.clicks,
        spend=ad.spend - memory.spend,
        pipeline_value=ad.pipeline_value - memory.pipeline_value,
        cash_revenue=ad.cash_revenue - memory.cash_revenue,
    )


def _joined(days: tuple[Day, ...], new: Day, at: float) -> tuple[Day, ...]:
    """Sightings within 24 hours are one day, so that many calls do not make many days."""
    if days and at - days[-1].at <= DAY_S:
        return (*days[:-1], _sum(days[-1], new))
    return (*days, new)


def _sum(day: Day, more: Day) -> Day:
    return Day(
        at=day.at,
        hours=day.hours + more.hours,
        impressions=day.impressions + more.impressions,
        clicks=day.clicks + more.clicks,
        spend=day.spend + more.spend,
        pipeline_value=day.pipeline_value + more.pipeline_value,
        cash_revenue=day.cash_revenue + more.cash_revenue,
    )
