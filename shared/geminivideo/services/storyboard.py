"""A storyboard's score: what the predictor says of its scenes, weighted by how long each lasts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from geminivideo.degraded import CHAMPION_UNREADABLE, NO_FEATURES
from geminivideo.ml.ranking import Heuristic
from geminivideo.policy import RankPolicy
from geminivideo.records import Features, Prediction, Scene
from geminivideo.runtime.http import ApiError, Call, identifier, service_unavailable
from geminivideo.services.prediction import (
    ChampionUnavailableError,
    band_of,
    predict_by,
    predictor_of,
)

_MAX_SCENES = 100


@dataclass(frozen=True, kw_only=True)
class StoryScene:
    """A scene by its features, or by the clip that has them; ``duration`` in seconds."""

    clip_id: str | None = None
    features: Features | None = None
    duration: float | None = None


@dataclass(frozen=True, kw_only=True)
class StoryMetadata:
    """Where and to whom it would be shown; no model uses it yet, and the answer says so."""

    platform: str | None = None
    target_audience: str | None = None


@dataclass(frozen=True, kw_only=True)
class Storyboard:
    """The scenes of an ad in their order."""

    scenes: list[StoryScene]
    metadata: StoryMetadata = field(default_factory=StoryMetadata)


@dataclass(frozen=True, kw_only=True)
class SceneScore:
    """One scene; null where the predictor had nothing to go by."""

    clip_id: str | None
    weight: float
    score: float | None
    predicted_ctr: float | None
    interval: tuple[float, float] | None
    degraded: list[str]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """``composite_score`` 0-1 and ``predicted_ctr`` (fraction): means weighted by duration.

    A scene of which nothing is known is left out of the score; the CTR and its interval are null
    unless every scene has one. The interval's ends are the means of the scenes' ends: right when
    their errors go together, too wide when they do not. ``not_modelled`` are the metadata that
    changed nothing.
    """

    composite_score: float | None
    predicted_ctr: float | None
    interval: tuple[float, float] | None
    band: str | None
    model_version: str | None
    sample_size: int
    per_scene: list[SceneScore]
    not_modelled: list[str]
    degraded: list[str]


def score_storyboard(call: Call) -> Scored:
    """Score a storyboard; 503 with the heuristic's score when the model is down."""
    asked: Storyboard = call.body
    if not 1 <= len(asked.scenes) <= _MAX_SCENES:
        raise ApiError(422, f"scenes must hold 1 to {_MAX_SCENES} scenes")
    weights = _weights(asked.scenes)
    policy = RankPolicy()
    try:
        predictor = predictor_of(call, policy)
    except ChampionUnavailableError as error:
        scenes = [_scene(one, index, one.features) for index, one in enumerate(asked.scenes)]
        made = predict_by(Heuristic(policy), scenes)
        fallback = _scored(asked, weights, made, CHAMPION_UNREADABLE)
        raise service_unavailable(str(error), fallback) from error
    scenes = [_looked_up(call, one, index) for index, one in enumerate(asked.scenes)]
    return _scored(asked, weights, predict_by(predictor, scenes))


def _weights(scenes: Sequence[StoryScene]) -> list[float]:
    """Each scene's share of the time; equal shares unless every duration is known."""
    lengths = [scene.duration for scene in scenes]
    for index, length in enumerate(lengths):
        if length is not None and not 0 < length < 1e6:
            raise ApiError(422, f"scenes[{index}].duration must be seconds above 0")
    known = [length for length in lengths if length is not None]
    if len(known) < len(lengths):
        return [1 / len(lengths)] * len(lengths)
    return [length / math.fsum(known) for length in known]


def _looked_up(call: Call, asked: StoryScene, index: int) -> Scene:
    """The scene with the features given, else those that its clip was found to have."""
    if asked.features is not None or asked.clip_id is None:
        return _scene(asked, index, asked.features)
    clip_id = identifier(asked.clip_id, f"scenes[{index}].clip_id")
    stored = call.ports.documents.get(f"scenes/{clip_id}", Scene)
    return _scene(asked, index, None) if stored is None else stored


def _scene(asked: StoryScene, index: int, features: Features | None) -> Scene:
    return Scene(
        id=f"asked-{index}",
        flow_id="",
        index=index,
        start_s=0.0,
        end_s=asked.duration or 0.0,
        features=features,
    )


def _scored(
    asked: Storyboard, weights: list[float], made: list[Prediction | None], *more: str
) -> Scored:
    known = [prediction for prediction in made if prediction is not None]
    ctr = _mean(weights, [p.ctr if p else None for p in made])
    given = {"platform": asked.metadata.platform, "target_audience": asked.metadata.target_audience}
    per_scene = [
        _scene_score(one, weight, prediction)
        for one, weight, prediction in zip(asked.scenes, weights, made, strict=True)
    ]
    reasons = [reason for one in per_scene for reason in one.degraded]
    return Scored(
        composite_score=_mean_of_known(weights, [p.score if p else None for p in made]),
        predicted_ctr=ctr,
        interval=_interval(weights, made),
        band=band_of(ctr),
        model_version=known[0].model_version if known else None,
        sample_size=known[0].sample_size if known else 0,
        per_scene=per_scene,
        not_modelled=[name for name, value in given.items() if value is not None],
        degraded=list(dict.fromkeys([*reasons, *more])),
    )


def _scene_score(asked: StoryScene, weight: float, found: Prediction | None) -> SceneScore:
    return SceneScore(
        clip_id=asked.clip_id,
        weight=weight,
        score=found.score if found else None,
        predicted_ctr=found.ctr if found else None,
        interval=found.interval if found else None,
        degraded=list(found.degraded) if found else [NO_FEATURES],
    )


def _mean(weights: list[float], values: list[float | None]) -> float | None:
    """The weighted mean; None as soon as one value is unknown."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return math.fsum(w * v for w, v in zip(weights, known, strict=True))


def _mean_of_known(weights: list[float], values: list[float | None]) -> float | None:
    """The weighted mean over the values that are known; None when none is."""
    known = [(w, v) for w, v in zip(weights, values, strict=True) if v is not None]
    total = math.fsum(w for w, _ in known)
    return math.fsum(w * v for w, v in known) / total if total > 0 else None


def _interval(weights: list[float], made: list[Prediction | None]) -> tuple[float, float] | None:
    ends = [p.interval if p else None for p in made]
    low = _mean(weights, [end[0] if end else None for end in ends])
    high = _mean(weights, [end[1] if end else None for end in ends])
    return None if low is None or high is None else (low, high)
