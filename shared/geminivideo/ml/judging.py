"""Which of two models said better what became of the same ads: a paired bootstrap over ads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from geminivideo.policy import TrainingPolicy

if TYPE_CHECKING:
    import numpy as np

_LEAST = 1e-12
_AT_ONCE = 200  # resamples in memory together


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one shown creative: its vector, impressions, clicks, and when (epoch s).

    A ``stale`` one is from before its account is known to have changed.
    """

    values: dict[str, float | None]
    impressions: int
    clicks: int
    at: float
    account_id: str = ""
    id: str = ""
    stale: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A challenger against what is there, on the same ads.

    Losses are log loss per impression. ``gain`` is the mean difference over ads (positive: the
    challenger is better), each ad with the weight of the independent impressions that its own are
    worth; ``bound`` its one-sided lower bound at ``level``; ``p_value`` the share of resamples in
    which the challenger is not better.
    """

    ads: int
    impressions: int
    champion_loss: float
    challenger_loss: float
    gain: float
    bound: float
    p_value: float
    level: float
    resamples: int
    seed: int

    @property
    def better(self) -> bool:
        """Whether the challenger wins at the level."""
        return self.bound > 0

    def told(self) -> dict[str, Any]:
        """The members, for records."""
        return {**asdict(self), "better": self.better}


def clicks_of(rows: Sequence[Row]) -> int:
    """All clicks."""
    return sum(row.clicks for row in rows)


def impressions_of(rows: Sequence[Row]) -> int:
    """All impressions."""
    return sum(row.impressions for row in rows)


def loss_of(rate: float, row: Row) -> float:
    """Negative log likelihood of an ad's clicks at a rate (fraction)."""
    others = row.impressions - row.clicks
    return -(row.clicks * math.log(max(rate, _LEAST)) + others * math.log(max(1.0 - rate, _LEAST)))


def log_loss(rates: Sequence[float], rows: Sequence[Row]) -> float:
    """Mean negative log likelihood per impression; 0 impressions give 0."""
    total = math.fsum(loss_of(rate, row) for rate, row in zip(rates, rows, strict=True))
    return total / max(1, impressions_of(rows))


def worth(row: Row, likeness: float) -> float:
    """What share of an ad's impressions count as independent (Kish's design effect)."""
    return 1.0 / (1.0 + max(row.impressions - 1, 0) * likeness)


def compare(
    champion: Sequence[float],
    challenger: Sequence[float],
    rows: Sequence[Row],
    likeness: float,
    policy: TrainingPolicy,
) -> Comparison:
    """Both models' rates for the same ads, which neither has learned from.

    Ads, not impressions, are drawn anew (Efron and Tibshirani, 1993, ch. 16), because the clicks
    of one ad are alike. The same arguments give the same answer.
    """
    import numpy as np

    shown = [row for row in rows if row.impressions > 0]
    if not shown:
        raise ValueError("no ad was shown: there is nothing to compare")
    keep = [row.impressions > 0 for row in rows]
    first = [rate for rate, kept in zip(champion, keep, strict=True) if kept]
    second = [rate for rate, kept in zip(challenger, keep, strict=True) if kept]
    gains = np.array(
        [loss_of(a, r) - loss_of(b, r) for a, b, r in zip(first, second, shown, strict=True)]
    )
    weights = np.array([worth(row, likeness) for row in shown])
    counts = np.array([row.impressions for row in shown], float)
    drawn = _drawn(gains * weights, counts * weights, policy)
    return Comparison(
        ads=len(shown),
        impressions=impressions_of(shown),
        champion_loss=log_loss(first, shown),
        challenger_loss=log_loss(second, shown),
        gain=float((gains * weights).sum() / (counts * weights).sum()),
        bound=float(np.quantile(drawn, 1.0 - policy.level)),
        p_value=float((drawn <= 0).mean()),
        level=policy.level,
        resamples=policy.resamples,
        seed=policy.seed,
    )


def _drawn(gains: np.ndarray, counts: np.ndarray, policy: TrainingPolicy) -> np.ndarray:
    """The mean gain per (independent) impression in each resample of the ads."""
    import numpy as np

    rng = np.random.default_rng(policy.seed)
    ads = len(gains)
    means = []
    for start in range(0, policy.resamples, _AT_ONCE):
        size = min(_AT_ONCE, policy.resamples - start)
        times = rng.multinomial(ads, np.full(ads, 1.0 / ads), size=size)
        means.append((times @ gains) / (times @ counts))
    return np.concatenate(means)
