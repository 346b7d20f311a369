"""Lower thirds, title cards, calls to action, progress bars, price tags and animated texts.

Each graphic is drawn once as pictures (the typeface and the metrics of ``captions``), placed
inside the platform's safe zone, refused when its colours cannot be read (WCAG 2.2, 1.4.3: a
contrast of 4.5 or more), and moved by ``keyframe_engine`` as layers of a timeline. How a style
looks and how a graphic moves are data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.policy import RenderPolicy
from geminivideo.records import Check
from geminivideo.video_agent import captions
from geminivideo.video_agent.captions import Zone, safe_zone
from geminivideo.video_agent.keyframe_engine import Animation, Key, animation, constant
from geminivideo.video_agent.options import UnknownOptionError, known

if TYPE_CHECKING:
    import numpy as np

    from geminivideo.video_agent.pro import ProResult
    from geminivideo.video_agent.timeline_engine.model import Clip, Timeline

Rgba = tuple[int, int, int, int]
MIN_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3, level AA, text of any size
MAX_GRAPHICS = 20
MIN_SHOWN_S = 0.5
_MOVE_S = 0.4
_PULSE_S = 1.2
_SMALLEST_PX = 14
_LINE = 1.2
_ASCENT = 0.92
_GAP_PX = 4


class LowContrastError(UnknownOptionError):
    """The text could not be read on its ground; the message says the contrast and what it needs."""


class InvalidGraphicError(UnknownOptionError):
    """A graphic has no text, or no time in the video; the message says which one."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colours (RGBA) and shape of a style; ``ground`` None: the text stands on its outline."""

    ink: Rgba = (255, 255, 255, 255)
    ground: Rgba | None = (12, 14, 20, 224)
    accent: Rgba = (255, 214, 10, 255)
    outline: Rgba = (0, 0, 0, 255)
    weight: int = 750
    radius: float = 0.3


