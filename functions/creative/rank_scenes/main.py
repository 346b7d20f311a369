"""Ranking: every scene's predicted CTR by the champion model, or the labelled heuristic."""

from geminivideo.cloud.documents import Query
from geminivideo.drive_intel.assemble import scene_transcript
from geminivideo.events import FeaturesExtracted, ScenesRanked
from geminivideo.ml.ctr import load_champion
from geminivideo.ml.ranking import rank
from geminivideo.records import ChampionModel, Scene, Transcript
from geminivideo.runtime.step import Step, step


@step("rank_scenes")
def main(event: FeaturesExtracted, step: Step) -> ScenesRanked:
    registered = step.documents.get("model_registry/ctr", ChampionModel)
    champion = load_champion(step.files.read(registered.artifact)) if registered else None
    scenes = step.documents.query(Query("scenes", where=[("flow_id", "==", event.flow_id)]), Scene)
    heard = step.documents.get(f"transcripts/{event.flow_id}", Transcript)
    words = heard.words if heard else None
    spoken = {s.id: scene_transcript(words, s.start_s, s.end_s) for s in scenes}
    for scene in rank(scenes, champion, step.policy.rank):
        step.put(f"scenes/{scene.id}", scene.with_transcript(spoken[scene.id]))
        for reason in scene.prediction.degraded if scene.prediction else ():
            step.degrade(reason)
    return ScenesRanked(flow_id=event.flow_id)
