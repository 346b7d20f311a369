"""A timeline as a value: tracks of clips on a clock of whole frames, sources in exact fractions.

Nothing here changes anything: every operation of ``edits`` returns another timeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import Any

from geminivideo.video_agent.keyframe_engine import Animation
from geminivideo.video_agent.plan import Cue, Cut, RenderRequest, Title


class InvalidTimelineError(ValueError):
    """The timeline or the edit breaks a rule of timelines; the message says which and where."""


class UnknownClipError(InvalidTimelineError):
    """There is no clip, track or medium of this id; the message lists those that exist."""


class TrackKind(StrEnum):
    """What a track shows or plays; pictures lie on each other in the order of the tracks."""

    VIDEO = "video"
    AUDIO = "audio"
    OVERLAY = "overlay"
    CAPTION = "caption"


@dataclass(frozen=True, kw_only=True)
class Media:
    """A file that clips are taken from: what of it exists, in its own seconds.

    ``duration`` None: without an end, as a still picture. ``url`` is where another program finds
    it; rendering takes paths of its own.
    """

    id: str
    start: Fraction = Fraction(0)
    duration: Fraction | None = None
    url: str = ""

    @property
    def end(self) -> Fraction | None:
        """The time after its last moment, or None."""
        return None if self.duration is None else self.start + self.duration


@dataclass(frozen=True, kw_only=True)
class Transition:
    """How the clip before turns into this one, around the cut between them.

    ``frames`` are shown of both: ``before`` of them (half, rounded down) lie before the cut. Both
    clips must have that much more material than they show. Names and easings are those of
    ``transitions_library``.
    """

    name: str
    frames: int
    easing: str = "linear"

    @property
    def before(self) -> int:
        """Frames before the cut: what the later clip needs of material before its start."""
        return self.frames // 2

    @property
    def after(self) -> int:
        """Frames after the cut: what the earlier clip needs of material after its end."""
        return self.frames - self.before


@dataclass(frozen=True, kw_only=True)
class Clip:
    """``frames`` frames from ``start`` on, showing ``media`` from ``source_start`` (s) on.

    ``fit``: the picture fills the frame (``cover``) or lies whole inside it (``contain``). Fades
    are frames: from and to black on the lowest track, from and to nothing above it; sound fades
    to silence. A clip of a caption track has no media but a ``cue`` or a ``title``; ``cut`` is
    what the plan knew of this shot (focus, texts and faces of the source).
    """

    id: str
    start: int
    frames: int
    media: str | None = None
    source_start: Fraction = Fraction(0)
    name: str = ""
    fit: str = "cover"
    animations: tuple[Animation, ...] = ()
    fade_in: int = 0
    fade_out: int = 0
    transition: Transition | None = None
    cut: Cut | None = None
    cue: Cue | None = None
    title: Title | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    markers: tuple[dict[str, Any], ...] = ()

    @property
    def end(self) -> int:
        """The frame after the last one."""
        return self.start + self.frames


@dataclass(frozen=True, kw_only=True)
class Track:
    """Clips in the order of time, none over another; between them is nothing.

    ``markers`` are in the track's own time, which no edit of its clips moves.
    """

    id: str
    kind: TrackKind
    clips: tuple[Clip, ...] = ()
    name: str = ""
    enabled: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    markers: tuple[dict[str, Any], ...] = ()

    @property
    def end(self) -> int:
        """The frame after its last clip."""
        return self.clips[-1].end if self.clips else 0


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Tracks from the lowest to the highest on one clock of ``fps`` frames per second.

    ``degraded`` names what edits or an import could not keep. ``request`` is the rendering that
    this timeline was made of (``variation.timeline_of``): its look and its checks.
    """

    fps: Fraction
    width: int
    height: int
    media: tuple[Media, ...] = ()
    tracks: tuple[Track, ...] = ()
    name: str = "timeline"
    degraded: tuple[str, ...] = ()
    request: RenderRequest | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    markers: tuple[dict[str, Any], ...] = ()

    @property
    def frames(self) -> int:
        """The length: where the last clip of any track ends."""
        return max((track.end for track in self.tracks), default=0)

    @property
    def clips(self) -> Iterator[Clip]:
        """Every clip of every track."""
        return (clip for track in self.tracks for clip in track.clips)

    def track(self, track_id: str) -> Track:
        """A track by its id; raises UnknownClipError."""
        return _found(self.tracks, track_id, "track")

    def medium(self, media_id: str) -> Media:
        """A medium by its id; raises UnknownClipError."""
        return _found(self.media, media_id, "medium")

    def where(self, clip_id: str) -> tuple[Track, Clip]:
        """A clip and its track; raises UnknownClipError."""
        for track in self.tracks:
            for clip in track.clips:
                if clip.id == clip_id:
                    return track, clip
        raise UnknownClipError(_missing("clip", clip_id, [clip.id for clip in self.clips]))

    def clip(self, clip_id: str) -> Clip:
        """A clip by its id; raises UnknownClipError."""
        return self.where(clip_id)[1]

    def with_track(self, track: Track) -> Timeline:
        """The timeline with this track in the place of the one that has its id."""
        ordered = replace(track, clips=tuple(sorted(track.clips, key=lambda clip: clip.start)))
        return replace(
            self, tracks=tuple(ordered if old.id == track.id else old for old in self.tracks)
        )


