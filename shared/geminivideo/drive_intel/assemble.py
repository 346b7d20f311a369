"""Putting what was measured per part together again: words to scenes, a scene to one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from geminivideo.records import Detection, Features, Scene, Word


def scene_words(words: Sequence[Word], start_s: float, end_s: float) -> tuple[Word, ...]:
    """The words whose middle lies in [start, end): a word on a cut belongs to one scene only."""
    return tuple(w for w in words if start_s <= (w.start_s + w.end_s) / 2 < end_s)


def scene_transcript(words: Sequence[Word] | None, start_s: float, end_s: float) -> str | None:
    """What is said in a scene; empty when nothing is, None when speech is unknown."""
    if words is None:
        return None
    return " ".join(word.text.strip() for word in scene_words(words, start_s, end_s))


def describe(scene: Scene) -> str:
    """One sentence of what is known of a scene, for prompts and search; leaves out the unknown."""
    features = scene.features or Features()
    parts = [
        f"scene {scene.index} from {scene.start_s:.1f} s to {scene.end_s:.1f} s",
        _measure("motion", features.motion),
        _measure("brightness", features.brightness),
        _counted("face", features.faces),
        _listed("shows", features.objects),
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


def _listed(verb: str, found: Sequence[Detection] | None) -> str:
    labels = sorted({one.label for one in found or ()})
    return f"{verb} {', '.join(labels)}" if labels else ""


def _quoted(verb: str, texts: Sequence[str]) -> str:
    return f'{verb} "{" / ".join(texts)}"' if texts else ""
