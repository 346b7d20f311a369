"""One pass over a video for all that is looked at in it: each frame is decoded once.

Every frame gives a signature, from which cuts and motion come. Of each scene a few pictures are
kept: candidates are taken on a fine grid, and those nearest to the wanted moments are developed
(turned upright, measured, packed as JPEG) when the scene is over, beside the decoder.
What is held is bounded, however long the video is: the candidates of the scenes that are not
settled, large ones scaled down, and a few seconds of signatures.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from geminivideo.deadline import NEVER, Deadline
from geminivideo.degraded import COARSE_CUTS, CUTS_IN_PART
from geminivideo.drive_intel import media, pixels
from geminivideo.drive_intel.cut_detector import CutDetector, Signature
from geminivideo.drive_intel.focus import Look, detailed, moving
from geminivideo.drive_intel.signatures import signature_of
from geminivideo.policy import ScenePolicy
from geminivideo.records import Features

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer

PICTURE_PX = 1280
THUMBNAIL_PX = 640
_HELD_PX = 1920 * 1088  # a larger candidate is scaled down at once, not held as it was decoded
_LEVELS = 219.0  # luma runs from 16 to 235
_HANDS = 2  # that develop pictures: at the end of a video nothing else is left to do
_AT_WORK = 2  # scenes that may wait for their pictures before the decoder waits for them


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of a scene: JPEG, upright, longest side at most 1280 px."""

    jpeg: bytes
    look: Look


