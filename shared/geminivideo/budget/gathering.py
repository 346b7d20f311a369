"""From what is stored of an account's ads and deals to the signals of its budgets. Pure.

Meta's budgets sit on ad sets. The ads of one ad set share its budget, so they are one unit: with
one ad the unit has the ad's id, with several that of the ad set.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from geminivideo.budget import history
from geminivideo.budget.history import AdDay
from geminivideo.budget.lag import Delay, share
from geminivideo.budget.revenue import Rise
from geminivideo.budget.signals import (
    DAY_S,
    HOUR_S,
    AdSignals,
    Day,
    LagCurve,
    ValueBasis,
    with_late_clicks,
)
from geminivideo.policy import Policy
from geminivideo.records import AdState, CreditedDeal

DELIVERING = "ACTIVE"  # Meta's effective status: the ad, its ad set and its campaign all run
NO_BUDGET = "no budget of its own at Meta: it sits on the campaign, or is a lifetime budget"
NO_ADSET = "its ad set is not known yet: Meta has not shown the ad"
NEVER_READ = "its insights were never read"
AGE_UNKNOWN = "age-unknown"
CLICK_UNKNOWN = "click-time-unknown"
NEVER = 2.0  # a certainty that no probability reaches
_SHORTEST_H = 0.25
_WHOLE_DAYS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """What has one budget: an ad set with its ads."""

    id: str
    adset_id: str | None
    ads: tuple[AdState, ...]

    @property
    def ad_ids(self) -> tuple[str, ...]:
        """Its ads, by id."""
        return tuple(ad.id for ad in self.ads)


@dataclass(frozen=True, kw_only=True, slots=True)
class Credited:
    """What a deal is credited to an ad (minor units), when its click was and when it began.

    ``guessed``: the click's time is not known, the deal's beginning stands for it.
    """

    at: float
    began_at: float
    value: int
    guessed: bool = False


def units_of(states: Iterable[AdState]) -> list[Unit]:
    """The budgets of an account's ads, by id."""
    by_set: dict[str, list[AdState]] = defaultdict(list)
    for state in states:
        by_set[state.adset_id or f"ad/{state.id}"].append(state)
    units = [_unit(ads) for ads in by_set.values()]
    return sorted(units, key=lambda unit: unit.id)


def _unit(ads: list[AdState]) -> Unit:
    adset = ads[0].adset_id
    ordered = tuple(sorted(ads, key=lambda ad: ad.id))
    alone = len(ordered) == 1 or adset is None
    return Unit(id=ordered[0].id if alone else str(adset), adset_id=adset, ads=ordered)


def undecidable(unit: Unit) -> str | None:
    """Why no budget can be decided for the unit, or ``None``."""
    if unit.adset_id is None:
        return NO_ADSET
    if not unit.ads[0].daily_budget:
        return NO_BUDGET
    return None if any(ad.insights_at is not None for ad in unit.ads) else NEVER_READ


def horizon(policy: Policy, now: float) -> float:
    """No deal that began before it counts in a decision: a click comes before its deal.

    The first day of a history may begin a day before it, and is counted the deals of a day before
    itself; the lags' reach is exact but for rounding.
    """
    reach = max(policy.sampler.history_days + 1, policy.lag.max_days, policy.ripening.max_days)
    return now - (reach + 1) * DAY_S


def credits_of(deals: Iterable[CreditedDeal]) -> dict[str, list[Credited]]:
    """What deals are credited, by ad; one that was lost is a deal too, and worth nothing."""
    found: dict[str, list[Credited]] = defaultdict(list)
    for deal in deals:
        at = deal.clicked_at if deal.clicked_at is not None else deal.began_at
        if deal.ad_id is None or at is None or (deal.is_deleted and not deal.credited):
            continue
        began = deal.began_at if deal.began_at is not None else at
        guessed = deal.clicked_at is None
        credited = Credited(at=at, began_at=began, value=deal.credited, guessed=guessed)
        found[deal.ad_id].append(credited)
    return found


def beginnings_of(deals: Iterable[CreditedDeal], now: float, longest_days: float) -> list[Delay]:
    """How long after its click each deal began, where the click's time is known."""
    return [
        delay
        for deal in deals
        if deal.ad_id is not None and not deal.is_deleted
        for delay in _delay(deal.clicked_at, deal.began_at, now, longest_days)
    ]


