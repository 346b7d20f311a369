"""Timelines over HTTP: each is a document, edited one operation at a time, rendered as a Pro job.

Times of requests are seconds; they are rounded to the timeline's frames.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.policy import Policy
from geminivideo.records import StoredTimeline
from geminivideo.runtime.http import ApiError, Call, Reply, identifier
from geminivideo.runtime.step import Ports
from geminivideo.services import pro_jobs
from geminivideo.services.pro_edit import KeyBody, TimelineRender
from geminivideo.services.pro_jobs import ProAnswer
from geminivideo.services.pro_sources import fetched, locate
from geminivideo.services.pro_task import Tool
from geminivideo.services.pro_work import seconds_of
from geminivideo.video_agent import keyframe_engine, timeline_engine
from geminivideo.video_agent.ffmpeg import RenderFailedError
from geminivideo.video_agent.options import UnknownOptionError, known
from geminivideo.video_agent.timeline_engine import (
    Clip,
    InvalidTimelineError,
    Media,
    Timeline,
    TrackKind,
    Transition,
)

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Transaction

MAX_TEXT_BYTES = 900_000  # Firestore takes a document of 1 MiB
_MAX_S = 6 * 3600.0
_FPS = (1, 60)
_SIDE = (16, 4096)


@dataclass(frozen=True, kw_only=True)
class TimelineBody:
    """``operation`` and its operands; times are seconds.

    create (fps, width, height, name) · import (otio) · get · export · render · add_track (track_id,
    kind) · add_clip (track_id, video_path, start_time, duration, source_start, rule) · split (at) ·
    trim (start_time, end_time) · ripple_trim (head, tail) · slip, slide, roll (by) · move (to,
    track_id, rule) · remove · ripple_delete · transition (transition_type, duration, easing; none
    takes it away) · animate (property, keyframes) · delete. Edits of a clip name its ``clip_id``.
    """

    operation: str
    timeline_id: str = ""
    name: str = "timeline"
    fps: float = 30.0
    width: int = 1080
    height: int = 1920
    otio: str = ""
    track_id: str = ""
    kind: str = "video"
    clip_id: str = ""
    video_path: str = ""
    start_time: float | None = None
    end_time: float | None = None
    duration: float | None = None
    source_start: float = 0.0
    rule: str = "reject"
    at: float = 0.0
    to: float = 0.0
    by: float = 0.0
    head: float = 0.0
    tail: float = 0.0
    transition_type: str = "none"
    easing: str = "linear"
    property: str = ""
    keyframes: list[KeyBody] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """A clip (seconds of the timeline, and of its source)."""

    clip_id: str
    start_time: float
    end_time: float
    source_start: float
    url: str
    transition: str | None
    animated: list[str]


@dataclass(frozen=True, kw_only=True)
class TrackView:
    """A track from the lowest up."""

    track_id: str
    kind: str
    clips: list[ClipView]


@dataclass(frozen=True, kw_only=True)
class TimelineAnswer:
    """The timeline after the operation; ``revision`` counts its edits, ``otio`` is the export."""

    timeline_id: str
    operation: str
    revision: int
    name: str
    fps: float
    width: int
    height: int
    duration: float
    tracks: list[TrackView]
    degraded: list[str]
    otio: str | None = None
    added: str | None = None


Edit = Callable[[Timeline, TimelineBody], Timeline]


def serve_timeline(call: Call, render: Tool) -> TimelineAnswer | ProAnswer | Reply:
    """Make, edit, exchange and render a timeline."""
    asked: TimelineBody = call.body
    _bounded(asked)
    try:
        return _answer(call, asked, render)
    except (InvalidTimelineError, UnknownOptionError, RenderFailedError) as error:
        raise ApiError(422, str(error)) from error


def _answer(call: Call, asked: TimelineBody, render: Tool) -> TimelineAnswer | ProAnswer | Reply:
    if asked.operation in ("create", "import"):
        return _new(call, asked)
    if asked.operation == "add_clip":
        return _add_clip(call, asked)
    if asked.operation in _EDITS:
        return _edited(call, asked, _EDITS[asked.operation])
    stored, timeline = _found(call, asked)
    if asked.operation == "render":
        body = TimelineRender(otio=stored.otio)
        return pro_jobs.ask(replace(call, body=body), render)
    if asked.operation == "delete":
        call.ports.documents.delete(_path(stored.id))
    otio = stored.otio if asked.operation == "export" else None
    return _shown(asked, stored, timeline, otio=otio)


def _bounded(asked: TimelineBody) -> None:
    if asked.operation not in OPERATIONS:
        raise ApiError(422, f"operation {asked.operation[:40]!r} is not one of {_listed()}")
    for name in ("start_time", "end_time", "duration", "source_start", "at", "to", "head", "tail"):
        value = getattr(asked, name)
        least = -_MAX_S if name in ("head", "tail") else 0.0
        if value is not None and not least <= value <= _MAX_S:
            raise ApiError(422, f"{name} must be {least:g} to {_MAX_S:g} seconds")
    if not -_MAX_S <= asked.by <= _MAX_S:
        raise ApiError(422, f"by must be -{_MAX_S:g} to {_MAX_S:g} seconds")


def _listed() -> str:
    return ", ".join(OPERATIONS)


def _new(call: Call, asked: TimelineBody) -> TimelineAnswer:
    timeline = _imported(asked) if asked.operation == "import" else _created(asked)
    now = call.ports.clock.now()
    stored = StoredTimeline(
        id=f"tl-{secrets.token_hex(8)}", otio=_text(timeline), revision=1, created_at=now,
        updated_at=now,
    )  # fmt: skip
    call.ports.documents.create(_path(stored.id), stored)
    return _shown(asked, stored, timeline)


def _created(asked: TimelineBody) -> Timeline:
    if not _FPS[0] <= asked.fps <= _FPS[1]:
        raise ApiError(422, f"fps must be {_FPS[0]} to {_FPS[1]}")
    if any(not _SIDE[0] <= side <= _SIDE[1] or side % 2 for side in (asked.width, asked.height)):
        raise ApiError(422, f"width and height must be even, {_SIDE[0]} to {_SIDE[1]}")
    rate = Fraction(asked.fps).limit_denominator(1001)
    return timeline_engine.create(
        fps=rate, width=asked.width, height=asked.height, name=asked.name[:200]
    )


def _imported(asked: TimelineBody) -> Timeline:
    if not asked.otio:
        raise ApiError(422, "otio is required: the text of an OpenTimelineIO file")
    return timeline_engine.from_otio(asked.otio)


def _add_clip(call: Call, asked: TimelineBody) -> TimelineAnswer:
    if not asked.video_path:
        raise ApiError(422, "video_path is required")
    _found(call, asked)
    media = _medium(call.ports, asked.video_path)

    def add(timeline: Timeline, asked: TimelineBody) -> Timeline:
        start = _frames(timeline, asked.start_time or 0.0)
        source = Fraction(asked.source_start).limit_denominator(90_000)
        left = None if media.duration is None else media.duration - source
        length = asked.duration if asked.duration is not None else float(left or 5)
        clip = Clip(
            id=_clip_id(timeline, asked),
            start=start,
            frames=max(0, int(Fraction(length) * timeline.fps + Fraction(1, 1000))),
            media=media.id,
            source_start=source,
            name=Path(asked.video_path).name[:100],
        )
        known_media = timeline_engine.add_media(timeline, media)
        track = asked.track_id or _first(timeline, asked.kind)
        return timeline_engine.add_clip(known_media, track, clip, asked.rule)

    return _edited(call, asked, add)


def _clip_id(timeline: Timeline, asked: TimelineBody) -> str:
    if asked.clip_id:
        return asked.clip_id[:100]
    taken = {clip.id for clip in timeline.clips}
    return next(f"clip-{n}" for n in range(1, len(taken) + 2) if f"clip-{n}" not in taken)


def _first(timeline: Timeline, kind: str) -> str:
    known("kind", kind, [one.value for one in TrackKind])
    for track in timeline.tracks:
        if track.kind == kind:
            return track.id
    raise UnknownOptionError(f"the timeline has no {kind} track: add_track first")


def _medium(ports: Ports, text: str) -> Media:
    """The file as the timeline knows it: its object, and how much of it there is."""
    located = locate(ports, text, "video_path")
    known_s = _known_length(ports, located.ref)
    if known_s is None:
        with tempfile.TemporaryDirectory(prefix="timeline-") as folder:
            most = Policy().pro.asset_bytes
            path = fetched(ports, located.ref.uri, "video_path", Path(folder), most)
            known_s = seconds_of("video_path", path)
    length = Fraction(known_s).limit_denominator(90_000) if known_s else None
    digest = hashlib.sha256(located.ref.uri.encode()).hexdigest()[:12]
    return Media(id=f"m-{digest}", duration=length, url=located.ref.uri)


def _known_length(ports: Ports, ref: Any) -> float | None:
    from geminivideo.events import flow_id_of
    from geminivideo.records import Video

    video = ports.documents.get(f"videos/{flow_id_of(ref)}", Video)
    return video.duration_s if video is not None else None


def _frames(timeline: Timeline, seconds: float) -> int:
    return round(Fraction(seconds) * timeline.fps)


def _add_track(timeline: Timeline, asked: TimelineBody) -> Timeline:
    known("kind", asked.kind, [one.value for one in TrackKind])
    if not asked.track_id:
        raise UnknownOptionError("track_id is required")
    return timeline_engine.add_track(timeline, asked.track_id[:100], TrackKind(asked.kind))


def _trim(timeline: Timeline, asked: TimelineBody) -> Timeline:
    start, end = (
        None if value is None else _frames(timeline, value)
        for value in (asked.start_time, asked.end_time)
    )
    return timeline_engine.trim(timeline, asked.clip_id, start=start, end=end)


def _ripple_trim(timeline: Timeline, asked: TimelineBody) -> Timeline:
    head, tail = _frames(timeline, asked.head), _frames(timeline, asked.tail)
    return timeline_engine.ripple_trim(timeline, asked.clip_id, head=head, tail=tail)


def _move(timeline: Timeline, asked: TimelineBody) -> Timeline:
    to = _frames(timeline, asked.to)
    track = asked.track_id or None
    return timeline_engine.move(timeline, asked.clip_id, to, track, asked.rule)


def _transition(timeline: Timeline, asked: TimelineBody) -> Timeline:
    made = None
    if asked.transition_type != "none":
        frames = max(1, _frames(timeline, 1.0 if asked.duration is None else asked.duration))
        made = Transition(name=asked.transition_type, frames=frames, easing=asked.easing)
    return timeline_engine.set_transition(timeline, asked.clip_id, made)


def _animate(timeline: Timeline, asked: TimelineBody) -> Timeline:
    keys = [
        keyframe_engine.Key(
            time=key.time, value=key.value, interpolation=key.interpolation, control=key.control
        )
        for key in asked.keyframes
    ]
    moved = keyframe_engine.animation(asked.property, keys)
    return timeline_engine.animate_clip(timeline, asked.clip_id, moved)


def _moved_by(edit: Callable[[Timeline, str, int], Timeline]) -> Edit:
    return lambda timeline, asked: edit(timeline, asked.clip_id, _frames(timeline, asked.by))


_EDITS: dict[str, Edit] = {
    "add_track": _add_track,
    "split": lambda t, asked: timeline_engine.split(t, asked.clip_id, _frames(t, asked.at)),
    "trim": _trim,
    "ripple_trim": _ripple_trim,
    "slip": _moved_by(timeline_engine.slip),
    "slide": _moved_by(timeline_engine.slide),
    "roll": _moved_by(timeline_engine.roll),
    "move": _move,
    "remove": lambda t, asked: timeline_engine.remove(t, asked.clip_id),
    "ripple_delete": lambda t, asked: timeline_engine.ripple_delete(t, asked.clip_id),
    "transition": _transition,
    "animate": _animate,
}
OPERATIONS = ("create", "import", "get", "export", "render", "delete", "add_clip", *_EDITS)


def _edited(call: Call, asked: TimelineBody, edit: Edit) -> TimelineAnswer:
    """An edit in a transaction: two callers' edits come one after the other, none is lost."""
    timeline_id = identifier(asked.timeline_id, "timeline_id")

    def body(transaction: Transaction) -> tuple[StoredTimeline, Timeline, str | None]:
        stored = transaction.get(_path(timeline_id), StoredTimeline)
        if stored is None:
            raise ApiError(404, f"no timeline {timeline_id}")
        before = timeline_engine.from_otio(stored.otio)
        after = edit(before, asked)
        kept = replace(
            stored,
            otio=_text(after),
            revision=stored.revision + 1,
            updated_at=call.ports.clock.now(),
        )
        transaction.set(_path(timeline_id), kept)
        new = {clip.id for clip in after.clips} - {clip.id for clip in before.clips}
        return kept, after, min(new, default=None)

    stored, timeline, added = call.ports.documents.transact(body)
    return _shown(asked, stored, timeline, added=added)


