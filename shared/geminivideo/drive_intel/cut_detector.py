"""Where one shot ends and the next begins, from a small signature of every frame.

A detector on a stream: frames go in as they are decoded, cuts come out once nothing that is still
to come can change them (``CutPolicy.horizon_s`` later), so that memory does not grow with the
video. Three kinds are told apart:

* ``hard``: one step between two frames that is large, and several times larger than the steps
  around it. A flash is none: shortly before it the picture was the same as shortly after it.
* ``dissolve``: over a stretch of time every frame is a mixture of the stretch's two ends, with a
  share that rises evenly from 0 to 1. A pan or zoom leaves what is no mixture; a change of light
  leaves two ends with the same drawing.
* ``fade``: through the dark to another picture. However it gets dark and bright again, it is one
  cut: at a hard edge of the dark where there is one, else in the middle of it.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from geminivideo.policy import CutPolicy

if TYPE_CHECKING:
    import numpy as np

_LEAST_MIXED = 3  # frames between the ends of a dissolve from which its evenness can be judged
_BLACK = 16  # the level of black
_ALL = 1 << 62
_MOST_MIXED = 8  # about as many frames of a dissolve are looked at closely
_SEEN_BEFORE = 1024  # frames that are let go at a time: letting go of each alone costs more


@dataclass(frozen=True)
class Signature:
    """A frame in small: luma ``[36, 64]`` (turned: ``[64, 36]``), chroma U over V, all uint8."""

    luma: np.ndarray
    chroma: np.ndarray

    def difference(self, other: Signature) -> float:
        """Mean difference of a cell, levels 0-255: of luma, plus of U, plus of V."""
        import cv2

        luma = cv2.norm(self.luma, other.luma, cv2.NORM_L1) / self.luma.size
        return luma + 2 * cv2.norm(self.chroma, other.chroma, cv2.NORM_L1) / self.chroma.size

    def vector(self) -> np.ndarray:
        """Its levels as float32, luma before chroma."""
        import numpy as np

        return np.concatenate([self.luma.ravel(), self.chroma.ravel()]).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A new shot begins: its first frame and its position, and the stretch (s) of the change.

    ``strength`` is the difference between what is before and what is after it.
    """

    frame: int
    at_s: float
    kind: Literal["hard", "dissolve", "fade"]
    strength: float
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Frame:
    """A frame as the detector remembers it; ``step`` is its difference from the one before.

    ``shown_s`` is for how long the one before was shown.
    """

    number: int
    at_s: float
    signature: Signature
    step: float
    light: float
    shown_s: float


