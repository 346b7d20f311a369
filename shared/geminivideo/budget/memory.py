"""What the service remembers of an ad whose caller sends only its counts, now and then.

The counts are an ad's totals, whose differences are its days; or they are the day's own, each its
day. Both are kept, until what came tells which they are: totals never go back but where Meta
corrects them, the counts of one day are lower than those of the day before every other time. Value
is counted to the day it was credited, because a total does not tell which click it came from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from geminivideo.budget.signals import (
    DAY_S,
    HOUR_S,
    AdSignals,
    Day,
    ValueBasis,
    whole_life,
    with_late_clicks,
)
from geminivideo.policy import InsightsPolicy

_KEPT_DAYS = 30
_A_DAY_APART_S = 18 * HOUR_S
_TOLD = InsightsPolicy()
_COUNTS = ("impressions", "clicks", "spend")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdMemory:
    """The last counts of an ad, when they were seen, and the days made of all before.

    ``days`` are those of totals; ``windows`` those of counts that were the day's own. ``fell`` says
    of each day in which something was delivered whether a count fell in it (``fell_since``: in the
    one that began at ``marked_at``).
    """

    ad_id: str
    seen_at: float
    impressions: int
    clicks: int
    spend: int
    pipeline_value: int
    cash_revenue: int
    days: tuple[Day, ...] = ()
    windows: tuple[Day, ...] = ()
    fell: tuple[bool, ...] = ()
    marked_at: float = 0.0
    fell_since: bool = False


def remember(
    memory: AdMemory | None,
    ad: AdSignals,
    at: float,
    policy: InsightsPolicy = _TOLD,
    *,
    totals: Collection[str] = (),
) -> AdMemory:
    """The memory after a caller sent ``ad`` at ``at`` (epoch seconds); days in ``ad`` win.

    Totals that went back by up to ``max_correction`` (a share) were corrected: what is missing is
    taken from the latest days. By more, the ad is counted anew, which begins new days of totals. A
    sighting not later than the last changes nothing. ``totals`` names what of ``pipeline_value``
    and ``cash_revenue`` is the ad's total, whatever its counts are.
    """
    if memory is not None and at <= memory.seen_at:
        return memory
    days = _days_of_totals(memory, ad, at, policy.max_correction)
    return AdMemory(
        ad_id=ad.ad_id,
        seen_at=at,
        impressions=ad.impressions,
        clicks=ad.clicks,
        spend=ad.spend,
        pipeline_value=ad.pipeline_value,
        cash_revenue=ad.cash_revenue,
        days=_kept(days, at),
        windows=_kept(_windows(memory, ad, at, totals), at),
        **_falls(memory, ad, at),
    )


def are_of_a_day(memories: Iterable[AdMemory], policy: InsightsPolicy = _TOLD) -> bool:
    """Whether one caller's counts are each day's own, by how often they fell, over all its ads."""
    pairs = [fell for memory in memories for fell in memory.fell]
    return sum(pairs) >= policy.least_falls and sum(pairs) > policy.falling_share * len(pairs)


def recall(memory: AdMemory, ad: AdSignals) -> AdSignals:
    """The caller's totals with the remembered days; what the caller sent itself stands."""
    if ad.days:
        return ad
    return replace(ad, days=memory.days, basis=ValueBasis.CREDIT)


def recall_days(memory: AdMemory, ad: AdSignals) -> AdSignals:
    """The ad of a caller who sends each day's own counts: the days, and their sums as totals."""
    if ad.days:
        return ad
    days = with_late_clicks(memory.windows)
    return replace(
        ad,
        days=days,
        basis=ValueBasis.CREDIT,
        impressions=sum(day.impressions for day in days),
        clicks=sum(day.clicks for day in days),
        spend=sum(day.spend for day in days),
        pipeline_value=sum(day.pipeline_value for day in days),
        cash_revenue=sum(day.cash_revenue for day in days),
    )


def _days_of_totals(
    memory: AdMemory | None, ad: AdSignals, at: float, max_correction: float
) -> tuple[Day, ...]:
    if memory is None or _begins_anew(memory, ad, max_correction):
        return whole_life(ad, at)
    days, new = _corrected(memory.days, _difference(memory, ad, at))
    return with_late_clicks(_joined(days, new, at))


def _windows(
    memory: AdMemory | None, ad: AdSignals, at: float, totals: Collection[str]
) -> tuple[Day, ...]:
    """The days, had every sighting told of its own day: a later look at a day takes its place."""
    if memory is None:
        hours = min(ad.age_hours, 24.0)
        return (_window(ad, at, hours, {}),) if hours > 0 else ()
    began, earlier = memory.seen_at, memory.windows
    values = {name: getattr(ad, name) - getattr(memory, name) for name in totals}
    if earlier and at - earlier[-1].at < DAY_S + _A_DAY_APART_S and not _is_lower(memory, ad):
        began = earlier[-1].at
        values = {name: value + getattr(earlier[-1], name) for name, value in values.items()}
        earlier = earlier[:-1]
    return (*earlier, _window(ad, at, min((at - began) / HOUR_S, 24.0), values))


def _window(ad: AdSignals, at: float, hours: float, values: Mapping[str, int]) -> Day:
    day = Day(
        at=at - hours * HOUR_S,
        hours=hours,
        impressions=ad.impressions,
        clicks=ad.clicks,
        spend=ad.spend,
        pipeline_value=ad.pipeline_value,
        cash_revenue=ad.cash_revenue,
    )
    return replace(day, **values)


def _falls(memory: AdMemory | None, ad: AdSignals, at: float) -> dict[str, Any]:
    if memory is None:
        return {"marked_at": at}
    here = {"fell": memory.fell, "marked_at": memory.marked_at}
    if not (memory.impressions or ad.impressions):
        return here
    fell = memory.fell_since or _is_lower(memory, ad)
    if at - memory.marked_at < _A_DAY_APART_S:
        return here | {"fell_since": fell}
    return {"fell": (*memory.fell, fell)[-_KEPT_DAYS:], "marked_at": at}


def _is_lower(memory: AdMemory, ad: AdSignals) -> bool:
    return any(getattr(ad, name) < getattr(memory, name) for name in _COUNTS)


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


def _kept(days: tuple[Day, ...], at: float) -> tuple[Day, ...]:
    return tuple(day for day in days if day.at + day.hours * HOUR_S > at - _KEPT_DAYS * DAY_S)


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
