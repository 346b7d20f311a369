"""Scenes: cuts of the video, a thumbnail each, and the fan-out of the features."""

from hashlib import sha256

from geminivideo.degraded import COARSE_CUTS
from geminivideo.drive_intel.scenes import detect_scenes, is_coarse, thumbnail
from geminivideo.events import SceneDetected, VideoIngested
from geminivideo.records import SPEECH_ITEM, Scene, Video, scene_id_of
from geminivideo.runtime.step import Step, step


@step("detect_scenes")
def main(event: VideoIngested, step: Step) -> list[SceneDetected]:
    path = step.files.download(event.video, step.workdir / "source")
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    if is_coarse(video.duration_s, step.policy.scenes):
        step.degrade(COARSE_CUTS)
    items = [SPEECH_ITEM]
    for index, (start, end) in enumerate(detect_scenes(path, step.policy.scenes)):
        scene_id = scene_id_of(event.flow_id, index)
        picture = thumbnail(path, (start + end) / 2)
        name = f"thumbnails/{sha256(picture).hexdigest()}.jpg"
        shown = step.files.write(picture, step.settings.media_bucket, name, "image/jpeg")
        scene = Scene(
            id=scene_id,
            flow_id=event.flow_id,
            index=index,
            start_s=start,
            end_s=end,
            thumbnail=shown.uri,
        )
        step.put(f"scenes/{scene_id}", scene)
        items.append(scene_id)
    step.fan_out("features", items)
    return [SceneDetected(flow_id=event.flow_id, video=event.video, item=item) for item in items]
