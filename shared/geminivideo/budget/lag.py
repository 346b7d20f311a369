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
    import numpy as np

    for delay in delays:
        if not 0 <= delay.days <= delay.observed_days or delay.weight <= 0:
            raise ValueError(f"{delay}: a delay is 0 to observed_days, with a weight above zero")
    medians, shapes, belief = _prior(policy)
    if delays:
        belief = belief + _log_likelihood(delays, medians, shapes)
    weights = np.exp(belief - belief.max())
    weights /= weights.sum()
    days = _days(policy)
    shares = np.array([float((weights * _share(day, medians, shapes)).sum()) for day in days])
    shares = np.minimum(np.maximum.accumulate(shares / shares[-1]), 1.0)
    return LagCurve(
        days=tuple(days.tolist()),
        shares=tuple(np.round(shares, 9).tolist()),
        deals=len(delays),
    )


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


def _share(days: float, medians: Matrix, shapes: Matrix) -> Matrix:
    """Weibull's distribution function, by its median."""
    import numpy as np

    return -np.expm1(-math.log(2.0) * (days / medians) ** shapes)


def _log_likelihood(delays: Sequence[Delay], medians: Matrix, shapes: Matrix) -> Matrix:
    import numpy as np

    total = np.zeros_like(medians)
    for days, observed, weight in _binned(delays):
        hazard = math.log(2.0) * (days / medians) ** shapes
        density = np.log(shapes) - math.log(days) + np.log(hazard) - hazard
        seen = np.maximum(_share(observed, medians, shapes), 1e-300)
        total += weight * (density - np.log(seen))
    return total


def _binned(delays: Sequence[Delay]) -> list[tuple[float, float, float]]:
    """(delay, observed, weight); many deals are averaged in bins of similar delay and cut-off.

    Weights are scaled so that they sum to the number of delays: value must not pose as evidence.
    """
    scale = len(delays) / math.fsum(delay.weight for delay in delays)
    ordered = sorted(delays, key=lambda d: (round(math.log1p(d.observed_days) * 6), d.days))
    size = math.ceil(len(ordered) / _BINS)
    bins = []
    for start in range(0, len(ordered), size):
        group = ordered[start : start + size]
        weight = math.fsum(delay.weight for delay in group)
        days = math.fsum(delay.weight * delay.days for delay in group) / weight
        observed = math.fsum(delay.weight * delay.observed_days for delay in group) / weight
        bins.append((max(days, _SHORTEST), max(observed, days, _SHORTEST), weight * scale))
    return bins


def _days(policy: LagPolicy) -> Column:
    """Nodes of the curve: dense where it bends."""
    import numpy as np

    return np.concatenate([[0.0], np.geomspace(_SHORTEST, policy.max_days, 60)])