class Window:
    """The frames of the last seconds, by number and by position."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._times: list[float] = []

    def append(self, at_s: float, signature: Signature) -> Frame:
        """Remember the next frame."""
        last = self._frames[-1] if self._frames else None
        step = signature.difference(last.signature) if last else 0.0
        number = last.number + 1 if last else 0
        shown = at_s - last.at_s if last else 0.0
        frame = Frame(number, at_s, signature, step, float(signature.luma.mean()), shown)
        self._frames.append(frame)
        self._times.append(at_s)
        return frame

    def forget_before(self, at_s: float) -> None:
        """Let go of what lies before a position."""
        old = bisect.bisect_left(self._times, at_s)
        if old >= min(_SEEN_BEFORE, len(self._times) // 2):
            del self._frames[:old], self._times[:old]

    def numbered(self, first: int, last: int) -> list[Frame]:
        """The frames with these numbers, as far as they are remembered."""
        base = self._frames[0].number if self._frames else 0
        return self._frames[max(0, first - base) : max(0, last - base + 1)]

    def within(self, from_s: float, to_s: float) -> list[Frame]:
        """The frames at these positions, both ends included."""
        first = bisect.bisect_left(self._times, from_s)
        return self._frames[first : bisect.bisect_right(self._times, to_s)]

    def at(self, at_s: float) -> Frame | None:
        """The last frame at or before a position; None when that is too long ago."""
        index = bisect.bisect_right(self._times, at_s) - 1
        return self._frames[index] if index >= 0 else None

    @property
    def last(self) -> Frame | None:
        """The newest frame."""
        return self._frames[-1] if self._frames else None

    @property
    def end_s(self) -> float:
        """When the newest frame ends, if it is shown for as long as the one before."""
        return 2 * self._times[-1] - self._times[-2] if len(self._times) > 1 else 0.0


class CutDetector:
    """Feed it every frame in order; see the module for what it finds.

    ``key_frames_only``: the frames lie seconds apart, so that only large steps can be judged.
    """

    def __init__(self, policy: CutPolicy, *, key_frames_only: bool = False) -> None:
        self._policy = policy
        self._sparse = key_frames_only
        self._window = Window()
        self._judged = 0
        self._seen_dark = 0
        self._last_start_s = -math.inf
        self._hard: list[Cut] = []
        self._fades: list[Cut] = []
        self._dissolves: list[tuple[float, Cut]] = []

    @property
    def settled_s(self) -> float:
        """No cut at or before this position is still to come."""
        last = self._window.last
        return last.at_s - self._policy.horizon_s if last else -math.inf

    def push(self, at_s: float, signature: Signature) -> list[Cut]:
        """Take the next frame, at a later position than the last; the cuts now certain."""
        frame = self._window.append(at_s, signature)
        if math.isinf(self._last_start_s):
            self._last_start_s = at_s
        if self._sparse:
            self._judge_alone(frame)
        else:
            self._judge_steps(frame.number - self._policy.around, at_s - self._policy.flash_s)
            self._judge_dissolves(frame)
            self._judge_dark(at_s - self._policy.fade_s)
        self._window.forget_before(self.settled_s - self._policy.horizon_s)
        return self._settled(self.settled_s)

    def finish(self) -> list[Cut]:
        """The cuts that were still open at the end; none that would leave too short a shot."""
        last = self._window.last
        if last is None:
            return []
        if not self._sparse:
            self._judge_steps(last.number, math.inf)
            self._judge_dark(math.inf)
        end = self._window.end_s
        return [c for c in self._settled(math.inf) if end - c.at_s >= self._policy.min_scene_s]

    def _judge_alone(self, frame: Frame) -> None:
        if frame.number and frame.step >= self._policy.sparse_step:
            self._hard.append(_hard_cut(frame))

    def _judge_steps(self, last_number: int, until_s: float) -> None:
        """Judge the frames after which enough is known."""
        for frame in self._window.numbered(max(self._judged, 1), last_number):
            if frame.at_s > until_s:
                return
            self._judged = frame.number + 1
            if is_hard(frame, self._window, self._policy):
                self._hard.append(_hard_cut(frame))

    def _judge_dissolves(self, last: Frame) -> None:
        """Whether a dissolve ends here, of any of the lengths that are looked for."""
        if last.number % self._policy.dissolve_stride:
            return
        for length in self._policy.dissolve_lengths_s:
            first = self._window.at(last.at_s - length)
            if first is None:
                return
            found = mixture(first, last, self._window, self._policy)
            if found is not None:
                self._dissolves.append(found)

    def _judge_dark(self, until_s: float) -> None:
        """Judge the frames after which enough is known to tell a fade."""
        for frame in self._window.numbered(self._seen_dark, _ALL):
            if frame.at_s > until_s:
                return
            self._seen_dark = frame.number + 1
            fade = fade_at(frame, self._window, self._hard, self._policy)
            if fade is not None and not any(_overlap(fade, other) for other in self._fades):
                self._fades.append(fade)

    def _settled(self, until_s: float) -> list[Cut]:
        """The cuts up to here: one for each change, none too close to the one before."""
        known = merged(self._hard, self._fades, self._dissolves)
        shortest = self._policy.min_scene_s
        apart = strongest((c for c in known if c.at_s - self._last_start_s >= shortest), shortest)
        found = [cut for cut in apart if cut.at_s <= until_s]
        if found:
            self._last_start_s = found[-1].at_s
        keep = until_s - self._policy.horizon_s
        self._hard = [c for c in self._hard if c.at_s > keep]
        self._fades = [c for c in self._fades if c.at_s > keep]
        self._dissolves = [(rest, c) for rest, c in self._dissolves if c.at_s > keep]
        return found


def _hard_cut(frame: Frame) -> Cut:
    at = frame.at_s
    return Cut(frame=frame.number, at_s=at, kind="hard", strength=frame.step, from_s=at, to_s=at)


def is_hard(frame: Frame, window: Window, policy: CutPolicy) -> bool:
    """Whether a shot begins with this frame: the largest step around, by far, and no flash."""
    if frame.step < policy.hard_step:
        return False
    if frame.shown_s >= policy.slide_s:
        return frame.step >= policy.sparse_step
    near = window.numbered(frame.number - policy.around, frame.number + policy.around)
    steps = sorted(one.step for one in near if one is not frame)
    usual = steps[-min(policy.outliers + 1, len(steps))] if steps else 0.0
    if frame.step < policy.hard_ratio * usual:
        return False
    before = window.numbered(frame.number - 1, frame.number - 1)
    if before and changed(before[0].signature, frame.signature, policy) < policy.hard_share:
        return False
    beside = window.numbered(frame.number - 2, frame.number + 2)
    return frame.step >= max(one.step for one in beside) and not is_flash(frame, window, policy)


def changed(first: Signature, second: Signature, policy: CutPolicy) -> float:
    """The share (0-1) of the picture that is another one: a text that comes or goes is not much."""
    import cv2

    difference = cv2.absdiff(first.luma, second.luma)
    return float((difference > policy.noise).mean())


def is_flash(frame: Frame, window: Window, policy: CutPolicy) -> bool:
    """Whether a picture from shortly before comes back shortly after."""
    same = policy.flash_ratio * frame.step
    before = window.within(frame.at_s - policy.flash_s, math.inf)
    before = [one for one in before if one.number < frame.number]
    after = window.within(frame.at_s, frame.at_s + policy.flash_s)
    return any(
        first.signature.difference(second.signature) < same
        for first in reversed(before)
        for second in after
    )


def mixture(
    first: Frame, last: Frame, window: Window, policy: CutPolicy
) -> tuple[float, Cut] | None:
    """A dissolve from one frame to another, and how far from ideal (0) it is.

    Each frame m between the ends f and l has, by least squares, the share
    ``a = <m - f, l - f> / |l - f|^2`` and the rest ``|m - f - a (l - f)| / |l - f|``: shares that
    rise evenly and small rests make a dissolve.
    """
    import numpy as np

    between = window.numbered(first.number + 1, last.number - 1)
    apart = first.signature.difference(last.signature)
    if len(between) < _LEAST_MIXED or apart < policy.dissolve_step:
        return None
    if max(one.step for one in (*between, last)) > policy.dissolve_stride_share * apart:
        return None
    looked = between[:: max(1, len(between) // _MOST_MIXED)]
    if not _may_mix(first, looked[len(looked) // 2], last, policy):
        return None
    if drawn_alike(first.signature.luma, last.signature.luma) > policy.same_drawing:
        return None
    if is_plain(first.signature, policy) or is_plain(last.signature, policy):
        return None
    start = first.signature.vector()
    way = last.signature.vector() - start
    offsets = np.stack([one.signature.vector() for one in looked]) - start
    shares = offsets @ way / float(way @ way)
    rests = np.linalg.norm(offsets - shares[:, None] * way, axis=1) / np.linalg.norm(way)
    even = (np.array([one.at_s for one in looked]) - first.at_s) / (last.at_s - first.at_s)
    unevenness = float(np.abs(shares - even).max())
    if float(rests.max()) > policy.dissolve_rest or unevenness > policy.dissolve_unevenness:
        return None
    middle = looked[int(np.abs(shares - 0.5).argmin())]
    return float(rests.mean()) + unevenness, Cut(
        frame=middle.number,
        at_s=middle.at_s,
        kind="dissolve",
        strength=apart,
        from_s=first.at_s,
        to_s=last.at_s,
    )


def _may_mix(first: Frame, middle: Frame, last: Frame, policy: CutPolicy) -> bool:
    """A quick look: in a mixture what is apart at the middle adds up to what the ends are."""
    near = middle.signature.difference(first.signature)
    far = middle.signature.difference(last.signature)
    apart = first.signature.difference(last.signature)
    return near + far <= (1.0 + 2.0 * policy.dissolve_rest) * apart


def drawn_alike(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation (-1 to 1) of two pictures' luma, which no change of light touches.

    A plain picture has no drawing: it is like none (0).
    """
    import numpy as np

    one, other = (part.ravel() - part.mean(dtype=np.float32) for part in (first, second))
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > first.size else 0.0


