"""The conversion lag: how long after a click its value is credited, learned from past deals.

A deal is only known once it is credited, so that the delays at hand are cut off on the right: of
the clicks of yesterday only the quickest deals are seen. The likelihood of a delay is therefore
that of a Weibull truncated at how long its click has been observed, f(x) / F(observed). Median and
shape get log-normal priors; the curve is the posterior mean over a grid, which needs no optimiser
and tells little from few deals.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geminivideo.budget.signals import LagCurve
from geminivideo.policy import LagPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]
    Matrix = NDArray[np.float64]

_GRID = 41
_REACH = 3.0  # standard deviations of the prior that the grid covers
_SHORTEST = 1.0 / 24.0  # an hour: delays below it are told apart no further
_BINS = 400
_AT_ONCE = 32  # bins whose points of the grid are worked out side by side
_GROUP = 16  # bins that one bound stands for
_MOST_TOLD = 1000.0  # purchases; of more the grid holds one point, whose rest is chance
_NOTHING = 45.0  # exp(-45) of the posterior is less than its rounding


@dataclass(frozen=True, kw_only=True, slots=True)
class Delay:
    """One credit: ``days`` from its click, and the days since that click until now.

    ``weight`` (> 0) is its share of a deal's value when a deal is credited in several stages.
    """

    days: float
    observed_days: float
    weight: float = 1.0


def share(curve: LagCurve, days: float) -> float:
    """The share (0-1) of a click's final value that is credited after so many days."""
    if days < curve.days[0]:
        return 0.0
    at = bisect.bisect_right(curve.days, days)
    if at == len(curve.days):
        return 1.0
    (x0, x1), (y0, y1) = curve.days[at - 1 : at + 1], curve.shares[at - 1 : at + 1]
    return y0 + (y1 - y0) * (days - x0) / (x1 - x0)


def learn(delays: Sequence[Delay], policy: LagPolicy) -> LagCurve:
    """The curve after these deals; without any, the prior's.

    Raises ``ValueError`` for a delay below zero, longer than observed, or without weight.
    """
    medians, shapes, belief = _prior(policy)
    if delays:
        belief = _posterior(_binned(delays), medians, shapes, belief)
    return _curve(belief, medians, shapes, policy, len(delays))


def _curve(
    belief: Matrix, medians: Matrix, shapes: Matrix, policy: LagPolicy, seen: int
) -> LagCurve:
    """The posterior's mean share at each of the curve's days; all is there at the last."""
    import numpy as np

    weights = np.exp(belief - belief.max())
    weights /= weights.sum()
    days = _days(policy)
    held = weights > 0
    weights, medians, shapes = weights[held], medians[held], shapes[held]
    shares = np.array([float((weights * _share(day, medians, shapes)).sum()) for day in days])
    shares = np.minimum(np.maximum.accumulate(shares / shares[-1]), 1.0)
    return LagCurve(
        days=tuple(days.tolist()),
        shares=tuple(np.round(shares, 9).tolist()),
        deals=seen,
    )


def learn_purchases(within_day: float, within_week: float, policy: LagPolicy) -> LagCurve:
    """The curve of purchases, of which Meta only tells how many came within a day and a week.

    Of those within a week, F(1) / F(7) came within the day: a binomial likelihood. What comes later
    is not attributed, so that after a week all is there. Raises ``ValueError`` for counts below
    zero, or for more within the day than within the week.
    """
    import numpy as np

    if not 0 <= within_day <= within_week:
        raise ValueError(f"{within_day:g} purchases within a day of {within_week:g} within a week")
    medians, shapes, belief = _prior(policy)
    soon = np.clip(_share(1.0, medians, shapes) / _share(7.0, medians, shapes), 1e-12, 1 - 1e-12)
    told = _MOST_TOLD / max(_MOST_TOLD, within_week)
    quick, slow = told * within_day, told * (within_week - within_day)
    belief = belief + quick * np.log(soon) + slow * np.log1p(-soon)
    return _curve(belief, medians, shapes, policy, round(within_week))


def _prior(policy: LagPolicy) -> tuple[Matrix, Matrix, Matrix]:
    """(median, shape, log prior) over the grid."""
    import numpy as np

    reach = np.linspace(-_REACH, _REACH, _GRID)
    median, shape = np.meshgrid(reach, reach, indexing="ij")
    return (
        policy.prior_median_days * np.exp(policy.prior_median_spread * median),
        policy.prior_shape * np.exp(policy.prior_shape_spread * shape),
        -(median**2 + shape**2) / 2,
    )


