"""What the Director plans from: a flow's video, scenes and transcript, the brief, and wisdom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from geminivideo.cloud.documents import Documents, Query
from geminivideo.learning.teaching import effect, sentence, teachable
from geminivideo.learning_records import (
    CreativeFeatures,
    GlobalPattern,
    SharedRelease,
    WinningPattern,
)
from geminivideo.ml.creative import of_blueprint
from geminivideo.records import Blueprint, Brief, Scene, Transcript, Video
from geminivideo.runtime.policies import policy_of
from geminivideo.services import shared_patterns
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
    """What the ads of the video's account taught (loop 4 of the learning cycle), or None.

    An account that takes part in sharing plans by what others' ads taught, too, where its own
    have not taught anything about the same trait.
    """
    account_id = material.video.account_id
    query = Query("winning_patterns", [("account_id", "==", account_id)])
    stored = documents.query(query, WinningPattern)
    release = shared_patterns.received(documents, account_id)
    if not stored and release is None:
        return None
    policy = policy_of(documents, account_id)
    own = [_lesson(one) for one in teachable(stored, policy.patterns, material.brief.target_avatar)]
    lessons = _with_shared(own, release)

    def describe(blueprint: Blueprint) -> CreativeFeatures:
        scenes, transcript = material.scenes, material.transcript
        return of_blueprint(blueprint, scenes, transcript, policy.creative)

    share = policy.patterns.following_share
    return Wisdom(lessons=lessons, describe=describe, following_share=share) if lessons else None


def _lesson(one: WinningPattern) -> Lesson:
    return Lesson(
        pattern_id=one.id, conditions=one.conditions, effect=effect(one), reason=sentence(one)
    )


def _with_shared(own: Sequence[Lesson], release: SharedRelease | None) -> tuple[Lesson, ...]:
    """Own lessons, and those of the shared patterns that no own one speaks of."""
    known = {one.conditions for one in own}
    shared = [_shared_lesson(one, release) for one in release.patterns] if release else []
    new = (one for one in shared if one.effect and one.conditions not in known)
    return tuple(sorted([*own, *new], key=lambda one: -abs(one.effect)))


def _shared_lesson(pattern: GlobalPattern, release: SharedRelease) -> Lesson:
    """``effect`` is the least that the interval admits, as with an account's own patterns."""
    low, high = (math.log(end) for end in pattern.interval)
    return Lesson(
        pattern_id=f"shared-{release.id}-{pattern.trait}",
        conditions=(pattern.condition,),
        effect=max(0.0, low) if pattern.lift > 1 else min(0.0, high),
        reason=(
            f"{pattern.trait}: CTR {pattern.lift:.2f} times that without it "
            f"({pattern.interval[0]:.2f} to {pattern.interval[1]:.2f}) in about "
            f"{release.accounts} accounts that share"
        ),
    )
