"""Lifts and tests over strata: exact for winners, by permutation for click-through rates. Pure.

All take units as arrays: ``has`` (1 with the trait, 0 without, -1 not compared) and ``strata``
(whole numbers from 0). Nothing here compares units of different strata. Sources:

- Winners' test: the exact conditional test of a common odds ratio of 1 in stratified 2x2 tables (a
  convolution of hypergeometrics); in one stratum it is Fisher's exact test. Two-sided by the sum
  of the probabilities that are not above the observed one.
- Winners' lift: the Mantel-Haenszel relative risk with the variance of Greenland and Robins
  (Biometrics 41:55, 1985); in one stratum that is the Katz logarithmic interval. Half a unit is
  added to every cell when a side has no winner (or no unit) that would make it 0 or unbounded.
- CTR lift: weighted least squares of the logarithmic CTR on the trait with one intercept a stratum,
  interval by the heteroscedasticity-consistent variance (HC1) and Student's t: approximate. Weights
  are 1 / (tau^2 + 1 / expected clicks): impressions count, but with the spread between ads (tau^2,
  DerSimonian and Laird) no single large ad outweighs all others.
- CTR test: the permutation of outcomes within strata of the same regression's score, which is exact
  whatever their distribution (to the resolution of the number of shuffles).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Whole = NDArray[np.int64]

_CHUNK = 256  # shuffles in memory at once
_TIE = 1e-9


@dataclass(frozen=True)
class Lift:
    """A ratio with its interval: success with the trait over success without it."""

    value: float
    low: float
    high: float

    @property
    def log(self) -> float:
        """The natural logarithm of the ratio."""
        return math.log(self.value)


@dataclass(frozen=True)
class Table:
    """One stratum: winners and units, with the trait and without."""

    winners: float
    units: float
    other_winners: float
    others: float


def informative(has: Whole, strata: Whole) -> Whole:
    """``has`` with the units of strata that have only one side left out (-1)."""
    import numpy as np

    count = int(strata.max(initial=-1)) + 1
    with_it = np.bincount(strata[has == 1], minlength=count) > 0
    without = np.bincount(strata[has == 0], minlength=count) > 0
    both = (with_it & without)[strata] if count else np.zeros(0, dtype=bool)
    return np.where(both, has, -1)


def tables(has: Whole, won: Numbers, strata: Whole) -> list[Table]:
    """The strata's tables over the units that are judged (``won`` is not NaN)."""
    import numpy as np

    counted = informative(np.where(np.isnan(won), -1, has), strata)
    count = int(strata.max(initial=-1)) + 1
    columns = []
    for side in (1, 0):
        mine = counted == side
        columns.append(np.bincount(strata[mine], won[mine], minlength=count))
        columns.append(np.bincount(strata[mine], minlength=count))
    used = columns[1] > 0
    return [Table(*(float(number) for number in row)) for row in np.array(columns).T[used]]


def exact_p(strata: Sequence[Table]) -> float | None:
    """Two-sided p of no association in any stratum; ``None`` without a table."""
    import numpy as np

    if not strata:
        return None
    chances: Numbers = np.ones(1)
    observed = 0
    for one in strata:
        low, mine = _hypergeometric(
            int(one.units), int(one.winners + one.other_winners), int(one.units + one.others)
        )
        observed += int(one.winners) - low
        chances = np.convolve(chances, mine)
    p = chances[chances <= chances[observed] * (1 + 1e-7)].sum()
    return float(min(1.0, p))


@lru_cache(maxsize=4096)
def _hypergeometric(units: int, winners: int, total: int) -> tuple[int, Any]:
    """Chances of each number of winners among the units with the trait, from the smallest on."""
    import numpy as np
    from scipy.special import gammaln

    low, high = max(0, winners - (total - units)), min(units, winners)
    k = np.arange(low, high + 1, dtype=float)

    def log_choose(n: float | Numbers, r: float | Numbers) -> Any:
        return gammaln(n + 1) - gammaln(r + 1) - gammaln(n - r + 1)

    logs = log_choose(float(units), k) + log_choose(float(total - units), winners - k)
    return low, np.exp(logs - log_choose(float(total), float(winners)))


def winners_lift(strata: Sequence[Table], interval: float) -> Lift | None:
    """The relative risk of winning over all strata; ``None`` without a table or a winner."""
    from scipy.special import ndtri

    if not strata or not sum(one.winners + one.other_winners for one in strata):
        return None
    with_it, without, variance = _mantel_haenszel(strata)
    if not with_it or not without or not variance:
        with_it, without, variance = _mantel_haenszel([_corrected(one) for one in strata])
    spread = float(ndtri(0.5 + interval / 2)) * math.sqrt(variance)
    return _lift(math.log(with_it / without), spread)


def _corrected(one: Table) -> Table:
    return Table(one.winners + 0.5, one.units + 1, one.other_winners + 0.5, one.others + 1)


