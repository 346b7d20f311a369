"""Where the picture is cropped and how large it becomes; pure arithmetic in pixels and seconds.

Sizes are those of the picture as it is shown: rotation and pixel aspect already applied.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median, quantiles

from geminivideo.policy import RenderPolicy
from geminivideo.records import Box

Focus = tuple[tuple[float, float, float], ...]

_ASPECT = re.compile(r"([1-9]\d?):([1-9]\d?)")
_STEP_S = 0.2
_SMOOTHING_S = 1.4
# A subject that stays within this share of the window needs no camera movement.
_DEAD_ZONE = 0.30
_TOLERANCE = 0.005
# Reach (s) of the smoothing of a camera that must keep a subject, from calm to lively. A path that
# is smoothed over W moves at most slack/W a second and speeds up at most 2 slack/W^2.
_REACHES = (1.6, 1.2, 0.9, 0.65)
# Room around a subject, as a share of the window; the share of moments that must show it whole.
_SUBJECT_MARGIN = 0.04
_KEPT = 0.995
# A subject that was not seen for longer than this is somewhere unknown.
_UNSEEN_S = 1.0
_LARGER = 1.5
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

    @classmethod
    def covering(cls, source_size: tuple[int, int], width: int, height: int) -> Geometry:
        """The largest window of this shape in a source, brought to this size."""
        wide, high = source_size
        wanted = width / height
        return cls(
            source_width=wide,
            source_height=high,
            window_width=even(min(wide, high * wanted)),
            window_height=even(min(high, wide / wanted)),
            width=width,
            height=height,
        )

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


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the window must hold at a time of the source: a box in fractions of the frame."""

    at_s: float
    box: Box


def crop_path(
    focus: Focus | None,
    start_s: float,
    end_s: float,
    shape: Geometry,
    subjects: Sequence[Subject] = (),
    jumps: Sequence[float] = (),
    *,
    still: bool = False,
) -> tuple[Keyframe, ...]:
    """Where the window is during a shot: one keyframe when it rests, several when it pans.

    ``focus`` are (source time s, x, y) with x and y in fractions of the frame, ``subjects`` the
    boxes that the window must hold where it can, ``jumps`` the source's own cuts inside the shot
    (source time s): only there the window jumps, and two keyframes have the same time. The camera
    rests where it can; else it follows a smoothed path, so that its speed and its acceleration are
    bounded. ``still`` makes it rest between jumps. Every keyframe keeps the window inside.
    """
    if not (focus or subjects) or shape.slack == (0, 0):
        return (_resting([(0.5, 0.5)], shape),)
    edges = _edges(start_s, jumps, end_s)
    track: list[Keyframe] = []
    for begin, end in pairwise(edges):
        piece = _piece(focus or (), begin, end, shape, subjects)
        piece = _middle(piece, end - begin) if still else piece
        moved = [replace(k, at_s=k.at_s + begin - start_s) for k in piece]
        if len(edges) > 2 and len(moved) == 1:
            moved.append(replace(moved[0], at_s=end - start_s))
        track += moved
    return _still(track)


def _edges(start_s: float, jumps: Sequence[float], end_s: float) -> list[float]:
    """The ends of the pieces; a piece shorter than a step belongs to the one before it."""
    edges = [start_s]
    for jump in sorted(jumps):
        if edges[-1] + _STEP_S <= jump <= end_s - _STEP_S:
            edges.append(jump)
    return [*edges, end_s]


def _middle(path: tuple[Keyframe, ...], length_s: float) -> tuple[Keyframe, ...]:
    """The median place of a path, sampled over its time."""
    places = [position(path, length_s * n / 100) for n in range(101)]
    x, y = median(p[0] for p in places), median(p[1] for p in places)
    return (Keyframe(0.0, 2 * math.floor(x / 2), 2 * math.floor(y / 2)),)


def _still(track: list[Keyframe]) -> tuple[Keyframe, ...]:
    """One keyframe for a track that never moves."""
    first = track[0]
    moves = any((k.x, k.y) != (first.x, first.y) for k in track)
    return tuple(track) if moves else (first,)


