"""How like the account's own winners a new ad is, before it is shown: what moves its prior CTR."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from geminivideo.learning_records import CreativeFeatures, WinningPattern
from geminivideo.policy import LikenessPolicy
from geminivideo.records import Prediction

_Z90 = 1.6449


@dataclass(frozen=True)
class Likeness:
    """``score`` is 1 for the most that a prior may rise, -1 for the most that it may fall."""

    score: float
    reasons: tuple[str, ...]


def usual_ctr(predictions: Iterable[Prediction]) -> float | None:
    """What the account's ads are predicted in the geometric mean; ``None`` without a model."""
    known = [one.ctr for one in predictions if one.ctr is not None and one.ctr > 0]
    return math.exp(math.fsum(math.log(ctr) for ctr in known) / len(known)) if known else None


def of_prediction(
    prediction: Prediction | None, usual: float | None, policy: LikenessPolicy, most: float
) -> Likeness | None:
    """The predicted CTR against the usual one, drawn to it by how wide its interval is.

    ``most`` is the relative move that a score of 1 stands for. ``None``: no model spoke.
    """
    if prediction is None or usual is None or not prediction.ctr or prediction.ctr < 0:
        return None
    trust = _trust(prediction.interval, policy)
    log = trust * math.log(prediction.ctr / usual)
    said = f"predicted CTR {prediction.ctr:.2%} against {usual:.2%} ({prediction.model_version})"
    return Likeness(_score(log, most), (said,))


def _trust(interval: tuple[float, float] | None, policy: LikenessPolicy) -> float:
    if interval is None or interval[0] <= 0 or interval[1] <= interval[0]:
        return policy.trust_without_interval
    error = math.log(interval[1] / interval[0]) / (2 * _Z90)
    return policy.ctr_spread**2 / (policy.ctr_spread**2 + error**2)


def of_patterns(
    features: CreativeFeatures, patterns: Sequence[WinningPattern], most: float
) -> Likeness | None:
    """The account's own patterns that an ad has, each by its strength; ``None``: it has none."""
    log, reasons = 0.0, []
    for pattern in patterns:
        if pattern.ended_at is None and not pattern.confounded_by and pattern.met_by(features):
            log += pattern.strength * _bounded(math.log(max(pattern.lift, 1e-6)), most)
            reasons.append(f"own pattern {pattern.pattern} x{pattern.lift:.2f}")
    return Likeness(_score(log, most), tuple(reasons)) if reasons else None


def _score(log: float, most: float) -> float:
    """The share of the most that a prior may move, in the direction of ``log``."""
    return max(-1.0, min(1.0, math.expm1(log) / most)) if most > 0 else 0.0


def _bounded(log: float, most: float) -> float:
    return min(math.log1p(most), max(-math.log1p(most), log))