def _found(items: tuple[Any, ...], wanted: str, kind: str) -> Any:
    for item in items:
        if item.id == wanted:
            return item
    raise UnknownClipError(_missing(kind, wanted, [item.id for item in items]))


def _missing(kind: str, wanted: str, there: list[str]) -> str:
    return f"there is no {kind} {wanted!r}; there are: {', '.join(there) or 'none'}"


def checked(timeline: Timeline) -> Timeline:
    """The timeline itself if it keeps every rule; raises InvalidTimelineError if it does not.

    Clips of a track do not overlap, each shows at least one frame of material that exists, and
    every transition has clips on both sides with enough material.
    """
    if timeline.fps <= 0 or timeline.width < 2 or timeline.height < 2:
        raise InvalidTimelineError("a timeline needs a frame rate and a frame of 2x2 px or more")
    ids = [*(t.id for t in timeline.tracks), *(c.id for c in timeline.clips)]
    if len(set(ids)) != len(ids):
        raise InvalidTimelineError("two tracks or clips have the same id")
    for track in timeline.tracks:
        for before, after in pairwise(track.clips):
            if after.start < before.end:
                raise InvalidTimelineError(f"clip {after.id} lies over clip {before.id}")
        for number, clip in enumerate(track.clips):
            _check_clip(clip, track, timeline)
            if problem := joint_problem(timeline, track, number):
                raise InvalidTimelineError(problem)
    return timeline


def _check_clip(clip: Clip, track: Track, timeline: Timeline) -> None:
    if clip.start < 0 or clip.frames < 1:
        raise InvalidTimelineError(f"clip {clip.id} starts before 0 or shows no frame")
    if min(clip.fade_in, clip.fade_out) < 0 or clip.fade_in + clip.fade_out > clip.frames:
        raise InvalidTimelineError(f"the fades of clip {clip.id} are longer than the clip")
    if track.kind is TrackKind.CAPTION:
        if (clip.cue is None) == (clip.title is None) or clip.media is not None:
            raise InvalidTimelineError(f"clip {clip.id} of a caption track needs one text")
        return
    if clip.media is None:
        raise InvalidTimelineError(f"clip {clip.id} has no media")
    head, tail = handles(timeline, clip)
    if (head is not None and head < 0) or (tail is not None and tail < 0):
        raise InvalidTimelineError(f"clip {clip.id} shows more than medium {clip.media} has")


def handles(timeline: Timeline, clip: Clip) -> tuple[Fraction | None, Fraction | None]:
    """The seconds of material that exist before and after what a clip shows (None: endless)."""
    media = timeline.medium(clip.media) if clip.media is not None else None
    if media is None or media.end is None:
        return None, None
    shown = clip.frames / timeline.fps
    return clip.source_start - media.start, media.end - clip.source_start - shown


def joint_problem(timeline: Timeline, track: Track, number: int) -> str | None:
    """Why the transition into a track's clip cannot be, or None when it can or there is none."""
    clip = track.clips[number]
    if clip.transition is None:
        return None
    told = f"the transition into clip {clip.id}"
    if clip.transition.frames < 1:
        return f"{told} has no frame"
    if number == 0 or track.clips[number - 1].end != clip.start:
        return f"{told} has no clip before it"
    earlier = track.clips[number - 1]
    tail, head = handles(timeline, earlier)[1], handles(timeline, clip)[0]
    if head is not None and head * timeline.fps < clip.transition.before:
        return f"{told} needs {clip.transition.before} frames of material before its start"
    if tail is not None and tail * timeline.fps < clip.transition.after:
        return f"{told} needs {clip.transition.after} frames after the end of clip {earlier.id}"
    for own, sides in ((earlier, number - 1), (clip, number)):
        if _taken(track, sides) > own.frames:
            return f"{told} is longer than clip {own.id}"
    return None


def _taken(track: Track, number: int) -> int:
    """The frames of a clip that its transitions on both sides use."""
    own = track.clips[number].transition
    later = track.clips[number + 1].transition if number + 1 < len(track.clips) else None
    return (own.after if own else 0) + (later.before if later else 0)
