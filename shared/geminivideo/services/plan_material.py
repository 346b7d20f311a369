"""What the Director plans from: a flow's video, scenes and transcript, the brief, and wisdom."""

from __future__ import annotations

from dataclasses import replace

from geminivideo.cloud.documents import Documents, Query
from geminivideo.learning.teaching import effect, sentence, teachable
from geminivideo.learning_records import CreativeFeatures, WinningPattern
from geminivideo.ml.creative import of_blueprint
from geminivideo.records import Blueprint, Brief, Scene, Transcript, Video
from geminivideo.runtime.policies import policy_of
from geminivideo.titan_core.material import Material
from geminivideo.titan_core.wisdom import Lesson, Wisdom


def material_of(documents: Documents, flow_id: str, brief: Brief) -> Material | None:
    """The material of a flow, or None while it is not analysed."""
    video = documents.get(f"videos/{flow_id}", Video)
    if video is None:
        return None
    analysed = video.material_id
    scenes = documents.query(Query("scenes", [("flow_id", "==", analysed)]), Scene)
    if not scenes:
        return None
    bare = Material(
        flow_id=flow_id,
        brief=brief,
        video=video,
        scenes=tuple(sorted(scenes, key=lambda scene: scene.index)),
        transcript=documents.get(f"transcripts/{analysed}", Transcript),
    )
    return replace(bare, wisdom=wisdom_of(documents, bare))


def wisdom_of(documents: Documents, material: Material) -> Wisdom | None:
    """What the ads of the video's account taught (loop 4 of the learning cycle), or None."""
    account_id = material.video.account_id
    query = Query("winning_patterns", [("account_id", "==", account_id)])
    stored = documents.query(query, WinningPattern)
    if not stored:
        return None
    policy = policy_of(documents, account_id)
    lessons = tuple(_lesson(one) for one in teachable(stored, policy.patterns))

    def describe(blueprint: Blueprint) -> CreativeFeatures:
        scenes, transcript = material.scenes, material.transcript
        return of_blueprint(blueprint, scenes, transcript, policy.creative)

    share = policy.patterns.following_share
    return Wisdom(lessons=lessons, describe=describe, following_share=share) if lessons else None


def _lesson(one: WinningPattern) -> Lesson:
    return Lesson(
        pattern_id=one.id, conditions=one.conditions, effect=effect(one), reason=sentence(one)
    )
