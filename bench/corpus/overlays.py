"""What is laid over the shots: words whose boxes are known, a face that moves, burnt-out frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from geminivideo.records import Box

from bench.corpus import material
from bench.corpus.truth import SeenObject, SeenWord

if TYPE_CHECKING:
    import numpy as np

_PAD = 0.35  # the plate behind a line juts out by this share of its letters' height

# Head and shoulders of the portrait (px of grace_hopper.jpg), drawn round by hand.
_BUST = (
    *((150, 92), (172, 52), (215, 22), (295, 22), (345, 50), (372, 92), (374, 150), (380, 200)),
    *((356, 290), (336, 322), (420, 350), (495, 382), (512, 450), (512, 600), (14, 600)),
    *((34, 412), (62, 374), (196, 322), (164, 284), (152, 210), (148, 160)),
)


@dataclass(frozen=True, kw_only=True)
class Lettering:
    """A line of text in frames ``first`` to ``last``: left and top in fractions of the frame.

    ``size`` is the height of its type in fractions of the frame's height; ``plate`` puts it on
    a dark plate, otherwise white letters have a dark rim.
    """

    text: str
    x: float
    y: float
    size: float
    first: int
    last: int
    plate: bool = False


@dataclass(frozen=True, kw_only=True)
class Walk:
    """The portrait moves to and fro in frames ``first`` to ``last``.

    Its face is ``face`` of the frame's height tall on average, its middle stays between the
    fractions ``left`` and ``right`` of the width; one way there takes ``frames`` frames.
    """

    first: int
    last: int
    face: float
    left: float = 0.2
    right: float = 0.8
    middle_y: float = 0.45
    frames: int = 60


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """No cut: a flash burns the frames out, a passing thing covers the picture."""

    kind: Literal["flash", "passing"]
    first: int
    last: int


@dataclass(frozen=True)
class _Line:
    """A line drawn once: its picture BGR, how much of it covers, where it goes, its words (px)."""

    picture: np.ndarray
    cover: np.ndarray
    left: int
    top: int
    words: tuple[tuple[str, tuple[int, int, int, int]], ...]


@cache
def _line(lettering: Lettering, width: int, height: int) -> _Line:
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    px = max(8, round(lettering.size * height))
    face = ImageFont.truetype(str(material.font()), px)
    pad, rim = round(px * _PAD), 0 if lettering.plate else max(1, px // 14)
    long = round(face.getlength(lettering.text))
    size = long + 2 * pad, round(px * 1.25) + 2 * pad
    ink, plate = Image.new("L", size), Image.new("L", size, 255 if lettering.plate else 0)
    whole = ImageDraw.Draw(plate)
    whole.text((pad, pad), lettering.text, fill=255, font=face, stroke_width=rim)
    ImageDraw.Draw(ink).text((pad, pad), lettering.text, fill=255, font=face)
    left, top = round(lettering.x * width), round(lettering.y * height)
    words, reached = [], 0
    for word in lettering.text.split():
        at = lettering.text.index(word, reached)
        x0 = pad + round(face.getlength(lettering.text[:at]))
        box = face.getbbox(word)
        edges = (left + x0 + box[0], top + pad + box[1], left + x0 + box[2], top + pad + box[3])
        words.append((word, tuple(round(edge) for edge in edges)))
        reached = at + len(word)
    white = np.repeat(np.asarray(ink)[..., None], 3, axis=2)
    dark = np.array((40, 24, 16)) * (1 - white / 255.0)
    return _Line(
        (white + dark).clip(0, 255).astype(np.uint8),
        np.asarray(plate) / 255.0,
        left,
        top,
        tuple(words),
    )


def write(picture: np.ndarray, frame: int, letterings: Sequence[Lettering]) -> None:
    """Draw the lines that this frame shows, in place."""
    height, width = picture.shape[:2]
    for lettering in letterings:
        if lettering.first <= frame <= lettering.last:
            line = _line(lettering, width, height)
            _lay(picture, line.picture, line.cover, line.left, line.top)


def words(
    letterings: Sequence[Lettering], width: int, height: int, fps: float
) -> tuple[SeenWord, ...]:
    """The truth of these lines, word by word."""
    return tuple(
        SeenWord(
            text=text,
            box=_box(edges, width, height),
            start_s=round(lettering.first / fps, 4),
            end_s=round((lettering.last + 1) / fps, 4),
        )
        for lettering in letterings
        for text, edges in _line(lettering, width, height).words
    )


def _lay(picture: np.ndarray, upon: np.ndarray, cover: np.ndarray, left: int, top: int) -> None:
    """Blend one picture over another in place; what juts out of the frame is left out."""
    height, width = picture.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + upon.shape[1], width), min(top + upon.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    part = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    share = cover[part][..., None]
    under = picture[y0:y1, x0:x1]
    picture[y0:y1, x0:x1] = (upon[part] * share + under * (1 - share)).astype("uint8")


@cache
def _bust() -> tuple[np.ndarray, np.ndarray]:
    """The portrait and how much of each pixel belongs to the person, softly cut out."""
    import cv2
    import numpy as np

    photo = material.photo("hopper")
    cover = np.zeros(photo.shape[:2], np.uint8)
    cv2.fillPoly(cover, [np.array(_BUST, np.int32)], 255)
    return photo, cv2.GaussianBlur(cover, (9, 9), 0)


def _place(walk: Walk, frame: int, width: int, height: int) -> tuple[float, float, float]:
    """Left and top of the portrait in this frame (px), and its scale."""
    import math

    turn = (frame - walk.first) / walk.frames * math.pi
    left, top, right, bottom = material.FACE_PX
    scale = walk.face * height / (bottom - top) * (1 + 0.2 * math.sin(turn * 0.7))
    half = (1 - math.cos(turn)) / 2
    middle_x = (walk.left + (walk.right - walk.left) * half) * width
    middle_y = (walk.middle_y + 0.03 * math.sin(turn * 1.7)) * height
    return middle_x - scale * (left + right) / 2, middle_y - scale * (top + bottom) / 2, scale


def walk_on(picture: np.ndarray, frame: int, walks: Sequence[Walk]) -> None:
    """Draw the person into this frame, in place."""
    import cv2

    height, width = picture.shape[:2]
    for walk in walks:
        if walk.first <= frame <= walk.last:
            x, y, scale = _place(walk, frame, width, height)
            photo, cover = _bust()
            size = round(photo.shape[1] * scale), round(photo.shape[0] * scale)
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            sized, mask = (cv2.resize(one, size, interpolation=way) for one in (photo, cover))
            _lay(picture, sized, mask / 255.0, round(x), round(y))


def people(
    walks: Sequence[Walk], width: int, height: int, fps: float
) -> Iterator[tuple[SeenObject, SeenObject]]:
    """For each frame of the walks the face and the person that it belongs to."""
    xs, ys = zip(*_BUST, strict=True)
    bust = min(xs), min(ys), max(xs), max(ys)
    for walk in walks:
        for frame in range(walk.first, walk.last + 1):
            x, y, scale = _place(walk, frame, width, height)
            yield tuple(
                SeenObject(
                    label=label,
                    frame=frame,
                    at_s=round(frame / fps, 4),
                    box=_box(_moved(edges, x, y, scale), width, height),
                )
                for label, edges in (("face", material.FACE_PX), ("person", bust))
            )


def _moved(
    edges: tuple[int, int, int, int], x: float, y: float, scale: float
) -> tuple[float, float, float, float]:
    left, top, right, bottom = (edge * scale for edge in edges)
    return left + x, top + y, right + x, bottom + y


def _box(edges: Sequence[float], width: int, height: int) -> Box:
    left, right = (min(max(edge / width, 0.0), 1.0) for edge in edges[0::2])
    top, bottom = (min(max(edge / height, 0.0), 1.0) for edge in edges[1::2])
    return Box(
        x=round(left, 5), y=round(top, 5), w=round(right - left, 5), h=round(bottom - top, 5)
    )


def disturb(picture: np.ndarray, frame: int, disturbances: Sequence[Disturbance]) -> None:
    """Burn the frame out, or let a thing pass before it, in place."""
    import cv2

    height, width = picture.shape[:2]
    for one in disturbances:
        if not one.first <= frame <= one.last:
            continue
        if one.kind == "flash":
            cv2.convertScaleAbs(picture, dst=picture, alpha=0.2, beta=200)
        else:
            share = (frame - one.first) / max(one.last - one.first, 1)
            left = round((share * 2.4 - 1.2) * width)
            cv2.rectangle(picture, (left, height // 8), (left + width, height), (44, 52, 120), -1)
            cv2.rectangle(
                picture, (left, height // 3), (left + width, height // 2), (150, 170, 180), -1
            )
