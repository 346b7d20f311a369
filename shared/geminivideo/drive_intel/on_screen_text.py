"""On-screen text over time: one text seen at several moments is one item, with its first and last.

Reading gives lines per picture; here lines of following pictures that say nearly the same at
nearly the same place are one text. The surest reading gives its words, confidence and box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from geminivideo.drive_intel.models import Models, TextLine
from geminivideo.records import Box, TextSeen

if TYPE_CHECKING:
    import numpy as np

_SAME_TEXT = 0.8  # similarity of letters and digits from which two readings are one text
_SAME_GREY = 2.0  # mean grey difference (0-255) below which a picture is not read again
_NEAR = 0.12  # of the frame: how far a text may move from one reading to the next
_ALIKE_ANYWHERE = 0.95  # a text this alike may have moved further (a ticker, a zoom)


@dataclass(frozen=True)
class Look:
    """One moment to read: the upright picture (BGR), and a small grey copy that tells a change."""

    at_s: float
    picture: np.ndarray
    grey: np.ndarray


def read_over(looks: Iterable[Look], models: Models, min_confidence: float) -> tuple[TextSeen, ...]:
    """The texts of these moments in the order in which they appear.

    A picture that is nearly the one before is not read again: its texts are seen on.
    """
    readings: list[tuple[float, list[TextSeen]]] = []
    last: Look | None = None
    for look in looks:
        if last is not None and _unchanged(last, look):
            readings.append((look.at_s, [replace(one, at_s=look.at_s) for one in readings[-1][1]]))
            continue
        last = look
        readings.append((look.at_s, _read(look, models, min_confidence)))
    return over_time(readings)


def over_time(readings: Iterable[tuple[float, Sequence[TextSeen]]]) -> tuple[TextSeen, ...]:
    """Readings of following moments, (time s, texts), as one item per text.

    ``at_s`` is where a text is first read, ``until_s`` where it is last read. A text that comes
    back after moments without it is one item: between two looks nobody knows.
    """
    kept: list[TextSeen] = []
    places: list[Box] = []  # where each was last
    for at_s, texts in readings:
        taken: set[int] = set()
        for text in texts:
            twin = _twin(text, kept, places, taken)
            if twin is None:
                kept.append(replace(text, at_s=at_s, until_s=at_s))
                places.append(text.box)
                taken.add(len(kept) - 1)
                continue
            taken.add(twin)
            places[twin] = text.box
            kept[twin] = _joined(kept[twin], text, at_s)
    return tuple(kept)


def _joined(seen: TextSeen, again: TextSeen, at_s: float) -> TextSeen:
    surer = again if again.confidence > seen.confidence else seen
    return replace(surer, at_s=seen.at_s, until_s=at_s)


def _twin(
    text: TextSeen, kept: Sequence[TextSeen], places: Sequence[Box], taken: set[int]
) -> int | None:
    """The text that this one is, of those that this picture has not shown already."""
    found = [
        (alike, index)
        for index, other in enumerate(kept)
        if index not in taken
        and (alike := likeness(text.text, other.text)) >= _SAME_TEXT
        and (alike >= _ALIKE_ANYWHERE or _near(text.box, places[index]))
    ]
    return max(found, key=lambda one: (one[0], -one[1]))[1] if found else None


def likeness(first: str, second: str) -> float:
    """How alike two texts are in letters and digits, 0-1 (Ratcliff and Obershelp)."""
    one, other = ("".join(filter(str.isalnum, t.casefold())) for t in (first, second))
    return SequenceMatcher(a=one, b=other).ratio()


def _near(first: Box, second: Box) -> bool:
    across = abs(first.x + first.w / 2 - second.x - second.w / 2)
    down = abs(first.y + first.h / 2 - second.y - second.h / 2)
    return across <= _NEAR + abs(first.w - second.w) / 2 and down <= _NEAR


def _read(look: Look, models: Models, min_confidence: float) -> list[TextSeen]:
    return [
        _text_seen(line, look)
        for line in models.read(look.picture)
        if line.text.strip() and line.confidence > min_confidence
    ]


def _unchanged(first: Look, second: Look) -> bool:
    difference = abs(first.grey.astype("int16") - second.grey)
    return float(difference.mean()) < _SAME_GREY


def _text_seen(line: TextLine, look: Look) -> TextSeen:
    height, width = look.picture.shape[:2]
    left, top, right, bottom = line.bounds
    x0, x1 = (min(max(edge / width, 0.0), 1.0) for edge in (left, right))
    y0, y1 = (min(max(edge / height, 0.0), 1.0) for edge in (top, bottom))
    return TextSeen(
        text=line.text.strip(),
        confidence=round(line.confidence, 4),
        box=Box(x=round(x0, 4), y=round(y0, 4), w=round(x1 - x0, 4), h=round(y1 - y0, 4)),
        at_s=look.at_s,
    )
