"""Texts as pictures: wrapped, measured and drawn by one engine, placed inside the safe zone.

The typeface is the one that OpenCV 5 carries in its wheel (Rubik, SIL Open Font License, with
WenQuanYi Micro Hei for CJK): the same pixels on every machine, no system font, no fontconfig.
Because a text is measured by what draws it, the box that is checked is the box that is seen. A
text reaches ffmpeg as a PNG file, never inside a filter string.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.plan import Cue, RenderRequest

if TYPE_CHECKING:
    import numpy as np

_MIN_FONT_PX = 14
_LINE_HEIGHT = 1.16
_SHRINK = 0.93
# What OpenCV draws for a character that the typeface does not have.
_PLACEHOLDER = "?"
# How far accented capitals rise above the line and a "j" reaches before it.
_OVERHANG = 0.1
_SUPERSAMPLE = 4


class FontUnavailableError(RuntimeError):
    """The installed OpenCV draws no TrueType text: opencv-python-headless 5 or later is needed."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one kind of text looks; sizes are fractions of the frame's short side.

    ``weight`` is OpenCV's (400 regular, 700 bold); colours are RGBA. ``outline``, ``shadow`` (right
    and down) and ``padding`` are fractions of the letters' size; ``pop`` is how much larger a lit
    word is drawn; a line has at most ``line_words`` words and ``line_chars`` characters.
    """

    size: float
    smallest: float
    weight: int
    max_lines: int
    ink: tuple[int, int, int, int] = (255, 255, 255, 255)
    outline: float = 0.0
    box: tuple[int, int, int, int] | None = None
    padding: tuple[float, float] = (0.5, 0.3)
    radius: float = 0.35
    upper: bool = False
    light: tuple[int, int, int, int] = (255, 214, 10, 255)
    place: str = "low"
    shadow: float = 0.0
    pop: float = 1.0
    line_words: int = 99
    line_chars: int = 999


# The caption styles are given in pixels of a frame whose short side is 720.
_SPOKEN_PX = 720


def _spoken(
    *,
    size: int = 48,
    smallest: int = 32,
    weight: int = 750,
    max_lines: int = 2,
    box_alpha: int = 153,
    upper: bool = False,
    place: str = "low",
    pop: float = 1.0,
) -> Style:
    """White on a black box, yellow where it is lit, border 2 px, shadow 2 px right and down."""
    return Style(
        size=size / _SPOKEN_PX,
        smallest=smallest / _SPOKEN_PX,
        weight=weight,
        max_lines=max_lines,
        outline=2 / 48,
        shadow=2 / 48,
        box=(0, 0, 0, box_alpha),
        upper=upper,
        place=place,
        pop=pop,
        line_words=6,
        line_chars=40,
    )


STYLES: dict[str, Style] = {
    "hook": Style(
        size=0.088,
        smallest=0.05,
        weight=750,
        max_lines=3,
        ink=(17, 17, 17, 255),
        box=(255, 255, 255, 240),
    ),
    "title": Style(size=0.066, smallest=0.045, weight=700, max_lines=3, box=(0, 0, 0, 165)),
    "caption": Style(size=0.068, smallest=0.045, weight=750, max_lines=2, outline=0.09),
    "instagram": _spoken(pop=1.12),
    "youtube": _spoken(size=44, smallest=26),
    "karaoke": _spoken(),
    "tiktok": _spoken(size=60, max_lines=3, upper=True, place="middle"),
    "hormozi": _spoken(
        size=80, smallest=40, weight=850, max_lines=1, upper=True, place="middle", box_alpha=204
    ),
    "cta": Style(
        size=0.070,
        smallest=0.045,
        weight=750,
        max_lines=2,
        box=(24, 103, 255, 255),
        padding=(0.9, 0.5),
        radius=0.9,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A rectangle in output pixels."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, other: Zone) -> bool:
        """Whether the other rectangle lies wholly inside."""
        return (
            self.x <= other.x
            and self.y <= other.y
            and other.x + other.width <= self.x + self.width
            and other.y + other.height <= self.y + self.height
        )


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """One text as it is really laid over the picture: its lines, size, box and time."""

    kind: str
    style: str
    text: str
    lines: tuple[str, ...]
    font_px: int
    box: Zone
    start_s: float
    end_s: float
    shortened: bool = False
    lit: tuple[int, int] = (0, 0)


def safe_zone(width: int, height: int, policy: RenderPolicy) -> Zone:
    """Where text may stand: a tall frame keeps clear of the platform's own buttons."""
    margin = policy.feed_margin
    left, top, right, bottom = margin, margin, margin, margin
    if height / width > 1.5:
        left, right = policy.safe_left, policy.safe_right
        top, bottom = policy.safe_top, policy.safe_bottom
    x, y = -(-round(width * left) // 2) * 2, -(-round(height * top) // 2) * 2
    return Zone(
        x=x,
        y=y,
        width=(int(width * (1 - right)) - x) // 2 * 2,
        height=(int(height * (1 - bottom)) - y) // 2 * 2,
    )


@dataclass(frozen=True, kw_only=True)
class Band:
    """Rows of the output that the source's own text or a face fills for a time."""

    start_s: float
    end_s: float
    top: int
    bottom: int
    face: bool = False


def layout(
    request: RenderRequest, width: int, height: int, bands: Sequence[Band] = ()
) -> tuple[tuple[Overlay, ...], tuple[str, ...]]:
    """Every text of the request with its box, and the reasons why a text lost something.

    Hook and titles stand at the top of the safe zone, the call to action at its bottom, captions
    above the place of the call to action for the whole length, so that they do not jump. A text
    gives way to what the source shows at that time (``bands``), if there is room.
    """
    zone, short = safe_zone(width, height, request.policy), min(width, height)
    placed: list[Overlay] = []
    reserved = 0
    for title in sorted(request.titles, key=lambda t: t.kind != "cta"):
        fitted = _fit(title.kind, title.text, zone.width, zone.height * 2 // 5, short)
        if fitted is None:
            continue
        wanted = zone.y
        if title.kind == "cta":
            reserved = fitted.height + _gap(short)
            wanted = zone.y + zone.height - fitted.height
        drawn = fitted.overlay(title.kind, title.text, zone, wanted, title.start_s, title.end_s)
        placed.append(_settled(drawn, zone, _taken(drawn, bands, placed), short))
    for drawn in list(_captions(request, zone, reserved, short)):
        placed.append(_settled(drawn, zone, _taken(drawn, bands, placed), short))
    return tuple(placed), tuple(_losses(request, placed))


def _captions(request: RenderRequest, zone: Zone, reserved: int, short: int) -> Iterable[Overlay]:
    name = request.caption_style
    for cue in request.captions:
        fitted = _fit(name, cue.text, zone.width, zone.height // 3, short)
        if fitted is None:
            continue
        room = zone.height - reserved - fitted.height
        top = zone.y + (room // 2 if STYLES[name].place == "middle" else room)
        drawn = fitted.overlay("caption", cue.text, zone, top, cue.start_s, cue.end_s)
        yield replace(drawn, style=name, lit=_lit(cue, fitted, STYLES[name]))


def _lit(cue: Cue, fitted: Fitted, style: Style) -> tuple[int, int]:
    """The lit words among those drawn: some have no letters to draw, some stand in pieces."""
    drawn = " ".join(fitted.lines).split()
    ends = [0]
    for word in cue.words:
        left = len(drawable(word.text.upper() if style.upper else word.text).replace(" ", ""))
        place = ends[-1]
        while left > 0 and place < len(drawn):
            left -= len(drawn[place])
            place += 1
        ends.append(place)
    first, last = (min(number, len(cue.words)) for number in cue.lit)
    return ends[first], ends[last]


_Rows = tuple[int, int]


def _taken(
    drawn: Overlay, bands: Sequence[Band], placed: Sequence[Overlay]
) -> tuple[list[_Rows], list[_Rows]]:
    """Rows that are full while a text is shown: those it must not cover, and those of faces."""
    there = [b for b in bands if b.start_s < drawn.end_s and drawn.start_s < b.end_s]
    others = [
        (o.box.y, o.box.y + o.box.height)
        for o in placed
        if o.kind != "caption" and o.start_s < drawn.end_s and drawn.start_s < o.end_s
    ]
    texts = [(b.top, b.bottom) for b in there if not b.face]
    faces = [(b.top, b.bottom) for b in there if b.face and drawn.kind in ("hook", "title")]
    return others + texts, faces


def _settled(
    drawn: Overlay, zone: Zone, taken: tuple[list[_Rows], list[_Rows]], short: int
) -> Overlay:
    """The place nearest to the wanted one that covers neither texts nor faces, or no text."""
    must, faces = taken
    for rows in (must + faces, must):
        if (top := _free(drawn.box, zone, rows, _gap(short) // 2)) is not None:
            return replace(drawn, box=replace(drawn.box, y=top))
    return drawn


def _free(box: Zone, zone: Zone, rows: list[_Rows], gap: int) -> int | None:
    lowest = zone.y + zone.height - box.height
    tops = [box.y, *(top - gap - box.height for top, _ in rows), *(low + gap for _, low in rows)]
    free = [
        even
        for top in tops
        if zone.y <= (even := -(-top // 2) * 2 if top > box.y else top // 2 * 2) <= lowest
        and all(even + box.height <= first or last <= even for first, last in rows)
    ]
    return min(free, key=lambda top: abs(top - box.y), default=None)


def _gap(short: int) -> int:
    return round(short * 0.025) // 2 * 2


def _losses(request: RenderRequest, placed: Iterable[Overlay]) -> Iterable[str]:
    texts = [t.text for t in request.titles] + [c.text for c in request.captions]
    if any(drawable(text) != " ".join(text.split()) for text in texts):
        yield "undrawable-characters"
    for kind in dict.fromkeys(overlay.kind for overlay in placed if overlay.shortened):
        yield f"text-shortened:{kind}"


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Lines that fit, with the size of their box."""

    lines: tuple[str, ...]
    font_px: int
    width: int
    height: int
    shortened: bool

    def overlay(
        self, kind: str, text: str, zone: Zone, top: int, start_s: float, end_s: float
    ) -> Overlay:
        """Centred in the zone with its box's top at ``top``."""
        box = Zone(
            x=(zone.x + (zone.width - self.width) // 2) // 2 * 2,
            y=top // 2 * 2,
            width=self.width,
            height=self.height,
        )
        return Overlay(
            kind=kind,
            style=kind,
            text=text,
            lines=self.lines,
            font_px=self.font_px,
            box=box,
            start_s=start_s,
            end_s=end_s,
            shortened=self.shortened,
        )


def _fit(kind: str, text: str, max_width: int, max_height: int, short: int) -> Fitted | None:
    """The largest size at which the text fits; at the smallest one it is shortened with '...'."""
    style = STYLES[kind]
    shown = drawable(text.upper() if style.upper else text)
    if not shown:
        return None
    smallest = max(_MIN_FONT_PX, round(style.smallest * short))
    size = max(smallest, round(style.size * short))
    while True:
        lines = wrap(shown, style, size, max_width)
        fitted = _boxed(lines, style, size, shortened=False)
        if len(lines) <= style.max_lines and _inside(fitted, max_width, max_height):
            return fitted
        if size == smallest:
            return _shortened(shown, style, size, max_width, max_height)
        size = max(smallest, int(size * _SHRINK))


def _inside(fitted: Fitted, max_width: int, max_height: int) -> bool:
    return fitted.width <= max_width and fitted.height <= max_height


def _shortened(
    text: str, style: Style, size: int, max_width: int, max_height: int
) -> Fitted | None:
    for keep in range(len(text) - 1, 0, -1):
        lines = wrap(text[:keep].rstrip(" ,.;:-") + "...", style, size, max_width)
        fitted = _boxed(lines, style, size, shortened=True)
        if len(lines) <= style.max_lines and _inside(fitted, max_width, max_height):
            return fitted
    return None


def _boxed(lines: tuple[str, ...], style: Style, size: int, *, shortened: bool) -> Fitted:
    pad_x, pad_y = _padding(style, size)
    widest = max(text_width(line, size, style.weight) for line in lines)
    return Fitted(
        lines=lines,
        font_px=size,
        width=-(-(widest + 2 * pad_x) // 2) * 2,
        height=-(-round(len(lines) * size * _LINE_HEIGHT + 2 * pad_y) // 2) * 2,
        shortened=shortened,
    )


def _padding(style: Style, size: int) -> tuple[int, int]:
    if style.box is None:
        edge = round((style.outline + _OVERHANG) * size) + 2
        return edge, edge
    return round(style.padding[0] * size), round(style.padding[1] * size)


def wrap(text: str, style: Style, size: int, max_width: int) -> tuple[str, ...]:
    """Lines of about the same width, as few as possible; a word too wide for a line is broken."""
    room = max_width - 2 * _padding(style, size)[0]
    words = [piece for word in text.split() for piece in _pieces(word, style, size, room)]
    lines = _greedy(words, style, size, room)
    narrowest: float = room
    for step in range(1, 13):
        tighter = room * (1 - step * 0.05)
        if len(again := _greedy(words, style, size, tighter)) > len(lines):
            break
        lines, narrowest = again, tighter
    return tuple(_greedy(words, style, size, narrowest))


def _greedy(words: list[str], style: Style, size: int, room: float) -> list[str]:
    lines = [words[0]]
    for word in words[1:]:
        longer = f"{lines[-1]} {word}"
        allowed = len(longer) <= style.line_chars and longer.count(" ") < style.line_words
        if allowed and text_width(longer, size, style.weight) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _pieces(word: str, style: Style, size: int, room: int) -> list[str]:
    pieces = []
    while len(word) > 1 and text_width(word, size, style.weight) > room:
        keep = next(
            (
                n
                for n in range(len(word) - 1, 1, -1)
                if text_width(word[:n], size, style.weight) <= room
            ),
            1,
        )
        pieces.append(word[:keep])
        word = word[keep:]
    return [*pieces, word]


@lru_cache(maxsize=4096)
def drawable(text: str) -> str:
    """The text without what cannot be drawn: emoji, marks, right-to-left scripts, and characters
    that the typeface has no glyph of (Thai, Devanagari, Georgian ...)."""
    kept = "".join(c for c in unicodedata.normalize("NFC", text) if _drawable(c))
    return " ".join(kept.split())


@lru_cache(maxsize=16384)
def _drawable(character: str) -> bool:
    kind = unicodedata.category(character)
    if kind in ("So", "Sk", "Cs", "Co", "Cn", "Cf", "Cc", "Mn", "Me"):
        return character in "°©®™№"
    turned = unicodedata.bidirectional(character) in ("R", "AL", "AN")
    own = character.isspace() or character == _PLACEHOLDER
    return not turned and (own or _ink(character) != _no_glyph())


@lru_cache(maxsize=1)
def _no_glyph() -> bytes:
    """What is drawn in the place of a character that the typeface does not have."""
    return _ink("\u0378")  # Unicode has never assigned it


def _ink(character: str) -> bytes:
    import cv2
    import numpy as np

    mask = np.zeros((32, 32), np.uint8)
    cv2.putText(mask, character, (4, 24), 255, _face(), 16, 400)
    return mask.tobytes()


@lru_cache(maxsize=1)
def _face() -> Any:
    import cv2

    if not hasattr(cv2, "FontFace"):
        raise FontUnavailableError(FontUnavailableError.__doc__)
    return cv2.FontFace("sans")


@lru_cache(maxsize=65536)
def text_width(text: str, size: int, weight: int) -> int:
    """The advance width of a line in pixels."""
    import cv2

    x, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _face(), size, weight)
    return int(x + width)


def draw(overlay: Overlay, path: Path) -> Path:
    """Write the overlay's box as an RGBA PNG of exactly its size."""
    import cv2

    cv2.imwrite(str(path), picture(overlay))
    return path


def track(overlays: Sequence[Overlay], path: Path, last_s: float) -> Zone:
    """Write texts that are shown one after the other as one video with alpha; its place.

    A speech of ten minutes lit word by word is 1500 pictures: as inputs of their own they would be
    more files and threads than a process may have. Nothing is written after ``last_s``, the time of
    the picture's last frame: it would make the picture longer. Raises ValueError for texts that
    overlap in time.
    """
    import av
    import numpy as np

    place = _around([overlay.box for overlay in overlays])
    shown = sorted(overlays, key=lambda overlay: overlay.start_s)
    empty = np.zeros((place.height, place.width, 4), np.uint8)
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("qtrle", rate=_TRACK_TICKS)
        stream.width, stream.height, stream.pix_fmt = place.width, place.height, "argb"
        stream.codec_context.time_base = Fraction(1, _TRACK_TICKS)

        def show(at: int, pixels: np.ndarray) -> None:
            if at > last_s * _TRACK_TICKS:
                return
            frame = av.VideoFrame.from_ndarray(pixels, format="bgra").reformat(format="argb")
            frame.pts, frame.time_base = at, Fraction(1, _TRACK_TICKS)
            container.mux(stream.encode(frame))

        until = 0
        for overlay in shown:
            start, end = _tick(overlay.start_s), _tick(overlay.end_s)
            if start < until:
                raise ValueError(f"two texts are shown at {overlay.start_s:.3f} s")
            if start > until:
                show(until, empty)
            if end > start:
                show(start, _on(empty, place, overlay))
                until = end
        show(until, empty)
        container.mux(stream.encode(None))
    return place


_TRACK_TICKS = 10_000
_EARLY_TICKS = 5


def _tick(seconds: float) -> int:
    """Half a millisecond early, so that a frame at this very time already has the text."""
    return max(0, round(seconds * _TRACK_TICKS) - _EARLY_TICKS)


def _around(boxes: Sequence[Zone]) -> Zone:
    x, y = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(b.x + b.width for b in boxes), max(b.y + b.height for b in boxes)
    return Zone(x=x, y=y, width=right - x, height=bottom - y)


def _on(empty: np.ndarray, place: Zone, overlay: Overlay) -> np.ndarray:
    pixels, box = empty.copy(), overlay.box
    left, top = box.x - place.x, box.y - place.y
    pixels[top : top + box.height, left : left + box.width] = picture(overlay)
    return pixels


def picture(overlay: Overlay) -> np.ndarray:
    """The overlay's box as BGRA pixels (height, width, 4), colours not premultiplied."""
    import cv2
    import numpy as np

    style = STYLES[overlay.style]
    canvas = np.zeros((overlay.box.height, overlay.box.width, 4), np.float32)
    if style.box is not None:
        _paint(canvas, _rounded(overlay.box, round(style.radius * overlay.font_px)), style.box)
    lit = overlay.lit[1] > overlay.lit[0]
    letters = _beside(overlay, style) if lit else _letters(overlay, style)
    if style.shadow:
        offset = max(1, round(style.shadow * overlay.font_px))
        _paint(canvas, np.roll(letters, (offset, offset), axis=(0, 1)), (0, 0, 0, 200))
    if style.outline:
        reach = 2 * max(1, round(style.outline * overlay.font_px)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        soft = cv2.GaussianBlur(cv2.dilate(letters, kernel), (3, 3), 0)
        _paint(canvas, soft, (0, 0, 0, 235))
    _paint(canvas, letters, style.ink)
    if lit:
        _paint(canvas, _letters(overlay, style, overlay.lit, style.pop), style.light)
    return canvas.round().astype(np.uint8)


def _beside(overlay: Overlay, style: Style) -> np.ndarray:
    """The ink with the lit words larger than the words around them."""
    import numpy as np

    first, last = overlay.lit
    count = sum(len(line.split(" ")) for line in overlay.lines)
    around = [_letters(overlay, style, words) for words in ((0, first), (last, count))]
    return np.maximum.reduce([*around, _letters(overlay, style, overlay.lit, style.pop)])


def _letters(
    overlay: Overlay, style: Style, words: tuple[int, int] | None = None, pop: float = 1.0
) -> np.ndarray:
    """The ink of the whole text, or of its words (from, to) alone, at their own places.

    ``pop`` draws them larger about their own middle, by no more than leaves most of a space free.
    """
    import numpy as np

    mask = np.zeros((overlay.box.height, overlay.box.width), np.uint8)
    size, weight = overlay.font_px, style.weight
    first, last = words or (0, len(" ".join(overlay.lines).split(" ")))
    _, pad_y = _padding(style, size)
    count = 0
    for number, line in enumerate(overlay.lines):
        middle = (overlay.box.width - text_width(line, size, weight)) // 2
        baseline = pad_y + round((number + 0.86) * size * _LINE_HEIGHT)
        baseline -= round(size * (_LINE_HEIGHT - 1) / 2)
        parts = line.split(" ")
        for place, word in enumerate(parts):
            if word and first <= count + place < last:
                before = " ".join(parts[:place]) + " " * (place > 0)
                left = middle + (text_width(before, size, weight) if before else 0)
                _write(mask, word, (left, baseline), (size, weight), pop)
        count += len(parts)
    return mask


def _write(
    mask: np.ndarray, word: str, at: tuple[int, int], font: tuple[int, int], pop: float
) -> None:
    """One word from (left, baseline): words stand where they stand, whichever of them are lit."""
    import cv2

    size, weight = font
    width, room = text_width(word, size, weight), 0.6 * text_width(" ", size, weight)
    grown = int(size * min(pop, 1 + room / max(width, 1)))
    left = at[0] - (text_width(word, grown, weight) - width) // 2
    cv2.putText(
        mask, word, (left, at[1] + round((grown - size) * 0.35)), 255, _face(), grown, weight
    )


def _rounded(box: Zone, radius: int) -> np.ndarray:
    """A rounded rectangle's coverage (0-255), drawn larger and averaged for smooth corners."""
    import cv2
    import numpy as np

    scale = _SUPERSAMPLE
    width, height = box.width * scale, box.height * scale
    corner = min(radius * scale, width // 2, height // 2)
    mask = np.zeros((height, width), np.uint8)
    cv2.rectangle(mask, (corner, 0), (width - 1 - corner, height - 1), 255, -1)
    cv2.rectangle(mask, (0, corner), (width - 1, height - 1 - corner), 255, -1)
    for x in (corner, width - 1 - corner):
        for y in (corner, height - 1 - corner):
            cv2.circle(mask, (x, y), corner, 255, -1)
    return cv2.resize(mask, (box.width, box.height), interpolation=cv2.INTER_AREA)


def _paint(canvas: np.ndarray, coverage: np.ndarray, rgba: tuple[int, int, int, int]) -> None:
    """Lay a colour over the canvas (source over destination, straight alpha), in place."""
    import numpy as np

    alpha = coverage.astype(np.float32)[..., None] / 255 * (rgba[3] / 255)
    below = canvas[..., 3:] / 255 * (1 - alpha)
    out = alpha + below
    colour = np.array([rgba[2], rgba[1], rgba[0]], np.float32)
    blended = (colour * alpha + canvas[..., :3] * below) / np.maximum(out, 1e-6)
    canvas[..., :3] = blended
    canvas[..., 3:] = out * 255
