"""What is, or was, predicted of one creative: a plan, a rendered variation, or an ad at Meta."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geminivideo.degraded import CHAMPION_UNREADABLE
from geminivideo.learning_records import Actual, CreativeFeatures, PredictionRecord
from geminivideo.ml import creative
from geminivideo.ml.ctr import CtrModel
from geminivideo.policy import RankPolicy
from geminivideo.records import Blueprint, Brief, Prediction
from geminivideo.runtime.http import Api, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import ad_predictions
from geminivideo.services.plan_material import material_of
from geminivideo.services.prediction import ChampionUnavailableError, band_of, predictor_of
from geminivideo.video_agent.dispatch import blueprint_id_of, variation_id_of

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents
    from geminivideo.titan_core.material import Material

INSUFFICIENT, COMPLETE = "insufficient", "complete"
RECORDED, CHAMPION, PLAN = "recorded", "champion", "plan"


@dataclass(frozen=True, kw_only=True)
class CreativeQuestion:
    """A blueprint's, a variation's or an ad's id; ``action`` is what the caller is about to do."""

    creative_id: str
    action: str = "predict"


@dataclass(frozen=True, kw_only=True)
class CreativePrediction:
    """What is predicted of a creative; CTR and interval are fractions, null while unknown.

    ``source``: ``recorded`` when its ad was asked for, by the ``champion`` now, or with its
    ``plan``, from its shots. ``actual_ctr`` is what became of the ad. ``data_status`` insufficient:
    the creative is not known, or nobody predicted anything of it.
    """

    creative_id: str
    action: str
    kind: str | None
    data_status: str
    predicted_ctr: float | None = None
    interval: tuple[float, float] | None = None
    score: float | None = None
    band: str | None = None
    confidence: float | None = None
    model_version: str | None = None
    sample_size: int | None = None
    source: str | None = None
    predicted_at: float | None = None
    actual_ctr: float | None = None
    reason: str | None = None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Creative:
    """What is stored of a creative; ``kind`` says which of its ids was named."""

    kind: str
    account_id: str | None
    ad_id: str | None
    blueprint: Blueprint | None
    recorded: PredictionRecord | None
    material: Material | None

    @property
    def features(self) -> CreativeFeatures | None:
        """What it is made of: as recorded, else of its plan as it is."""
        if self.recorded is not None:
            return self.recorded.features
        if self.blueprint is None or self.material is None:
            return None
        scenes, heard = self.material.scenes, self.material.transcript
        return creative.of_blueprint(self.blueprint, scenes, heard)


def find(documents: Documents, creative_id: str) -> Creative | None:
    """The creative of a plan's, a variation's or an ad's id; None when there is none."""
    made = ad_predictions.made_here(documents, [creative_id]).get(creative_id)
    known = documents.get(ad_predictions.path_of(made or creative_id), PredictionRecord)
    plan_id = (known.blueprint_id if known else None) or blueprint_id_of(made or creative_id)
    blueprint = documents.get(f"blueprints/{plan_id}", Blueprint)
    if blueprint is None and known is None:
        return None
    if known is None and blueprint is not None:
        path = ad_predictions.path_of(variation_id_of(blueprint.id))
        known = documents.get(path, PredictionRecord)
    material = material_of(documents, blueprint.flow_id, Brief()) if blueprint else None
    owner = material.video.account_id if material else None
    return Creative(
        kind=_kind(creative_id, blueprint, made),
        account_id=known.account_id if known else owner,
        ad_id=creative_id if made else (known.ad_id if known else None),
        blueprint=blueprint,
        recorded=known,
        material=material,
    )


def _kind(creative_id: str, blueprint: Blueprint | None, made: str | None) -> str:
    if blueprint is not None and creative_id == blueprint.id:
        return "blueprint"
    return "ad" if made is not None or blueprint is None else "variation"


def predict(call: Call) -> CreativePrediction:
    """What is predicted of a creative, and what became of it."""
    asked: CreativeQuestion = call.body
    documents = call.ports.documents
    found = find(documents, identifier(asked.creative_id, "creative_id"))
    if found is None:
        return _unknown(asked, None, f"no plan, variation or ad {asked.creative_id} is known here")
    champion, degraded = _champion(call)
    said, source = _said(found, champion)
    if said is None:
        return _unknown(asked, found.kind, "nothing was predicted of it", *degraded)
    account_id = found.account_id or ""
    level = policy_of(documents, account_id).rank.interval if said.interval else None
    recorded = found.recorded if source == RECORDED else None
    return CreativePrediction(
        creative_id=asked.creative_id,
        action=asked.action,
        kind=found.kind,
        data_status=COMPLETE,
        predicted_ctr=said.ctr,
        interval=said.interval,
        score=said.score,
        band=band_of(said.ctr),
        confidence=level,
        model_version=said.model_version,
        sample_size=said.sample_size,
        source=source,
        predicted_at=recorded.at if recorded else call.ports.clock.now(),
        actual_ctr=_actual_ctr(documents, found.ad_id),
        degraded=list(dict.fromkeys([*said.degraded, *degraded])),
    )


def _said(found: Creative, champion: CtrModel | None) -> tuple[Prediction | None, str]:
    """A rate that was recorded, else the champion's, else what the plan's shots promise."""
    recorded = found.recorded.predicted if found.recorded else None
    if recorded is not None and recorded.ctr is not None:
        return recorded, RECORDED
    features = found.features
    if champion is not None and features is not None:
        model = champion.for_account(found.account_id or "")
        said = model.predict_vector(creative.vector(features))
        if said is not None and said.ctr is not None:
            return said, CHAMPION
    if recorded is not None:
        return recorded, RECORDED
    return (found.blueprint.predicted if found.blueprint else None), PLAN


def _champion(call: Call) -> tuple[CtrModel | None, tuple[str, ...]]:
    try:
        predictor = predictor_of(call, RankPolicy())
    except ChampionUnavailableError:
        return None, (CHAMPION_UNREADABLE,)
    return (predictor if isinstance(predictor, CtrModel) else None), ()


def _actual_ctr(documents: Documents, ad_id: str | None) -> float | None:
    if ad_id is None:
        return None
    actual = documents.get(f"actuals/{ad_id}", Actual)
    return actual.ctr if actual else None


def _unknown(
    asked: CreativeQuestion, kind: str | None, reason: str, *degraded: str
) -> CreativePrediction:
    return CreativePrediction(
        creative_id=asked.creative_id,
        action=asked.action,
        kind=kind,
        data_status=INSUFFICIENT,
        reason=reason,
        degraded=list(degraded),
    )


def serve(api: Api) -> None:
    """The route of ml_service and of meta_publisher."""
    route = "/api/ml/oracle/predict"
    api.post(route, body=CreativeQuestion, answer=CreativePrediction)(predict)
