"""What the service remembers of an ad whose caller sends only its totals, now and then.

Totals come day by day; the differences are its days. Value is counted to the day it was credited,
because a total does not tell which click it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from geminivideo.budget.signals import (
    DAY_S,
    HOUR_S,
    AdSignals,
    Day,
    ValueBasis,
    whole_life,
    with_late_clicks,
)

_KEPT_DAYS = 30
_COUNTS = ("impressions", "clicks", "spend")


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


def remember(
    memory: AdMemory | None, ad: AdSignals, at: float, *, max_correction: float = 0.2
) -> AdMemory:
    """The memory after a caller sent ``ad`` at ``at`` (epoch seconds); days in ``ad`` win.

    Totals that went back by up to ``max_correction`` (a share) were corrected: what is missing is
    taken from the latest days. By more, the ad is counted anew, which begins a new memory. A
    sighting not later than the last changes nothing.
    """
    if memory is not None and at <= memory.seen_at:
        return memory
    if memory is None or _begins_anew(memory, ad, max_correction):
        return _snapshot(ad, at, whole_life(ad, at))
    days, new = _corrected(memory.days, _difference(memory, ad, at))
    return _snapshot(ad, at, with_late_clicks(_joined(days, new, at)))


def recall(memory: AdMemory, ad: AdSignals) -> AdSignals:
    """The caller's signals with the remembered days; what the caller sent itself stands."""
    if ad.days:
        return ad
    return replace(ad, days=memory.days, basis=ValueBasis.CREDIT)


def _begins_anew(memory: AdMemory, ad: AdSignals, most: float) -> bool:
    return any(getattr(ad, name) < (1 - most) * getattr(memory, name) for name in _COUNTS)


def _corrected(days: tuple[Day, ...], new: Day) -> tuple[tuple[Day, ...], Day]:
    """The days and the new one, none of whose counts is below zero: the latest days pay first."""
    kept = list(days)
    for name in _COUNTS:
        missing = max(0, -getattr(new, name))
        for index in range(len(kept) - 1, -1, -1):
            taken = min(missing, getattr(kept[index], name))
            kept[index] = replace(kept[index], **{name: getattr(kept[index], name) - taken})
            missing -= taken
        new = replace(new, **{name: max(0, getattr(new, name))})
    return tuple(kept), new


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