def _share(days: float, medians: Column, shapes: Column) -> Column:
    """Weibull's distribution function, by its median."""
    import numpy as np

    return -np.expm1(-math.log(2.0) * (days / medians) ** shapes)


@dataclass(frozen=True)
class _Bins:
    """Delays that are alike, averaged: their days, the days observed, and their weight."""

    days: Column
    observed: Column
    weight: Column


def _posterior(bins: _Bins, medians: Matrix, shapes: Matrix, prior: Matrix) -> Matrix:
    """The log of the posterior (up to a constant) on the grid; -inf where nothing of it is.

    The truncation costs most: -log F falls with the time observed, so that groups of bins bound it
    on both sides, and only the points that may hold more than exp(-``_NOTHING``) of the posterior
    are worked out bin by bin.
    """
    import numpy as np

    shape, median = shapes.ravel(), np.log(medians.ravel())
    known = prior.ravel() + _seen_density(bins, median, shape)
    low, high = _bounds(bins, median, shape)
    held = np.flatnonzero(known + high >= (known + low).max() - _NOTHING)
    found = np.full(len(known), -np.inf)
    found[held] = known[held] + _unseen(bins.observed, bins.weight, median[held], shape[held])
    return found.reshape(prior.shape)


def _seen_density(bins: _Bins, median: Column, shape: Column) -> Column:
    """The weighted log densities of the delays, summed."""
    import numpy as np

    at = np.log(bins.days)
    grown = np.exp(np.outer(shape[:_GRID], at)) @ bins.weight  # shapes repeat along the grid
    hazard = math.log(2.0) * np.exp(-shape * median) * np.tile(grown, len(shape) // _GRID)
    whole, logs = bins.weight.sum(), float(bins.weight @ at)
    slope = np.log(shape) + math.log(math.log(2.0)) - shape * median
    return np.asarray(whole * slope + (shape - 1.0) * logs - hazard)


def _unseen(observed: Column, weight: Column, median: Column, shape: Column) -> Column:
    """What the truncation adds: the sum of -log F(observed), for each (median, shape)."""
    import numpy as np

    total = np.zeros(len(shape))
    for start in range(0, len(observed), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        reach = (np.log(observed[part])[:, None] - median) * shape
        np.exp(reach, out=reach)
        reach *= -math.log(2.0)
        np.expm1(reach, out=reach)
        np.negative(reach, out=reach)
        np.log(np.maximum(reach, 1e-300, out=reach), out=reach)
        total -= weight[part] @ reach
    return total


def _bounds(bins: _Bins, median: Column, shape: Column) -> tuple[Column, Column]:
    """Of ``_unseen``: every bin as long observed as the longest of its group, or the shortest."""
    import numpy as np

    order = np.argsort(bins.observed, kind="stable")
    observed, weight = bins.observed[order], bins.weight[order]
    starts = np.arange(0, len(observed), _GROUP)
    sums = np.add.reduceat(weight, starts)
    shortest, longest = observed[starts], observed[np.append(starts[1:], len(observed)) - 1]
    return _unseen(longest, sums, median, shape), _unseen(shortest, sums, median, shape)


def _binned(delays: Sequence[Delay]) -> _Bins:
    """Many deals are averaged in bins of similar delay and cut-off.

    Weights are scaled so that they sum to the number of delays: value must not pose as evidence.
    Raises ``ValueError`` as ``learn``.
    """
    import numpy as np

    given = np.array([(delay.days, delay.observed_days, delay.weight) for delay in delays])
    days, observed, weight = given.T
    wrong = np.flatnonzero(~((days >= 0) & (days <= observed) & (weight > 0)))
    if len(wrong):
        words = "a delay is 0 to observed_days, with a weight above zero"
        raise ValueError(f"{delays[int(wrong[0])]}: {words}")
    order = np.lexsort((days, np.rint(np.log1p(observed) * 6)))
    starts = np.arange(0, len(delays), math.ceil(len(delays) / _BINS))
    sums = np.add.reduceat((given * weight[:, None])[order], starts)
    whole = np.add.reduceat(weight[order], starts)
    mean = np.maximum(sums[:, 0] / whole, _SHORTEST)
    return _Bins(
        days=mean,
        observed=np.maximum(sums[:, 1] / whole, mean),
        weight=whole * (len(delays) / weight.sum()),
    )


def _days(policy: LagPolicy) -> Column:
    """Nodes of the curve: dense where it bends."""
    import numpy as np

    return np.concatenate([[0.0], np.geomspace(_SHORTEST, policy.max_days, 60)])