def _found(call: Call, asked: TimelineBody) -> tuple[StoredTimeline, Timeline]:
    timeline_id = identifier(asked.timeline_id, "timeline_id")
    stored = call.ports.documents.get(_path(timeline_id), StoredTimeline)
    if stored is None:
        raise ApiError(404, f"no timeline {timeline_id}")
    return stored, timeline_engine.from_otio(stored.otio)


def _text(timeline: Timeline) -> str:
    text = timeline_engine.to_otio(timeline)
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ApiError(422, f"the timeline is larger than {MAX_TEXT_BYTES} bytes")
    return text


def _path(timeline_id: str) -> str:
    return f"timelines/{timeline_id}"


def _shown(
    asked: TimelineBody,
    stored: StoredTimeline,
    timeline: Timeline,
    *,
    otio: str | None = None,
    added: str | None = None,
) -> TimelineAnswer:
    return TimelineAnswer(
        timeline_id=stored.id,
        operation=asked.operation,
        revision=stored.revision,
        name=timeline.name,
        fps=float(timeline.fps),
        width=timeline.width,
        height=timeline.height,
        duration=_seconds(timeline, timeline.frames),
        tracks=[
            TrackView(
                track_id=track.id,
                kind=track.kind,
                clips=[_clip(timeline, clip) for clip in track.clips],
            )
            for track in timeline.tracks
        ],
        degraded=list(timeline.degraded),
        otio=otio,
        added=added,
    )


def _seconds(timeline: Timeline, frames: int) -> float:
    return round(float(frames / timeline.fps), 6)


def _clip(timeline: Timeline, clip: Clip) -> ClipView:
    return ClipView(
        clip_id=clip.id,
        start_time=_seconds(timeline, clip.start),
        end_time=_seconds(timeline, clip.end),
        source_start=round(float(clip.source_start), 6),
        url=timeline.medium(clip.media).url if clip.media else "",
        transition=clip.transition.name if clip.transition else None,
        animated=[moved.name for moved in clip.animations],
    )
