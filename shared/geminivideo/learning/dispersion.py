"""By how much days differ more than counting explains: the dispersion of clicks.

Clicks differ from day to day for more reasons than chance: auctions, weekdays, news; the clicks of
one day are alike. What one day does to an ad's rate says nothing of the ad, and is no error of a
model either; what is learned from so many clicks is worth fewer of them (quasi-likelihood:
McCullagh and Nelder 1989, section 4.5). Neighbouring days are compared (von Neumann, 1941): an ad
that slowly tires makes its first and last days differ, which is the ad's own doing, but hardly two
days in a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

NONE = 1.0  # chance alone
_LEAST_CLICKS = 1.0  # expected on each of two days for them to tell anything
_PRIOR_PAIRS = 2.0
_PAIR_FREEDOM = 2 / 3  # neighbouring pairs share a day (von Neumann's ratio, at large samples)


@dataclass(frozen=True)
class Dispersion:
    """The mean of the squared differences of ``pairs`` of days, over what chance lets expect."""

    ratio: float | None
    pairs: int


@dataclass(frozen=True)
class Estimated:
    """An account's ``ratio`` (at least 1), known as by so many degrees of ``freedom``: the truth is
    ``ratio`` times ``freedom`` by a chi-squared of them."""

    ratio: float
    freedom: float


@dataclass(frozen=True)
class Delivered:
    """One whole day of an ad: its clicks, for so much money (minor units)."""

    clicks: int
    spend: int


def of_days(days: Sequence[tuple[int, int]]) -> Dispersion:
    """The dispersion of an ad's days, (impressions, clicks) each, in their order.

    Around the pair's common rate the difference of two days' rates has the variance
    ``q (1 - q) (1 / n1 + 1 / n2)`` when clicks are independent; the ratio is 1 then.
    """
    found = [one for pair in pairwise(days) if (one := _squared(*pair)) is not None]
    return Dispersion(math.fsum(found) / len(found) if found else None, len(found))


def _squared(one: tuple[int, int], other: tuple[int, int]) -> float | None:
    (shown, clicks), (shown_next, clicks_next) = one, other
    if min(shown, shown_next) <= 0:
        return None
    rate = (clicks + clicks_next) / (shown + shown_next)
    if rate * min(shown, shown_next) < _LEAST_CLICKS or rate >= 1.0:
        return None
    difference = clicks / shown - clicks_next / shown_next
    return difference**2 / (rate * (1.0 - rate) * (1.0 / shown + 1.0 / shown_next))


def pooled(every: Iterable[Dispersion], min_pairs: int) -> float:
    """The dispersion of many ads together, never below 1; 1 while too few pairs tell of it."""
    total, pairs = _summed(every)
    return max(NONE, total / pairs) if pairs >= max(min_pairs, 1) else NONE


def of_account(ads: Iterable[Sequence[Delivered]], daily_noise: float) -> Estimated:
    """The variance of the ads' daily clicks for their money by that of chance alone; at least 1.

    Few pairs of days say little: what ``daily_noise`` (relative, of a day's CTR and as much of what
    its money bought) lets expect is held against them with the weight of two pairs.
    """
    every = [list(days) for days in ads]
    seen, pairs = _summed(of_days([(day.spend, day.clicks) for day in days]) for days in every)
    freedom = _PRIOR_PAIRS + _PAIR_FREEDOM * pairs
    if not pairs:
        return Estimated(NONE, freedom)
    clicks = [day.clicks for days in every for day in days]
    assumed = 1.0 + 2.0 * daily_noise**2 * sum(clicks) / len(clicks)
    ratio = (seen + _PRIOR_PAIRS * assumed) / (pairs + _PRIOR_PAIRS)
    return Estimated(max(NONE, ratio), freedom)


def _summed(every: Iterable[Dispersion]) -> tuple[float, int]:
    """The sum of the squared differences of all pairs, and how many there are."""
    told = [one for one in every if one.ratio is not None]
    return math.fsum((one.ratio or 0.0) * one.pairs for one in told), sum(o.pairs for o in told)
