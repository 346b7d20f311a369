"""Splitting a total over ads with concave returns: water-filling under bounds, to the cent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]
    Cents = NDArray[np.int64]

_ROUNDS = 200
_LEAST = 1e-12
_TOLERANCE = 1e-13
_QUANTUM = 1e-6  # of a minor unit: hides the last bits in which two machines may differ


class Forced(StrEnum):
    """Which bounds made a total impossible."""

    LOWER = "lower bounds"
    UPPER = "upper bounds"


@dataclass(frozen=True, kw_only=True)
class Filled:
    """``amounts`` (minor units) inside their bounds.

    They sum to the total, or, when no split can, miss it by ``shortfall`` (total - sum) with every
    ad at the bound that ``forced`` names. ``level`` is the water level c of c * weight / largest
    weight.
    """

    amounts: Cents
    level: float
    shortfall: int = 0
    forced: Forced | None = None


def fill(weights: Column, lower: Cents, upper: Cents, total: int) -> Filled:
    """Maximise the sum of w_i ** (1 - e) * b_i ** e under the bounds and the total.

    With constant elasticity e the best b_i is ``clip(c * w_i, lower_i, upper_i)`` for one c (the
    Kuhn-Tucker conditions: all unbound ads have the same marginal return), so that ``weights`` is
    ``budget * return ** (1 / (1 - e))`` and c is found where the sum is the total.

    Raises ``ValueError`` when a lower bound is above its upper bound or a weight is negative.
    """
    if (lower > upper).any() or not (weights >= 0).all():
        raise ValueError("a lower bound above its upper bound, or a weight below zero or unknown")
    least, most = int(lower.sum()), int(upper.sum())
    if total <= least:
        forced = Forced.LOWER if total < least else None
        return Filled(amounts=lower.copy(), level=0.0, shortfall=total - least, forced=forced)
    if total >= most:
        forced = Forced.UPPER if total > most else None
        return Filled(amounts=upper.copy(), level=math.inf, shortfall=total - most, forced=forced)
    wanted = _positive(weights)
    level = _level(wanted, lower, upper, total)
    return Filled(amounts=_to_cents(level * wanted, lower, upper, total), level=level)


def _positive(weights: Column) -> Column:
    """The weights by their largest, none so small that leftover money could not reach it."""
    import numpy as np

    largest = float(weights.max())
    return np.maximum(weights / largest, _LEAST) if largest > 0 else np.ones_like(weights)


def _level(weights: Column, lower: Cents, upper: Cents, total: int) -> float:
    """The root of sum(clip(c w, lower, upper)) = total: Newton's method, kept in its bracket.

    The sum is piecewise linear and rising, so that Newton's step lands exactly once the set of
    unbound ads is right.
    """
    low, high = 0.0, float((upper / weights).max())
    level = min(high, total / max(float(weights.sum()), 1e-300))
    for _ in range(_ROUNDS):
        excess, slope = _excess(level, weights, lower, upper, total)
        if abs(excess) <= max(_QUANTUM * 0.1, _TOLERANCE * total):
            break
        low, high = (low, level) if excess > 0 else (level, high)
        step = level - excess / slope if slope > 0 else high
        following = step if low < step < high else (low + high) / 2
        if following == level:
            break
        level = following
    return level


def _excess(
    level: float, weights: Column, lower: Cents, upper: Cents, total: int
) -> tuple[float, float]:
    import numpy as np

    wished = level * weights
    free = (wished > lower) & (wished < upper)
    clipped = np.minimum(np.maximum(wished, lower), upper)
    return float(clipped.sum()) - total, float(weights[free].sum())


def _to_cents(wished: Column, lower: Cents, upper: Cents, total: int) -> Cents:
    """Whole minor units by the largest remainder, inside the bounds; ties go to the first ads."""
    import numpy as np

    exact = np.round(np.clip(wished, lower, upper) / _QUANTUM) * _QUANTUM
    cents = np.clip(np.floor(exact).astype(np.int64), lower, upper)
    while (missing := total - int(cents.sum())) != 0:
        sign = 1 if missing > 0 else -1
        room = np.flatnonzero(cents < upper if sign > 0 else cents > lower)
        order = np.argsort(sign * (cents[room] - exact[room]), kind="stable")
        cents[room[order[: abs(missing)]]] += sign
    return cents
