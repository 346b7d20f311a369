"""Ranking: every scene's predicted CTR by the champion model, or the labelled heuristic."""

from collections.abc import Sequence
from dataclasses import replace

from geminivideo.cloud.documents import Query
from geminivideo.cloud.files import ObjectGoneError
from geminivideo.degraded import CHAMPION_UNREADABLE, NO_MEANING
from geminivideo.drive_intel.assemble import completed
from geminivideo.drive_intel.meaning import meanings
from geminivideo.events import FeaturesExtracted, ScenesRanked
from geminivideo.language import ModelUnavailableError
from geminivideo.ml.ctr import ModelUnreadableError
from geminivideo.ml.ranking import Heuristic, Predictor, rank
from geminivideo.records import Flow, Scene, SoundTrack, Transcript
from geminivideo.runtime.flows import path_of
from geminivideo.runtime.step import Step, step
from geminivideo.services import model_registry
from geminivideo.services.embedding import embedder
from geminivideo.services.hearing import hears


@step("rank_scenes")
def main(event: FeaturesExtracted, step: Step) -> ScenesRanked:
    found = step.documents.query(Query("scenes", where=[("flow_id", "==", event.flow_id)]), Scene)
    heard = step.documents.get(f"transcripts/{event.flow_id}", Transcript)
    sound = step.documents.get(f"sounds/{event.flow_id}", SoundTrack)
    scenes = [completed(scene, heard, sound) for scene in found]
    for scene in _with_meaning(rank(scenes, _predictor(step)), step):
        step.put(f"scenes/{scene.id}", scene)
        for reason in scene.degraded:
            step.degrade(reason)
    return ScenesRanked(flow_id=event.flow_id)


def _with_meaning(scenes: Sequence[Scene], step: Step) -> list[Scene]:
    """Scenes that a search can compare with a question; as they are when no text model is there."""
    try:
        found = meanings(scenes, embedder(step.settings.project), step.policy.search)
    except ModelUnavailableError as error:
        step.degrade(NO_MEANING)
        step.log("scenes have no meaning to compare", reason=str(error))
        return list(scenes)
    return [replace(scene, meaning=one) for scene, one in zip(scenes, found, strict=True)]


def _predictor(step: Step) -> Predictor:
    """The champion at the account's level; the heuristic without one that the account hears."""
    try:
        champion = model_registry.champion_model(step.documents, step.files)
    except (ModelUnreadableError, ObjectGoneError) as error:
        step.degrade(CHAMPION_UNREADABLE)
        step.log("the champion model cannot be used", reason=str(error))
        return Heuristic(step.policy.rank)
    if champion is None:
        return Heuristic(step.policy.rank)
    flow = step.documents.get(path_of(step.flow_id), Flow)
    account_id = flow.account_id if flow else ""
    if not hears(step.documents, account_id, champion.version):
        return Heuristic(step.policy.rank)
    return champion.for_account(account_id)