STYLES: dict[str, Look] = {
    "clean": Look(),
    "bold": Look(ink=(17, 17, 17, 255), ground=(255, 214, 10, 255), accent=(17, 17, 17, 255)),
    "brand": Look(ground=(18, 88, 220, 255), radius=0.9),
    "light": Look(ink=(20, 22, 28, 255), ground=(255, 255, 255, 240), accent=(18, 88, 220, 255)),
    "alert": Look(ground=(190, 18, 40, 255), weight=850),
    "minimal": Look(ground=None, weight=800),
}


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a type of graphic is set: sizes are fractions of the frame's short side.

    ``across`` and ``down`` are where it stands in the safe zone (0 left or top, 1 right or
    bottom); ``width`` is the most it takes of the zone.
    """

    size: float
    smallest: float
    lines: int
    across: float
    down: float
    width: float
    moves: str
    small: float = 0.62
    bar: bool = False
    fills: bool = False


FORMS: dict[str, Form] = {
    "lower_third": Form(
        size=0.062,
        smallest=0.036,
        lines=2,
        across=0,
        down=1,
        width=0.8,
        moves="slide_right",
        bar=True,
    ),
    "title_card": Form(
        size=0.11, smallest=0.05, lines=3, across=0.5, down=0.45, width=1, moves="rise", fills=True
    ),
    "cta": Form(size=0.075, smallest=0.045, lines=2, across=0.5, down=1, width=1, moves="pop"),
    "price_tag": Form(
        size=0.1, smallest=0.05, lines=1, across=1, down=0, width=0.6, moves="bounce"
    ),
    "animated_text": Form(
        size=0.09, smallest=0.045, lines=3, across=0.5, down=0.4, width=1, moves="fade"
    ),
    "progress_bar": Form(
        size=0.016, smallest=0.012, lines=0, across=0.5, down=0, width=1, moves="none", fills=True
    ),
}
TYPES = tuple(FORMS)


@dataclass(frozen=True)
class Move:
    """How a graphic comes: a property from a value (added to or times its rest), on a curve.

    It leaves as it came, but never faster than it can be seen; ``steps``: letter by letter.
    """

    name: str
    from_value: float
    curve: str = "ease_out"
    solid: bool = False
    steps: bool = False


MOVES: dict[str, Move] = {
    "none": Move("opacity", 1.0, solid=True),
    "fade": Move("opacity", 0.0, "linear", solid=True),
    "slide_left": Move("position_x", 0.05),
    "slide_right": Move("position_x", -0.05),
    "rise": Move("position_y", 0.06),
    "drop": Move("position_y", -0.06),
    "pop": Move("scale", 0.6, "back"),
    "bounce": Move("position_y", -0.1, "bounce"),
    "zoom": Move("scale", 1.4),
    "focus": Move("blur", 0.1),
    "wipe": Move("reveal", 0.0, "ease_in_out", solid=True),
    "typewriter": Move("reveal", 0.0, "hold", solid=True, steps=True),
}


@dataclass(frozen=True, kw_only=True)
class Graphic:
    """One graphic: its type, its words, its look, and when it is shown (s).

    ``subtitle`` is the smaller second line, ``old_price`` the struck-out price of a price tag;
    ``move`` is how it comes (empty: as its type does); ``ink`` and ``ground`` (``#rrggbb``)
    replace the style's colours. A progress bar has no text.
    """

    type: str
    text: str = ""
    subtitle: str = ""
    old_price: str = ""
    style: str = "clean"
    move: str = ""
    start_time: float = 0.0
    duration: float = 3.0
    ink: str = ""
    ground: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One picture (BGRA) of a graphic with its resting box, its texts' lines and its movement."""

    box: Zone
    pixels: np.ndarray
    animations: tuple[Animation, ...]
    lines: tuple[str, ...] = ()
    font_px: int = 0


@dataclass(frozen=True, kw_only=True)
class _Set:
    """Lines of one size that fit, and whether they had to be shortened."""

    lines: tuple[str, ...]
    px: int
    weight: int
    shortened: bool = False
    struck: bool = False

    @property
    def width(self) -> int:
        return max(
            (captions.text_width(line, self.px, self.weight) for line in self.lines), default=0
        )

    @property
    def height(self) -> int:
        return round(len(self.lines) * self.px * _LINE)


@dataclass(kw_only=True)
class _Laid:
    """What laying out graphics has given so far."""

    parts: list[tuple[Graphic, Part]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def look_of(graphic: Graphic) -> Look:
    """The style of a graphic with its own colours, if they can be read.

    Raises UnknownOptionError for a style or colour that does not exist, LowContrastError for
    colours with a contrast below ``MIN_CONTRAST``.
    """
    known("style", graphic.style, STYLES)
    look = STYLES[graphic.style]
    if graphic.ink:
        look = replace(look, ink=_colour(graphic.ink))
    if graphic.ground:
        look = replace(look, ground=_colour(graphic.ground))
    ratio = readability(look)
    if ratio < MIN_CONTRAST and graphic.type != "progress_bar":
        raise LowContrastError(
            f"the contrast of the text and its ground is {ratio:.1f} to 1; "
            f"it must be {MIN_CONTRAST} or more"
        )
    return look


def _colour(text: str) -> Rgba:
    if not (found := re.fullmatch(r"#([0-9a-fA-F]{6})", text)):
        raise UnknownOptionError(f"colour {text!r} is not #rrggbb")
    red, green, blue = bytes.fromhex(found[1])
    return red, green, blue, 255


def readability(look: Look) -> float:
    """The text's contrast with what is around its letters, over the worst picture behind it."""
    if look.ground is None:
        return contrast(look.ink, look.outline)
    grounds = [_over(look.ground, behind) for behind in ((0, 0, 0), (255, 255, 255))]
    return min(contrast(look.ink, ground) for ground in grounds)


def _over(above: Rgba, below: tuple[int, int, int]) -> Rgba:
    share = above[3] / 255
    red, green, blue = (
        round(a * share + b * (1 - share)) for a, b in zip(above, below, strict=False)
    )
    return red, green, blue, 255


def contrast(one: Rgba, other: Rgba) -> float:
    """The WCAG 2.2 contrast ratio of two colours (1 to 21)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Rgba) -> float:
    """The relative luminance of an sRGB colour, as WCAG 2.2 defines it."""
    parts = [value / 255 for value in colour[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def parts_of(
    graphic: Graphic, width: int, height: int, policy: RenderPolicy, taken: Sequence[Zone] = ()
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The pictures of a graphic in a frame, and what its text lost.

    It gives way up or down to what is ``taken`` by others at its time, where there is room.
    Raises UnknownOptionError, LowContrastError, and InvalidGraphicError for a text without a
    letter that can be drawn.
    """
    known("type", graphic.type, FORMS)
    form, look = FORMS[graphic.type], look_of(graphic)
    move = graphic.move or form.moves
    known("move", move, MOVES)
    zone = safe_zone(width, height, policy)
    if graphic.type == "progress_bar":
        return _bar(graphic, form, look, zone, (width, height)), ()
    if MOVES[move].steps:
        form = replace(form, lines=1)
    blocks = _blocks(graphic, form, look, zone, min(width, height))
    wanted, pixels = _panel(blocks, form, look, zone)
    box, crowded = _giving_way(wanted, zone, taken)
    part = Part(
        box=box,
        pixels=pixels,
        animations=_animated(graphic, MOVES[move], box, blocks, (width, height)),
        lines=tuple(line for block in blocks for line in block.lines),
        font_px=blocks[0].px,
    )
    overlap = [f"graphics-overlap:{graphic.type}"] if crowded else []
    return (part,), (*_losses(graphic, blocks), *overlap)


def _giving_way(box: Zone, zone: Zone, taken: Sequence[Zone]) -> tuple[Zone, bool]:
    """The nearest free place above or below, or the wanted one and that it is not free."""
    beside = [t for t in taken if t.x < box.x + box.width and box.x < t.x + t.width]
    rows = [(t.y, t.y + t.height) for t in beside]
    top = captions._free(box, zone, rows, _GAP_PX)
    return (box, True) if top is None else (replace(box, y=top), False)


def _losses(graphic: Graphic, blocks: Sequence[_Set]) -> list[str]:
    texts = [text for text in (graphic.text, graphic.subtitle, graphic.old_price) if text]
    cut = any(captions.drawable(text) != " ".join(text.split()) for text in texts)
    short = any(block.shortened for block in blocks)
    return [
        *(["undrawable-characters"] if cut else []),
        *([f"text-shortened:{graphic.type}"] if short else []),
    ]


def _blocks(graphic: Graphic, form: Form, look: Look, zone: Zone, short: int) -> list[_Set]:
    """The texts of a graphic, each set as large as fits."""
    room = int(zone.width * form.width) - 2 * round(form.size * short)
    main = captions.drawable(graphic.text)
    if not main:
        raise InvalidGraphicError(f"a {graphic.type} needs a text that can be drawn")
    blocks = [_fitted(main, form.size, form, look.weight, form.lines, room, short)]
    small = form.size * form.small
    if old := captions.drawable(graphic.old_price):
        struck = _fitted(old, small, form, 500, 1, room, short)
        blocks.insert(0, replace(struck, struck=True))
    if under := captions.drawable(graphic.subtitle):
        blocks.append(_fitted(under, small, form, 500, form.lines, room, short))
    return blocks


def _fitted(
    text: str, size: float, form: Form, weight: int, most: int, room: int, short: int
) -> _Set:
    """The largest size at which a text fits its lines; at the smallest one it is shortened."""
    smallest = max(_SMALLEST_PX, round(min(form.smallest, size) * short))
    px = max(smallest, round(size * short))
    while True:
        lines = _wrapped(text, px, weight, room)
        if len(lines) <= most:
            return _Set(lines=lines, px=px, weight=weight)
        if px == smallest:
            break
        px = max(smallest, int(px * 0.93))
    for keep in range(len(text) - 1, 0, -1):
        lines = _wrapped(text[:keep].rstrip(" ,.;:-") + "...", px, weight, room)
        if len(lines) <= most:
            return _Set(lines=lines, px=px, weight=weight, shortened=True)
    raise InvalidGraphicError(f"no letter of {text[:20]!r} fits the frame")


def _wrapped(text: str, px: int, weight: int, room: int) -> tuple[str, ...]:
    plain = captions.Style(
        size=0, smallest=0, weight=weight, max_lines=9, box=(0, 0, 0, 0), padding=(0, 0)
    )
    return captions.wrap(text, plain, px, room)


def _panel(blocks: Sequence[_Set], form: Form, look: Look, zone: Zone) -> tuple[Zone, np.ndarray]:
    """The ground with the texts on it, and where it stands in the safe zone."""
    import numpy as np

    px = blocks[0].px
    pad_x, pad_y = round(0.6 * px), round(0.42 * px)
    bar = round(0.16 * px) + round(0.3 * px) if form.bar else 0
    gap = round(0.18 * px)
    width = max(block.width for block in blocks) + 2 * pad_x + bar
    height = sum(block.height for block in blocks) + gap * (len(blocks) - 1) + 2 * pad_y
    width = zone.width if form.fills else min(zone.width, _even(width))
    box = _placed(width, min(zone.height, _even(height)), form, zone)
    canvas = np.zeros((box.height, box.width, 4), np.float32)
    if look.ground is not None:
        captions._paint(canvas, captions._rounded(box, round(look.radius * px)), look.ground)
    if form.bar:
        left = round(0.3 * px)
        _block(canvas, (left, pad_y, round(0.16 * px), box.height - 2 * pad_y), look.accent)
    top = pad_y
    for block in blocks:
        _letters(canvas, block, pad_x + bar if form.across == 0 else None, top, look)
        top += block.height + gap
    return box, canvas.round().astype(np.uint8)


def _even(value: float) -> int:
    return 2 * math.ceil(value / 2)


def _placed(width: int, height: int, form: Form, zone: Zone) -> Zone:
    x = zone.x + (zone.width - width) * form.across
    y = zone.y + (zone.height - height) * form.down
    return Zone(x=2 * int(x // 2), y=2 * int(y // 2), width=width, height=height)


def _block(canvas: np.ndarray, rectangle: tuple[int, int, int, int], colour: Rgba) -> None:
    import numpy as np

    x, y, width, height = rectangle
    mask = np.zeros(canvas.shape[:2], np.uint8)
    mask[y : y + height, x : x + width] = 255
    captions._paint(canvas, mask, colour)


def _letters(canvas: np.ndarray, block: _Set, left: int | None, top: int, look: Look) -> None:
    """Draw a block's lines; ``left`` None centres each."""
    import cv2
    import numpy as np

    mask = np.zeros(canvas.shape[:2], np.uint8)
    for number, line in enumerate(block.lines):
        width = captions.text_width(line, block.px, block.weight)
        x = int(canvas.shape[1] - width) // 2 if left is None else left
        baseline = top + round(number * block.px * _LINE + block.px * _ASCENT)
        cv2.putText(mask, line, (x, baseline), 255, captions._face(), block.px, block.weight)
        if block.struck:
            thick = max(2, block.px // 12)
            y = baseline - round(0.32 * block.px)
            mask[y : y + thick, max(0, x - thick) : x + width + thick] = 255
    if look.ground is None:
        reach = 2 * max(2, round(0.14 * block.px)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        captions._paint(canvas, cv2.dilate(mask, kernel), look.outline)
    captions._paint(canvas, mask, look.ink)


def _bar(
    graphic: Graphic, form: Form, look: Look, zone: Zone, frame: tuple[int, int]
) -> tuple[Part, ...]:
    """A bar that fills from the left over the graphic's whole time."""
    import numpy as np

    thick = max(4, _even(form.size * min(frame)))
    box = _placed(2 * (zone.width // 2), thick, form, zone)
    shape = captions._rounded(box, thick // 2)
    parts = []
    for colour, keys in (
        ((128, 128, 128, 170), [Key(time=0, value=1)]),
        (look.accent, [Key(time=0, value=0), Key(time=graphic.duration, value=1)]),
    ):
        canvas = np.zeros((box.height, box.width, 4), np.float32)
        captions._paint(canvas, shape, colour)
        moves = (*_at(box, frame), animation("reveal", keys))
        parts.append(Part(box=box, pixels=canvas.round().astype(np.uint8), animations=moves))
    return tuple(parts)


def _at(box: Zone, frame: tuple[int, int]) -> tuple[Animation, Animation]:
    """Where a box rests, as the offsets of its centre from the frame's."""
    x, y = _offsets(box, frame)
    return constant("position_x", x), constant("position_y", y)


def _offsets(box: Zone, frame: tuple[int, int]) -> tuple[float, float]:
    return (
        (box.x + box.width / 2) / frame[0] - 0.5,
        (box.y + box.height / 2) / frame[1] - 0.5,
    )


def _animated(
    graphic: Graphic, move: Move, box: Zone, blocks: Sequence[_Set], frame: tuple[int, int]
) -> tuple[Animation, ...]:
    """The graphic's way in, its rest, and its way out."""
    total, way = graphic.duration, min(_MOVE_S, graphic.duration / 3)
    resting = {a.name: a.keyframes[0].value for a in _at(box, frame)}
    moved: dict[str, list[Key]] = {
        name: [Key(time=0, value=value)] for name, value in resting.items()
    }
    if graphic.move != "none" and move != MOVES["none"]:
        rest = resting.get(move.name, 0.0 if move.name == "blur" else 1.0)
        first = rest + move.from_value if move.name in resting else move.from_value
        moved[move.name] = (
            _typed(blocks, box, total)
            if move.steps
            else _there_and_back(first, rest, move, way, total)
        )
        if not move.solid or move.steps:
            moved["opacity"] = _in_and_out(way, total, slow_start=not move.steps)
    if graphic.type == "cta" and "scale" in moved and total > 2 * way + _PULSE_S:
        moved["scale"] = _pulsing(moved["scale"], way, total)
    return tuple(animation(name, keys) for name, keys in moved.items())


def _there_and_back(first: float, rest: float, move: Move, way: float, total: float) -> list[Key]:
    return [
        Key(time=0, value=first, interpolation=move.curve),
        Key(time=way, value=rest),
        Key(time=total - way, value=rest, interpolation="ease_in"),
        Key(time=total, value=first),
    ]


def _in_and_out(way: float, total: float, *, slow_start: bool) -> list[Key]:
    return [
        Key(time=0, value=0.0 if slow_start else 1.0),
        Key(time=way, value=1.0),
        Key(time=total - way, value=1.0),
        Key(time=total, value=0.0),
    ]


def _pulsing(keys: Sequence[Key], way: float, total: float) -> list[Key]:
    """A button that swells a little every ``_PULSE_S`` while it rests."""
    pulses: list[Key] = []
    at = way + _PULSE_S / 2
    while at + _PULSE_S / 2 < total - way:
        pulses += [
            Key(time=at, value=1.0, interpolation="ease_in_out"),
            Key(time=at + _PULSE_S / 4, value=1.05, interpolation="ease_in_out"),
            Key(time=at + _PULSE_S / 2, value=1.0),
        ]
        at += _PULSE_S
    return [*keys[:2], *pulses, *keys[2:]]


def _typed(blocks: Sequence[_Set], box: Zone, total: float) -> list[Key]:
    """One step a letter of the widest line, at the width that the letters really have."""
    block = max(blocks, key=lambda b: b.width)
    line = max(block.lines, key=lambda text: captions.text_width(text, block.px, block.weight))
    left = (box.width - block.width) / 2
    step = min(0.09, total / 2 / len(line))
    keys = [Key(time=0, value=0.0, interpolation="hold")]
    for count in range(1, len(line)):
        shown = left + captions.text_width(line[:count], block.px, block.weight)
        share = min(1.0, max(keys[-1].value, shown / box.width))
        keys.append(Key(time=count * step, value=share, interpolation="hold"))
    return [*keys, Key(time=len(line) * step, value=1.0)]


def add_graphics(
    source: Path, graphics: Sequence[Graphic], workdir: Path, policy: RenderPolicy
) -> ProResult:
    """A whole video with graphics over it; checked to lie in the safe zone and to be readable.

    A graphic that would outlast the video ends with it (``graphic-shortened``). Raises
    InvalidGraphicError, UnknownOptionError, LowContrastError, RenderFailedError.
    """
    import cv2

    from geminivideo.video_agent import timeline_engine

    timeline = timeline_engine.in_row([source], policy, name="motion-graphics")
    laid = laid_out(timeline, graphics, policy)
    workdir.mkdir(parents=True, exist_ok=True)
    media = {"clip-1": source}
    for number, (_, part) in enumerate(laid.parts, start=1):
        media[f"graphic-{number}"] = workdir / f"graphic-{number:02d}.png"
        cv2.imwrite(str(media[f"graphic-{number}"]), part.pixels)
    made = timeline_engine.compose(
        _with_parts(timeline, laid),
        media,
        workdir,
        policy,
    )
    assert made.rendered is not None
    others = tuple(check for check in made.checks if check.name not in ("safe-zone", "contrast"))
    return replace(
        made,
        checks=(*others, *_measured(made.rendered.path, laid, policy)),
        degraded=tuple(dict.fromkeys((*made.degraded, *laid.lost))),
    )


def laid_out(timeline: Timeline, graphics: Sequence[Graphic], policy: RenderPolicy) -> _Laid:
    """The parts of all graphics on a timeline, each within its time."""
    if not 1 <= len(graphics) <= MAX_GRAPHICS:
        raise InvalidGraphicError(f"{len(graphics)} graphics: give 1 to {MAX_GRAPHICS}")
    laid = _Laid()
    total = float(timeline.frames / timeline.fps)
    # A bar has no other place; texts give way to it, and lie over it where they cannot.
    for graphic in sorted(graphics, key=lambda g: g.type != "progress_bar"):
        timed = _timed(graphic, total)
        if timed.duration < graphic.duration:
            laid.lost.append(f"graphic-shortened:{graphic.type}")
        taken = [part.box for other, part in laid.parts if _together(other, timed)]
        parts, lost = parts_of(timed, timeline.width, timeline.height, policy, taken)
        laid.parts += [(timed, part) for part in parts]
        laid.lost += lost
    return laid


def _together(one: Graphic, other: Graphic) -> bool:
    """Whether two graphics are shown at the same time."""
    begins = max(one.start_time, other.start_time)
    return begins < min(one.start_time + one.duration, other.start_time + other.duration)


def _timed(graphic: Graphic, total_s: float) -> Graphic:
    start, duration = graphic.start_time, graphic.duration
    if not (math.isfinite(start) and math.isfinite(duration) and start >= 0):
        raise InvalidGraphicError(f"a {graphic.type} cannot start at {start} s for {duration} s")
    shown = min(duration, total_s - start)
    if shown < MIN_SHOWN_S:
        raise InvalidGraphicError(
            f"a {graphic.type} from {start:g} s would be shown for {max(0.0, shown):.2f} s of a "
            f"video of {total_s:.2f} s; it needs {MIN_SHOWN_S}"
        )
    return replace(graphic, duration=shown)


def _with_parts(timeline: Timeline, laid: _Laid) -> Timeline:
    from geminivideo.video_agent import timeline_engine
    from geminivideo.video_agent.timeline_engine import Media, TrackKind

    timeline = timeline_engine.add_track(timeline, "G1", TrackKind.OVERLAY)
    for number, (graphic, part) in enumerate(laid.parts, start=1):
        timeline = timeline_engine.add_media(timeline, Media(id=f"graphic-{number}"))
        clip = _clip(timeline, number, graphic, part)
        timeline = timeline_engine.add_clip(timeline, "G1", clip, "layer")
    return timeline


def _clip(timeline: Timeline, number: int, graphic: Graphic, part: Part) -> Clip:
    from geminivideo.video_agent.timeline_engine import Clip

    start = round(graphic.start_time * timeline.fps)
    end = min(timeline.frames, round((graphic.start_time + graphic.duration) * timeline.fps))
    return Clip(
        id=f"graphic-{number}",
        start=start,
        frames=max(1, end - start),
        media=f"graphic-{number}",
        fit="own",
        animations=part.animations,
    )


def _measured(path: Path, laid: _Laid, policy: RenderPolicy) -> list[Check]:
    """Where the graphics stand in the decoded frame, and how well their texts can be read."""
    import av

    boxes = {(graphic.type, part.box) for graphic, part in laid.parts}
    ratios: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            size = (frame.width, frame.height)
            step = 1 / float(container.streams.video[0].average_rate or 1)
            at = float(frame.time or 0.0)
            for graphic, part in laid.parts:
                if part.lines and at <= _rest(graphic) < at + step:
                    ratios.append(_seen_contrast(frame.to_ndarray(format="rgb24"), graphic, part))
    zone = safe_zone(*size, policy)
    outside = sorted(kind for kind, box in boxes if not zone.holds(box))
    inside = Check(
        name="safe-zone",
        passed=not outside,
        measured=outside or f"{len(boxes)} inside",
        wanted=f"zone {zone.width}x{zone.height}+{zone.x}+{zone.y}",
    )
    read = Check(
        name="contrast",
        passed=bool(ratios) and min(ratios) >= MIN_CONTRAST,
        measured=round(min(ratios, default=0.0), 2),
        wanted=f"at least {MIN_CONTRAST}",
    )
    return [inside, *([read] if any(part.lines for _, part in laid.parts) else [])]


def _rest(graphic: Graphic) -> float:
    """A moment (s) at which a graphic has come, every letter is typed, and it is not leaving."""
    return graphic.start_time + 0.6 * graphic.duration


def _seen_contrast(seen: np.ndarray, graphic: Graphic, part: Part) -> float:
    """The contrast of the letters' middle colour with that of what is drawn around them."""
    import numpy as np

    look, box = look_of(graphic), part.box
    patch = seen[box.y : box.y + box.height, box.x : box.x + box.width]
    solid = part.pixels[..., 3] > 200
    off = np.abs(part.pixels[..., 2::-1].astype(int) - np.array(look.ink[:3])).max(axis=-1)
    letters, around = patch[solid & (off < 24)], patch[solid & (off > 0.9 * off[solid].max())]
    if not len(letters) or not len(around):
        return 1.0
    return contrast(_middle(letters), _middle(around))


def _middle(pixels: np.ndarray) -> Rgba:
    """The median colour of pixels (n, 3)."""
    import numpy as np

    red, green, blue = (round(float(value)) for value in np.median(pixels, axis=0))
    return red, green, blue, 255
