"""By how much an account's days differ more than counting explains.

Clicks for the same money differ from day to day for more reasons than chance: auctions, weekdays,
news. What is learned from so many clicks is then worth fewer of them (quasi-likelihood: McCullagh
and Nelder 1989, section 4.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from geminivideo.learning import scatter

_PRIOR_PAIRS = 4.0


@dataclass(frozen=True)
class Delivered:
    """One whole day of an ad: its clicks, for so much money (minor units)."""

    clicks: int
    spend: int


def dispersion(ads: Iterable[Sequence[Delivered]], daily_noise: float) -> float:
    """The variance of the ads' daily clicks for their money by that of chance alone; at least 1.

    Few pairs of days say little: what ``daily_noise`` (relative, of a day's CTR and as much of what
    its money bought) lets expect is held against them with the weight of four pairs.
    """
    every = [list(days) for days in ads]
    told = [scatter.of_days([(day.spend, day.clicks) for day in days]) for days in every]
    pairs = sum(one.pairs for one in told)
    if not pairs:
        return scatter.NO_MORE
    clicks = [day.clicks for days in every for day in days]
    assumed = 1.0 + 2.0 * daily_noise**2 * sum(clicks) / len(clicks)
    seen = sum((one.ratio or 0.0) * one.pairs for one in told)
    return max(scatter.NO_MORE, (seen + _PRIOR_PAIRS * assumed) / (pairs + _PRIOR_PAIRS))