@dataclass(frozen=True)
class Dip:
    """The dark frames around the darkest one, and the brightest frame shortly before and after."""

    darkest: Frame
    first: Frame
    last: Frame
    before: Frame
    after: Frame


def fade_at(darkest: Frame, window: Window, hard: Sequence[Cut], policy: CutPolicy) -> Cut | None:
    """The fade through the dark of which this is the darkest frame, if it is one.

    It gets bright again as another picture. A dark shot between two hard cuts is no fade.
    """
    dip = _dip(darkest, window, policy)
    if dip is None:
        return None
    if drawn_alike(dip.before.signature.luma, dip.after.signature.luma) > policy.same_drawing:
        return None
    starts = [c for c in hard if abs(c.frame - dip.first.number) <= 1]
    ends = [c for c in hard if abs(c.frame - dip.last.number - 1) <= 1]
    if starts and ends and not is_plain(darkest.signature, policy):
        return None
    is_long = dip.last.at_s - dip.first.at_s > policy.fade_s
    edges = ends if is_long else [*starts, *ends]
    place = dip.last if is_long else _middle(dip, window)
    return Cut(
        frame=edges[0].frame if edges else place.number,
        at_s=edges[0].at_s if edges else place.at_s,
        kind="fade",
        strength=dip.before.signature.difference(dip.after.signature),
        from_s=dip.last.at_s if is_long else dip.before.at_s,
        to_s=dip.after.at_s,
    )