def ripenings_of(
    deals: Iterable[CreditedDeal],
    rises: Callable[[CreditedDeal], Iterable[Rise]],
    now: float,
    longest_days: float,
) -> list[Delay]:
    """How long after its beginning each rise of a deal's value came, weighted by the rise."""
    return [
        delay
        for deal in deals
        if deal.ad_id is not None and not deal.is_deleted
        for at, rise in rises(deal)
        for delay in _delay(deal.began_at, at, now, longest_days, float(rise))
    ]


def _delay(
    since: float | None, until: float | None, now: float, longest_days: float, weight: float = 1.0
) -> Iterable[Delay]:
    """One, or none when a time is not known, is still to come, or is too long ago."""
    if since is None or until is None:
        return
    observed, days = (now - since) / DAY_S, max(0.0, (until - since) / DAY_S)
    if 0 < observed <= longest_days and days <= observed:
        yield Delay(days=days, observed_days=observed, weight=weight)


def signals(
    unit: Unit,
    *,
    credits: Mapping[str, Sequence[Credited]],
    now: float,
    policy: Policy,
    ripening: LagCurve | None = None,
    window_budget: int | None = None,
    min_budget: int | None = None,
    condense: bool = False,
) -> AdSignals:
    """A unit as the sampler takes it.

    ``ripening`` is how a deal's value comes after its beginning (none: all at once);
    ``window_budget`` is the budget at the velocity window's start, if it moved since;
    ``min_budget`` is Meta's least; ``condense`` makes one stretch of the days older than a week.
    Deals are counted to the day of their click; purchases as Meta counts them since June 2025, to
    the day on which they were made.
    """
    first, days = unit.ads[0], _days_of(unit)
    born, age_known = _born(unit, days, now)
    bare = with_late_clicks(_days(days, born, now, policy))
    credited = _counted([credit for ad in unit.ads for credit in credits.get(ad.id, ())], bare)
    shown = _spread(bare, credited, ripening or LagCurve.immediate(), now)
    read = [ad.insights_at for ad in unit.ads if ad.insights_at is not None]
    return AdSignals(
        ad_id=unit.id,
        adset_id=unit.adset_id,
        campaign_id=first.campaign_id,
        currency=first.currency,
        age_hours=max(0.0, (now - born) / HOUR_S),
        impressions=sum(ad.impressions for ad in unit.ads),
        clicks=sum(ad.clicks for ad in unit.ads),
        spend=sum(ad.spend for ad in unit.ads),
        pipeline_value=sum(ad.pipeline_value for ad in unit.ads),
        pipeline_count=sum(ad.deals for ad in unit.ads),
        cash_revenue=sum(ad.cash_revenue for ad in unit.ads),
        cash_count=round(sum(ad.purchases for ad in unit.ads)) or None,
        daily_budget=first.daily_budget,
        window_budget=window_budget,
        min_budget=min_budget,
        observed_at=min(read) if read else None,
        days=_condensed(shown, now) if condense else shown,
        basis=ValueBasis.CREDIT if policy.sampler.mode == "direct" else ValueBasis.CLICK,
        degraded=_degraded(unit, age_known, credited),
    )


def deciding_policy(policy: Policy, ads: Iterable[AdSignals]) -> Policy:
    """The policy to decide with: no ad is stopped for want of value where nobody has any.

    Nobody reports value there (no CRM, no purchases), so that its absence says nothing.
    """
    direct = policy.sampler.mode == "direct"
    if any((ad.cash_revenue if direct else ad.pipeline_value) > 0 for ad in ads):
        return policy
    return replace(policy, allocation=replace(policy.allocation, kill_certainty=NEVER))


def _days_of(unit: Unit) -> list[AdDay]:
    """The unit's days, oldest first: its ads' summed by date."""
    every = sorted(
        (day for ad in unit.ads for day in history.days_of(ad)), key=lambda day: day.date
    )
    return [_summed(list(same)) for _, same in groupby(every, key=lambda day: day.date)]


