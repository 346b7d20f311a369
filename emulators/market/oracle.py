"""The best that could be done by who knows the hidden truth, and what is had of it.

A day's expected value of ad i at daily spend s, minor units, with the truth of that moment:

    V_i(s) = a_i h_i ln(1 + s / h_i)
    a_i = 1000 / cpm_i * ctr_i / (1 + f_i / fatigue_i) * deal_rate_i * win_rate_i * amount_i

where h_i is the saturation and f_i = impressions so far / audience. V_i is concave, so the best
split of a total under bounds has one marginal value m for all ads inside their bounds (the
Kuhn-Tucker conditions): s_i = clip(h_i (a_i / m - 1), lower_i, upper_i), with m where the sum is
the total. It is the best for that day; that today's impressions tire tomorrow's is not planned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulators.market.budgets import BudgetHistory
from emulators.market.calendar import DAY_S
from emulators.market.delivery import Delivery
from emulators.market.market import Market

Column = NDArray[np.float64]

_ROUNDS = 200


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Daily budgets an allocation may give; ``velocity`` is the most that one may change at once.

    ``velocity`` is relative to the allocation before; minor units otherwise.
    """

    least: float = 0.0
    most: float = np.inf
    velocity: float | None = None

    def around(self, before: Sequence[float]) -> tuple[Column, Column]:
        """Each ad's own lower and upper bound."""
        live = np.asarray(before, float)
        lower, upper = np.full(len(live), self.least), np.full(len(live), self.most)
        if self.velocity is not None:
            lower = np.maximum(lower, live * (1 - self.velocity))
            upper = np.minimum(upper, live * (1 + self.velocity))
        return np.minimum(lower, upper), upper


def returns(market: Market, at: float, exposure: Column) -> tuple[Column, Column]:
    """a (value of the first unit of a day's spend) and h (saturation) of each ad."""
    truth = market.truth_at(at, len(exposure))
    tired = 1.0 / (1.0 + exposure / truth.audience / truth.fatigue)
    return 1000.0 / truth.cpm * truth.ctr * tired * truth.value_per_click, truth.saturation


def expected_value(
    market: Market, allocation: Sequence[float], at: float, exposure: Column | None = None
) -> float:
    """What one day at these daily spends is worth in the end, minor units."""
    spends = np.asarray(allocation, float)
    seen = np.zeros(len(spends)) if exposure is None else exposure
    slope, saturation = returns(market, at, seen)
    return float((slope * saturation * np.log1p(spends / saturation)).sum())


def best_allocation(
    market: Market,
    total: int,
    at: float,
    exposure: Column | None = None,
    bounds: tuple[Column, Column] | None = None,
) -> list[int]:
    """The daily budgets of the highest expected value; they sum to ``total``.

    With bounds that no split of the total fits, every ad is at the bound that is nearest.
    """
    seen = np.zeros(market.ads) if exposure is None else exposure
    slope, saturation = returns(market, at, seen)
    lower, upper = bounds or (np.zeros(len(seen)), np.full(len(seen), float(total)))
    if not lower.sum() < total < upper.sum():
        return _whole(upper if total >= upper.sum() else lower)
    return _whole(_filled(slope, saturation, lower, np.minimum(upper, total), total), total)


def play(
    market: Market, total: Callable[[float], int] | int, until: float, every: float = DAY_S / 4,
    bounds: Bounds | None = None,
) -> Delivery:  # fmt: skip
    """The oracle in a market of its own, deciding anew every so many seconds, from an equal split.

    ``total`` is the sum of the daily budgets, by time if it is not always the same.
    """
    limits, history = bounds or Bounds(), BudgetHistory()
    delivery = market.delivery(history)
    at = market.start
    first = total(at) if callable(total) else total
    live: list[int] = _whole(np.full(market.ads, first / market.ads), first)
    history.set_all(at, live)
    while at < until:
        delivery.advance(at)
        now = total(at) if callable(total) else total
        live = best_allocation(market, now, at, delivery.exposure(), limits.around(live))
        history.set_all(at, live)
        at += every
    delivery.advance(until)
    return delivery


def share_of_best(delivery: Delivery, best: Delivery, until: float) -> float:
    """Expected value that a delivery captured up to ``until``, as a share of the oracle's.

    Both are sums over ads and hours of the value expected of the spend that really took place,
    under the truth and the fatigue of that hour; luck in clicks and deals is in neither.
    """
    return delivery.value(until) / best.value(until)


def _filled(
    slope: Column, saturation: Column, lower: Column, upper: Column, total: float
) -> Column:
    """Bisection for the marginal value at which the sum is the total."""
    low, high = 0.0, float(slope.max())
    for _ in range(_ROUNDS):
        margin = (low + high) / 2
        spends = np.clip(saturation * (slope / max(margin, 1e-300) - 1), lower, upper)
        low, high = (margin, high) if spends.sum() > total else (low, margin)
    return np.clip(saturation * (slope / max(high, 1e-300) - 1), lower, upper)


def _whole(amounts: Column, total: float | None = None) -> list[int]:
    """Whole minor units, by the largest remainder."""
    floors = np.floor(amounts).astype(np.int64)
    left = 0 if total is None else round(total) - int(floors.sum())
    for place in np.argsort(floors - amounts, kind="stable")[: max(0, left)]:
        floors[place] += 1
    return [int(amount) for amount in floors]
