"""A scene as the numbers that the CTR model learns from; unknown is None, never a default."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from geminivideo.records import Detection, Features, Scene

Vector = dict[str, float | None]


def of_scene(scene: Scene) -> Vector:
    """Every feature of ``NAMES`` for a scene: counts as log(1 + n), the rest as measured."""
    features = scene.features or Features()
    vector = {name: measure(features) for name, measure in _MEASURES.items()}
    vector["duration_s"] = scene.end_s - scene.start_s
    vector["words"] = None if scene.transcript is None else _log(len(scene.transcript.split()))
    return vector


def _log(count: float) -> float:
    return math.log1p(count)


def kinds(found: tuple[Detection, ...] | None) -> float | None:
    """How many different kinds were found."""
    return None if found is None else float(len({one.label for one in found}))


def at_once(found: tuple[Detection, ...] | None) -> float | None:
    """The most that were seen in one moment: the same face in eight samples is one face."""
    if found is None:
        return None
    return float(max(Counter(one.at_s for one in found).values(), default=0))


def _faces(features: Features) -> float | None:
    most = at_once(features.faces)
    return None if most is None else _log(most)


def _letters(features: Features) -> float | None:
    if features.texts is None:
        return None
    return _log(sum(len(text.text) for text in features.texts))


def _sharpness(features: Features) -> float | None:
    return None if features.sharpness is None else _log(features.sharpness)


_MEASURES: dict[str, Callable[[Features], float | None]] = {
    "motion": lambda f: f.motion,
    "sharpness": _sharpness,
    "quality": lambda f: f.quality,
    "brightness": lambda f: f.brightness,
    "contrast": lambda f: f.contrast,
    "saturation": lambda f: f.saturation,
    "loudness_lufs": lambda f: f.loudness_lufs,
    "object_kinds": lambda f: kinds(f.objects),
    "faces": _faces,
    "letters": _letters,
}
NAMES = (*_MEASURES, "duration_s", "words")