def _summed(days: list[AdDay]) -> AdDay:
    """One date of several ads; how many people saw them together is not known."""
    if len(days) == 1:
        return days[0]
    return AdDay(
        date=days[0].date,
        begins_at=min(day.begins_at for day in days),
        hours=days[0].hours,
        impressions=sum(day.impressions for day in days),
        clicks=sum(day.clicks for day in days),
        spend=sum(day.spend for day in days),
        conversions=sum(day.conversions for day in days),
        cash_revenue=sum(day.cash_revenue for day in days),
        purchases=sum(day.purchases for day in days),
    )


def _born(unit: Unit, days: Sequence[AdDay], now: float) -> tuple[float, bool]:
    """When the oldest ad was created; unknown: its first day."""
    created = [ad.created_at for ad in unit.ads if ad.created_at is not None]
    if created:
        return min(created), True
    return (days[0].begins_at if days else now), False


def _days(days: Sequence[AdDay], born: float, now: float, policy: Policy) -> tuple[Day, ...]:
    since = now - policy.sampler.history_days * DAY_S
    return tuple(
        _day(day, born, now)
        for day in days
        if since < day.ends_at and day.begins_at < now and _says_something(day)
    )


def _says_something(day: AdDay) -> bool:
    """Meta has no row for a day without delivery, but for one on which an earlier click became a
    lead: it is as little a day of the ad."""
    return bool(day.impressions or day.clicks or day.spend or day.cash_revenue)


def _day(day: AdDay, born: float, now: float) -> Day:
    """The part of a day on which the ad existed and which has passed."""
    end = min(day.ends_at, now)
    begin = min(max(day.begins_at, born), end - _SHORTEST_H * HOUR_S)
    return Day(
        at=begin,
        hours=(end - begin) / HOUR_S,
        impressions=day.impressions,
        clicks=day.clicks,
        spend=day.spend,
        cash_revenue=day.cash_revenue,
        frequency=day.frequency,
    )


def _counted(credited: Iterable[Credited], days: Sequence[Day]) -> list[Credited]:
    """A click before all days is older than what is decided on."""
    return [credit for credit in credited if days and credit.at > days[0].at - DAY_S]


def _spread(
    days: tuple[Day, ...], credited: Sequence[Credited], ripening: LagCurve, now: float
) -> tuple[Day, ...]:
    """Each deal on the day of its click; without a row for it, on the last one before."""
    if not credited:
        return days
    by_day: list[list[Credited]] = [[] for _ in days]
    starts = [day.at for day in days]
    for credit in credited:
        by_day[max(0, bisect_right(starts, credit.at) - 1)].append(credit)
    return tuple(
        _with_deals(day, deals, ripening, now) if deals else day
        for day, deals in zip(days, by_day, strict=True)
    )


def _with_deals(day: Day, deals: list[Credited], ripening: LagCurve, now: float) -> Day:
    ages = (max(now - deal.began_at, HOUR_S) / DAY_S for deal in deals)
    return replace(
        day,
        pipeline_value=sum(deal.value for deal in deals),
        deals=len(deals),
        ripe=round(math.fsum(share(ripening, age) for age in ages), 6),
    )


def _condensed(days: tuple[Day, ...], now: float) -> tuple[Day, ...]:
    """The last week day by day, all before as one stretch."""
    since = now - _WHOLE_DAYS * DAY_S
    old = [day for day in days if day.at < since]
    if len(old) < 2:
        return days
    last = old[-1]
    stretch = Day(
        at=old[0].at,
        hours=(last.at - old[0].at) / HOUR_S + last.hours,
        impressions=sum(day.impressions for day in old),
        clicks=sum(day.clicks for day in old),
        spend=sum(day.spend for day in old),
        pipeline_value=sum(day.pipeline_value for day in old),
        cash_revenue=sum(day.cash_revenue for day in old),
        deals=sum(day.deals for day in old),
        ripe=math.fsum(day.ripe for day in old),
    )
    return (stretch, *(day for day in days if day.at >= since))


def _degraded(unit: Unit, age_known: bool, credited: Sequence[Credited]) -> tuple[str, ...]:
    found = [reason for ad in unit.ads for reason in ad.degraded]
    if not age_known:
        found.append(AGE_UNKNOWN)
    if any(credit.guessed for credit in credited):
        found.append(CLICK_UNKNOWN)
    return tuple(dict.fromkeys(found))
