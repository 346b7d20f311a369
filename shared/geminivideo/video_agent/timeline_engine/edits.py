"""The edits of a timeline: pure functions from one timeline to another.

Each result keeps the rules of ``model.checked``. A transition that an edit leaves without its
neighbour or its material is taken away and named in ``degraded`` (``transition-dropped``).
Positions and lengths are frames of the timeline; names follow the usual editing terms: an edit
that *ripples* moves what comes after it on the same track.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from geminivideo.video_agent.keyframe_engine import Animation
from geminivideo.video_agent.options import known
from geminivideo.video_agent.timeline_engine.model import (
    Clip,
    InvalidTimelineError,
    Media,
    Timeline,
    Track,
    TrackKind,
    Transition,
    checked,
    joint_problem,
)

OVERLAP_RULES = ("reject", "overwrite", "insert", "layer")


class OverlapError(InvalidTimelineError):
    """The place is taken, and the rule is to reject; the message names the clip that is there."""


def create(
    *,
    fps: Fraction,
    width: int,
    height: int,
    tracks: Iterable[tuple[str, TrackKind]] = (
        ("V1", TrackKind.VIDEO),
        ("A1", TrackKind.AUDIO),
    ),
    name: str = "timeline",
) -> Timeline:
    """An empty timeline with one video and one audio track, or others (id, kind)."""
    made = tuple(Track(id=track_id, kind=TrackKind(kind)) for track_id, kind in tracks)
    return checked(Timeline(fps=fps, width=width, height=height, tracks=made, name=name))


def add_media(timeline: Timeline, media: Media) -> Timeline:
    """The timeline that knows one more file (or knows it anew)."""
    others = tuple(old for old in timeline.media if old.id != media.id)
    return checked(replace(timeline, media=(*others, media)))


def add_track(timeline: Timeline, track_id: str, kind: TrackKind) -> Timeline:
    """One more track above the others."""
    added = Track(id=track_id, kind=TrackKind(kind))
    return checked(replace(timeline, tracks=(*timeline.tracks, added)))


def add_clip(timeline: Timeline, track_id: str, clip: Clip, rule: str = "reject") -> Timeline:
    """A clip laid on a track. Where clips are already:

    ``reject`` raises OverlapError; ``overwrite`` cuts away what lies under it; ``insert`` splits
    what is there and moves it and everything after it by the clip's length; ``layer`` lays it on
    the next track of the same kind above that is free there, or on a new one.
    """
    known("rule", rule, OVERLAP_RULES)
    return _settled(_laid(timeline, timeline.track(track_id), clip, rule))


def _laid(timeline: Timeline, track: Track, clip: Clip, rule: str) -> Timeline:
    if rule == "insert":
        return _with(_opened(timeline, track, clip.start, clip.frames), track.id, clip)
    there = [other for other in track.clips if _meet(other, clip)]
    if not there:
        return _with(timeline, track.id, clip)
    if rule == "reject":
        raise OverlapError(
            f"frames {clip.start} to {clip.end} of track {track.id} are taken by clip {there[0].id}"
        )
    if rule == "overwrite":
        return _with(_cleared(timeline, track, clip.start, clip.end), track.id, clip)
    timeline, above = _free_above(timeline, track, clip)
    return _with(timeline, above.id, clip)


def _meet(one: Clip, other: Clip) -> bool:
    return one.start < other.end and other.start < one.end


def _with(timeline: Timeline, track_id: str, clip: Clip) -> Timeline:
    track = timeline.track(track_id)
    return timeline.with_track(replace(track, clips=(*track.clips, clip)))


def _free_above(timeline: Timeline, track: Track, clip: Clip) -> tuple[Timeline, Track]:
    place = timeline.tracks.index(track)
    for other in timeline.tracks[place + 1 :]:
        if other.kind is track.kind and not any(_meet(there, clip) for there in other.clips):
            return timeline, other
    added = Track(id=_free_id(timeline, track.id), kind=track.kind)
    after = place + 1
    while after < len(timeline.tracks) and timeline.tracks[after].kind is track.kind:
        after += 1
    tracks = (*timeline.tracks[:after], added, *timeline.tracks[after:])
    return replace(timeline, tracks=tracks), added


def _free_id(timeline: Timeline, wanted: str) -> str:
    taken = {t.id for t in timeline.tracks} | {c.id for c in timeline.clips}
    stem, number = wanted.partition("~")[0], 2
    while f"{stem}~{number}" in taken:
        number += 1
    return f"{stem}~{number}"


def _opened(timeline: Timeline, track: Track, at: int, frames: int) -> Timeline:
    """Room of ``frames`` frames at a place: what is there is split, what is later moves."""
    crossed = [clip for clip in track.clips if clip.start < at < clip.end]
    for clip in crossed:
        timeline = _parted(timeline, clip.id, at)
    return _shifted(timeline, track.id, at, frames)


def _shifted(timeline: Timeline, track_id: str, from_frame: int, by: int) -> Timeline:
    def later(clip: Clip) -> Clip:
        return replace(clip, start=clip.start + by) if clip.start >= from_frame else clip

    track = timeline.track(track_id)
    return timeline.with_track(replace(track, clips=tuple(later(c) for c in track.clips)))


def _cleared(timeline: Timeline, track: Track, start: int, end: int) -> Timeline:
    """The track without what lies in a range."""
    for at in (start, end):
        for clip in timeline.track(track.id).clips:
            if clip.start < at < clip.end:
                timeline = _parted(timeline, clip.id, at)
    kept = [c for c in timeline.track(track.id).clips if c.end <= start or end <= c.start]
    return timeline.with_track(replace(timeline.track(track.id), clips=tuple(kept)))


def split(timeline: Timeline, clip_id: str, at: int) -> Timeline:
    """The clip in two at a frame of the timeline: the same pictures at the same times.

    The later part has the clip's id with a number. Animations stay with the pictures that they
    change; the fade in stays with the first part and the fade out with the second, shortened
    where the part is shorter.
    """
    return _settled(_parted(timeline, clip_id, at))


def _parted(timeline: Timeline, clip_id: str, at: int) -> Timeline:
    track, clip = timeline.where(clip_id)
    if not clip.start < at < clip.end:
        raise InvalidTimelineError(
            f"frame {at} is not inside clip {clip_id} ({clip.start} to {clip.end})"
        )
    first = replace(clip, frames=at - clip.start, fade_out=0)
    second = replace(
        clip,
        id=_free_id(timeline, clip.id),
        start=at,
        frames=clip.end - at,
        source_start=clip.source_start + first.frames / timeline.fps,
        animations=_later(clip.animations, float(first.frames / timeline.fps)),
        fade_in=0,
        transition=None,
    )
    parts = (_fades_fit(first), _fades_fit(second))
    others = tuple(other for other in track.clips if other.id != clip_id)
    return timeline.with_track(replace(track, clips=(*others, *parts)))


def _later(animations: tuple[Animation, ...], by_s: float) -> tuple[Animation, ...]:
    return tuple(
        replace(moved, delay_s=moved.delay_s - by_s) if not moved.still else moved
        for moved in animations
    )


def _fades_fit(clip: Clip) -> Clip:
    fade_in = min(clip.fade_in, clip.frames)
    return replace(clip, fade_in=fade_in, fade_out=min(clip.fade_out, clip.frames - fade_in))


def trim(
    timeline: Timeline, clip_id: str, *, start: int | None = None, end: int | None = None
) -> Timeline:
    """New edges of a clip on the timeline; what stays visible stays at its time.

    Growing shows more of the source; it may not reach over a neighbour or out of the source.
    """
    track, clip = timeline.where(clip_id)
    return _settled(_replaced(timeline, track, _trimmed(timeline, clip, start, end)))


def _trimmed(timeline: Timeline, clip: Clip, start: int | None, end: int | None) -> Clip:
    first = clip.start if start is None else start
    last = clip.end if end is None else end
    if last <= first:
        raise InvalidTimelineError(f"clip {clip.id} would show no frame")
    moved = (first - clip.start) / timeline.fps
    return _fades_fit(
        replace(
            clip,
            start=first,
            frames=last - first,
            source_start=clip.source_start + moved,
            animations=_later(clip.animations, float(moved)) if moved else clip.animations,
        )
    )


def ripple_trim(timeline: Timeline, clip_id: str, *, head: int = 0, tail: int = 0) -> Timeline:
    """Cut ``head`` frames off the clip's beginning and ``tail`` off its end (negative: show more).

    The clip stays at its start, and everything after it on the track closes up or makes room.
    """
    track, clip = timeline.where(clip_id)
    cut = _trimmed(timeline, clip, clip.start + head, clip.end - tail)
    moved = _shifted(timeline, track.id, clip.end, -(head + tail))
    return _settled(_replaced(moved, moved.track(track.id), replace(cut, start=clip.start)))


def slip(timeline: Timeline, clip_id: str, by: int) -> Timeline:
    """Another part of the source in the same place: ``by`` frames later in it."""
    track, clip = timeline.where(clip_id)
    slipped = replace(clip, source_start=clip.source_start + by / timeline.fps)
    return _settled(_replaced(timeline, track, slipped))


def slide(timeline: Timeline, clip_id: str, by: int) -> Timeline:
    """Move a clip between its neighbours: one grows as the other shrinks; no length changes else.

    Both neighbours must touch the clip. Raises InvalidTimelineError when one has too little.
    """
    track, clip = timeline.where(clip_id)
    number = track.clips.index(clip)
    around = [n for n in (number - 1, number + 1) if 0 <= n < len(track.clips)]
    before, after = (track.clips[n] for n in around) if len(around) == 2 else (clip, clip)
    if before.end != clip.start or after.start != clip.end:
        raise InvalidTimelineError(f"clip {clip_id} has no clip touching it on both sides")
    for changed in (
        _trimmed(timeline, before, None, before.end + by),
        replace(clip, start=clip.start + by),
        _trimmed(timeline, after, after.start + by, None),
    ):
        track = _swapped(track, changed)
    return _settled(timeline.with_track(track))


def roll(timeline: Timeline, clip_id: str, by: int) -> Timeline:
    """Move the cut before a clip: the earlier clip ends, and this one starts, ``by`` later."""
    track, clip = timeline.where(clip_id)
    before = next((c for c in track.clips if c.end == clip.start), None)
    if before is None:
        raise InvalidTimelineError(f"no clip ends where clip {clip_id} starts")
    track = _swapped(track, _trimmed(timeline, before, None, before.end + by))
    track = _swapped(track, _trimmed(timeline, clip, clip.start + by, None))
    return _settled(timeline.with_track(track))


def move(
    timeline: Timeline, clip_id: str, to: int, track_id: str | None = None, rule: str = "reject"
) -> Timeline:
    """A clip taken from its place and laid at frame ``to``, by one of the overlap rules."""
    known("rule", rule, OVERLAP_RULES)
    track, clip = timeline.where(clip_id)
    target = timeline.track(track_id or track.id)
    if target.kind is not track.kind and TrackKind.CAPTION in (target.kind, track.kind):
        raise InvalidTimelineError(f"clip {clip_id} does not belong on a {target.kind} track")
    lifted = _removed(timeline, track, clip)
    laid = replace(clip, start=to)
    return _settled(_laid(lifted, lifted.track(target.id), laid, rule))


def remove(timeline: Timeline, clip_id: str) -> Timeline:
    """Take a clip away and leave its place empty."""
    track, clip = timeline.where(clip_id)
    return _settled(_removed(timeline, track, clip))


def ripple_delete(timeline: Timeline, clip_id: str) -> Timeline:
    """Take a clip away and close its place on its track."""
    track, clip = timeline.where(clip_id)
    lifted = _removed(timeline, track, clip)
    return _settled(_shifted(lifted, track.id, clip.end, -clip.frames))


def ripple_insert(timeline: Timeline, track_id: str, clip: Clip) -> Timeline:
    """A clip put in at its start; what is there is split and moves by the clip's length."""
    return add_clip(timeline, track_id, clip, "insert")


