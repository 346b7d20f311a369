"""Scenes: one pass over the video gives its cuts, and of each scene what the features need."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from geminivideo.cloud import vision
from geminivideo.deadline import Deadline
from geminivideo.degraded import COARSE_CUTS, PICTURE_DAMAGED
from geminivideo.drive_intel.decode_pass import SceneSeen, is_coarse, watch
from geminivideo.drive_intel.focus import Look
from geminivideo.drive_intel.scene_sound import scenes_loudness, with_loudness
from geminivideo.events import ObjectRef, SceneDetected, VideoIngested
from geminivideo.records import SPEECH_ITEM, Scene, SceneSample, Video, scene_id_of
from geminivideo.runtime.step import Permanent, Step, Transient, step

UPLOADS_AT_ONCE = 4
SCENES_WAITING = 2  # whose pictures may be in memory before the decoder waits for their upload


@step("detect_scenes")
def main(event: VideoIngested, step: Step) -> list[SceneDetected]:
    path = step.files.download(event.video, step.workdir / "source")
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    _ask_the_cloud(event, video, step)
    if is_coarse(video.duration_s, step.policy.scenes):
        step.degrade(COARSE_CUTS)
    scenes = _heard(path, list(_stored_scenes(path, step)), video, step.deadline)
    for scene in scenes:
        step.put(f"scenes/{scene.id}", scene)
    items = [SPEECH_ITEM, *(scene.id for scene in scenes)]
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


def _stored_scenes(path: Path, step: Step) -> Iterator[Scene]:
    """Each scene with its pictures stored, uploaded while the next ones are decoded."""
    waiting: deque[_Uploading] = deque()
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as uploads:
        policy = step.policy.scenes
        until = step.deadline.share(policy.watching_share)
        for index, seen in enumerate(watch(path, policy, until)):
            for reason in seen.hurried:
                step.degrade(reason)
            waiting.append(_uploading(_scene(step.flow_id, index, seen), seen, uploads, step))
            if len(waiting) > SCENES_WAITING:
                yield waiting.popleft().done()
        while waiting:
            yield waiting.popleft().done()


def _scene(flow_id: str, index: int, seen: SceneSeen) -> Scene:
    return Scene(
        id=scene_id_of(flow_id, index),
        flow_id=flow_id,
        index=index,
        start_s=seen.start_s,
        end_s=seen.end_s,
        features=seen.measured,
        degraded=(PICTURE_DAMAGED,) if seen.damaged else (),
    )


@dataclass(frozen=True)
class _Uploading:
    """A scene whose pictures are on their way, each to the name of its content."""

    scene: Scene
    looks: list[Look]
    thumbnail: Future[ObjectRef]
    pictures: list[Future[ObjectRef]]

    def done(self) -> Scene:
        kept = [_sample(*both) for both in zip(self.looks, self.pictures, strict=True)]
        return replace(self.scene, thumbnail=self.thumbnail.result().uri, samples=tuple(kept))


def _uploading(scene: Scene, seen: SceneSeen, uploads: Executor, step: Step) -> _Uploading:
    return _Uploading(
        scene=scene,
        looks=[one.look for one in seen.pictures],
        thumbnail=uploads.submit(_stored, seen.thumbnail, "thumbnails", step),
        pictures=[uploads.submit(_stored, one.jpeg, "frames", step) for one in seen.pictures],
    )


def _heard(path: Path, scenes: list[Scene], video: Video, deadline: Deadline) -> list[Scene]:
    """The scenes with how loud each is; those of a coarse pass are heard one by one later."""
    measured = [scene.features for scene in scenes if scene.features is not None]
    if len(measured) < len(scenes):
        return scenes
    spans = [(scene.start_s, scene.end_s) for scene in scenes]
    has_audio = video.audio_codec is not None
    heard = scenes_loudness(path, spans, has_audio=has_audio, deadline=deadline)
    return [
        replace(
            scene,
            features=with_loudness(features, loudness),
            degraded=(*scene.degraded, *missing),
        )
        for scene, features, (loudness, missing) in zip(scenes, measured, heard, strict=True)
    ]


def _sample(look: Look, stored: Future[ObjectRef]) -> SceneSample:
    return SceneSample(
        at_s=look.at_s,
        picture=stored.result(),
        motion=round(look.motion, 5),
        moving=look.moving,
        detail=look.detail,
    )


def _stored(picture: bytes, folder: str, step: Step) -> ObjectRef:
    name = f"{folder}/{sha256(picture).hexdigest()}.jpg"
    return step.files.write(picture, step.settings.media_bucket, name, "image/jpeg")
