"""Where the picture is cropped and how large it becomes; pure arithmetic in pixels and seconds.

Sizes are those of the picture as it is shown: rotation and pixel aspect already applied.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from statistics import median, quantiles

from geminivideo.policy import RenderPolicy
from geminivideo.records import Box

Focus = tuple[tuple[float, float, float], ...]

_ASPECT = re.compile(r"([1-9]\d?):([1-9]\d?)")
_STEP_S = 0.2
_SMOOTHING_S = 1.4
# A subject that stays within this share of the window needs no camera movement.
_DEAD_ZONE = 0.30
_TOLERANCE = 0.02
_MAX_KEYFRAMES = 24
# Room left and right of a text that must stay readable, as a share of the frame's width.
_TEXT_MARGIN = 0.02


class InvalidPlanError(ValueError):
    """The blueprint cannot be rendered from this video; the message says which part and why."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The crop window inside the source and the size of the output, all in even pixels."""

    source_width: int
    source_height: int
    window_width: int
    window_height: int
    width: int
    height: int

    @property
    def scale(self) -> float:
        """Output pixels per source pixel."""
        return self.width / self.window_width

    @property
    def slack(self) -> tuple[int, int]:
        """How far the window's left top corner can go right and down."""
        return self.source_width - self.window_width, self.source_height - self.window_height


@dataclass(frozen=True)
class Keyframe:
    """The window's left top corner (source pixels) at a time from the start of the shot."""

    at_s: float
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Framing:
    """The window of one shot: its size, its path, and the height of its picture in the output.

    A window wider than the output's shape (``padded``) keeps a text of the source whole; its
    picture fills the output's width and stands on a blurred ground.
    """

    width: int
    height: int
    path: tuple[Keyframe, ...]
    picture_height: int
    padded: bool = False


def even(value: float) -> int:
    """The largest even number not above ``value``, at least 2."""
    return max(2, 2 * math.floor(value / 2 + 1e-9))


def ratio(aspect: str, source_width: int, source_height: int) -> float:
    """Width over height of ``W:H``, or of the source itself for ``source``."""
    if aspect == "source":
        return source_width / source_height
    if not (match := _ASPECT.fullmatch(aspect)):
        raise InvalidPlanError(f"aspect {aspect!r} is not W:H (such as 9:16) nor 'source'")
    return int(match[1]) / int(match[2])


def geometry(source_width: int, source_height: int, aspect: str, policy: RenderPolicy) -> Geometry:
    """The largest window of this shape, and an output that neither invents nor wastes pixels.

    A window whose short side is at least ``preferred_short_px`` keeps its size (down to
    ``max_short_px`` and ``max_side_px``); a smaller one is enlarged to it, by at most
    ``max_upscale``. Raises InvalidPlanError for a source below 16 pixels or an unknown shape.
    """
    if min(source_width, source_height) < 16:
        raise InvalidPlanError(f"a source of {source_width}x{source_height} has no picture to crop")
    wanted = ratio(aspect, source_width, source_height)
    window_width = even(min(source_width, source_height * wanted))
    window_height = even(min(source_height, source_width / wanted))
    width, height = _output(min(window_width, window_height), wanted, policy)
    return Geometry(
        source_width=source_width,
        source_height=source_height,
        window_width=window_width,
        window_height=window_height,
        width=width,
        height=height,
    )


def _output(window_short: int, wanted: float, policy: RenderPolicy) -> tuple[int, int]:
    short: float = min(window_short, policy.max_short_px)
    if short < policy.preferred_short_px:
        short = min(policy.preferred_short_px, short * policy.max_upscale)
    stretch = max(wanted, 1 / wanted)
    short = min(short, policy.max_side_px / stretch)
    short_px, long_px = _even_near(short), _even_near(short * stretch)
    return (long_px, short_px) if wanted >= 1 else (short_px, long_px)


def _even_near(value: float) -> int:
    return max(2, 2 * round(value / 2))


def crop_path(
    focus: Focus | None, start_s: float, end_s: float, shape: Geometry
) -> tuple[Keyframe, ...]:
    """Where the window is during a shot: one keyframe when it rests, several when it pans.

    ``focus`` are (source time s, x, y) with x and y in fractions of the frame. The camera rests on
    the median of the interest unless the subject truly travels; then it follows a path smoothed
    over ``_SMOOTHING_S``, so that it never jumps. Every keyframe keeps the window inside.
    """
    if not focus or shape.slack == (0, 0):
        return (_resting([(0.5, 0.5)], shape),)
    count = max(2, math.ceil((end_s - start_s) / _STEP_S) + 1)
    times = [start_s + (end_s - start_s) * i / (count - 1) for i in range(count)]
    points = [_centre_at(focus, t) for t in times]
    if not _travels(points, shape):
        return (_resting(points, shape),)
    reach = max(1, round(_SMOOTHING_S / 2 / _STEP_S))
    track = [
        _corner(time - start_s, _mean(points[max(0, i - reach) : i + reach + 1]), shape)
        for i, time in enumerate(times)
    ]
    return _thinned(track, shape)


