"""By how much an account's days differ more than counting explains.

Clicks for the same money differ from day to day for more reasons than chance: auctions, weekdays,
news. What is learned from so many clicks is then worth fewer of them (quasi-likelihood: McCullagh
and Nelder 1989, section 4.5). Days are compared with the next ones (von Neumann 1941), so that a
slow change, a fatigue or a new budget, does not pass for noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_LEAST_CLICKS = 5.0  # expected on a day: with fewer, chance has no fixed size
_PRIOR_PAIRS = 4.0


@dataclass(frozen=True)
class Delivered:
    """One whole day of an ad: its clicks, for so much money (minor units)."""

    clicks: int
    spend: int


def dispersion(ads: Iterable[Sequence[Delivered]], daily_noise: float) -> float:
    """The variance of the ads' daily clicks by that of chance alone; at least 1.

    Few pairs of days say little: what ``daily_noise`` (relative, of a day's CTR and as much of what
    its money bought) lets expect is held against them with the weight of four pairs.
    """
    pairs = [pair for days in ads for pair in _pairs(days)]
    if not pairs:
        return 1.0
    usual = sum(2.0 / chance for _, chance in pairs) / len(pairs)
    assumed = 1.0 + 2.0 * daily_noise**2 * usual
    seen = sum(square / chance for square, chance in pairs)
    return max(1.0, (seen + _PRIOR_PAIRS * assumed) / (len(pairs) + _PRIOR_PAIRS))


def _pairs(days: Sequence[Delivered]) -> Iterable[tuple[float, float]]:
    """(squared difference of two neighbours' rates, its variance by chance)."""
    spend = sum(day.spend for day in days)
    rate = sum(day.clicks for day in days) / spend if spend else 0.0
    for first, second in pairwise(days):
        expected, following = rate * first.spend, rate * second.spend
        if min(expected, following) >= _LEAST_CLICKS:
            apart = first.clicks / expected - second.clicks / following
            yield apart * apart, 1.0 / expected + 1.0 / following
