"""Which days of an account's actuals cannot be true: they must neither judge nor teach a model.

Four kinds are found. A day on which an ad has more clicks than impressions contradicts itself. A
day on which the click-through rates of (nearly) all ads jump together by a factor that no creative
explains tells of the measuring (a broken pixel, a filter that was off), not of the ads. A day on
which ads disagree (some do far better or worse than on the days before and after it, others do not)
is a day of wrong actuals of some, and nobody knows of which. And a day on which several ads' rates
leap up at once, each far beyond its own other days, tells so of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from geminivideo.policy import PlausibilityPolicy

CONTRADICTS = "clicks-exceed-impressions"
JUMPED = "all-ads-jumped"
DISAGREE = "ads-disagree"
LEAPT = "several-ads-jumped"
_SMOOTHING = 0.5
_MAD_TO_SPREAD = 1.4826  # a normal distribution's standard deviation by its median deviation


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

    Days of all ads are looked for one after another, the worst first, jumps before disagreements:
    each is compared with the days that are still believed.
    """
    every = list(days)
    impossible = [day for day in every if not 0 <= day.clicks <= day.impressions]
    single = [Doubt(day.date, CONTRADICTS, day.ad_id) for day in impossible]
    bad = {(day.ad_id, day.date) for day in impossible}
    left = [day for day in every if (day.ad_id, day.date) not in bad]
    jumped: list[Doubt] = []
    for worst in (_largest_jump, _worst_disagreement):
        while len(jumped) < policy.max_jumps and (found := worst(left, policy)) is not None:
            jumped.append(found)
            left = [day for day in left if day.date != found.date]
    leapt = _leaps(left, policy)
    return tuple(sorted([*single, *jumped, *leapt], key=lambda one: (one.date, one.ad_id or "")))


# Disagreement: some ads' day is odd, and others' is not -------------------------------------------


def _worst_disagreement(days: Sequence[AdDay], policy: PlausibilityPolicy) -> Doubt | None:
    """The date of which most ads are odd beside the others, if those are enough of them.

    Odd are those ``odd_sigmas`` off the median ad, which tells what happened to all that day;
    where days differ by more than counting does, by as many of the account's own deviations.
    """
    by_date = _deviations(days, policy)
    every = [abs(one) for found in by_date.values() for one in found]
    spread = max(1.0, _MAD_TO_SPREAD * median(every)) if every else 1.0
    worst, most = None, 0
    for date, found in sorted(by_date.items()):
        middle = median(found)
        odd = sum(abs(one - middle) >= policy.odd_sigmas * spread for one in found)
        enough = max(policy.min_odd_ads, policy.min_odd_share * len(found))
        if len(found) >= policy.min_ads and odd >= enough and odd > most:
            worst, most = Doubt(date, f"{DISAGREE}:{odd} of {len(found)}"), odd
    return worst


def _deviations(days: Sequence[AdDay], policy: PlausibilityPolicy) -> dict[str, list[float]]:
    """By date, how far each ad's day is from its neighbours (standard deviations of counting)."""
    by_ad: dict[str, list[AdDay]] = {}
    for day in sorted(days, key=lambda one: (one.ad_id, one.date)):
        if day.impressions >= policy.min_day_impressions:
            by_ad.setdefault(day.ad_id, []).append(day)
    found: dict[str, list[float]] = {}
    for ordered in by_ad.values():
        for place in range(1, len(ordered)):
            off = _deviation(ordered, place, policy.neighbours)
            found.setdefault(ordered[place].date, []).append(off)
    return found


def _deviation(ordered: Sequence[AdDay], place: int, neighbours: int) -> float:
    """From the nearer of the days before and those after; 0 between the two.

    So an ad that changes and stays so is not odd once the days after tell it. The latest day has
    none after: it waits for them when it is. A first day, which has none before, tells nothing.
    """
    before = ordered[max(0, place - neighbours) : place]
    after = ordered[place + 1 : place + 1 + neighbours]
    off = [_sigmas(ordered[place], near) for near in (before, after) if near]
    return 0.0 if min(off) < 0 < max(off) else min(off, key=abs)


def _sigmas(day: AdDay, others: Sequence[AdDay]) -> float:
    """The logarithm of the day's clicks over what others let expect, by its standard deviation."""
    clicks = sum(one.clicks for one in others) + _SMOOTHING
    shown = sum(one.impressions for one in others) + 2 * _SMOOTHING
    expected = clicks / shown * day.impressions + _SMOOTHING
    return math.log((day.clicks + _SMOOTHING) / expected) / math.sqrt(1 / expected + 1 / clicks)


# Leaps of single ads ------------------------------------------------------------------------------


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


# Jumps of all ads ---------------------------------------------------------------------------------


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
