"""Splitting a total over ads with concave returns: water-filling under bounds, to the cent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

from geminivideo.budget import parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]
    Cents = NDArray[np.int64]
    Rows = NDArray[np.intp]

_ROUNDS = 200
_LEAST = 1e-12
_TOLERANCE = 1e-13
_QUANTUM = 1e-6  # of a minor unit: hides the last bits in which two machines may differ
_SAMPLE = 32_768  # of so many ads the level is near that of all
_REACHES = (1.03, 1.2)  # it is looked for between the sample's level divided and multiplied by one


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


def fill(
    weights: Column, lower: Cents, upper: Cents, total: int, saturation: Cents | int = 0
) -> Filled:
    """Maximise the sum of w_i ln(1 + b_i / h_i) under the bounds and the total.

    ``saturation`` is h (minor units, at least 0), ``weights`` the value of an ad's first unit of
    spend times h. The best b_i is ``clip(c * w_i - h_i, lower_i, upper_i)`` for one c (the
    Kuhn-Tucker conditions: all unbound ads have the same marginal return), and c is found where
    the sum is the total. Without saturation b_i + h_i is b_i: money goes by weight.

    Raises ``ValueError`` when a lower bound is above its upper bound or a weight is negative.
    """
    import numpy as np

    if (lower > upper).any() or not (weights >= 0).all():
        raise ValueError("a lower bound above its upper bound, or a weight below zero or unknown")
    least, most = int(lower.sum()), int(upper.sum())
    if total <= least:
        forced = Forced.LOWER if total < least else None
        return Filled(amounts=lower.copy(), level=0.0, shortfall=total - least, forced=forced)
    if total >= most:
        forced = Forced.UPPER if total > most else None
        return Filled(amounts=upper.copy(), level=math.inf, shortfall=total - most, forced=forced)
    shift = np.broadcast_to(saturation, lower.shape)
    low, high = ((bound + shift).astype(np.float64) for bound in (lower, upper))
    pool = _Pool(_positive(weights), low, high, total + int(shift.sum()))
    level = _level(pool)
    return Filled(amounts=_to_cents(pool, level) - saturation, level=level)


def _positive(weights: Column) -> Column:
    """The weights by their largest, none so small that leftover money could not reach it."""
    import numpy as np

    largest = float(weights.max())
    if largest <= 0:
        return np.ones_like(weights)
    scaled = weights / largest
    return np.maximum(scaled, _LEAST, out=scaled) if scaled.min() < _LEAST else scaled


@dataclass(frozen=True)
class _Pool:
    """Ads to be filled to ``total``, beside others that take ``base + slope * level``."""

    weights: Column
    lower: Column
    upper: Column
    total: float
    base: float = 0.0
    slope: float = 0.0

    def rows(self, part: slice | Rows) -> _Pool:
        """Some of the ads, by themselves."""
        return _Pool(self.weights[part], self.lower[part], self.upper[part], self.total)

    def taken(self, level: float) -> Column:
        """What each ad takes at that level."""
        import numpy as np

        wished = level * self.weights
        np.maximum(wished, self.lower, out=wished)
        return np.minimum(wished, self.upper, out=wished)

    def excess(self, level: float) -> tuple[float, float]:
        """(what all take beyond the total, and how it grows with the level)."""
        taken = self.taken(level)
        free = (taken > self.lower) & (taken < self.upper)
        slope = self.slope + float((self.weights * free).sum())
        return self.base + self.slope * level + float(taken.sum()) - self.total, slope

    def sample(self, stride: int) -> _Pool:
        """Every so many-th ad, with as large a share of what is between its bounds."""
        least, most = int(self.lower.sum()), int(self.upper.sum())
        share = (self.total - least) / (most - least)
        some = self.rows(slice(None, None, stride))
        floor, room = int(some.lower.sum()), int((some.upper - some.lower).sum())
        return replace(some, total=floor + share * room)

    def between(self, low: float, high: float) -> _Pool | None:
        """Only the ads that meet a bound between two levels; the root is elsewhere: ``None``."""
        import numpy as np

        def find(part: slice) -> list[tuple[Rows, float, float]]:
            return [self._bent(rows, low, high) for rows in parts.blocks(part)]

        found = chain.from_iterable(parts.each(len(self.weights), find))
        rows, at_low, at_high = zip(*found, strict=True)
        bent = self.rows(np.concatenate(rows))
        others, others_high = math.fsum(at_low), math.fsum(at_high)
        slope = (others_high - others) / (high - low)
        narrowed = replace(bent, base=others - slope * low, slope=slope)
        inside = narrowed.excess(low)[0] <= 0 <= narrowed.excess(high)[0]
        return narrowed if inside else None

    def _bent(self, rows: slice, low: float, high: float) -> tuple[Rows, float, float]:
        """(ads of these that meet a bound, what the others take at the low and the high level)."""
        import numpy as np

        ads = self.rows(rows)
        least, most = ads.taken(low), ads.taken(high)
        off_floor = (least == ads.lower) & (most > ads.lower)
        bent = np.flatnonzero(off_floor | ((most == ads.upper) & (least < ads.upper)))
        at_low, at_high = least.sum() - least[bent].sum(), most.sum() - most[bent].sum()
        return bent + rows.start, float(at_low), float(at_high)


def _level(pool: _Pool) -> float:
    """The level at which all take the total.

    Of many ads a sample tells nearly where it is; then only those are looked at again and again
    that meet a bound near it.
    """
    stride = len(pool.weights) // _SAMPLE
    if stride > 1:
        near = _level(pool.sample(stride))
        for reach in _REACHES:
            low, high = near / reach, near * reach
            narrowed = pool.between(low, high)
            if narrowed is not None:
                return _root(narrowed, low, near, high)
    high = float((pool.upper / pool.weights).max())
    return _root(pool, 0.0, min(high, pool.total / max(float(pool.weights.sum()), 1e-300)), high)


def _root(pool: _Pool, low: float, level: float, high: float) -> float:
    """Newton's method, kept in its bracket.

    The sum is piecewise linear and rising, so that Newton's step lands exactly once the set of
    unbound ads is right.
    """
    for _ in range(_ROUNDS):
        excess, slope = pool.excess(level)
        if abs(excess) <= max(_QUANTUM * 0.1, _TOLERANCE * pool.total):
            break
        low, high = (low, level) if excess > 0 else (level, high)
        step = level - excess / slope if slope > 0 else high
        following = step if low < step < high else (low + high) / 2
        if following == level:
            break
        level = following
    return level


def _to_cents(pool: _Pool, level: float) -> Cents:
    """Whole minor units by the largest remainder, inside the bounds; ties go to the first ads."""
    import numpy as np

    cents = np.empty(len(pool.weights), np.int64)

    def floor(part: slice) -> list[tuple[Rows, Column]]:
        return [_floor(pool.rows(rows), level, rows, cents) for rows in parts.blocks(part)]

    found = chain.from_iterable(parts.each(len(cents), floor))
    free, owed = (np.concatenate(columns) for columns in zip(*found, strict=True))
    missing = int(pool.total) - int(cents.sum())
    if 0 < missing <= int((owed > 0).sum()):
        cents[free[_smallest(-owed, missing)]] += 1
        return cents
    return _evened(cents, free, owed, pool)


def _floor(ads: _Pool, level: float, rows: slice, cents: Cents) -> tuple[Rows, Column]:
    """Fill ``cents`` in; (the ads that no bound holds, what each is still owed)."""
    import numpy as np

    whole = ads.taken(level)
    free = np.flatnonzero((whole > ads.lower) & (whole < ads.upper))
    exact = np.round(whole[free] / _QUANTUM) * _QUANTUM
    floor = np.minimum(np.maximum(np.floor(exact), ads.lower[free]), ads.upper[free])
    whole[free] = floor
    cents[rows] = whole
    return free + rows.start, exact - floor


def _evened(cents: Cents, free: Rows, owed: Column, pool: _Pool) -> Cents:
    """The same when more is missing than the remainders, or too much is given."""
    import numpy as np

    exact = cents.astype(np.float64)
    exact[free] += owed
    while (missing := int(pool.total) - int(cents.sum())) != 0:
        sign = 1 if missing > 0 else -1
        room = np.flatnonzero(cents < pool.upper if sign > 0 else cents > pool.lower)
        cents[room[_smallest(sign * (cents[room] - exact[room]), abs(missing))]] += sign
    return cents


def _smallest(keys: Column, count: int) -> Rows:
    """Where the so many smallest are; of equal ones the first."""
    import numpy as np

    if count >= len(keys):
        return np.arange(len(keys))
    edge = np.partition(keys, count - 1)[count - 1]
    below = np.flatnonzero(keys < edge)
    ties = np.flatnonzero(keys == edge)[: count - len(below)]
    return np.concatenate([below, ties])