def _piece(
    focus: Focus, start_s: float, end_s: float, shape: Geometry, subjects: Sequence[Subject]
) -> tuple[Keyframe, ...]:
    """The path between two cuts, its times counted from the first of them."""
    here = _tracked([s for s in subjects if start_s <= s.at_s < end_s], shape)
    count = max(2, math.ceil((end_s - start_s) / _STEP_S) + 1)
    times = [start_s + (end_s - start_s) * i / (count - 1) for i in range(count)]
    if here:
        return _held(here, times, shape)
    inside = tuple(p for p in focus if start_s <= p[0] < end_s) or focus
    if not inside:
        return (_resting([(0.5, 0.5)], shape),)
    points = [_centre_at(inside, t) for t in times]
    if not _travels(points, shape):
        return (_resting(points, shape),)
    corners = [_corner(t - start_s, point, shape) for t, point in zip(times, points, strict=True)]
    reach = math.ceil(_SMOOTHING_S / 2 * (count - 1) / (end_s - start_s))
    xs, ys = _smoothed([c.x for c in corners], reach), _smoothed([c.y for c in corners], reach)
    track = [Keyframe(c.at_s, x, y) for c, x, y in zip(corners, xs, ys, strict=True)]
    return _thinned(track, shape)


def _held(
    subjects: Sequence[Subject], times: Sequence[float], shape: Geometry
) -> tuple[Keyframe, ...]:
    """The calmest path on which the window holds the subjects; each axis decides for itself."""
    boxes = [_box_at(subjects, t) for t in times]
    seen = [min(abs(s.at_s - t) for s in subjects) <= _UNSEEN_S for t in times]
    across = [(box.x, box.w) for box in boxes]
    down = [(box.y, box.h) for box in boxes]
    step = (times[-1] - times[0]) / (len(times) - 1)
    xs = _axis(across, seen, shape.source_width, shape.window_width, step)
    ys = _axis(down, seen, shape.source_height, shape.window_height, step)
    track = [Keyframe(t - times[0], x, y) for t, x, y in zip(times, xs, ys, strict=True)]
    return _thinned(track, shape)


def _tracked(subjects: Sequence[Subject], shape: Geometry) -> list[Subject]:
    """One box a moment: all that is there when the window can hold it, else the main one.

    The main one is the largest, but the one that was followed before stays it until another is
    half as large again: the camera does not go to and fro between two speakers.
    """
    moments: dict[float, list[Box]] = {}
    for subject in sorted(subjects, key=lambda s: s.at_s):
        moments.setdefault(subject.at_s, []).append(subject.box)
    room = 1 - 2 * _SUBJECT_MARGIN
    wide = room * shape.window_width / shape.source_width
    high = room * shape.window_height / shape.source_height
    together = [_around(boxes) for boxes in moments.values()]
    if all(box.w <= wide and box.h <= high for box in together):
        return [Subject(at_s=t, box=b) for t, b in zip(moments, together, strict=True)]
    track: list[Subject] = []
    for at_s, boxes in moments.items():
        largest = max(boxes, key=lambda box: box.w * box.h)
        if track:
            before = track[-1].box
            same = min(boxes, key=lambda box: _apart(box, before))
            if largest.w * largest.h < _LARGER * same.w * same.h:
                largest = same
        track.append(Subject(at_s=at_s, box=largest))
    return track


def _around(boxes: Sequence[Box]) -> Box:
    x, y = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.x + box.w for box in boxes), max(box.y + box.h for box in boxes)
    return Box(x=x, y=y, w=right - x, h=bottom - y)


def _apart(first: Box, second: Box) -> float:
    across = first.x + first.w / 2 - second.x - second.w / 2
    return math.hypot(across, first.y + first.h / 2 - second.y - second.h / 2)


