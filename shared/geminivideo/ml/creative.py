"""A whole ad as the numbers that a model learns from; unknown is None, never a default.

``of_blueprint`` says what an ad is made of, as far as that is known before it is shown; ``vector``
turns it into numbers. Measured members are named and scaled as those of ``vectors``, so that one
model serves scenes and ads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from geminivideo.learning_records import CreativeFeatures
from geminivideo.ml import vectors
from geminivideo.ml.vectors import Vector
from geminivideo.policy import CreativePolicy
from geminivideo.records import (
    Blueprint,
    Features,
    HookType,
    Scene,
    Shot,
    SoundKind,
    TextSeen,
    Transcript,
    Word,
)

CTA_TYPES = ("learn_more", "buy_now", "shop_now", "sign_up", "get_offer", "book_now", "download")
GRADES = ("natural", "vivid", "warm", "cinematic", "clean")
FIRST_FRAMES = ("face", "text", "motion", "still")
_JOINED_S = 1e-3  # two shots that meet this closely in one scene show no cut
_NUMBER = re.compile(r"\d")


@dataclass(frozen=True)
class _Taken:
    """A shot with the scene it is taken from, if that is known."""

    shot: Shot
    scene: Scene | None

    @property
    def seconds(self) -> float:
        return max(self.shot.end_s - self.shot.start_s, 0.0)

    @property
    def features(self) -> Features:
        return (self.scene.features if self.scene else None) or Features()


def of_blueprint(
    blueprint: Blueprint,
    scenes: Iterable[Scene],
    transcript: Transcript | None,
    policy: CreativePolicy | None = None,
) -> CreativeFeatures:
    """What an ad is made of: the plan's own words and shots, and what was measured in its scenes.

    ``scenes`` are those of the blueprint's flow (others are not looked at); a measure is known when
    it was measured for ``policy.min_known`` of the ad's time. ``transcript`` is the source's.
    """
    policy = policy or CreativePolicy()
    by_id = {scene.id: scene for scene in scenes}
    taken = [_Taken(shot, by_id.get(shot.scene_id)) for shot in blueprint.shots]
    duration_s = math.fsum(one.seconds for one in taken)
    if duration_s <= 0:
        return _worded(blueprint)
    words = _spoken(taken, transcript)
    mean = _Means(taken, policy.min_known)
    means = {name: mean.of(measure) for name, measure in _MEANS.items()}
    return _worded(
        blueprint,
        duration_s=duration_s,
        opening_shot_s=_opening_s(taken),
        cuts_per_s=_cuts(taken) / duration_s,
        words_per_s=None if words is None else words / duration_s,
        letters_per_s=_letters_per_s(blueprint, mean, duration_s),
        has_speech=_has_speech(words, mean, policy),
        has_music=_has_sound(SoundKind.MUSIC, mean, policy),
        first_frame=_first_frame(taken[0], policy),
        **means,
    )


def _worded(blueprint: Blueprint, **measured: float | str | None) -> CreativeFeatures:
    """The plan's own choices, which are always known, with what was measured."""
    known = {
        "hook_type": blueprint.hook_type.value,
        "hook_words": len(blueprint.hook_text.split()),
        "hook_has_number": bool(_NUMBER.search(blueprint.hook_text)),
        "cta_type": _category(blueprint.cta_type),
        "grade": _category(blueprint.grade),
    }
    return CreativeFeatures(**known, **measured)  # type: ignore[arg-type]


def _category(text: str) -> str | None:
    return "_".join(text.lower().split()) or None


class _Means:
    """Means over an ad's shots, weighted by their time."""

    def __init__(self, taken: Sequence[_Taken], min_known: float) -> None:
        self._taken = taken
        self._least_s = min_known * math.fsum(one.seconds for one in taken)

    def of(self, measure: Callable[[Features], float | None]) -> float | None:
        """The mean of a measure of the shots' scenes."""
        return self.over_shots(lambda one: measure(one.features))

    def over_shots(self, measure: Callable[[_Taken], float | None]) -> float | None:
        """The mean over the shots of which it is known; unknown when these are too little time."""
        known = [
            (one.seconds, value)
            for one in self._taken
            if one.seconds > 0 and (value := measure(one)) is not None
        ]
        seconds = math.fsum(weight for weight, _ in known)
        if not known or seconds < self._least_s:
            return None
        return math.fsum(weight * value for weight, value in known) / seconds


_MEANS: Mapping[str, Callable[[Features], float | None]] = {
    "motion": lambda f: f.motion,
    "sharpness": lambda f: f.sharpness,
    "quality": lambda f: f.quality,
    "brightness": lambda f: f.brightness,
    "contrast": lambda f: f.contrast,
    "saturation": lambda f: f.saturation,
    "loudness_lufs": lambda f: f.loudness_lufs,
    "object_kinds": lambda f: vectors.kinds(f.objects),
    "faces": lambda f: vectors.at_once(f.faces),
}


def _meets(before: _Taken, after: _Taken) -> bool:
    """Whether a shot only goes on with the one before it."""
    return (
        before.shot.scene_id == after.shot.scene_id
        and after.shot.transition == "cut"
        and abs(after.shot.start_s - before.shot.end_s) < _JOINED_S
    )


def _cuts(taken: Sequence[_Taken]) -> int:
    return sum(not _meets(before, after) for before, after in pairwise(taken))


