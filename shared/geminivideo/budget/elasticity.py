"""How much faster returns come when more is spent: learned from how the ads answered before.

d log(impressions) / d log(spend) says how the auction saturates, d log(CTR) / d log(spend) how the
audience does; returns have the sum of both. Weighted regression of day-to-day differences within
an ad takes out everything that is the ad's own.

The auction gives h ln(1 + s / h) for a day's spend s, so that its elasticity falls from 1 as an ad
is fed: u / ((1 + u) ln(1 + u)) at u = s / h. One h is learned for the account (the posterior mean
over a grid), and an ad's own slope is shrunk to the curve at its spend by its precision. Without
the curve an ad that gets little looks as saturated as one that gets much, and stays too small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geminivideo.budget.panel import Panel
from geminivideo.policy import SamplerPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]

_GRID = 41
_NODES = 600
_REACH = 3.0  # standard deviations of the prior that the grid covers
_SAMPLE = 4096
_LEAST_BELIEF = 1e-4


@dataclass(frozen=True, kw_only=True)
class Elasticity:
    """Of returns with respect to spend, at what each ad spends of late.

    ``saturation`` (minor units a day, whole) is the h of the curve ln(1 + s / h) that has this
    elasticity there.
    """

    ads: Column
    saturation: Column


def learn(days: Panel, policy: SamplerPolicy) -> Elasticity:
    """The elasticities at the budgets of late (old differences are forgotten)."""
    import numpy as np

    step, weight = _steps(days, policy)
    noise = policy.daily_noise**2
    shown = np.log(np.maximum(days.impressions, 0.5) / _length(days))
    rate = np.log((days.clicks + 0.5) / (days.impressions + 1.0))
    clicked = 1.0 / (days.clicks + 0.5) + noise
    bought = np.full_like(shown, noise)
    auctions = _auctions(days, _slope(step, shown, bought, weight), policy)
    audiences = _slopes(step, rate, clicked, weight, 0.0, policy)
    ads = np.clip(auctions + audiences, policy.min_elasticity, policy.max_elasticity)
    return Elasticity(ads=ads, saturation=np.ceil(_spend(days, policy) / fed(ads)))


def curve(spend: Column) -> Column:
    """The elasticity of ln(1 + u) at u = ``spend``, in units of the saturation (> 0)."""
    import numpy as np

    return spend / ((1.0 + spend) * np.log1p(spend))


def fed(elasticity: Column) -> Column:
    """The u at which ``curve`` has this value (0.15 to 0.999), within 0.1 %."""
    import numpy as np

    spend = np.geomspace(1e-3, 1e3, _NODES)
    found = np.interp(-elasticity, -curve(spend), np.log(spend))
    return np.asarray(np.exp(found))


def _auctions(days: Panel, slope: tuple[Column, Column], policy: SamplerPolicy) -> Column:
    """Every ad's, by the account's curve and its own (slope, precision)."""
    import numpy as np

    own, precision = slope
    spend = _spend(days, policy)
    typical = max(float(np.median(_some(spend))), 1.0) if len(spend) else 1.0
    grid = typical * np.exp(policy.saturation_spread * np.linspace(-_REACH, _REACH, _GRID))
    belief = _belief(_some(spend), _some(own), _some(precision), grid, policy)
    usual = np.zeros_like(spend)
    for weight, saturation in zip(belief.tolist(), grid.tolist(), strict=True):
        if weight > _LEAST_BELIEF:
            usual += weight * curve(spend / saturation)
    between = policy.saturation_spread_ads**-2
    return np.asarray((between * usual + precision * own) / (between + precision))


def _belief(
    spend: Column, own: Column, precision: Column, grid: Column, policy: SamplerPolicy
) -> Column:
    """The posterior over the account's saturation: log-normal prior, normal slopes."""
    import numpy as np

    variance = 1.0 / np.maximum(precision, 1e-9) + policy.saturation_spread_ads**2
    prior = -(np.linspace(-_REACH, _REACH, len(grid)) ** 2) / 2
    miss = [float(((own - curve(spend / h)) ** 2 / variance).sum()) for h in grid.tolist()]
    log = prior - np.array(miss) / 2
    weights = np.exp(log - log.max())
    return np.asarray(weights / weights.sum())


def _spend(days: Panel, policy: SamplerPolicy) -> Column:
    """A day's spend of late (minor units, at least 1)."""
    import numpy as np

    fresh = np.where(days.known, 0.5 ** (days.age / policy.elasticity_half_life_days), 0.0)
    length = np.maximum((fresh * days.length).sum(1), 1e-9)
    return np.maximum((fresh * days.spend).sum(1) / length, 1.0)


def _some(column: Column) -> Column:
    """Evenly spaced ads, enough to learn what all have in common."""
    return column[:: max(1, len(column) // _SAMPLE)]


def _slope(step: Matrix, level: Matrix, variance: Matrix, weight: Matrix) -> tuple[Column, Column]:
    """(every ad's own slope, its precision)."""
    import numpy as np

    trust = weight / (variance[:, 1:] + variance[:, :-1])
    precision = (trust * step * step).sum(1)
    moment = (trust * step * np.diff(level, axis=1)).sum(1)
    return moment / np.maximum(precision, 1e-300), precision


def _length(days: Panel) -> Matrix:
    import numpy as np

    return np.where(days.known, days.length, 1.0)


def _steps(days: Panel, policy: SamplerPolicy) -> tuple[Matrix, Matrix]:
    """(change of log spend per day, its weight: 0 where there is none, less when it is old)."""
    import numpy as np

    spent = days.known & (days.spend > 0) & (days.impressions > 0)
    pace = np.log(np.maximum(days.spend, 1.0) / _length(days))
    fresh = 0.5 ** (days.age[:, 1:] / policy.elasticity_half_life_days)
    short = np.minimum(days.length[:, 1:], days.length[:, :-1])
    weight = np.where(spent[:, 1:] & spent[:, :-1], fresh * np.minimum(short, 1.0), 0.0)
    return np.diff(pace, axis=1), weight


def _slopes(
    step: Matrix,
    level: Matrix,
    variance: Matrix,
    weight: Matrix,
    usual: float,
    policy: SamplerPolicy,
) -> Column:
    """Every ad's slope, shrunk to the account's, and that to the usual one."""
    import numpy as np

    own, precision = _slope(step, level, variance, weight)
    between = policy.elasticity_spread_ads**-2
    shared = between * precision / (between + precision)  # what an ad tells of the account
    prior = policy.elasticity_spread**-2
    account = (prior * usual + float((shared * own).sum())) / (prior + float(shared.sum()))
    return np.asarray((between * account + precision * own) / (between + precision))
