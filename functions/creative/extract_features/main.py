"""Features: one item of the fan-out, a scene or the whole speech track; the last one in goes on."""

import os

from geminivideo.drive_intel.features import extract_scene
from geminivideo.drive_intel.models import shared_models
from geminivideo.drive_intel.speech import transcribe
from geminivideo.events import FeaturesExtracted, SceneDetected
from geminivideo.records import SPEECH_ITEM, Scene
from geminivideo.runtime.step import Step, step


@step("extract_features")
def main(event: SceneDetected, step: Step) -> None:
    path = step.files.download(event.video, step.workdir / "source")
    models = shared_models(os.environ.get("GV_OBJECT_MODEL", ""))
    if event.item == SPEECH_ITEM:
        heard = transcribe(path, event.flow_id, models, step.policy.speech)
        step.put(f"transcripts/{event.flow_id}", heard)
        reasons = list(heard.degraded)
    else:
        scene = step.documents.require(f"scenes/{event.item}", Scene)
        policy = step.policy.scenes
        features, reasons = extract_scene(path, scene.start_s, scene.end_s, policy, models)
        step.update(f"scenes/{event.item}", {"features": features, "degraded": reasons})
    for reason in reasons:
        step.degrade(reason)
    step.arrive("features", event.item, then=FeaturesExtracted(flow_id=event.flow_id))
