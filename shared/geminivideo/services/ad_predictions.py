"""What is predicted of each ad before it is shown: written once, when the ad is asked for.

The record is the variation's. Which ad came of a variation is known by the change that made it:
``pending_ad_changes`` has the variation from the beginning and Meta's id (``meta_id``) once the
SafeExecutor has seen the ad at Meta. Nobody else knows both, so everybody finds an ad's prediction
through it; ads that were not made here have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from geminivideo.cloud.documents import Query
from geminivideo.cloud.files import ObjectGoneError
from geminivideo.degraded import CHAMPION_UNREADABLE, SHADOW_UNREADABLE
from geminivideo.learning_records import PredictionRecord, ShadowPrediction
from geminivideo.ml import creative
from geminivideo.ml.ctr import ModelUnreadableError
from geminivideo.records import (
    Blueprint,
    ChangeType,
    PendingChange,
    Scene,
    Transcript,
    Video,
)
from geminivideo.services import model_registry
from geminivideo.services.hearing import hears

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.events import ObjectRef
    from geminivideo.learning_records import CreativeFeatures
    from geminivideo.ml.ctr import CtrModel
    from geminivideo.runtime.step import Step

_IN = 30  # values that one ``in`` filter takes


def path_of(prediction_id: str) -> str:
    """``predictions/{id}``."""
    return f"predictions/{prediction_id}"


def predict_ads(
    step: Step, changes: Sequence[PendingChange], blueprints: Mapping[str, Blueprint]
) -> None:
    """Keep what is predicted of the ads that ``changes`` will make, when the step commits.

    ``blueprints`` are by variation. A variation that has a prediction keeps it: what was said
    first, before anything was shown, is what actuals are compared with.
    """
    analysed = step.documents.require(f"videos/{step.flow_id}", Video).material_id
    scenes = step.documents.query(Query("scenes", [("flow_id", "==", analysed)]), Scene)
    heard = step.documents.get(f"transcripts/{analysed}", Transcript)
    champion, shadows = _champion(step), dict(_shadows(step))
    told = {
        account_id
        for account_id in {one.account_id for one in changes}
        if champion is not None and hears(step.documents, account_id, champion.version)
    }
    now, records = step.clock.now(), []
    for change in changes:
        blueprint = blueprints[str(change.variation_id)]
        policy = step.policy_of(change.account_id).creative
        features = creative.of_blueprint(blueprint, scenes, heard, policy)
        spoken = champion if change.account_id in told else None
        records.append(_record(change, blueprint, features, spoken, shadows, now))
    step.decide(lambda transaction: _unpredicted(transaction, records))


def _unpredicted(
    transaction: Transaction, records: Sequence[PredictionRecord]
) -> list[tuple[str, Any]]:
    """The records of what has none yet."""
    paths = {path_of(record.id): record for record in records}
    if not paths:
        return []
    transaction.read_ahead(*paths)
    return [
        (path, record)
        for path, record in paths.items()
        if transaction.get(path, PredictionRecord) is None
    ]


def _record(
    change: PendingChange,
    blueprint: Blueprint,
    features: CreativeFeatures,
    champion: CtrModel | None,
    shadows: Mapping[str, CtrModel],
    now: float,
) -> PredictionRecord:
    values, account = creative.vector(features), change.account_id
    said = {
        version: model.for_account(account).predict_vector(values)
        for version, model in shadows.items()
    }
    predicted = champion.for_account(account).predict_vector(values) if champion else None
    return PredictionRecord(
        id=str(change.variation_id),
        account_id=change.account_id,
        at=now,
        features=features,
        predicted=predicted or blueprint.predicted,
        variation_id=change.variation_id,
        blueprint_id=blueprint.id,
        campaign_id=change.campaign_id,
        shadows=tuple(
            ShadowPrediction(model_version=version, ctr=one.ctr, interval=one.interval)
            for version, one in sorted(said.items())
            if one.ctr is not None
        ),
    )


def _champion(step: Step) -> CtrModel | None:
    """The model in use; without one, the plan's own prediction (of its scenes) is the record's."""
    registered = model_registry.champion_of(step.documents)
    if registered is None:
        return None
    return _loaded(step, registered.artifact, registered.checksum, CHAMPION_UNREADABLE)


def _shadows(step: Step) -> Iterator[tuple[str, CtrModel]]:
    for one in model_registry.shadows(step.documents):
        otherwise = f"{SHADOW_UNREADABLE}:{one.version}"
        model = _loaded(step, one.artifact, one.checksum, otherwise)
        if model is not None:
            yield one.version, model


def _loaded(step: Step, artifact: ObjectRef, checksum: str, otherwise: str) -> CtrModel | None:
    try:
        return model_registry.load(step.files, artifact, checksum)
    except (ModelUnreadableError, ObjectGoneError) as error:
        step.degrade(otherwise)
        step.log("a model cannot be used", artifact=artifact.key, reason=str(error))
        return None


def made_here(documents: Documents, ad_ids: Iterable[str]) -> dict[str, str]:
    """The variation of each ad that was made here from one, by the ad's id."""
    wanted, found = list(ad_ids), {}
    for start in range(0, len(wanted), _IN):
        some = wanted[start : start + _IN]
        for change in documents.query(
            Query("pending_ad_changes", [("meta_id", "in", some)]), PendingChange
        ):
            made = change.change_type is ChangeType.CREATE_AD and change.variation_id
            if made and change.meta_id:
                found[change.meta_id] = str(change.variation_id)
    return found
