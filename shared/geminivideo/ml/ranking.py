"""Which scene first: by the champion's predicted CTR, or by the documented heuristic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from geminivideo import degraded as why
from geminivideo.policy import RankPolicy
from geminivideo.records import Features, Prediction, Scene

HEURISTIC_VERSION = "heuristic-1"


class Predictor(Protocol):
    """Says how well a scene will do; None when nothing of it is known."""

    def predict(self, scene: Scene) -> Prediction | None: ...


class NothingMeasuredError(ValueError):
    """None of the parts that a score is made of was measured."""


@dataclass(frozen=True)
class HeuristicScore:
    """A score (0-1), the sentence behind each part of it, and the parts that are unknown."""

    score: float
    reasons: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    name: str
    weight: float
    value: float | None
    said: str


def heuristic_score(features: Features, policy: RankPolicy) -> HeuristicScore:
    """0.30 motion + 0.25 min(kinds of objects / 5, 1) + 0.20 text present + 0.25 quality.

    An unknown part is not taken as zero: the score is the weighted mean over the known parts, so
    that it stays between 0 and 1 and scenes that lack the same part keep their order; which parts
    are missing is said. Raises ``NothingMeasuredError`` when none is known.
    """
    parts = _parts(features, policy)
    known = [(part.weight, part.value) for part in parts if part.value is not None]
    total = sum(weight for weight, _ in known)
    if total <= 0:
        raise NothingMeasuredError("no part of the score was measured")
    score = sum(weight * min(max(value, 0.0), 1.0) for weight, value in known) / total
    return HeuristicScore(
        score=min(score, 1.0),
        reasons=tuple(part.said for part in parts if part.value is not None),
        missing=tuple(part.name for part in parts if part.value is None),
    )


def _parts(features: Features, policy: RankPolicy) -> tuple[_Part, ...]:
    kinds = None if features.objects is None else len({one.label for one in features.objects})
    diversity = None if kinds is None else kinds / policy.objects_saturation
    texts = None if features.texts is None else len(features.texts)
    shown = None if texts is None else float(texts > 0)
    return (
        _Part("motion", policy.motion_weight, features.motion, f"motion {features.motion}"),
        _Part("objects", policy.objects_weight, diversity, f"{kinds} kinds of objects"),
        _Part("text", policy.text_weight, shown, f"{texts} texts on screen"),
        _Part("quality", policy.quality_weight, features.quality, f"quality {features.quality}"),
    )


class Heuristic:
    """The predictor before any actuals exist: a score, and honestly no CTR."""

    def __init__(self, policy: RankPolicy) -> None:
        self._policy = policy

    def predict(self, scene: Scene) -> Prediction | None:
        """The heuristic's score, marked ``heuristic-rank``; None when nothing was measured."""
        try:
            found = heuristic_score(scene.features or Features(), self._policy)
        except NothingMeasuredError:
            return None
        partial = (why.partial(found.missing),) if found.missing else ()
        return Prediction(
            score=round(found.score, 6),
            ctr=None,
            interval=None,
            model_version=HEURISTIC_VERSION,
            sample_size=0,
            degraded=(why.HEURISTIC_RANK, *partial),
        )


def rank(scenes: Iterable[Scene], predictor: Predictor) -> list[Scene]:
    """The scenes, best first, each with its prediction and rank (from 1).

    Equal scores: the better technical quality first, then the earlier scene. A scene of which
    nothing is known has no prediction and comes last.
    """
    predicted = [replace(scene, prediction=predictor.predict(scene)) for scene in scenes]
    ordered = sorted(predicted, key=_order)
    return [_placed(scene, place) for place, scene in enumerate(ordered, start=1)]


def _order(scene: Scene) -> tuple[bool, float, float, int]:
    score = scene.prediction.score if scene.prediction else 0.0
    quality = (scene.features.quality if scene.features else None) or 0.0
    return (scene.prediction is None, -score, -quality, scene.index)


def _placed(scene: Scene, place: int) -> Scene:
    reasons = scene.prediction.degraded if scene.prediction else (why.NO_FEATURES,)
    return replace(scene, rank=place, degraded=tuple(dict.fromkeys((*scene.degraded, *reasons))))