def framing(
    focus: Focus | None,
    texts: tuple[Box, ...],
    start_s: float,
    end_s: float,
    shape: Geometry,
) -> Framing:
    """The window of a shot: on its subject, but never through a text that the source shows."""
    path = crop_path(focus, start_s, end_s, shape)
    plain = Framing(
        width=shape.window_width,
        height=shape.window_height,
        path=path,
        picture_height=shape.height,
    )
    if not texts or shape.slack[0] <= 0:
        return plain
    left = max(0.0, min(box.x for box in texts) - _TEXT_MARGIN) * shape.source_width
    right = min(1.0, max(box.x + box.w for box in texts) + _TEXT_MARGIN) * shape.source_width
    if right - left <= shape.window_width:
        low, high = max(0.0, right - shape.window_width), min(left, shape.slack[0])
        kept = (Keyframe(k.at_s, min(max(k.x, low), high), k.y) for k in path)
        return replace(plain, path=tuple(kept))
    width = min(even(shape.source_width), even(right - left + 2))
    x = min(max((left + right - width) / 2, 0.0), float(shape.source_width - width))
    return Framing(
        width=width,
        height=shape.window_height,
        path=(Keyframe(0.0, 2 * math.floor(x / 2), path[0].y),),
        # Rounding to even sides may ask for a line more than the frame has.
        picture_height=min(even(shape.window_height * shape.width / width), shape.height),
        padded=True,
    )


def band(box: Box, framed: Framing, shape: Geometry) -> tuple[int, int]:
    """The rows of the output (from, to) in which a box of the source is seen."""
    scale = framed.picture_height / framed.height
    top = (shape.height - framed.picture_height) / 2 - framed.path[0].y * scale
    first = top + box.y * shape.source_height * scale
    return math.floor(first), math.ceil(first + box.h * shape.source_height * scale)


def position(path: tuple[Keyframe, ...], at_s: float) -> tuple[float, float]:
    """The window's corner at a time of the shot (linear between keyframes)."""
    before = after = path[0]
    for keyframe in path:
        before, after = after, keyframe
        if keyframe.at_s >= at_s:
            break
    if after.at_s <= before.at_s or at_s >= after.at_s:
        return (after.x, after.y) if at_s >= after.at_s else (before.x, before.y)
    share = max(0.0, (at_s - before.at_s) / (after.at_s - before.at_s))
    return before.x + (after.x - before.x) * share, before.y + (after.y - before.y) * share


def _centre_at(focus: Focus, at_s: float) -> tuple[float, float]:
    earlier = [p for p in focus if p[0] <= at_s]
    later = [p for p in focus if p[0] > at_s]
    if not earlier or not later:
        _, x, y = earlier[-1] if earlier else later[0]
        return x, y
    (t0, x0, y0), (t1, x1, y1) = earlier[-1], later[0]
    share = (at_s - t0) / (t1 - t0)
    return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points)


def _corner(at_s: float, centre: tuple[float, float], shape: Geometry) -> Keyframe:
    slack_x, slack_y = shape.slack
    x = centre[0] * shape.source_width - shape.window_width / 2
    y = centre[1] * shape.source_height - shape.window_height / 2
    return Keyframe(at_s, min(max(x, 0.0), slack_x), min(max(y, 0.0), slack_y))


def _resting(points: list[tuple[float, float]], shape: Geometry) -> Keyframe:
    centre = median(p[0] for p in points), median(p[1] for p in points)
    corner = _corner(0.0, centre, shape)
    return Keyframe(0.0, 2 * math.floor(corner.x / 2), 2 * math.floor(corner.y / 2))


def _travels(points: list[tuple[float, float]], shape: Geometry) -> bool:
    corners = [_corner(0.0, point, shape) for point in points]
    sides = (
        (shape.window_width, [c.x for c in corners]),
        (shape.window_height, [c.y for c in corners]),
    )
    return any(_spread(values) > _DEAD_ZONE * side for side, values in sides)


def _spread(values: list[float]) -> float:
    deciles = quantiles(values, n=10, method="inclusive")
    return deciles[-1] - deciles[0]


def _thinned(track: list[Keyframe], shape: Geometry) -> tuple[Keyframe, ...]:
    """Ramer-Douglas-Peucker, coarser until few enough keyframes are left."""
    tolerance = _TOLERANCE * min(shape.window_width, shape.window_height)
    while len(kept := _simplified(track, tolerance)) > _MAX_KEYFRAMES:
        tolerance *= 1.5
    return tuple(kept)


def _simplified(track: list[Keyframe], tolerance: float) -> list[Keyframe]:
    if len(track) < 3:
        return track
    ends = (track[0], track[-1])
    errors = [_distance(keyframe, position(ends, keyframe.at_s)) for keyframe in track]
    worst = max(range(len(track)), key=errors.__getitem__)
    if errors[worst] <= tolerance:
        return list(ends)
    return [
        *_simplified(track[: worst + 1], tolerance),
        *_simplified(track[worst:], tolerance)[1:],
    ]


def _distance(keyframe: Keyframe, point: tuple[float, float]) -> float:
    return math.hypot(keyframe.x - point[0], keyframe.y - point[1])