@dataclass(frozen=True, kw_only=True)
class SceneSeen:
    """A scene from ``start_s`` to ``end_s``: what its pixels say, and pictures for the models.

    ``thumbnail`` is a JPEG of its middle, longest side at most 640 px. After a coarse pass
    ``measured`` is None and there are no pictures: the scene has to be looked at by itself.
    ``damaged``: the decoder had to make up parts of some of its frames. ``hurried`` are the
    reasons why it was not looked at as a whole: time was running out.
    """

    start_s: float
    end_s: float
    thumbnail: bytes
    measured: Features | None = None
    pictures: tuple[Picture, ...] = ()
    damaged: bool = False
    hurried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """A scene before its pictures are developed; ``motion`` as in ``Features``."""

    start_s: float
    end_s: float
    candidates: Sequence[Candidate]
    motion: float | None
    damaged: bool
    hurried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A frame that may become a picture, with its cells of luma and those a moment before.

    ``turns``: counter-clockwise quarter turns that bring it upright; ``lines``: the height of the
    source, upright.
    """

    at_s: float
    frame: av.VideoFrame
    turns: int
    lines: int
    luma: np.ndarray
    luma_before: np.ndarray
    motion: float


def watch(path: Path, policy: ScenePolicy, deadline: Deadline = NEVER) -> Iterator[SceneSeen]:
    """The scenes in order, each soon after it is certain; together they tile the picture.

    After ``whole_share`` of the time until the deadline only key frames are decoded, after the
    deadline none; the scenes say so. A video without a cut is one scene. Raises ``NoFrameError``
    when nothing can be decoded.
    """
    waiting: deque[_Developing | _Thumbnailing] = deque()
    with media.opened(path) as container, ThreadPoolExecutor(_HANDS) as darkroom:
        coarse = is_coarse(media.own_duration(media.picture(container)) or 0.0, policy)
        develop = _thumbnailed if coarse else _developed
        for shot in shots(container, policy, deadline):
            waiting.append(develop(shot, policy, darkroom))
            while len(waiting) > _AT_WORK:
                yield waiting.popleft().seen()
        while waiting:
            yield waiting.popleft().seen()


def is_coarse(duration_s: float, policy: ScenePolicy) -> bool:
    """Whether a video is so long that its cuts are looked for at key frames only."""
    return duration_s > policy.coarse_after_s


def sample_times(start_s: float, end_s: float, policy: ScenePolicy) -> list[float]:
    """The moments of a scene to look at, each in the middle of an equal part of it."""
    wanted = math.ceil((end_s - start_s) / policy.sample_every_s)
    count = min(max(wanted, policy.min_samples), policy.max_samples)
    part = (end_s - start_s) / count
    return [start_s + part * (i + 0.5) for i in range(count)]


def shots(
    container: InputContainer, policy: ScenePolicy, deadline: Deadline = NEVER
) -> Iterator[Shot]:
    """Decode a container to its end, as far as there is time; each shot as soon as it is certain.

    Raises ``NoFrameError`` when nothing can be decoded.
    """
    stream = media.picture(container)
    coarse = is_coarse(media.own_duration(stream) or 0.0, policy)
    media.watched(stream, key_frames_only=coarse)
    detector, roll = CutDetector(policy.cuts, key_frames_only=coarse), Roll(policy)
    patience, still = deadline.share(policy.whole_share), 0.0
    for at, frame in media.frames(container, stream):
        still = 0.0 if coarse else media.still_end_s(frame)
        if patience.passed and not coarse and not roll.hurried:
            media.hurried(stream)
            roll.hurried = (COARSE_CUTS,)
        if at > roll.last_s:
            signature = signature_of(frame)
            found = detector.push(at, signature)
            roll.take(at, frame, signature, detector.settled_s)
            yield from (roll.cut(cut.at_s) for cut in found)
        if deadline.passed:
            roll.hurried = (CUTS_IN_PART,)
            break
    if not roll.began:
        raise media.NoFrameError(f"no frame of {Path(container.name).name} could be decoded")
    yield from (roll.cut(cut.at_s) for cut in detector.finish())
    ends = roll.end_s if still and not roll.hurried else media.own_duration(stream) or roll.end_s
    yield roll.cut(max(ends, roll.last_s))


class Roll:
    """What the pass remembers of the scenes that are not over yet."""

    def __init__(self, policy: ScenePolicy) -> None:
        self._policy = policy
        self._start_s = 0.0
        self._candidates: list[Candidate] = []
        self._motions: deque[tuple[float, float, float]] = deque()
        self._recent: deque[tuple[float, Signature]] = deque()
        self._damaged: list[float] = []
        self._previous: tuple[float, Candidate] | None = None
        self._wanted_s = -math.inf
        self.last_s = -math.inf
        self.end_s = 0.0
        self.hurried: tuple[str, ...] = ()

    @property
    def began(self) -> bool:
        """Whether any frame has been seen."""
        return self.last_s > -math.inf

    def take(
        self, at_s: float, frame: av.VideoFrame, signature: Signature, settled_s: float
    ) -> None:
        """See the next frame; ``settled_s``: no cut at or before it is to come."""
        self.end_s = 2 * at_s - self.last_s if self.began else at_s
        self.last_s = at_s
        if frame.is_corrupt:
            self._damaged.append(at_s)
        self._recent.append((at_s, signature))
        while len(self._recent) > 1 and at_s - self._recent[1][0] >= self._policy.motion_gap_s:
            self._recent.popleft()
        before_s, before = self._recent[0]
        motion = _motion(signature, before)
        self._motions.append((at_s, before_s, motion))
        self._consider(_candidate(at_s, frame, signature, before, motion), settled_s)

    def _consider(self, here: Candidate, settled_s: float) -> None:
        """Keep a frame once a step of the grid, and each that is shown for longer than a step.

        Within a step a frame that others are predicted from comes first: it is coded better.
        """
        step, previous = self._policy.candidate_every_s, self._previous
        if previous is not None and here.at_s - previous[0] > step:
            self._keep(previous[1], settled_s)
        late = here.at_s - self._wanted_s
        if late >= (step if _is_bidirectional(here.frame) else 0.0):
            self._keep(here, settled_s)
            self._wanted_s = here.at_s + step
            self._previous = None
        else:
            self._previous = (here.at_s, here)

    def _keep(self, candidate: Candidate, settled_s: float) -> None:
        """Of the frames that are surely of one scene keep twice as many as it will show."""
        self._candidates.append(replace(candidate, frame=_held(candidate.frame)))
        times = [one.at_s for one in self._candidates if one.at_s <= settled_s]
        if len(times) > 2 * self._policy.max_samples:
            gaps = [after - before for before, after in zip(times, times[2:], strict=False)]
            del self._candidates[1 + gaps.index(min(gaps))]

    def cut(self, at_s: float) -> Shot:
        """End the scene that is open here and begin the next."""
        inside = [one for one in self._candidates if one.at_s < at_s]
        del self._candidates[: len(inside)]
        motions = []
        while self._motions and self._motions[0][0] < at_s:
            _, before_s, motion = self._motions.popleft()
            if before_s >= self._start_s:
                motions.append(motion)
        start, self._start_s = self._start_s, at_s
        damaged = any(start <= one < at_s for one in self._damaged)
        self._damaged = [one for one in self._damaged if one >= at_s]
        usual = fmean(motions) if motions else None
        return Shot(round(start, 3), round(at_s, 3), inside, usual, damaged, self.hurried)


def _candidate(
    at_s: float, frame: av.VideoFrame, now: Signature, before: Signature, motion: float
) -> Candidate:
    turns = media.quarter_turns(frame)
    lines = frame.width if turns % 2 else frame.height
    return Candidate(at_s, frame, turns, lines, now.luma, before.luma, motion)


def _is_bidirectional(frame: av.VideoFrame) -> bool:
    from av.video.frame import PictureType

    return frame.pict_type == PictureType.B


def _motion(now: Signature, before: Signature) -> float:
    import cv2

    return float(cv2.norm(now.luma, before.luma, cv2.NORM_L1)) / now.luma.size / _LEVELS


def _held(frame: av.VideoFrame) -> av.VideoFrame:
    if frame.width * frame.height <= _HELD_PX:
        return frame
    scale = PICTURE_PX / max(frame.width, frame.height)
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    return frame.reformat(width=width, height=height, interpolation="AREA")


@dataclass(frozen=True)
class _Printed:
    """A candidate as it is kept; ``thumbnail`` of the middle one only."""

    jpeg: bytes
    tone: pixels.Tone
    thumbnail: bytes


@dataclass(frozen=True)
class _Developing:
    """A shot whose pictures are being made, each by whoever is free: the last one waits least."""

    shot: Shot
    chosen: list[Candidate]
    printed: list[Future[_Printed]]

    def seen(self) -> SceneSeen:
        shot, prints = self.shot, [one.result() for one in self.printed]
        return SceneSeen(
            start_s=shot.start_s,
            end_s=shot.end_s,
            thumbnail=prints[len(prints) // 2].thumbnail,
            measured=pixels.measured(
                shot.motion, [one.tone for one in prints], self.chosen[0].lines
            ),
            pictures=tuple(
                Picture(jpeg=print_.jpeg, look=_look(one, print_.tone.grey))
                for one, print_ in zip(self.chosen, prints, strict=True)
            ),
            damaged=shot.damaged,
            hurried=shot.hurried,
        )


@dataclass(frozen=True)
class _Thumbnailing:
    """A shot of a coarse pass: all that is made of it is one small picture."""

    shot: Shot
    thumbnail: Future[bytes]

    def seen(self) -> SceneSeen:
        shot = self.shot
        return SceneSeen(
            start_s=shot.start_s,
            end_s=shot.end_s,
            thumbnail=self.thumbnail.result(),
            damaged=shot.damaged,
            hurried=shot.hurried,
        )


def _thumbnailed(shot: Shot, _: ScenePolicy, darkroom: Executor) -> _Thumbnailing:
    middle = _nearest(shot.candidates, (shot.start_s + shot.end_s) / 2)
    return _Thumbnailing(shot, darkroom.submit(_thumbnail, middle))


def _thumbnail(one: Candidate) -> bytes:
    return pixels.jpeg(media.upright(one.frame, THUMBNAIL_PX, one.turns))


def _developed(shot: Shot, policy: ScenePolicy, darkroom: Executor) -> _Developing:
    chosen = _chosen(shot, policy)
    middle = chosen[len(chosen) // 2]
    prints = [darkroom.submit(_printed, one, small=one is middle) for one in chosen]
    return _Developing(shot, chosen, prints)


def _printed(one: Candidate, *, small: bool) -> _Printed:
    picture = media.upright(one.frame, PICTURE_PX, one.turns)
    thumbnail = pixels.jpeg(pixels.bounded(picture, THUMBNAIL_PX)) if small else b""
    return _Printed(pixels.jpeg(picture), pixels.tone_of(picture), thumbnail)


def _chosen(shot: Shot, policy: ScenePolicy) -> list[Candidate]:
    """The candidates nearest to the wanted moments, in order, none twice."""
    wanted = sample_times(shot.start_s, shot.end_s, policy)
    nearest = {id(one): one for one in (_nearest(shot.candidates, at) for at in wanted)}
    return sorted(nearest.values(), key=lambda one: one.at_s)


def _nearest(candidates: Sequence[Candidate], at_s: float) -> Candidate:
    return min(candidates, key=lambda one: abs(one.at_s - at_s))


def _look(one: Candidate, grey: np.ndarray) -> Look:
    import numpy as np

    now, before = (np.rot90(luma, one.turns) for luma in (one.luma, one.luma_before))
    return Look(
        at_s=round(one.at_s, 3),
        motion=one.motion,
        moving=moving(now, before),
        detail=detailed(grey),
    )
