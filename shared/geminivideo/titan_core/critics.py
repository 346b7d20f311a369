"""The Council's rule-based members: each measures one thing of a blueprint and says what it found.

A score starts at 100 and loses points for named faults; a serious fault alone brings the weighted
verdict under the approval score. They are pure, so a verdict can be replayed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from geminivideo.policy import CouncilPolicy
from geminivideo.records import Blueprint, MemberVerdict, Shot
from geminivideo.titan_core.director import CTAS, OFFER_CTAS
from geminivideo.titan_core.material import Material, words_of

CRITICS_VERSION = "rules-2"
FATAL = 100.0  # points of a fault that leaves nothing of a score
GLANCE_WORDS = 5  # what can be read while a thumb decides
BRISK_S = (1.2, 3.0)  # the mean shot length of an ad that keeps moving

# Words that claim nothing about the product: what the default strategy's fixed phrases use.
_PHRASES = (
    "wait for it have you seen this is stop here for up close in a few seconds look closer ready "
    "tired of from to the and a an it its is are you your now more how works get see watch what "
    "when why who with on at by or as we i our us not no yes just one"
)
_PLAIN = frozenset(_PHRASES.split()) | {
    word for text, _ in (*CTAS, *OFFER_CTAS) for word in words_of(text)
}


@dataclass(frozen=True)
class Fault:
    """Points lost, and why."""

    points: float
    reason: str


Faults = Iterator[Fault]


@dataclass(frozen=True)
class Critic:
    """A rule-based member: its name, its weight in the Council, and the faults it finds."""

    name: str
    weight: float
    faults: Callable[[Blueprint, Material, CouncilPolicy], Faults | None]

    def judge(
        self, blueprint: Blueprint, material: Material, policy: CouncilPolicy
    ) -> MemberVerdict:
        """Its verdict; ``score`` None when it has nothing to judge by."""
        found = self.faults(blueprint, material, policy)
        if found is None:
            return self._verdict(None, "nothing to judge by")
        listed = list(found)
        score = max(0.0, 100.0 - sum(fault.points for fault in listed))
        return self._verdict(score, "; ".join(f.reason for f in listed) or "no fault found")

    def _verdict(self, score: float | None, reason: str) -> MemberVerdict:
        return MemberVerdict(
            member=self.name,
            weight=self.weight,
            score=score,
            reason=reason,
            model_version=CRITICS_VERSION,
        )


def hook_faults(blueprint: Blueprint, material: Material, policy: CouncilPolicy) -> Faults:
    """The first second: can the line be read at a glance, and does the strongest shot open?"""
    text = blueprint.hook_text.strip()
    if not text:
        yield Fault(FATAL, "there is no hook")
        return
    if len(text) > policy.max_hook_chars:
        yield Fault(40, f"hook is {len(text)} characters, over {policy.max_hook_chars}")
    words = len(text.split())
    if words > GLANCE_WORDS:
        yield Fault(2.5 * (words - GLANCE_WORDS), f"{words} words are more than a glance")
    if _is_formula(text, material):
        yield Fault(6, "the line is a formula around the subject, not a thing said or shown")
    if len(text) > 6 and text.upper() == text and re.search("[A-Z]{4}", text):
        yield Fault(5, "hook shouts")
    yield from _opening_faults(blueprint, material)


def _opening_faults(blueprint: Blueprint, material: Material) -> Faults:
    if not blueprint.shots:
        return
    places = {scene.id: place for place, scene in enumerate(material.ranked)}
    place = places.get(blueprint.shots[0].scene_id)
    if place is None or len(places) < 2 or place == 0:
        return
    weak = len(places) > 2 and place >= (len(places) + 1) // 2
    points = 38 if weak else 10 * place / (len(places) - 1)
    yield Fault(points, f"opens on scene ranked {place + 1} of {len(places)}")


def _is_formula(text: str, material: Material) -> bool:
    """Whether a hook says nothing beyond fixed phrases and the subject's own name."""
    subject = set(words_of(material.subject))
    return all(word in _PLAIN or word in subject for word in words_of(text))


