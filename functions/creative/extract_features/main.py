"""Features: one item of the fan-out, a scene or the whole speech track; the last one in goes on."""

import os

from geminivideo.cloud import vision
from geminivideo.drive_intel.features import extract_scene, understand
from geminivideo.drive_intel.models import ModelMissingError, shared_models
from geminivideo.drive_intel.speech import transcribe
from geminivideo.events import FeaturesExtracted, SceneDetected
from geminivideo.records import SPEECH_ITEM, Features, Scene, Transcript, Video
from geminivideo.runtime.step import Permanent, Step, Transient, step

LANGUAGE = "en-US"


@step("extract_features")
def main(event: SceneDetected, step: Step) -> None:
    try:
        reasons = _hear(event, step) if event.item == SPEECH_ITEM else _look(event, step)
    except vision.VisionUnavailableError as error:
        raise Transient(str(error)) from error
    except (vision.VisionRefusedError, vision.VisionSettingError, ModelMissingError) as error:
        raise Permanent(str(error)) from error
    for reason in reasons:
        step.degrade(reason)
    step.arrive("features", event.item, then=FeaturesExtracted(flow_id=event.flow_id))


def _hear(event: SceneDetected, step: Step) -> tuple[str, ...]:
    heard = _listen(event, step)
    step.put(f"transcripts/{event.flow_id}", heard)
    return heard.degraded


def _listen(event: SceneDetected, step: Step) -> Transcript:
    intelligence = vision.from_env()
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    if intelligence is not None and video.audio_codec is not None:
        return intelligence.listen(event.video.uri, event.flow_id, LANGUAGE)
    path = step.files.download(event.video, step.workdir / "source")
    return transcribe(path, event.flow_id, shared_models(), step.policy.speech)


def _look(event: SceneDetected, step: Step) -> list[str]:
    """Looks at the pictures that were kept of a scene; without any it decodes them again."""
    scene = step.documents.require(f"scenes/{event.item}", Scene)
    start, end = scene.start_s, scene.end_s
    intelligence = vision.from_env()
    seen = intelligence.look(event.video.uri, start, end) if intelligence else Features()
    models, policy = shared_models(_object_model(step)), step.policy.scenes
    if scene.samples:
        features, found = understand(scene, step.files.read, policy, models, seen)
        reasons = list(dict.fromkeys([*scene.degraded, *found]))
    else:
        path = step.files.download(event.video, step.workdir / "source")
        features, reasons = extract_scene(path, start, end, policy, models, seen)
    step.update(f"scenes/{event.item}", {"features": features, "degraded": reasons})
    return reasons


def _object_model(step: Step) -> str:
    """``GV_OBJECT_MODEL`` is a file, or an object of the models bucket, fetched once a process."""
    named = os.environ.get("GV_OBJECT_MODEL", "")
    return str(step.files.cached(named)) if named.startswith("gs://") else named
