"""CTR predictions over HTTP: the champion model, or the labelled heuristic; 503 with a fallback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from geminivideo.cloud.files import ObjectGoneError
from geminivideo.degraded import CHAMPION_UNREADABLE, NO_FEATURES
from geminivideo.ml.ctr import ModelUnreadableError
from geminivideo.ml.ranking import Heuristic, Predictor
from geminivideo.policy import RankPolicy
from geminivideo.records import Features, Prediction, Scene
from geminivideo.runtime.http import Api, ApiError, Call, service_unavailable, unavailable
from geminivideo.services import model_registry

_MAX_SCENES = 500


@dataclass(frozen=True, kw_only=True)
class SceneToPredict:
    """A scene by its measured features; ``duration`` in seconds."""

    features: Features
    duration: float = 0.0
    transcript: str | None = None


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """The scenes to predict."""

    scenes: list[SceneToPredict]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """One scene: CTR and interval are fractions, null while no model has learned from actuals."""

    score: float | None
    predicted_ctr: float | None
    interval: tuple[float, float] | None
    band: str | None
    confidence: float | None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One prediction for each scene, in order."""

    predictions: list[Predicted]
    model_version: str | None
    sample_size: int


class ChampionUnavailableError(RuntimeError):
    """The model in use cannot be had: the store is down, or what it holds is not readable."""


def predict_ctr(call: Call) -> Predictions:
    """Predict the click-through rate of scenes; 503 with the heuristic's when the model is down."""
    asked: PredictRequest = call.body
    if not 1 <= len(asked.scenes) <= _MAX_SCENES:
        raise ApiError(422, f"scenes must hold 1 to {_MAX_SCENES} scenes with features")
    scenes = [_scene(index, one) for index, one in enumerate(asked.scenes)]
    policy = RankPolicy()
    try:
        predictor = predictor_of(call, policy)
    except ChampionUnavailableError as error:
        fallback = shown(predict_by(Heuristic(policy), scenes), policy, CHAMPION_UNREADABLE)
        raise service_unavailable(str(error), fallback) from error
    return shown(predict_by(predictor, scenes), policy)


def predict_by(predictor: Predictor, scenes: Sequence[Scene]) -> list[Prediction | None]:
    """A predictor's word on each scene; raises 422 for features that no arithmetic can hold."""
    made: list[Prediction | None] = []
    for index, scene in enumerate(scenes):
        try:
            made.append(predictor.predict(scene))
        except (ArithmeticError, ValueError) as error:
            raise ApiError(422, f"scenes[{index}].features are beyond any number") from error
    return made


def shown(
    made: Sequence[Prediction | None], policy: RankPolicy, *more_degraded: str
) -> Predictions:
    """Predictions as the API shows them; ``more_degraded`` is said of each."""
    known = [prediction for prediction in made if prediction is not None]
    every = [_shown(prediction, policy) for prediction in made]
    return Predictions(
        predictions=[replace(one, degraded=[*one.degraded, *more_degraded]) for one in every],
        model_version=known[0].model_version if known else None,
        sample_size=known[0].sample_size if known else 0,
    )


def _scene(index: int, asked: SceneToPredict) -> Scene:
    return Scene(
        id=f"asked-{index}", flow_id="", index=index, start_s=0.0, end_s=asked.duration,
        features=asked.features, transcript=asked.transcript,
    )  # fmt: skip


def _shown(prediction: Prediction | None, policy: RankPolicy) -> Predicted:
    if prediction is None:
        return Predicted(
            score=None, predicted_ctr=None, interval=None, band=None, confidence=None,
            degraded=[NO_FEATURES],
        )  # fmt: skip
    return Predicted(
        score=prediction.score,
        predicted_ctr=prediction.ctr,
        interval=prediction.interval,
        band=band_of(prediction.ctr),
        confidence=policy.interval if prediction.interval else None,
        degraded=list(prediction.degraded),
    )


def predictor_of(call: Call, policy: RankPolicy) -> Predictor:
    """The champion, or the heuristic while there is none; ``ChampionUnavailableError``."""
    try:
        champion = model_registry.champion_model(call.ports.documents, call.ports.files)
        return champion or Heuristic(policy)
    except (ModelUnreadableError, ObjectGoneError, msgspec.ValidationError) as error:
        call.ports.log.error("the champion is not readable: %s", error)
        raise ChampionUnavailableError("the CTR model in use is not readable") from error
    except Exception as error:
        if unavailable(error) is None:
            raise
        raise ChampionUnavailableError("the store of the CTR model does not answer") from error


def band_of(ctr: float | None) -> str | None:
    """Bands of the earlier system, on fractions: low < 0.02 <= medium < 0.05 <= high."""
    if ctr is None:
        return None
    return "low" if ctr < 0.02 else "medium" if ctr < 0.05 else "high"


def serve(api: Api) -> None:
    """Answer both spellings of the prediction route on a service."""
    for path in ("/api/ml/predict-ctr", "/api/ml/predict/ctr"):
        api.post(path, body=PredictRequest, answer=Predictions)(predict_ctr)
