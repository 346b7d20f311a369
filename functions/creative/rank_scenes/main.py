"""Ranking: every scene's predicted CTR by the champion model, or the labelled heuristic."""

from geminivideo.cloud.documents import Query
from geminivideo.drive_intel.assemble import scene_transcript
from geminivideo.events import FeaturesExtracted, ScenesRanked
from geminivideo.ml.ctr import ModelUnreadableError, load_champion
from geminivideo.ml.ranking import Heuristic, Predictor, rank
from geminivideo.records import ChampionModel, Scene, Transcript
from geminivideo.runtime.step import Step, step


@step("rank_scenes")
def main(event: FeaturesExtracted, step: Step) -> ScenesRanked:
    found = step.documents.query(Query("scenes", where=[("flow_id", "==", event.flow_id)]), Scene)
    heard = step.documents.get(f"transcripts/{event.flow_id}", Transcript)
    words = heard.words if heard else None
    scenes = [s.with_transcript(scene_transcript(words, s.start_s, s.end_s)) for s in found]
    for scene in rank(scenes, _predictor(step)):
        step.put(f"scenes/{scene.id}", scene)
        for reason in scene.degraded:
            step.degrade(reason)
    return ScenesRanked(flow_id=event.flow_id)


def _predictor(step: Step) -> Predictor:
    registered = step.documents.get("model_registry/ctr", ChampionModel)
    if registered is not None:
        try:
            return load_champion(step.files.read(registered.artifact))
        except ModelUnreadableError as error:
            step.degrade("champion-unreadable")
            step.log("the champion model cannot be used", reason=str(error))
    return Heuristic(step.policy.rank)