def _opening_s(taken: Sequence[_Taken]) -> float:
    """How long the ad's first picture stands, up to its first cut."""
    seconds = taken[0].seconds
    for before, after in pairwise(taken):
        if not _meets(before, after):
            break
        seconds += after.seconds
    return seconds


def _spoken(taken: Sequence[_Taken], transcript: Transcript | None) -> int | None:
    if transcript is None or transcript.words is None:
        return None
    return sum(_within(word, one.shot) for one in taken for word in transcript.words)


def _within(word: Word, shot: Shot) -> bool:
    return shot.start_s <= (word.start_s + word.end_s) / 2 < shot.end_s


def _letters_per_s(blueprint: Blueprint, mean: _Means, duration_s: float) -> float | None:
    """Letters that the plan lays over the picture and those seen in it, per second."""
    seen = mean.over_shots(_letters_seen_per_s)
    overlays = [shot.overlay_text or "" for shot in blueprint.shots]
    laid = sum(len(text) for text in (blueprint.hook_text, blueprint.cta_text, *overlays))
    return None if seen is None else seen + laid / duration_s


def _letters_seen_per_s(one: _Taken) -> float | None:
    texts = one.features.texts
    if texts is None:
        return None
    return sum(len(text.text) for text in texts if _shown(text, one.shot)) / one.seconds


def _shown(text: TextSeen, shot: Shot) -> bool:
    last_s = text.at_s if text.until_s is None else text.until_s
    return text.at_s < shot.end_s and last_s >= shot.start_s


def _has_speech(words: int | None, mean: _Means, policy: CreativePolicy) -> bool | None:
    """By the words that were recognised, else by the sound's own kinds."""
    return _has_sound(SoundKind.VOICE, mean, policy) if words is None else words > 0


def _has_sound(kind: SoundKind, mean: _Means, policy: CreativePolicy) -> bool | None:
    share = mean.over_shots(lambda one: _share_of(kind, one))
    return None if share is None else share >= policy.min_sound_share


def _share_of(kind: SoundKind, one: _Taken) -> float | None:
    if one.features.sound is None:
        return None
    parts = (part for part in one.features.sound if part.kind is kind)
    heard = (
        min(part.end_s, one.shot.end_s) - max(part.start_s, one.shot.start_s) for part in parts
    )
    return math.fsum(max(seconds, 0.0) for seconds in heard) / one.seconds


def _first_frame(one: _Taken, policy: CreativePolicy) -> str | None:
    """The first of face, text and motion that the opening shows; unknown at the first unknown."""
    until_s = min(one.shot.end_s, one.shot.start_s + policy.opening_s)
    opening = Shot(scene_id=one.shot.scene_id, start_s=one.shot.start_s, end_s=until_s)
    features = one.features
    if features.faces is None:
        return None
    if any(opening.start_s <= face.at_s < opening.end_s for face in features.faces):
        return "face"
    if features.texts is None:
        return None
    if any(_shown(text, opening) for text in features.texts):
        return "text"
    if features.motion is None:
        return None
    return "motion" if features.motion >= policy.min_motion else "still"


def vector(features: CreativeFeatures) -> Vector:
    """Every member of ``NAMES``: counts as log(1 + n), truths as 0 or 1, kinds one-hot.

    A kind that is not in the lists here is 0 for each of them; one that is unknown is ``None``.
    """
    found = {name: measure(features) for name, measure in _NUMBERS.items()}
    for name, (kinds, of) in _KINDS.items():
        kind = of(features)
        for one in kinds:
            found[f"{name}={one}"] = None if kind is None else float(kind == one)
    return found


def _log(count: float | None) -> float | None:
    return None if count is None else math.log1p(max(count, 0.0))


def _truth(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _whole(rate: float | None, seconds: float | None) -> float | None:
    return None if rate is None or seconds is None else _log(rate * seconds)


_NUMBERS: Mapping[str, Callable[[CreativeFeatures], float | None]] = {
    "motion": lambda f: f.motion,
    "sharpness": lambda f: _log(f.sharpness),
    "quality": lambda f: f.quality,
    "brightness": lambda f: f.brightness,
    "contrast": lambda f: f.contrast,
    "saturation": lambda f: f.saturation,
    "loudness_lufs": lambda f: f.loudness_lufs,
    "object_kinds": lambda f: f.object_kinds,
    "faces": lambda f: _log(f.faces),
    "letters": lambda f: _whole(f.letters_per_s, f.duration_s),
    "duration_s": lambda f: f.duration_s,
    "words": lambda f: _whole(f.words_per_s, f.duration_s),
    "hook_words": lambda f: _log(f.hook_words),
    "hook_has_number": lambda f: _truth(f.hook_has_number),
    "opening_shot_s": lambda f: f.opening_shot_s,
    "cuts_per_s": lambda f: f.cuts_per_s,
    "words_per_s": lambda f: f.words_per_s,
    "letters_per_s": lambda f: f.letters_per_s,
    "has_speech": lambda f: _truth(f.has_speech),
    "has_music": lambda f: _truth(f.has_music),
}
_KINDS: Mapping[str, tuple[Sequence[str], Callable[[CreativeFeatures], str | None]]] = {
    "hook_type": (tuple(kind.value for kind in HookType), lambda f: f.hook_type),
    "cta_type": (CTA_TYPES, lambda f: f.cta_type),
    "grade": (GRADES, lambda f: f.grade),
    "first_frame": (FIRST_FRAMES, lambda f: f.first_frame),
}
NAMES = (*_NUMBERS, *(f"{name}={one}" for name, (kinds, _) in _KINDS.items() for one in kinds))
