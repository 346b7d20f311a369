"""Splitting a total over ads with concave returns: water-filling under bounds, to the cent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
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

    sums = _Sums.of(weights, lower, upper)
    if total <= sums.least:
        forced = Forced.LOWER if total < sums.least else None
        return Filled(amounts=lower.copy(), level=0.0, shortfall=total - sums.least, forced=forced)
    if total >= sums.most:
        forced, missed = Forced.UPPER if total > sums.most else None, total - sums.most
        return Filled(amounts=upper.copy(), level=math.inf, shortfall=missed, forced=forced)
    ads = _Ads(weights, lower, upper, np.broadcast_to(saturation, lower.shape), sums)
    return _by_sample(ads, total) or _by_all(ads, total)


@dataclass(frozen=True)
class _Sums:
    """Of all ads: what their bounds sum to, the smallest and the largest weight."""

    least: int
    most: int
    lightest: float
    heaviest: float

    @classmethod
    def of(cls, weights: Column, lower: Cents, upper: Cents) -> _Sums:
        """Raises ``ValueError`` for what is no split."""

        def add(part: slice) -> _Sums:
            room, some = upper[part] - lower[part], weights[part]
            if room.min() < 0 or not some.min() >= 0:
                raise ValueError(
                    "a lower bound above its upper bound, or a weight below zero or unknown"
                )
            least = int(lower[part].sum())
            return cls(least, least + int(room.sum()), float(some.min()), float(some.max()))

        found = parts.each(len(weights), add)
        return cls(
            least=sum(one.least for one in found),
            most=sum(one.most for one in found),
            lightest=min((one.lightest for one in found), default=0.0),
            heaviest=max((one.heaviest for one in found), default=0.0),
        )


@dataclass(frozen=True)
class _Ads:
    """All ads as they came."""

    weights: Column
    lower: Cents
    upper: Cents
    saturation: Cents
    sums: _Sums

    def pool(self, rows: slice | Rows, total: float = 0.0) -> _Pool:
        """Some of them, to be filled to ``total``: their amounts and their saturation."""
        import numpy as np

        shift = self.saturation[rows]
        low, high = ((bound[rows] + shift).astype(np.float64) for bound in (self.lower, self.upper))
        return _Pool(self._weights(rows), low, high, total)

    def _weights(self, rows: slice | Rows) -> Column:
        """By the largest of all, none so small that leftover money could not reach it."""
        import numpy as np

        some, largest = self.weights[rows], self.sums.heaviest
        if largest <= 0:
            return np.ones_like(some)
        scaled = some / largest
        light = self.sums.lightest < _LEAST * largest
        return np.maximum(scaled, _LEAST, out=scaled) if light else scaled

    def sample(self, total: int, stride: int) -> _Pool:
        """Every so many-th ad, with as large a share of what is between its bounds."""
        share = (total - self.sums.least) / (self.sums.most - self.sums.least)
        some = self.pool(slice(None, None, stride))
        floor, room = float(some.lower.sum()), float((some.upper - some.lower).sum())
        return replace(some, total=floor + share * room)

    def settle(self, rows: slice, low: float, high: float, cents: Cents) -> _Open:
        """Fill ``cents`` in; the ads that are not at the same bound at both levels."""
        import numpy as np

        ads, amounts = self.pool(rows), cents[rows]
        full, empty = ads.weights * low >= ads.upper, ads.weights * high <= ads.lower
        np.subtract(self.upper[rows], self.lower[rows], out=amounts)
        amounts *= full
        amounts += self.lower[rows]
        some = np.flatnonzero(~(full | empty))
        settled, shift = int(amounts.sum()) - int(amounts[some].sum()), self.saturation[rows][some]
        columns = (ads.weights[some], ads.lower[some], ads.upper[some])
        return _Open(some + rows.start, shift, _Pool(*columns, int(shift.sum()) - settled))


@dataclass(frozen=True)
class _Pool:
    """Ads to be filled to ``total``."""

    weights: Column
    lower: Column
    upper: Column
    total: float

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
        return float(taken.sum()) - self.total, float((self.weights * free).sum())

    def has_level_between(self, low: float, high: float) -> bool:
        """Whether its total is met there, and its bounds admit it."""
        possible = self.lower.sum() <= self.total <= self.upper.sum()
        return bool(possible) and self.excess(low)[0] <= 0 <= self.excess(high)[0]


@dataclass(frozen=True)
class _Open:
    """Ads whose amounts are open: ``rows`` of all, and their saturation."""

    rows: Rows
    shift: Cents
    pool: _Pool

    @classmethod
    def joined(cls, found: Sequence[_Open]) -> _Open:
        """All of them, in order."""
        import numpy as np

        pools = [one.pool for one in found]
        return cls(
            np.concatenate([one.rows for one in found]),
            np.concatenate([one.shift for one in found]),
            _Pool(
                np.concatenate([pool.weights for pool in pools]),
                np.concatenate([pool.lower for pool in pools]),
                np.concatenate([pool.upper for pool in pools]),
                sum(pool.total for pool in pools),
            ),
        )


def _by_all(ads: _Ads, total: int) -> Filled:
    pool = ads.pool(slice(None), total + int(ads.saturation.sum()))
    level = _level(pool)
    return Filled(amounts=_to_cents(pool, level) - ads.saturation, level=level)


def _by_sample(ads: _Ads, total: int) -> Filled | None:
    """Of many ads a sample tells nearly where the level is.

    Most ads are at one of their bounds there, wherever it is exactly, and only the others are
    looked at again and again. ``None`` for few ads, and when the sample leads astray.
    """
    stride = len(ads.weights) // _SAMPLE
    if stride < 2:
        return None
    near = _level(ads.sample(total, stride))
    for reach in _REACHES:
        filled = _between(ads, total, near / reach, near * reach)
        if filled is not None:
            return filled
    return None


def _between(ads: _Ads, total: int, low: float, high: float) -> Filled | None:
    """The split if its level is between the two."""
    import numpy as np

    cents = np.empty(len(ads.weights), np.int64)

    def settle(part: slice) -> _Open:
        return ads.settle(part, low, high, cents)

    found = _Open.joined(parts.each(len(cents), settle))
    pool = replace(found.pool, total=total + found.pool.total)
    if not pool.has_level_between(low, high):
        return None
    level = _root(pool, low, math.sqrt(low * high), high)
    cents[found.rows] = _to_cents(pool, level) - found.shift
    return Filled(amounts=cents, level=level)


def _level(pool: _Pool) -> float:
    """The level at which all take the total."""
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

    whole = pool.taken(level)
    free = np.flatnonzero((whole > pool.lower) & (whole < pool.upper))
    exact = np.round(whole[free] / _QUANTUM) * _QUANTUM
    floor = np.minimum(np.maximum(np.floor(exact), pool.lower[free]), pool.upper[free])
    whole[free], owed = floor, exact - floor
    cents = whole.astype(np.int64)
    missing = int(pool.total) - int(cents.sum())
    if 0 <= missing <= int((owed > 0).sum()):
        cents[free[_smallest(-owed, missing)]] += 1
        return cents
    return _evened(cents, free, owed, pool)


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

    if not 0 < count < len(keys):
        return np.arange(min(count, len(keys)))
    edge = np.partition(keys, count - 1)[count - 1]
    below = np.flatnonzero(keys < edge)
    ties = np.flatnonzero(keys == edge)[: count - len(below)]
    return np.concatenate([below, ties])
