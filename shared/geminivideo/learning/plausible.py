"""Which days of an account's actuals cannot be true: they must neither judge nor teach a model.

Three kinds are found. A day on which an ad has more clicks than impressions contradicts itself. A
day on which the click-through rates of (nearly) all ads jump together by a factor that no creative
explains tells of the measuring (a broken pixel, a filter that was off), not of the ads. And a day
on which several ads' rates leap up at once, each far beyond its own other days, tells so of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from geminivideo.policy import PlausibilityPolicy

CONTRADICTS = "clicks-exceed-impressions"
JUMPED = "all-ads-jumped"
LEAPT = "several-ads-jumped"
_SMOOTHING = 0.5


@dataclass(frozen=True)
class AdDay:
    """One ad on one day (ISO)."""

    ad_id: str
    date: str
    impressions: int
    clicks: int


@dataclass(frozen=True)
class Doubt:
    """Why an ad's day (``ad_id``) or everybody's (``None``) is not believed."""

    date: str
    reason: str
    ad_id: str | None = None


def doubts(days: Iterable[AdDay], policy: PlausibilityPolicy) -> tuple[Doubt, ...]:
    """Every day that is not to be believed, in order of time.

    Jumps are looked for one after another, the largest first: each is compared with the days that
    are still believed.
    """
    every = list(days)
    impossible = [day for day in every if not 0 <= day.clicks <= day.impressions]
    single = [Doubt(day.date, CONTRADICTS, day.ad_id) for day in impossible]
    bad = {(day.ad_id, day.date) for day in impossible}
    left = [day for day in every if (day.ad_id, day.date) not in bad]
    jumped: list[Doubt] = []
    while len(jumped) < policy.max_jumps and (found := _largest_jump(left, policy)) is not None:
        jumped.append(found)
        left = [day for day in left if day.date != found.date]
    leapt = _leaps(left, policy)
    return tuple(sorted([*single, *jumped, *leapt], key=lambda one: (one.date, one.ad_id or "")))


def _leaps(days: Sequence[AdDay], policy: PlausibilityPolicy) -> list[Doubt]:
    """The days of ads that leapt up together: ``min_ads`` of them on one date, each by itself
    ``jump_factor`` times and ``jump_sigmas`` beyond its other days. A single one may catch fire."""
    totals = _totals(days)
    by_date: dict[str, list[Doubt]] = {}
    for day in days:
        if (factor := _leap(day, totals, policy)) is not None:
            doubt = Doubt(day.date, f"{LEAPT}:x{factor:.2f}", day.ad_id)
            by_date.setdefault(day.date, []).append(doubt)
    return [one for found in by_date.values() if len(found) >= policy.min_ads for one in found]


def _leap(
    day: AdDay, totals: Mapping[str, tuple[int, int]], policy: PlausibilityPolicy
) -> float | None:
    shown, clicked = totals[day.ad_id]
    others, clicks = shown - day.impressions, clicked - day.clicks
    if min(others, day.impressions) < policy.min_day_impressions:
        return None
    usual = (clicks + _SMOOTHING) / (others + 2 * _SMOOTHING)
    expected = usual * day.impressions
    sigmas = (day.clicks - expected) / math.sqrt(max(expected, 1.0))
    factor = day.clicks / expected
    return factor if factor >= policy.jump_factor and sigmas >= policy.jump_sigmas else None


@dataclass(frozen=True)
class _Jump:
    date: str
    factor: float


def _largest_jump(days: Sequence[AdDay], policy: PlausibilityPolicy) -> Doubt | None:
    totals = _totals(days)
    by_date: dict[str, list[AdDay]] = {}
    for day in days:
        by_date.setdefault(day.date, []).append(day)
    jumps = [
        _Jump(date, factor)
        for date, of_date in by_date.items()
        if (factor := _jump(of_date, totals, policy)) is not None
    ]
    if not jumps:
        return None
    worst = max(jumps, key=lambda one: (abs(math.log(one.factor)), one.date))
    return Doubt(worst.date, f"{JUMPED}:x{worst.factor:.2f}")


def _totals(days: Iterable[AdDay]) -> Mapping[str, tuple[int, int]]:
    totals: dict[str, tuple[int, int]] = {}
    for day in days:
        shown, clicked = totals.get(day.ad_id, (0, 0))
        totals[day.ad_id] = (shown + day.impressions, clicked + day.clicks)
    return totals


def _jump(
    of_date: Sequence[AdDay], totals: Mapping[str, tuple[int, int]], policy: PlausibilityPolicy
) -> float | None:
    """The factor by which the ads' rates of one day differ from their other days', if all do.

    It is the median over the ads that were shown enough on both sides; it counts when it reaches
    ``jump_factor``, nearly all ads moved the same way by half of it (in logarithms), and the clicks
    of the day are ``jump_sigmas`` Poisson deviations away from what their other days let expect.
    """
    logs, expected, seen = [], 0.0, 0
    for day in of_date:
        shown, clicked = totals[day.ad_id]
        others, clicks = shown - day.impressions, clicked - day.clicks
        if min(others, day.impressions) < policy.min_day_impressions:
            continue
        usual = (clicks + _SMOOTHING) / (others + 2 * _SMOOTHING)
        here = (day.clicks + _SMOOTHING) / (day.impressions + 2 * _SMOOTHING)
        logs.append(math.log(here / usual))
        expected += usual * day.impressions
        seen += day.clicks
    if len(logs) < policy.min_ads:
        return None
    middle, bar = median(logs), math.log(policy.jump_factor)
    along = sum(math.copysign(1.0, middle) * one >= bar / 2 for one in logs)
    if abs(middle) < bar or along < policy.jump_share * len(logs):
        return None
    sigmas = abs(seen - expected) / math.sqrt(max(expected, 1.0))
    return math.exp(middle) if sigmas >= policy.jump_sigmas else None
