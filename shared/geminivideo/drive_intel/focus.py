"""Where to look: the path of interest that a crop follows through a scene.

The first of these that is there decides for the whole scene, so that a crop does not jump between
kinds of evidence: faces, then objects, then what moves, then where the detail is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geminivideo.records import Detection

if TYPE_CHECKING:
    import numpy as np

Point = tuple[float, float]
Path = tuple[tuple[float, float, float], ...]
_ENOUGH = 0.5  # the share of samples that must show a kind of evidence
_NOISE = 8  # grey levels (0-255): smaller differences are noise
_MIN_DETAIL = 1.0
_REACH_S = 0.3  # another service looks at its own moments: this far from ours is the same one
_ROUNDING_S = 0.001


@dataclass(frozen=True)
class Look:
    """What draws the eye at one moment: (x, y) in fractions of the upright frame, None: nothing.

    ``motion`` (0-1) is the mean change of the picture since a moment before.
    """

    at_s: float
    motion: float
    moving: Point | None
    detail: Point | None


def focus_path(
    looks: Sequence[Look],
    faces: Sequence[Detection] | None,
    objects: Sequence[Detection] | None,
    min_motion: float,
) -> tuple[Path, str]:
    """(time s, x, y) per sample in fractions of the frame, and what decided it.

    An empty path means that nothing draws the eye (a plain colour).
    """
    finders: dict[str, Callable[[Look], Point | None]] = {
        "faces": lambda look: _largest(faces, look.at_s),
        "objects": lambda look: _largest(objects, look.at_s),
        "motion": lambda look: look.moving if look.motion >= min_motion else None,
        "detail": lambda look: look.detail,
    }
    for source, find in finders.items():
        points = [find(look) for look in looks]
        if sum(point is not None for point in points) >= max(1, _ENOUGH * len(looks)):
            return _path([look.at_s for look in looks], smooth(filled(points))), source
    return (), "nothing"


def _largest(found: Sequence[Detection] | None, at_s: float) -> Point | None:
    nearest = min((abs(one.at_s - at_s) for one in found or ()), default=math.inf)
    if nearest > _REACH_S:
        return None
    here = [one for one in found or () if abs(one.at_s - at_s) <= nearest + _ROUNDING_S]
    box = max(here, key=lambda one: (one.box.w * one.box.h * one.confidence, one.box.x)).box
    return box.x + box.w / 2, box.y + box.h / 2


def moving(grey: np.ndarray, grey_before: np.ndarray) -> Point | None:
    """The centre of what changed between two pictures (uint8, upright, of one size)."""
    import numpy as np

    change = np.abs(grey.astype(np.float32) - grey_before)
    return _centre(np.maximum(change - _NOISE, 0.0))


def detailed(grey: np.ndarray) -> Point | None:
    """The centre of the picture's edges."""
    import numpy as np

    down, across = np.gradient(grey.astype(np.float32))
    return _centre(np.maximum(down**2 + across**2 - _MIN_DETAIL, 0.0))


def _centre(weights: np.ndarray) -> Point | None:
    import numpy as np

    total = float(weights.sum())
    if total <= 0.0:
        return None
    height, width = weights.shape
    x = float(weights.sum(axis=0) @ (np.arange(width) + 0.5)) / total / width
    y = float(weights.sum(axis=1) @ (np.arange(height) + 0.5)) / total / height
    return x, y


def filled(points: Sequence[Point | None]) -> list[Point]:
    """Missing points taken from the nearest known ones: between two, on the line."""
    import numpy as np

    known = [i for i, point in enumerate(points) if point is not None]
    values = [points[i] for i in known]
    every = np.arange(len(points))
    xs, ys = (np.interp(every, known, [v[axis] for v in values if v]) for axis in (0, 1))
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def smooth(points: Sequence[Point]) -> list[Point]:
    """Each point with half its weight, its neighbours with a quarter each (ends repeated)."""
    padded = [points[0], *points, points[-1]]
    return [
        (0.25 * a[0] + 0.5 * b[0] + 0.25 * c[0], 0.25 * a[1] + 0.5 * b[1] + 0.25 * c[1])
        for a, b, c in zip(padded, padded[1:], padded[2:], strict=False)
    ]


def _path(times: Sequence[float], points: Sequence[Point]) -> Path:
    return tuple(
        (round(at, 3), round(min(max(x, 0.0), 1.0), 4), round(min(max(y, 0.0), 1.0), 4))
        for at, (x, y) in zip(times, points, strict=True)
    )
