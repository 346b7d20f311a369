"""Shots cut together, and from the same numbers the truth about where.

A dissolve of n frames mixes two shots in n frames; a fade through black takes n frames, of which
``black`` in the middle are black. Both lie between the frames that a segment has to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.corpus import shots
from bench.corpus.truth import Cut, CutKind

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A shot of ``alone`` frames after the way into it, which takes ``into_frames`` more."""

    source: str
    alone: int
    into: CutKind = "hard"
    into_frames: int = 0
    black: int = 0
    motion: shots.Motion = shots.GENTLE


@dataclass(frozen=True)
class Placed:
    """A segment on the clip's own count of frames: ``start`` is where its own frames begin."""

    segment: Segment
    start: int

    @property
    def end(self) -> int:
        """One past the last frame that it has to itself."""
        return self.start + self.segment.alone


def placed(segments: Sequence[Segment]) -> list[Placed]:
    """Where each segment lies; the first one's way in does not count."""
    found: list[Placed] = []
    for segment in segments:
        before = found[-1].end + segment.into_frames if found else 0
        found.append(Placed(segment, before))
    return found


def cuts(segments: Sequence[Segment], at_s: Callable[[int], float]) -> tuple[Cut, ...]:
    """The truth of the changes between these segments."""
    return tuple(_cut(one, at_s) for one in placed(segments)[1:])


def _cut(one: Placed, at_s: Callable[[int], float]) -> Cut:
    taken = one.segment.into_frames
    first = one.start - taken
    frame = one.start if one.segment.into == "hard" else first + taken // 2
    last = max(one.start - 1, frame)
    return Cut(
        kind=one.segment.into, frame=frame, first=min(first, frame), last=last, at_s=at_s(frame)
    )


def frames(segments: Sequence[Segment], width: int, height: int, seed: int) -> Iterator[np.ndarray]:
    """The pictures of the whole clip, BGR uint8 [height, width, 3], each free to be drawn on."""
    lain = placed(segments)
    draws = [
        shots.shot(one.segment.source, width, height, one.segment.motion, seed + 101 * number)
        for number, one in enumerate(lain)
    ]
    for number, one in enumerate(lain):
        if number:
            for frame in range(lain[number - 1].end, one.start):
                old = draws[number - 1](frame - _begins(lain, number - 1))
                new = draws[number](frame - _begins(lain, number))
                yield _mixed(old, new, frame - lain[number - 1].end, one.segment)
        for frame in range(one.start, one.end):
            yield draws[number](frame - _begins(lain, number)).copy()


def _begins(lain: Sequence[Placed], number: int) -> int:
    """The frame at which a shot is first seen, mixed or alone."""
    return lain[number].start - (lain[number].segment.into_frames if number else 0)


def _mixed(old: np.ndarray, new: np.ndarray, step: int, into: Segment) -> np.ndarray:
    import cv2

    if into.into == "dissolve":
        share = (step + 1) / (into.into_frames + 1)
        return cv2.addWeighted(old, 1 - share, new, share, 0)
    picture, light = (
        (old, _light(step, into))
        if step < into.into_frames // 2
        else (
            new,
            _light(into.into_frames - 1 - step, into),
        )
    )
    return cv2.convertScaleAbs(picture, alpha=light)


def _light(step: int, into: Segment) -> float:
    """How much of a fading shot is left ``step`` frames into its way to black, 1 to 0."""
    falling = max((into.into_frames - into.black) // 2, 1)
    return max(0.0, 1 - (step + 1) / (falling + 1)) if step < falling else 0.0
