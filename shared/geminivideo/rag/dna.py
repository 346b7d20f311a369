"""Creative DNA: what an ad is, in six parts, each a sentence of facts that are known.

Nothing is guessed: a part of which no fact is known is ``None`` and named in ``missing``. Measures
are told in words, so that a question in words finds them, with the number behind them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from geminivideo.learning_records import CreativeDna, CreativeFeatures
from geminivideo.policy import DnaPolicy
from geminivideo.records import Blueprint, Features, Scene, Shot, Transcript

PARTS = ("hook", "visual", "audio", "pacing", "copy", "cta")
_IN_TEXT = ("hook", "copy", "visual", "cta", "audio", "pacing")  # what says most comes first
_TRAITS = ("hook_type", "cta_type", "grade", "first_frame", "has_speech", "has_music")
_OPENINGS = {
    "face": "The first picture shows a face.",
    "text": "The first picture shows text.",
    "motion": "The first picture moves.",
    "still": "The first picture stands still.",
}
_HEARD = {
    (True, True): "Speech over music.",
    (True, False): "Speech without music.",
    (False, True): "Music without speech.",
    (False, False): "Neither speech nor music.",
}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is known of an ad; each may be missing."""

    features: CreativeFeatures | None = None
    blueprint: Blueprint | None = None
    scenes: Sequence[Scene] = ()
    transcript: Transcript | None = None


def extract(
    account_id: str, ad_id: str, at: float, sources: Sources, policy: DnaPolicy
) -> CreativeDna:
    """The six parts of an ad, without a score."""
    known = sources.features or CreativeFeatures()
    sentences = {
        "hook": _hook(known, sources.blueprint),
        "visual": _visual(known, _shown(sources, policy), policy),
        "audio": _audio(known),
        "pacing": _pacing(known, sources.blueprint, policy),
        "copy": _copy(sources, policy),
        "cta": _cta(known, sources.blueprint),
    }
    parts = {name: " ".join(told) or None for name, told in sentences.items()}
    return _of_parts(CreativeDna(id=ad_id, account_id=account_id, at=at), parts, sources.features)


def of_members(account_id: str, ad_id: str, at: float, members: Mapping[str, Any]) -> CreativeDna:
    """The DNA that a caller tells: ``hook``, ``hook_text``, ``visual_style``... by their part.

    A member belongs to the part that begins its name; what belongs to none is left out.
    """
    parts = {part: " ".join(_told(part, members)) or None for part in PARTS}
    traits = {name: members[name] for name in _TRAITS if _is_trait(name, members.get(name))}
    told = CreativeFeatures(**traits) if traits else None
    return _of_parts(CreativeDna(id=ad_id, account_id=account_id, at=at), parts, told)


def is_known(dna: CreativeDna) -> bool:
    """Whether anything is known of the ad."""
    return len(dna.missing) < len(PARTS)


def text_of(dna: CreativeDna) -> str:
    """What is embedded of an ad: its parts as one text; empty when nothing is known."""
    parts = (getattr(dna, name) for name in _IN_TEXT)
    return "\n".join(part for part in parts if part)


def scored(dna: CreativeDna, ctr: float | None, rates: Sequence[float]) -> CreativeDna:
    """The DNA with its score: the share of the account's other ads whose CTR it beats.

    ``rates`` are those of all the account's ads, this one's with them, rising. Unknown without a
    CTR or without other ads.
    """
    if ctr is None or len(rates) < 2:
        return dna
    return replace(dna, score=min(1.0, bisect_left(rates, ctr) / (len(rates) - 1)))


def traits_of(dna: CreativeDna) -> dict[str, str | bool]:
    """What a search can filter by, as far as it is known."""
    known = {name: getattr(dna.features, name, None) for name in _TRAITS}
    return {name: value for name, value in known.items() if value is not None}


def trait_names() -> tuple[str, ...]:
    """Every trait that a search can filter by."""
    return _TRAITS


def _of_parts(
    bare: CreativeDna, parts: Mapping[str, str | None], features: CreativeFeatures | None
) -> CreativeDna:
    missing = tuple(part for part in PARTS if parts[part] is None)
    members: dict[str, Any] = {**parts, "missing": missing, "features": features}
    return replace(bare, **members)


def _is_trait(name: str, value: Any) -> bool:
    return isinstance(value, bool) if name.startswith("has_") else isinstance(value, str)


def _told(part: str, members: Mapping[str, Any]) -> Iterator[str]:
    for name, value in sorted(members.items()):
        if name != part and not name.startswith(f"{part}_"):
            continue
        text = _flat(value)
        if text:
            yield _sentence(name, part, text)


def _sentence(name: str, part: str, text: str) -> str:
    end = "" if text[-1] in "?!" else "."
    if name == "hook_type":
        return f"Opens with {_article(text)}{end}"
    label = name.removeprefix(f"{part}_").replace("_", " ")
    plain = name == part or label in ("text", "type")
    return f"{text}{end}" if plain else f"{label}: {text}{end}"


def _flat(value: Any) -> str:
    """A told value in words: lists are joined, trees and emptiness say nothing."""
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, map(_flat, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:g}" if math.isfinite(value) else ""
    return value.replace("_", " ").strip(" .") if isinstance(value, str) else ""