def _axis(
    sides: Sequence[tuple[float, float]],
    seen: Sequence[bool],
    length: int,
    window: int,
    step_s: float,
) -> list[float]:
    """The window's corner (px) at every step: at rest if that holds the subject, else moving."""
    slack = float(length - window)
    wanted, rooms = [], []
    for at, size in sides:
        low, high = (at + size) * length - window, at * length
        margin = min(_SUBJECT_MARGIN * window, max(0.0, (high - low) / 2))
        centre = (low + high) / 2
        wanted.append(min(max(centre, 0.0), slack))
        # A subject that is larger than the window is held by its middle.
        rooms.append((low + margin, high - margin) if low <= high else (centre, centre))
    resting = _resting_corner(wanted, rooms, slack)
    paths = [[resting] * len(sides)]
    paths += [_smoothed(wanted, math.ceil(reach / step_s)) for reach in _REACHES]
    shares = [_share_held(path, rooms, seen, slack) for path in paths]
    good = next((n for n, share in enumerate(shares) if share >= _KEPT), None)
    best = max(range(len(paths)), key=shares.__getitem__)
    return paths[good if good is not None else best]


def _resting_corner(
    wanted: Sequence[float], rooms: Sequence[tuple[float, float]], slack: float
) -> float:
    """The even place nearest to the median that every room has in common, if they have one."""
    low, high = max(room[0] for room in rooms), min(room[1] for room in rooms)
    middle = median(wanted)
    place = min(max(middle, low), high) if low <= high else middle
    return 2.0 * math.floor(min(max(place, 0.0), slack) / 2)


def _share_held(
    path: Sequence[float],
    rooms: Sequence[tuple[float, float]],
    seen: Sequence[bool],
    slack: float,
) -> float:
    """The share of the moments with a subject at which the window holds it (to 2 px)."""
    held = [
        min(low, slack) - 2 <= x <= max(high, 0.0) + 2
        for x, (low, high), there in zip(path, rooms, seen, strict=True)
        if there
    ]
    return sum(held) / len(held) if held else 1.0


def _box_at(subjects: Sequence[Subject], at_s: float) -> Box:
    """The subject's box at a time: between two sightings on the line, else the nearest one."""
    after = next((n for n, s in enumerate(subjects) if s.at_s > at_s), len(subjects))
    if after == 0 or after == len(subjects):
        return subjects[max(0, after - 1)].box
    first, second = subjects[after - 1], subjects[after]
    share = (at_s - first.at_s) / (second.at_s - first.at_s)
    a, b = first.box, second.box
    return Box(
        x=a.x + (b.x - a.x) * share,
        y=a.y + (b.y - a.y) * share,
        w=a.w + (b.w - a.w) * share,
        h=a.h + (b.h - a.h) * share,
    )


def _smoothed(values: Sequence[float], reach: int) -> list[float]:
    """Means weighted by a triangle that falls to nothing at ``reach`` steps.

    No weight is negative, so the path never leaves what the values span. Beyond its ends the path
    is turned about its end point, so that a steady pan stays one.
    """
    low, high, last = min(values), max(values), len(values) - 1

    def value(place: int) -> float:
        if 0 <= place <= last:
            return values[place]
        end = 0 if place < 0 else last
        turned = min(max(2 * end - place, 0), last)
        return min(max(2 * values[end] - values[turned], low), high)

    weights = [reach - abs(k) for k in range(-reach + 1, reach)]
    total = sum(weights)
    return [
        sum(w * value(n + k) for w, k in zip(weights, range(-reach + 1, reach), strict=True))
        / total
        for n in range(len(values))
    ]


def framing(
    focus: Focus | None,
    texts: tuple[Box, ...],
    start_s: float,
    end_s: float,
    shape: Geometry,
    subjects: Sequence[Subject] = (),
    jumps: Sequence[float] = (),
    *,
    still: bool = False,
) -> Framing:
    """The window of a shot: on its subject, but never through a text that the source shows."""
    path = crop_path(focus, start_s, end_s, shape, subjects, jumps, still=still)
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
        if keyframe.at_s > at_s:
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