def pacing_faults(blueprint: Blueprint, material: Material, policy: CouncilPolicy) -> Faults:
    """Length, shot lengths, repetition."""
    lengths = [shot.length_s for shot in blueprint.shots]
    total = sum(lengths)
    if not lengths or total <= 0:
        yield Fault(FATAL, "no picture")
        return
    if total < min(policy.min_ad_s, material.video.duration_s * 0.5):
        yield Fault(55, f"{total:.1f} s is too short to tell anything")
    if total > policy.max_ad_s:
        yield Fault(55, f"{total:.1f} s is over {policy.max_ad_s:.0f} s")
    dragging = sum(length > policy.max_shot_s + 0.5 for length in lengths)
    if dragging and len(material.scenes) > 1:
        yield Fault(15.0 * dragging, f"{dragging} shots hold longer than {policy.max_shot_s:.0f} s")
    flashing = sum(length < policy.min_shot_s / 2 for length in lengths)
    if flashing:
        yield Fault(15.0 * flashing, f"{flashing} shots are too short to be seen")
    mean = total / len(lengths)
    low, high = BRISK_S
    off = max(low - mean, mean - high, 0.0) if len(material.scenes) > 1 else 0.0
    if off:
        yield Fault(min(15.0, 8.0 * off), f"shots last {mean:.1f} s on average, not {low}-{high} s")
    if _repeats(blueprint.shots):
        yield Fault(60, "the same footage is shown twice")


def _repeats(shots: tuple[Shot, ...]) -> bool:
    ordered = sorted(shots, key=lambda shot: shot.start_s)
    return any(a.end_s - b.start_s > 0.05 for a, b in pairwise(ordered))


def evidence_faults(blueprint: Blueprint, material: Material, policy: CouncilPolicy) -> Faults:
    """Does the ad say only what the advertiser or the video said, and show what exists?"""
    for shot in blueprint.shots:
        scene = material.scene(shot.scene_id)
        inside = scene and scene.start_s - 0.05 <= shot.start_s < shot.end_s <= scene.end_s + 0.05
        if not inside:
            yield Fault(
                FATAL, f"shot {shot.start_s:.1f}-{shot.end_s:.1f} s is not in {shot.scene_id}"
            )
    overlays = [shot.overlay_text for shot in blueprint.shots if shot.overlay_text]
    for text in (blueprint.hook_text, blueprint.cta_text, blueprint.caption, *overlays):
        yield from _claims(text, material)


def _claims(text: str, material: Material) -> Faults:
    for word in dict.fromkeys(words_of(text)):
        if word in material.vocabulary or word in _PLAIN:
            continue
        if any(character.isdigit() for character in word):
            yield Fault(FATAL, f"the figure '{word}' is in no source")
        else:
            yield Fault(30, f"'{word}' is in no source")


def ctr_faults(blueprint: Blueprint, material: Material, policy: CouncilPolicy) -> Faults | None:
    """Are the shots used at least as good as the video's average, by the ranking's own score?"""
    scores = {s.id: s.prediction.score for s in material.scenes if s.prediction is not None}
    used = [scores[shot.scene_id] for shot in blueprint.shots if shot.scene_id in scores]
    if not used:
        return None
    mean = sum(scores.values()) / len(scores)
    lack = max(0.0, 1.0 - (sum(used) / len(used)) / mean) if mean > 0 else 0.0
    return iter(
        [Fault(100 * lack, f"shots score {lack:.0%} under the video's mean")] if lack else []
    )


RULE_COUNCIL = (
    Critic("hook-critic", 0.40, hook_faults),
    Critic("pacing-critic", 0.30, pacing_faults),
    Critic("evidence-critic", 0.20, evidence_faults),
    Critic("deep-ctr", 0.10, ctr_faults),
)