def _hook(known: CreativeFeatures, plan: Blueprint | None) -> Iterator[str]:
    kind = (known.hook_type or (plan.hook_type.value if plan else "")).replace("_", " ")
    said = f'"{plan.hook_text}"' if plan and plan.hook_text else ""
    if kind or said:
        yield f"Opens with {_article(kind)}{': ' if kind and said else ''}{said}."
    if known.hook_has_number:
        yield "The opening line names a number."
    if known.first_frame in _OPENINGS:
        yield _OPENINGS[known.first_frame]


def _article(kind: str) -> str:
    if not kind:
        return ""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _visual(known: CreativeFeatures, shown: str, policy: DnaPolicy) -> Iterator[str]:
    if shown:
        yield f"Shows {shown}."
    if known.motion is not None:
        word = _degree(known.motion, policy.motion, ("little", "some", "much"))
        yield f"{word.capitalize()} motion ({known.motion:.2f})."
    looks = [
        _degree(value, bounds, words)
        for value, bounds, words in (
            (known.brightness, policy.brightness, ("dark", "of medium light", "bright")),
            (known.contrast, policy.contrast, ("soft", "of medium contrast", "of high contrast")),
            (known.saturation, policy.saturation, ("pale", "of natural colour", "colourful")),
        )
        if value is not None
    ]
    if looks:
        yield f"The picture is {', '.join(looks)}."
    if known.grade:
        yield f"Graded {known.grade.replace('_', ' ')}."
    if known.faces is not None:
        yield "People's faces are seen." if known.faces > 0 else "No face is seen."


def _audio(known: CreativeFeatures) -> Iterator[str]:
    if known.has_speech is not None and known.has_music is not None:
        yield _HEARD[known.has_speech, known.has_music]
    elif known.has_speech is not None:
        yield "Speech is heard." if known.has_speech else "Nobody speaks."
    elif known.has_music is not None:
        yield "Music is heard." if known.has_music else "There is no music."
    if known.loudness_lufs is not None:
        yield f"Its sources are at {known.loudness_lufs:.1f} LUFS."


def _pacing(known: CreativeFeatures, plan: Blueprint | None, policy: DnaPolicy) -> Iterator[str]:
    if known.duration_s is not None:
        shots = f" in {len(plan.shots)} shots" if plan and plan.shots else ""
        yield f"{known.duration_s:.1f} seconds{shots}."
    if known.cuts_per_s is not None:
        word = _degree(known.cuts_per_s, policy.cuts_per_s, ("slow", "steady", "fast"))
        yield f"{word.capitalize()} cuts ({known.cuts_per_s:.2f} per second)."
    if known.opening_shot_s is not None:
        yield f"The opening shot lasts {known.opening_shot_s:.1f} s."
    if known.words_per_s is not None:
        word = _degree(
            known.words_per_s, policy.words_per_s, ("few", "a moderate number of", "many")
        )
        yield f"{word.capitalize()} words ({known.words_per_s:.1f} per second)."


def _degree(value: float, bounds: tuple[float, float], words: tuple[str, str, str]) -> str:
    return words[sum(value >= bound for bound in bounds)]


def _copy(sources: Sources, policy: DnaPolicy) -> Iterator[str]:
    plan = sources.blueprint
    if plan and plan.caption:
        yield f"Caption: {plan.caption}."
    overlays = [shot.overlay_text for shot in plan.shots if shot.overlay_text] if plan else []
    if overlays:
        yield f"Over the picture: {' / '.join(dict.fromkeys(overlays))}."
    said = _said(sources, policy)
    if said:
        yield f'Says: "{said}"'


def _said(sources: Sources, policy: DnaPolicy) -> str:
    """The words that are spoken in the ad's own shots, in their order."""
    words = (sources.transcript.words if sources.transcript else None) or ()
    shots: Iterable[Shot] = sources.blueprint.shots if sources.blueprint else ()
    said = [
        word.text.strip()
        for shot in shots
        for word in words
        if shot.start_s <= (word.start_s + word.end_s) / 2 < shot.end_s
    ]
    return " ".join(said[: policy.quotes])


def _shown(sources: Sources, policy: DnaPolicy) -> str:
    """What is seen and read in the scenes that the ad is cut from."""
    used = {shot.scene_id for shot in sources.blueprint.shots} if sources.blueprint else set()
    every = [s.features or Features() for s in sources.scenes if s.id in used]
    objects = [one.label for seen in every for one in seen.objects or ()]
    labels = [one.label for seen in every for one in seen.labels or ()]
    texts = [f'the text "{one.text}"' for seen in every for one in seen.texts or ()]
    return ", ".join(list(dict.fromkeys([*objects, *labels, *texts]))[: policy.shown])


def _cta(known: CreativeFeatures, plan: Blueprint | None) -> Iterator[str]:
    kind = (known.cta_type or (plan.cta_type if plan else "") or "").replace("_", " ")
    said = f'"{plan.cta_text}"' if plan and plan.cta_text else ""
    if kind or said:
        yield f"Ends with {said}{' ' if kind and said else ''}{f'({kind})' if said else kind}."