def _dip(darkest: Frame, window: Window, policy: CutPolicy) -> Dip | None:
    """None unless the frame is the darkest around, and much darker than both sides."""
    near = window.within(darkest.at_s - policy.flash_s, darkest.at_s + policy.flash_s)
    if min(one.light for one in near) < darkest.light:
        return None
    limit = darkest.light + policy.dark_step
    first, last = darkest, darkest
    for one in reversed(window.numbered(0, darkest.number)):
        if one.light > limit:
            break
        first = one
    for one in window.numbered(darkest.number, _ALL):
        if one.light > limit:
            break
        last = one
    reach = policy.fade_s / 2
    before = _brightest(window.within(first.at_s - reach, first.at_s))
    after = _brightest(window.within(last.at_s, last.at_s + reach))
    least = _BLACK + policy.fade_ratio * max(darkest.light - _BLACK, 1.0) + policy.dark_step
    return (
        Dip(darkest, first, last, before, after)
        if min(before.light, after.light) >= least
        else None
    )


def _middle(dip: Dip, window: Window) -> Frame:
    middle = (dip.first.at_s + dip.last.at_s) / 2
    frames = window.numbered(dip.first.number, dip.last.number)
    return min(frames, key=lambda one: abs(one.at_s - middle))


def is_plain(signature: Signature, policy: CutPolicy) -> bool:
    """Whether there is nothing to see: dark, and nearly the same everywhere."""
    luma = signature.luma
    return float(luma.mean()) < policy.dark_level and float(luma.std()) < policy.dark_step


def _brightest(frames: Iterable[Frame]) -> Frame:
    return max(frames, key=lambda one: one.light)


def merged(
    hard: Sequence[Cut], fades: Sequence[Cut], dissolves: Sequence[tuple[float, Cut]]
) -> list[Cut]:
    """One cut for each change: a fade takes in what was found inside it, a hard cut is no part of
    a dissolve, and of overlapping dissolves the purest stays."""
    cuts = [*fades, *(c for c in hard if not any(_inside(c, fade) for fade in fades))]
    for _, cut in sorted(dissolves, key=lambda one: (one[0], one[1].at_s)):
        if not any(_overlap(cut, other) for other in cuts):
            cuts.append(cut)
    return sorted(cuts, key=lambda c: c.at_s)


def strongest(cuts: Iterable[Cut], apart_s: float) -> list[Cut]:
    """Of cuts that lie closer together than this the strongest; in order."""
    kept: list[Cut] = []
    for cut in sorted(cuts, key=lambda c: -c.strength):
        if all(abs(cut.at_s - other.at_s) >= apart_s for other in kept):
            kept.append(cut)
    return sorted(kept, key=lambda c: c.at_s)


def _inside(cut: Cut, other: Cut) -> bool:
    return other.from_s <= cut.at_s <= other.to_s


def _overlap(first: Cut, second: Cut) -> bool:
    return first.from_s <= second.to_s and second.from_s <= first.to_s
