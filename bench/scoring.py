"""How well something was found, against what is true: counts that can be added up over clips.

Pure functions of found and true values; jiwer, which only the bench installs, counts word errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from geminivideo.records import Box

from bench.corpus.truth import Cut, CutKind

# How far from the frames that a cut touches a detector may place it.
TOLERANCE_FRAMES: Mapping[CutKind, int] = {"hard": 2, "dissolve": 2, "fade": 2}
IOU = 0.5
FACE_KEPT = 0.95


@dataclass(frozen=True, kw_only=True)
class Score:
    """Right finds, wrong finds and what was missed; scores of several clips add up."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            right=self.right + other.right,
            wrong=self.wrong + other.wrong,
            missed=self.missed + other.missed,
        )

    @property
    def recall(self) -> float | None:
        """How much of what is there was found, 0-1; None when there is nothing to find."""
        return _share(self.right, self.right + self.missed)

    @property
    def precision(self) -> float | None:
        """How much of what was found is there, 0-1; None when nothing was found."""
        return _share(self.right, self.right + self.wrong)

    @property
    def f1(self) -> float | None:
        """2 right / (2 right + wrong + missed); None when there was nothing to find or found."""
        return _share(2 * self.right, 2 * self.right + self.wrong + self.missed)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def cut_score(
    found: Iterable[int],
    truth: Sequence[Cut],
    tolerance: Mapping[CutKind, int] = TOLERANCE_FRAMES,
) -> Score:
    """Found frames against true cuts, each of which takes at most one of them.

    A find counts for a hard cut within the tolerance of its frame, for a dissolve or a fade
    within the tolerance of the frames that it touches. The matching is the largest possible:
    finds in rising order, each to the open cut that ends first.
    """
    ranges = sorted((c.last + tolerance[c.kind], c.first - tolerance[c.kind]) for c in truth)
    right = wrong = 0
    for frame in sorted(found):
        fitting = next((r for r in ranges if r[1] <= frame <= r[0]), None)
        if fitting is None:
            wrong += 1
        else:
            right += 1
            ranges.remove(fitting)
    return Score(right=right, wrong=wrong, missed=len(ranges))


def kind_recall(
    found: Sequence[int],
    truth: Sequence[Cut],
    tolerance: Mapping[CutKind, int] = TOLERANCE_FRAMES,
) -> dict[CutKind, Score]:
    """Per kind of cut what was found and missed of it; a wrong find belongs to no kind."""
    scores: dict[CutKind, Score] = {}
    for kind in sorted({cut.kind for cut in truth}):
        one = cut_score(found, [cut for cut in truth if cut.kind == kind], tolerance)
        scores[kind] = Score(right=one.right, missed=one.missed)
    return scores


def plain_words(text: str) -> list[str]:
    """Words as they are compared: lower case, without the marks around them.

    What stands inside a word stays: ``4.8``, ``2,300``, ``acme-rosters.com``, ``50%``, ``$40``.
    """
    bare = (re.sub(r"^[^\w$€£]+|[^\w%]+$", "", word) for word in text.casefold().split())
    return [word for word in bare if word]


def word_score(found: Iterable[str], truth: Iterable[str]) -> Score:
    """Different words read against different words written, where and how often is not asked."""
    read = {word for text in found for word in plain_words(text)}
    written = {word for text in truth for word in plain_words(text)}
    return Score(right=len(read & written), wrong=len(read - written), missed=len(written - read))


def plain_speech(text: str) -> str:
    """A transcript as it is compared: lower case, hyphens as spaces, no other marks."""
    spaced = re.sub(r"[-\u2013\u2014]", " ", text.casefold())
    return " ".join(re.sub(r"[^\w\s']", "", spaced).split())


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Wrong, missed and invented words of a transcript, and how many words were spoken."""

    errors: int = 0
    spoken: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(errors=self.errors + other.errors, spoken=self.spoken + other.spoken)

    @property
    def rate(self) -> float | None:
        """The word error rate; None when nothing was spoken."""
        return _share(self.errors, self.spoken)


def word_errors(heard: str, spoken: str) -> Errors:
    """A transcript against the script, by jiwer's alignment of the plain words."""
    import jiwer

    truth, said = plain_speech(spoken), plain_speech(heard)
    if not truth:
        return Errors(errors=len(said.split()), spoken=0)
    found = jiwer.process_words(truth, said)
    wrong = found.substitutions + found.deletions + found.insertions
    return Errors(errors=wrong, spoken=len(truth.split()))


def iou(one: Box, other: Box) -> float:
    """What two boxes share of what they cover together, 0-1 (Jaccard)."""
    common = _common(one, other)
    together = one.w * one.h + other.w * other.h - common
    return common / together if together > 0 else 0.0


def _common(one: Box, other: Box) -> float:
    across = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    down = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    return max(across, 0.0) * max(down, 0.0)


def box_score(found: Sequence[Box], truth: Sequence[Box], at_iou: float = IOU) -> Score:
    """The boxes of one frame, surest first: each takes the true box that it fits best."""
    left, right = list(truth), 0
    for box in found:
        best = max(left, key=lambda one: iou(box, one), default=None)
        if best is not None and iou(box, best) >= at_iou:
            left.remove(best)
            right += 1
    return Score(right=right, wrong=len(found) - right, missed=len(left))


def kept_fraction(
    crops: Mapping[int, Box], faces: Mapping[int, Box], kept: float = FACE_KEPT
) -> float | None:
    """In which share of the frames with a face the crop holds ``kept`` of the face's area.

    Boxes by frame, in fractions of the source's picture; a frame without a crop counts as one
    that lost the face. None when no frame has a face.
    """
    held = sum(
        frame in crops and _common(crops[frame], face) >= kept * face.w * face.h
        for frame, face in faces.items()
    )
    return _share(held, len(faces))
