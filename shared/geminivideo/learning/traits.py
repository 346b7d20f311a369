"""What an ad has, in words: its features cut into named traits. Pure.

Each trait is a ``Condition`` on one member of ``CreativeFeatures``, so that whoever plans an ad can
ask the same of a plan. A member that is unknown gives no trait, which is not the same as lacking
it: ``holds`` tells the three cases apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from geminivideo.learning_records import Condition, CreativeFeatures
from geminivideo.policy import TraitPolicy

HOOK, VISUAL, AUDIO, PACING, COPY, CTA = "hook", "visual", "audio", "pacing", "copy", "cta"
PARTS = (HOOK, VISUAL, AUDIO, PACING, COPY, CTA)
PAIR = "pair"

# The part of the ad that each member belongs to; a member that is not here makes no trait.
PART_OF: Mapping[str, str] = {
    "hook_type": HOOK,
    "hook_words": HOOK,
    "hook_has_number": HOOK,
    "first_frame": HOOK,
    "opening_shot_s": HOOK,
    "duration_s": PACING,
    "cuts_per_s": PACING,
    "motion": VISUAL,
    "brightness": VISUAL,
    "saturation": VISUAL,
    "contrast": VISUAL,
    "faces": VISUAL,
    "grade": VISUAL,
    "letters_per_s": COPY,
    "words_per_s": AUDIO,
    "has_speech": AUDIO,
    "has_music": AUDIO,
    "cta_type": CTA,
}
_NAMES: Mapping[int, tuple[str, ...]] = {1: ("low", "high"), 2: ("low", "medium", "high")}


@dataclass(frozen=True)
class Trait:
    """A named condition; ``name`` reads ``member=value`` (a range by its name)."""

    name: str
    part: str
    condition: Condition

    @property
    def member(self) -> str:
        """The member of the features that it is about."""
        return self.condition.member

    def holds(self, features: CreativeFeatures) -> bool | None:
        """Whether an ad has it; ``None`` while that is unknown."""
        return self.condition.met_by(features)


def traits_of(features: CreativeFeatures, policy: TraitPolicy) -> tuple[Trait, ...]:
    """Every trait that an ad is known to have, one for each known member."""
    made = (trait_of(member, getattr(features, member), policy) for member in PART_OF)
    return tuple(trait for trait in made if trait is not None)


def trait_of(member: str, value: object, policy: TraitPolicy) -> Trait | None:
    """The trait that a member's value gives; ``None`` for an unknown value."""
    if value is None:
        return None
    if isinstance(value, bool | str):
        return _kind(member, value)
    if isinstance(value, int | float):
        return next((b for b in bands(member, policy) if b.condition.allows(value)), None)
    raise TypeError(f"{member} is neither a kind nor a number; leave it out of PART_OF")


def _kind(member: str, value: bool | str) -> Trait:
    shown = ("no", "yes")[value] if isinstance(value, bool) else value
    return Trait(f"{member}={shown}", PART_OF[member], Condition(member=member, equals=value))


def bands(member: str, policy: TraitPolicy) -> tuple[Trait, ...]:
    """The ranges of a numeric member; raises ``KeyError`` for one that has no cut points."""
    cuts = _cuts(policy)[member]
    edges = (None, *cuts, None)
    names = _NAMES.get(len(cuts)) or tuple(str(place) for place in range(len(cuts) + 1))
    return tuple(
        Trait(f"{member}={name}", PART_OF[member], Condition(member=member, low=low, high=high))
        for name, (low, high) in zip(names, pairwise(edges), strict=True)
    )


def _cuts(policy: TraitPolicy) -> dict[str, Sequence[float]]:
    return {one.name: getattr(policy, one.name) for one in fields(policy)}


def phrase(conditions: Iterable[Condition]) -> str:
    """Conditions as a reader wants them: ``hook type question and duration under 10 s``."""
    return " and ".join(_phrases(conditions))


def _phrases(conditions: Iterable[Condition]) -> Iterator[str]:
    for one in conditions:
        name, unit = _MEASURES.get(one.member, (one.member.replace("_", " "), ""))
        if isinstance(one.equals, bool):
            yield f"{name} {'yes' if one.equals else 'no'}"
        elif one.equals is not None:
            yield f"{name} {one.equals.replace('_', ' ')}"
        elif one.low is None:
            yield f"{name} under {one.high:g}{unit}"
        elif one.high is None:
            yield f"{name} from {one.low:g}{unit} on"
        else:
            yield f"{name} {one.low:g} to {one.high:g}{unit}"


_MEASURES: Mapping[str, tuple[str, str]] = {
    "hook_words": ("hook length", " words"),
    "hook_has_number": ("number in the hook", ""),
    "duration_s": ("duration", " s"),
    "opening_shot_s": ("opening shot", " s"),
    "cuts_per_s": ("cuts", " a second"),
    "words_per_s": ("spoken words", " a second"),
    "letters_per_s": ("letters shown", " a second"),
    "has_speech": ("speech", ""),
    "has_music": ("music", ""),
    "cta_type": ("call to action", ""),
}
