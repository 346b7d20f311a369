"""How much faster returns come when more is spent: learned from how the ads answered before.

d log(impressions) / d log(spend) says how the auction saturates, d log(CTR) / d log(spend) how the
audience does; returns have the sum of both. Weighted regression of day-to-day differences within
an ad takes out everything that is the ad's own. The account's slope is shrunk to the policy's, an
ad's to the account's, each by its precision, so that what was never varied stays at the prior.
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


@dataclass(frozen=True, kw_only=True)
class Elasticity:
    """Of returns with respect to spend: the account's, and every ad's own."""

    account: float
    ads: Column


def learn(days: Panel, policy: SamplerPolicy) -> Elasticity:
    """The elasticities at the budgets of late (old differences are forgotten)."""
    import numpy as np

    step, weight = _steps(days, policy)
    noise = policy.daily_noise**2
    shown = np.log(np.maximum(days.impressions, 0.5) / _length(days))
    rate = np.log((days.clicks + 0.5) / (days.impressions + 1.0))
    clicked = 1.0 / (days.clicks + 0.5) + noise
    bought = np.full_like(shown, noise)
    auction, auctions = _slopes(step, shown, bought, weight, policy.elasticity, policy)
    audience, audiences = _slopes(step, rate, clicked, weight, 0.0, policy)
    least, most = policy.min_elasticity, policy.max_elasticity
    return Elasticity(
        account=min(most, max(least, auction + audience)),
        ads=np.clip(auctions + audiences, least, most),
    )


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
) -> tuple[float, Column]:
    """(the account's slope, every ad's), shrunk in that order."""
    import numpy as np

    trust = weight / (variance[:, 1:] + variance[:, :-1])
    precision = (trust * step * step).sum(1)
    moment = (trust * step * np.diff(level, axis=1)).sum(1)
    between = policy.elasticity_spread_ads**-2
    shared = between * precision / (between + precision)  # what an ad tells of the account
    own = moment / np.maximum(precision, 1e-300)
    prior = policy.elasticity_spread**-2
    account = (prior * usual + float((shared * own).sum())) / (prior + float(shared.sum()))
    return account, (between * account + moment) / (between + precision)
