"""How much more an ad's days differ than the chance of independent clicks would make them.

Days have audiences of their own, so that the clicks of one day are alike. What one day does to an
ad's rate says nothing of the ad, and is no error of a model either. Neighbouring days are compared
(von Neumann, 1941): an ad that slowly tires makes its first and last days differ, which is the ad's
own doing, but hardly two days in a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

NO_MORE = 1.0
_LEAST_CLICKS = 1.0  # expected on each of two days for them to tell anything


@dataclass(frozen=True)
class Scatter:
    """The mean of the squared differences of ``pairs`` of days, over what chance lets expect."""

    ratio: float | None
    pairs: int


def of_days(days: Sequence[tuple[int, int]]) -> Scatter:
    """The scatter of an ad's days, (impressions, clicks) each, in their order.

    Around the pair's common rate the difference of two days' rates has the variance
    ``q (1 - q) (1 / n1 + 1 / n2)`` when clicks are independent; the ratio is 1 then.
    """
    found = [one for pair in pairwise(days) if (one := _squared(*pair)) is not None]
    return Scatter(math.fsum(found) / len(found) if found else None, len(found))


def _squared(one: tuple[int, int], other: tuple[int, int]) -> float | None:
    (shown, clicks), (shown_next, clicks_next) = one, other
    if min(shown, shown_next) <= 0:
        return None
    rate = (clicks + clicks_next) / (shown + shown_next)
    if rate * min(shown, shown_next) < _LEAST_CLICKS or rate >= 1.0:
        return None
    difference = clicks / shown - clicks_next / shown_next
    return difference**2 / (rate * (1.0 - rate) * (1.0 / shown + 1.0 / shown_next))


def pooled(every: Iterable[Scatter], min_pairs: int) -> float:
    """The scatter of many ads together, never below 1; 1 while too few pairs tell of it."""
    told = [one for one in every if one.ratio is not None]
    pairs = sum(one.pairs for one in told)
    if pairs < max(min_pairs, 1):
        return NO_MORE
    return max(NO_MORE, math.fsum((one.ratio or 0.0) * one.pairs for one in told) / pairs)