def set_transition(timeline: Timeline, clip_id: str, transition: Transition | None) -> Timeline:
    """The transition into a clip; raises InvalidTimelineError when it has too little material."""
    track, clip = timeline.where(clip_id)
    return checked(_replaced(timeline, track, replace(clip, transition=transition)))


def animate_clip(timeline: Timeline, clip_id: str, moved: Animation) -> Timeline:
    """An animation of one property of a clip, in the place of the one it had."""
    track, clip = timeline.where(clip_id)
    others = tuple(old for old in clip.animations if old.name != moved.name)
    return checked(_replaced(timeline, track, replace(clip, animations=(*others, moved))))


def _replaced(timeline: Timeline, track: Track, clip: Clip) -> Timeline:
    return timeline.with_track(_swapped(track, clip))


def _swapped(track: Track, clip: Clip) -> Track:
    return replace(track, clips=tuple(clip if c.id == clip.id else c for c in track.clips))


def _removed(timeline: Timeline, track: Track, clip: Clip) -> Timeline:
    return timeline.with_track(
        replace(track, clips=tuple(c for c in track.clips if c.id != clip.id))
    )


def _settled(timeline: Timeline) -> Timeline:
    """The edited timeline without the transitions that lost their place; checked."""
    lost = []
    for track in timeline.tracks:
        for number, clip in enumerate(track.clips):
            if joint_problem(timeline, timeline.track(track.id), number):
                lost.append(f"transition-dropped:{clip.id}")
                current = timeline.track(track.id)
                timeline = _replaced(timeline, current, replace(clip, transition=None))
    return checked(replace(timeline, degraded=tuple(dict.fromkeys((*timeline.degraded, *lost)))))


@dataclass(frozen=True, kw_only=True)
class History:
    """A timeline with what it was before and what was undone; itself a value."""

    present: Timeline
    past: tuple[Timeline, ...] = ()
    future: tuple[Timeline, ...] = ()

    def do(self, edit: Callable[[Timeline], Timeline]) -> History:
        """After one more edit; what had been undone is forgotten."""
        return History(present=edit(self.present), past=(*self.past, self.present))

    def undo(self) -> History:
        """Before the last edit; itself when there was none."""
        if not self.past:
            return self
        return History(
            present=self.past[-1], past=self.past[:-1], future=(self.present, *self.future)
        )

    def redo(self) -> History:
        """With the edit that was undone last; itself when there is none."""
        if not self.future:
            return self
        return History(
            present=self.future[0], past=(*self.past, self.present), future=self.future[1:]
        )
