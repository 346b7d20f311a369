"""Features: one item of the fan-out, a scene or the whole speech track; the last one in goes on."""

from pathlib import Path

from geminivideo.cloud import vision
from geminivideo.drive_intel.features import extract_scene, understand
from geminivideo.drive_intel.models import ModelMissingError, Models, shared_models
from geminivideo.drive_intel.speech import names_to_expect, transcribe
from geminivideo.drive_intel.track_sound import sound_track
from geminivideo.drive_intel.voice_activity import Track, decoded
from geminivideo.events import FeaturesExtracted, SceneDetected
from geminivideo.records import SPEECH_ITEM, Brief, Campaign, Features, Scene, Transcript, Video
from geminivideo.runtime.step import Permanent, Step, Transient, step
from geminivideo.services.model_files import object_model, speech_model


@step("extract_features")
def main(event: SceneDetected, step: Step) -> None:
    try:
        reasons = _hear(event, step) if event.item == SPEECH_ITEM else _look(event, step)
    except vision.VisionUnavailableError as error:
        raise Transient(str(error)) from error
    except (*vision.REFUSALS, ModelMissingError) as error:
        raise Permanent(str(error)) from error
    for reason in reasons:
        step.degrade(reason)
    step.arrive("features", event.item, then=FeaturesExtracted(flow_id=event.flow_id))


def _hear(event: SceneDetected, step: Step) -> tuple[str, ...]:
    """What is said, and what the sound is made of: the track is decoded once for both."""
    path = step.files.download(event.video, step.workdir / "source")
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    track = decoded(path, step.policy.speech.max_heard_s)
    heard = _listen(event, step, video, path, track)
    sound = sound_track(path, event.flow_id, track, step.policy.sound, step.deadline)
    step.put(f"transcripts/{event.flow_id}", heard)
    step.put(f"sounds/{event.flow_id}", sound)
    return tuple(dict.fromkeys([*heard.degraded, *sound.degraded]))


def _listen(
    event: SceneDetected, step: Step, video: Video, path: Path, track: Track | None
) -> Transcript:
    intelligence, asked = vision.chosen(step.policy.vision), video.vision
    language = step.policy.vision.language
    if intelligence is not None and asked is not None and "speech" in asked.minutes:
        answer = intelligence.answer(asked.operation, event.video.uri)
        return vision.heard(answer, event.flow_id, language)
    if intelligence is not None and asked is None and video.audio_codec is not None:
        return intelligence.listen(event.video.uri, event.flow_id, language)
    policy = step.policy.speech
    hint = names_to_expect(_brief_of(video, step), policy)
    until = step.deadline.share(policy.time_share)
    return transcribe(path, event.flow_id, _models(step), policy, hint, track, until)


def _brief_of(video: Video, step: Step) -> Brief | None:
    """What the advertiser said of the campaign that the upload names."""
    if video.campaign_id is None:
        return None
    campaign = step.documents.get(f"campaigns/{video.campaign_id}", Campaign)
    return campaign.brief if campaign else None


def _look(event: SceneDetected, step: Step) -> list[str]:
    """Looks at the pictures that were kept of a scene; without any it decodes them again."""
    scene = step.documents.require(f"scenes/{event.item}", Scene)
    start, end = scene.start_s, scene.end_s
    seen = _seen_by_the_cloud(event, step, start, end)
    models, policy = _models(step), step.policy.scenes
    if scene.samples:
        features, found = understand(scene, step.files.read, policy, models, seen, step.deadline)
    else:
        path = step.files.download(event.video, step.workdir / "source")
        features, found = extract_scene(path, start, end, policy, models, seen, step.deadline)
    reasons = list(dict.fromkeys([*scene.degraded, *found]))
    step.update(f"scenes/{event.item}", {"features": features, "degraded": reasons})
    return reasons


def _seen_by_the_cloud(event: SceneDetected, step: Step, start: float, end: float) -> Features:
    """The scene's part of the one answer; nothing where our own models look.

    A video that nothing was asked about (its cuts are older than that) is asked scene by scene.
    """
    intelligence = vision.chosen(step.policy.vision)
    if intelligence is None:
        return Features()
    asked = step.documents.require(f"videos/{event.flow_id}", Video).vision
    if asked is None:
        return intelligence.look(event.video.uri, start, end)
    answer = intelligence.answer(asked.operation, event.video.uri)
    return vision.seen(answer, start, end, list(asked.minutes))


def _models(step: Step) -> Models:
    return shared_models(object_model(step.files), speech_model(step.files))
