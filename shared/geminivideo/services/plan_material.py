"""What the Director plans from: a flow's video, scenes and transcript, with the brief."""

from __future__ import annotations

from geminivideo.cloud.documents import Documents, Query
from geminivideo.records import Brief, Scene, Transcript, Video
from geminivideo.titan_core.material import Material


def material_of(documents: Documents, flow_id: str, brief: Brief) -> Material | None:
    """The material of a flow, or None while it is not analysed."""
    video = documents.get(f"videos/{flow_id}", Video)
    if video is None:
        return None
    analysed = video.material_id
    scenes = documents.query(Query("scenes", [("flow_id", "==", analysed)]), Scene)
    if not scenes:
        return None
    return Material(
        flow_id=flow_id,
        brief=brief,
        video=video,
        scenes=tuple(sorted(scenes, key=lambda scene: scene.index)),
        transcript=documents.get(f"transcripts/{analysed}", Transcript),
    )
