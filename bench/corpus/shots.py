"""Moving pictures to cut together: a window that wanders over a photograph, the film, drawings.

A shot is named ``photo:china``, ``film:2`` or ``drawn:17`` (a number of its own for each drawing)
and is a function from a frame's number to its BGR picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from bench.corpus import material

if TYPE_CHECKING:
    import numpy as np

Draw = Callable[[int], "np.ndarray"]

_ROOM = 1.3  # how much larger than the frame a picture is, so that the window can wander
_DRAWN = (480, 640)


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How the window wanders: pan in widths of the frame per 100 frames, zoom per 100 frames.

    ``shake`` is the largest shift of a frame in widths, as of a hand-held camera.
    """

    pan: float = 0.08
    zoom: float = 0.04
    shake: float = 0.0


GENTLE = Motion()


def licence(source: str) -> str:
    """Which entry of ``material.LICENCES`` a shot falls under."""
    kind, _, name = source.partition(":")
    return {"photo": name, "film": "film"}.get(kind, "own")


def shot(source: str, width: int, height: int, motion: Motion, seed: int) -> Draw:
    """The shot of this name at this size (px); the same seed gives the same pixels."""
    kind, _, name = source.partition(":")
    if kind == "film":
        return _film(int(name), width, height)
    picture = material.photo(name) if kind == "photo" else drawing(int(name))
    return _window(picture, width, height, motion, seed)


def covering(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture scaled to cover width x height, what juts out cut off evenly."""
    import cv2

    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (
        max(width, round(picture.shape[1] * scale)),
        max(height, round(picture.shape[0] * scale)),
    )
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    sized = picture if scale == 1 else cv2.resize(picture, size, interpolation=way)
    top, left = (sized.shape[0] - height) // 2, (sized.shape[1] - width) // 2
    return sized[top : top + height, left : left + width]


def _film(number: int, width: int, height: int) -> Draw:
    import cv2

    def draw(frame: int) -> np.ndarray:
        frames = material.film(number)
        planes = frames[min(frame, len(frames) - 1)]
        return covering(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), width, height)

    return draw


def _window(picture: np.ndarray, width: int, height: int, motion: Motion, seed: int) -> Draw:
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    large = covering(picture, round(width * _ROOM), round(height * _ROOM))
    angle, turn = rng.uniform(0, 2 * np.pi), rng.choice((-1.0, 1.0))
    jolts = rng.uniform(-1, 1, (997, 2)) * motion.shake * width
    edge = (large.shape[1] - width) / 2, (large.shape[0] - height) / 2

    def draw(frame: int) -> np.ndarray:
        way = motion.pan * width * (frame / 100 - 0.5)
        dx, dy = np.array((np.cos(angle), np.sin(angle))) * way + jolts[frame % len(jolts)]
        scale = 1 + turn * motion.zoom * (frame / 100 - 0.5)
        left, top = (np.clip(e + d, 0, 2 * e) for e, d in zip(edge, (dx, dy), strict=True))
        middle = left + width / 2, top + height / 2
        moved = np.array(
            [
                [scale, 0, middle[0] - scale * width / 2],
                [0, scale, middle[1] - scale * height / 2],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            large, moved, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT
        )

    return draw


@cache
def drawing(seed: int) -> np.ndarray:
    """A picture of our own: clouds of colour, bands of light, a few solid things. BGR uint8."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    height, width = _DRAWN
    base, tint = rng.uniform(30, 200, 3), rng.uniform(-90, 90, 3)
    field = np.zeros((height, width), np.float32)
    for cells, weight in ((3, 1.0), (9, 0.5), (40, 0.25), (160, 0.12)):
        coarse = rng.normal(size=(cells, cells)).astype(np.float32)
        field += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture = (base + field[..., None] * tint).clip(0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(4, 9))):
        _thing(picture, rng)
    return picture


def _thing(picture: np.ndarray, rng: np.random.Generator) -> None:
    import cv2

    height, width = picture.shape[:2]
    x, y = int(rng.integers(width)), int(rng.integers(height))
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    side = int(rng.integers(height // 16, height // 4))
    if rng.random() < 0.5:
        cv2.circle(picture, (x, y), side // 2, colour, -1, cv2.LINE_AA)
    else:
        cv2.rectangle(picture, (x, y), (x + side, y + side * 2 // 3), colour, -1)
