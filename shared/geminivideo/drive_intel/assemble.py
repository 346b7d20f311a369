"""Putting what was measured per part together again: words to scenes, a scene to one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from geminivideo.records import (
    Detection,
    Features,
    Scene,
    SoundPart,
    SoundTrack,
    Transcript,
    Word,
)


def scene_words(words: Sequence[Word], start_s: float, end_s: float) -> tuple[Word, ...]:
    """The words whose middle lies in [start, end): a word on a cut belongs to one scene only."""
    return tuple(w for w in words if start_s <= (w.start_s + w.end_s) / 2 < end_s)


def scene_transcript(words: Sequence[Word] | None, start_s: float, end_s: float) -> str | None:
    """What is said in a scene; empty when nothing is, None when speech is unknown."""
    if words is None:
        return None
    return " ".join(word.text.strip() for word in scene_words(words, start_s, end_s))


def completed(scene: Scene, heard: Transcript | None, sound: SoundTrack | None) -> Scene:
    """The scene with its part of what was heard in the whole track: words, voice and music."""
    spoken = scene_transcript(heard.words if heard else None, scene.start_s, scene.end_s)
    scene = scene.with_transcript(spoken)
    if scene.features is None or sound is None or sound.parts is None:
        return scene
    here = parts_within(sound.parts, scene.start_s, scene.end_s)
    sure = {"sound": round(fmean(part.confidence for part in here), 4)} if here else {}
    features = replace(
        scene.features,
        sound=here,
        sources=scene.features.sources | _of("sound", sound.sources),
        versions=scene.features.versions | _of("sound", sound.versions),
        confidences=scene.features.confidences | sure,
    )
    return replace(scene, features=features)


def parts_within(parts: Sequence[SoundPart], start_s: float, end_s: float) -> tuple[SoundPart, ...]:
    """The parts of the sound in [start, end), cut to it."""
    return tuple(
        replace(part, start_s=max(part.start_s, start_s), end_s=min(part.end_s, end_s))
        for part in parts
        if part.start_s < end_s and part.end_s > start_s
    )


def _of(name: str, known: dict[str, str]) -> dict[str, str]:
    return {name: known["parts"]} if "parts" in known else {}


def describe(scene: Scene) -> str:
    """One sentence of what is known of a scene, for prompts and search; leaves out the unknown."""
    features = scene.features or Features()
    parts = [
        f"scene {scene.index} from {scene.start_s:.1f} s to {scene.end_s:.1f} s",
        _measure("motion", features.motion),
        _measure("brightness", features.brightness),
        _counted("face", features.faces),
        _listed("shows", [one.label for one in features.objects or ()]),
        _listed("is about", [one.label for one in features.labels or ()]),
        _listed("sounds like", [part.kind.value for part in features.sound or ()]),
        _quoted("text on screen", [text.text for text in features.texts or ()]),
        _quoted("says", [scene.transcript] if scene.transcript else []),
    ]
    return "; ".join(part for part in parts if part)


def _measure(name: str, value: float | None) -> str:
    return "" if value is None else f"{name} {value:.2f}"


def _counted(name: str, found: Sequence[Detection] | None) -> str:
    if found is None:
        return ""
    most = max(Counter(one.at_s for one in found).values(), default=0)
    return f"no {name}" if most == 0 else f"{most} {name}{'s' if most > 1 else ''}"


def _listed(verb: str, labels: Sequence[str]) -> str:
    return f"{verb} {', '.join(sorted(set(labels)))}" if labels else ""


def _quoted(verb: str, texts: Sequence[str]) -> str:
    return f'{verb} "{" / ".join(texts)}"' if texts else ""
