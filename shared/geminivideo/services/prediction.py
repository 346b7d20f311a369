"""CTR predictions over HTTP: the champion model, or the labelled heuristic; 503 with a fallback."""

from __future__ import annotations

from dataclasses import dataclass, field

from geminivideo.degraded import NO_FEATURES
from geminivideo.ml.ctr import load_champion
from geminivideo.ml.ranking import Heuristic, Predictor
from geminivideo.policy import RankPolicy
from geminivideo.records import ChampionModel, Features, Prediction, Scene
from geminivideo.runtime.http import Api, ApiError, Call


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


def predict_ctr(call: Call) -> Predictions:
    """Predict the click-through rate of scenes."""
    asked: PredictRequest = call.body
    if not asked.scenes:
        raise ApiError(422, "scenes must hold at least one scene with features")
    policy = RankPolicy()
    predictor = _predictor(call, policy)
    made = [predictor.predict(_scene(index, one)) for index, one in enumerate(asked.scenes)]
    known = [prediction for prediction in made if prediction is not None]
    return Predictions(
        predictions=[_shown(prediction, policy) for prediction in made],
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
        band=_band(prediction.ctr),
        confidence=policy.interval if prediction.interval else None,
        degraded=list(prediction.degraded),
    )


def _predictor(call: Call, policy: RankPolicy) -> Predictor:
    registered = call.ports.documents.get("model_registry/ctr", ChampionModel)
    if registered is None:
        return Heuristic(policy)
    return load_champion(call.ports.files.read(registered.artifact))


def _band(ctr: float | None) -> str | None:
    """Bands of the earlier system, on fractions: low < 0.02 <= medium < 0.05 <= high."""
    if ctr is None:
        return None
    return "low" if ctr < 0.02 else "medium" if ctr < 0.05 else "high"


def serve(api: Api) -> None:
    """Answer both spellings of the prediction route on a service."""
    for path in ("/api/ml/predict-ctr", "/api/ml/predict/ctr"):
        api.post(path, body=PredictRequest, answer=Predictions)(predict_ctr)