def _mantel_haenszel(strata: Sequence[Table]) -> tuple[float, float, float]:
    """The two sums whose ratio is the relative risk, and the variance of its logarithm."""
    with_it = without = spread = 0.0
    for one in strata:
        total = one.units + one.others
        with_it += one.winners * one.others / total
        without += one.other_winners * one.units / total
        won = one.winners + one.other_winners
        product = one.units * one.others * won - one.winners * one.other_winners * total
        spread += product / total**2
    return with_it, without, spread / (with_it * without) if with_it and without else 0.0


def _lift(log: float, spread: float) -> Lift:
    """Bounded far out, so that it can be stored and shown."""
    low, value, high = (
        math.exp(min(20.0, max(-20.0, x))) for x in (log - spread, log, log + spread)
    )
    return Lift(value, low, high)


@dataclass(frozen=True)
class Rates:
    """Units' click-through rates: their logarithms and how much each counts."""

    log: Numbers
    weight: Numbers


def rates(clicks: Numbers, impressions: Numbers, strata: Whole) -> Rates:
    """Logarithmic rates (half a click added) with weights by impressions and spread."""
    import numpy as np

    mean = (clicks.sum() + 0.5) / (impressions.sum() + 1.0)
    log = np.log((clicks + 0.5) / (impressions + 1.0))
    sampling = 1.0 / (impressions * mean + 0.5)
    return Rates(log, 1.0 / (_spread(log, sampling, strata) + sampling))


def _spread(log: Numbers, sampling: Numbers, strata: Whole) -> float:
    """DerSimonian and Laird's variance between the units of the same stratum."""
    import numpy as np

    weight = 1.0 / sampling
    sums = np.bincount(strata, weight)
    used = sums > 0
    means = np.bincount(strata, weight * log)[used] / sums[used]
    place = np.cumsum(used) - 1
    residuals = log - means[place[strata]]
    freedom = len(log) - int(used.sum())
    scale = weight.sum() - (np.bincount(strata, weight**2)[used] / sums[used]).sum()
    if freedom <= 0 or scale <= 0:
        return 0.0
    return max(0.0, float(((weight * residuals**2).sum() - freedom) / scale))


def ctr_lift(has: Whole, found: Rates, strata: Whole, interval: float) -> Lift | None:
    """The ratio of click-through rates over all strata; ``None`` without both sides in one."""
    import numpy as np
    from scipy.special import stdtrit

    x = informative(has, strata)
    used = x >= 0
    if not used.any():
        return None
    x, y, w = x[used].astype(float), found.log[used], found.weight[used]
    _, groups = np.unique(strata[used], return_inverse=True)
    total = np.bincount(groups, w)
    share = np.bincount(groups, w * x) / total
    centred = x - share[groups]
    bread = float((w * centred**2).sum())
    slope = float((w * centred * y).sum()) / bread
    means = np.bincount(groups, w * y) / total
    residuals = y - means[groups] - slope * centred
    freedom = max(1, len(y) - len(total) - 1)
    variance = float(((w * centred * residuals) ** 2).sum()) / bread**2 * len(y) / freedom
    return _lift(slope, float(stdtrit(freedom, 0.5 + interval / 2)) * math.sqrt(variance))


def permutation_p(
    rows: Sequence[Whole], found: Rates, strata: Whole, shuffles: int, seed: int
) -> Numbers:
    """Two-sided p of each row of ``has``, all over the same shuffles of outcomes within strata."""
    import numpy as np

    score = _scores(found, strata)
    coefficients = np.array([_centred(informative(has, strata), strata) for has in rows])
    observed = np.abs(coefficients @ score) - _TIE
    reached = np.zeros(len(rows))
    rng = np.random.default_rng(seed)
    places = np.argsort(strata, kind="stable")
    for start in range(0, shuffles, _CHUNK):
        count = min(_CHUNK, shuffles - start)
        order = np.argsort(strata + rng.random((count, len(strata))), axis=1)
        shuffled = np.empty((count, len(strata)))
        shuffled[:, places] = score[order]
        reached += (np.abs(shuffled @ coefficients.T) >= observed).sum(axis=0)
    return (1.0 + reached) / (shuffles + 1.0)


def false_discovery_q(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's q of each p: the least rate at which it is still a discovery.

    Written out, because scipy.stats takes a second to import.
    """
    import numpy as np

    if not p_values:
        return []
    p = np.array(p_values)
    order = np.argsort(-p)
    steps = p[order] * len(p) / np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum(1.0, np.minimum.accumulate(steps))
    return [float(q) for q in found]


def _scores(found: Rates, strata: Whole) -> Numbers:
    """Each unit's weighted distance from its stratum's mean."""
    import numpy as np

    total = np.bincount(strata, found.weight)
    means = np.bincount(strata, found.weight * found.log) / np.where(total > 0, total, 1.0)
    scores: Numbers = found.weight * (found.log - means[strata])
    return scores


def _centred(has: Whole, strata: Whole) -> Numbers:
    """The trait less its mean in the stratum; 0 where it is not compared."""
    import numpy as np

    used = has >= 0
    count = np.bincount(strata[used], minlength=int(strata.max(initial=0)) + 1)
    mean = np.bincount(strata[used], has[used], minlength=len(count)) / np.maximum(count, 1)
    return np.where(used, has - mean[strata], 0.0)
