"""Scenes: one pass over the video gives its cuts, and of each scene what the features need."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

from geminivideo.cloud import vision
from geminivideo.degraded import COARSE_CUTS, PICTURE_DAMAGED
from geminivideo.drive_intel.decode_pass import Picture, SceneSeen, is_coarse, watch
from geminivideo.drive_intel.scene_sound import scene_loudness, with_loudness
from geminivideo.events import ObjectRef, SceneDetected, VideoIngested
from geminivideo.records import SPEECH_ITEM, Scene, SceneSample, Video, scene_id_of
from geminivideo.runtime.step import Permanent, Step, Transient, step

UPLOADS_AT_ONCE = 4


@step("detect_scenes")
def main(event: VideoIngested, step: Step) -> list[SceneDetected]:
    path = step.files.download(event.video, step.workdir / "source")
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    _ask_the_cloud(event, video, step)
    if is_coarse(video.duration_s, step.policy.scenes):
        step.degrade(COARSE_CUTS)
    items = [SPEECH_ITEM]
    for index, seen in enumerate(watch(path, step.policy.scenes)):
        scene = _with_pictures(_scene(event.flow_id, index, seen), seen, step)
        missing = [PICTURE_DAMAGED] if seen.damaged else []
        if seen.measured is not None:
            loudness, unheard = scene_loudness(
                path, seen.start_s, seen.end_s, has_audio=video.audio_codec is not None
            )
            scene = replace(scene, features=with_loudness(seen.measured, loudness))
            missing += unheard
        scene = replace(scene, degraded=tuple(missing))
        step.put(f"scenes/{scene.id}", scene)
        items.append(scene.id)
    step.fan_out("features", items)
    return [SceneDetected(flow_id=event.flow_id, video=event.video, item=item) for item in items]


def _ask_the_cloud(event: VideoIngested, video: Video, step: Step) -> None:
    """Where the account's policy wants it: one question about the whole video, and its cost.

    It is answered while the cuts are looked for. A delivery that comes again asks nothing again.
    """
    policy = step.policy.vision
    wanted = [name for name in policy.wanted if name != "speech" or video.audio_codec is not None]
    try:
        intelligence = vision.chosen(policy)
        if intelligence is None or video.vision is not None:
            return
        operation = intelligence.ask(event.video.uri, wanted, policy.language)
        asked = vision.requested(operation, policy, wanted, video.duration_s)
    except vision.VisionUnavailableError as error:
        raise Transient(str(error)) from error
    except vision.REFUSALS as error:
        raise Permanent(str(error)) from error
    step.documents.update(f"videos/{event.flow_id}", {"vision": asked})


def _scene(flow_id: str, index: int, seen: SceneSeen) -> Scene:
    return Scene(
        id=scene_id_of(flow_id, index),
        flow_id=flow_id,
        index=index,
        start_s=seen.start_s,
        end_s=seen.end_s,
    )


def _with_pictures(scene: Scene, seen: SceneSeen, step: Step) -> Scene:
    """The scene with its pictures stored, each under the name of its content."""
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as uploads:
        thumbnail = uploads.submit(_stored, seen.thumbnail, "thumbnails", step)
        kept = uploads.map(lambda one: _stored(one.jpeg, "frames", step), seen.pictures)
        samples = [_sample(*both) for both in zip(seen.pictures, kept, strict=True)]
    return replace(scene, thumbnail=thumbnail.result().uri, samples=tuple(samples))


def _sample(picture: Picture, stored: ObjectRef) -> SceneSample:
    look = picture.look
    return SceneSample(
        at_s=look.at_s,
        picture=stored,
        motion=round(look.motion, 5),
        moving=look.moving,
        detail=look.detail,
    )


def _stored(picture: bytes, folder: str, step: Step) -> ObjectRef:
    name = f"{folder}/{sha256(picture).hexdigest()}.jpg"
    return step.files.write(picture, step.settings.media_bucket, name, "image/jpeg")
