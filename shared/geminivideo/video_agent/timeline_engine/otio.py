"""Timelines in and out as OpenTimelineIO (the ``.otio`` JSON that editing programs exchange).

Tracks, clips, gaps, transitions and source ranges are OpenTimelineIO's own, so other programs see
the edit. What it has no word for (keyframes, fades, fit, texts, the exact fraction of a source
time) travels in the metadata under ``geminivideo``, and comes back from there unless another
program has moved the clip since. What an import does not know (effects, nested stacks, time
warps, generators) is named in ``degraded`` and never silently lost: markers and metadata of others
are kept as they came.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import msgspec

from geminivideo.decoding import learned
from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.captions import STYLES
from geminivideo.video_agent.keyframe_engine import Animation, animation
from geminivideo.video_agent.options import UnknownOptionError, known
from geminivideo.video_agent.plan import Cue, Cut, RenderRequest, Title, safe_name
from geminivideo.video_agent.timeline_engine.model import (
    Clip,
    InvalidTimelineError,
    Media,
    Timeline,
    Track,
    TrackKind,
    Transition,
    checked,
)
from geminivideo.video_agent.transitions_library import EASINGS, effect

_OWN = "geminivideo"
MAX_BYTES = 8 * 1024**2
MAX_DEPTH = 60
# What the library and the conversion raise of a text whose members have other types or values.
_FAULTS = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError)
_SOUND, _PICTURE = "Audio", "Video"
# Kept in the metadata of a clip, with the type that reads each back.
_CLIP_EXTRAS: dict[str, Any] = {
    "fit": str,
    "animations": tuple[Animation, ...],
    "fade_in": int,
    "fade_out": int,
    "cut": Cut | None,
    "cue": Cue | None,
    "title": Title | None,
}


class UnreadableTimelineError(InvalidTimelineError):
    """The text is no OpenTimelineIO timeline that can be read; the message says why."""


def to_otio(timeline: Timeline) -> str:
    """The timeline as OpenTimelineIO JSON; ``from_otio`` of it is the same timeline."""
    import opentimelineio as otio  # type: ignore[import-untyped]

    made = otio.schema.Timeline(
        name=timeline.name,
        metadata={
            **timeline.metadata,
            _OWN: {
                "fps": str(timeline.fps),
                "width": timeline.width,
                "height": timeline.height,
                "media": _plain(timeline.media),
                "degraded": [*timeline.degraded, *_unwritten(timeline.request)],
                "request": _plain(_portable(timeline.request)),
            },
        },
    )
    _mark(otio, made.tracks, timeline.markers)
    for track in timeline.tracks:
        made.tracks.append(_track_out(otio, timeline, track))
    return str(otio.adapters.write_to_string(made, "otio_json"))


def _mark(otio: Any, item: Any, markers: Iterable[Mapping[str, Any]]) -> None:
    """Put the markers that an import found back on what it found them on."""
    for marker in markers:
        text = msgspec.json.encode(marker).decode()
        item.markers.append(otio.adapters.read_from_string(text, "otio_json"))


def _portable(request: RenderRequest | None) -> RenderRequest | None:
    """The request without the LUT of its look, which is a file of this machine."""
    if request is None or request.grade.lut is None:
        return request
    return replace(request, grade=replace(request.grade, lut=None))


def _unwritten(request: RenderRequest | None) -> list[str]:
    return [] if request == _portable(request) else ["otio-unknown:lut:grade"]


def _track_out(otio: Any, timeline: Timeline, track: Track) -> Any:
    made = otio.schema.Track(
        name=track.name or track.id,
        kind=_SOUND if track.kind is TrackKind.AUDIO else _PICTURE,
        metadata={
            **track.metadata,
            _OWN: {"id": track.id, "kind": track.kind.value, "name": track.name},
        },
    )
    made.enabled = track.enabled
    _mark(otio, made, track.markers)
    at = 0
    for clip in track.clips:
        if clip.start > at:
            made.append(
                otio.schema.Gap(source_range=_range(otio, timeline.fps, 0, clip.start - at))
            )
        if clip.transition:
            made.append(_transition_out(otio, timeline, clip.transition))
        made.append(_clip_out(otio, timeline, clip))
        at = clip.end
    return made


def _transition_out(otio: Any, timeline: Timeline, transition: Transition) -> Any:
    dissolve = otio.schema.TransitionTypes.SMPTE_Dissolve
    plain = effect(transition.name).xfade == "fade"
    return otio.schema.Transition(
        name=transition.name,
        transition_type=dissolve if plain else otio.schema.TransitionTypes.Custom,
        in_offset=_time(otio, timeline.fps, transition.before),
        out_offset=_time(otio, timeline.fps, transition.after),
        metadata={_OWN: _plain(transition)},
    )


def _clip_out(otio: Any, timeline: Timeline, clip: Clip) -> Any:
    own = {name: _plain(getattr(clip, name)) for name in _CLIP_EXTRAS}
    own |= {"id": clip.id, "media": clip.media, "source_start": str(clip.source_start)}
    own["name"] = clip.name
    made = otio.schema.Clip(
        name=clip.name or clip.id,
        media_reference=_reference_out(otio, timeline, clip),
        source_range=_range(otio, timeline.fps, clip.source_start * timeline.fps, clip.frames),
        metadata={**clip.metadata, _OWN: own},
    )
    _mark(otio, made, clip.markers)
    return made


def _reference_out(otio: Any, timeline: Timeline, clip: Clip) -> Any:
    if clip.media is None:
        return otio.schema.MissingReference()
    media, fps = timeline.medium(clip.media), timeline.fps
    there = None
    if media.duration is not None:
        there = _range(otio, fps, media.start * fps, media.duration * fps)
    return otio.schema.ExternalReference(
        target_url=media.url or media.id, available_range=there, metadata={_OWN: {"id": media.id}}
    )


def _range(otio: Any, fps: Fraction, start: Fraction | int, frames: Fraction | int) -> Any:
    return otio.opentime.TimeRange(_time(otio, fps, start), _time(otio, fps, frames))


def _time(otio: Any, fps: Fraction, frames: Fraction | int) -> Any:
    return otio.opentime.RationalTime(float(frames), float(fps))


def _plain(value: Any) -> Any:
    """Our values as JSON: fractions as ``n/d``."""
    return msgspec.to_builtins(value, enc_hook=_encoded)


def _encoded(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    raise NotImplementedError(f"a timeline has no {type(value).__name__}")


def from_otio(text: str, policy: RenderPolicy | None = None) -> Timeline:
    """The timeline of an OpenTimelineIO text; what it could not take over is in ``degraded``.

    A request that travelled along is given ``policy``, never one from the text. A timeline of
    another program has no frame size: 1920x1080 is taken, and named. Raises
    UnreadableTimelineError for a text that is no timeline or contradicts itself.
    """
    import opentimelineio as otio  # type: ignore[import-untyped]

    _refuse_monsters(text)
    try:
        read = otio.adapters.read_from_string(text, "otio_json")
        if not isinstance(read, otio.schema.Timeline):
            raise UnreadableTimelineError(f"the text holds a {type(read).__name__}, no Timeline")
        return checked(_Import(otio, read, policy or RenderPolicy()).timeline())
    except (InvalidTimelineError, UnknownOptionError):
        raise
    except (otio.exceptions.OTIOError, *_FAULTS) as error:
        raise UnreadableTimelineError(f"no timeline can be read: {_short(error)}") from error


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _refuse_monsters(text: str) -> None:
    """Before another parser sees it: a text that is huge, or nested until a stack overflows."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise UnreadableTimelineError(f"the text is larger than {MAX_BYTES // 1024**2} MiB")
    depth = deepest = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise UnreadableTimelineError(f"the text is nested {deepest} deep; at most {MAX_DEPTH}")


class _Import:
    """One reading of a timeline: what was found so far, and what could not be taken over."""

    def __init__(self, otio: Any, read: Any, policy: RenderPolicy) -> None:
        self._otio, self._read, self._policy = otio, read, policy
        self._own = _builtin(read.metadata).get(_OWN) or {}
        self._fps = self._rate()
        self._known = {m.id: m for m in _read(self._own.get("media") or (), tuple[Media, ...])}
        self._media: dict[str, Media] = dict(self._known)
        self._lost: list[str] = list(_read(self._own.get("degraded") or (), tuple[str, ...]))
        self._ids: set[str] = set()

    def timeline(self) -> Timeline:
        """The whole timeline."""
        for extra in self._read.tracks.effects:
            self._lose(type(extra).__name__, self._read)
        tracks = tuple(t for item in self._read.tracks if (t := self._track(item)))
        if self._read.global_start_time is not None:
            self._lose("global-start-time", self._read)
        if "width" not in self._own:
            self._lost.append("otio-size-assumed")
        others = {k: v for k, v in _builtin(self._read.metadata).items() if k != _OWN}
        return Timeline(
            fps=self._fps,
            width=_read(self._own.get("width", 1920), int),
            height=_read(self._own.get("height", 1080), int),
            media=tuple(self._media.values()),
            tracks=tracks,
            name=self._read.name or "timeline",
            degraded=tuple(dict.fromkeys(self._lost)),
            request=self._request(),
            metadata=others,
            markers=self._markers(self._read.tracks),
        )

    def _request(self) -> RenderRequest | None:
        given = self._own.get("request")
        if given is None:
            return None
        # Neither a policy nor the path of a file is taken from a text.
        grade = {**given["grade"], "lut": None}
        policy = msgspec.to_builtins(self._policy)
        request = _read({**given, "grade": grade, "policy": policy}, RenderRequest)
        known("caption style", request.caption_style, STYLES)
        return replace(request, name=safe_name(request.name), policy=self._policy)

    def _rate(self) -> Fraction:
        if "fps" in self._own:
            return _fraction(self._own["fps"])
        found = [clip.duration().rate for clip in self._read.find_clips()]
        if not found:
            raise UnreadableTimelineError("the timeline has no clip, so its frame rate is unknown")
        return _snapped(found[0])

    def _lose(self, kind: str, item: Any) -> None:
        self._lost.append(f"otio-unknown:{safe_name(kind)}:{safe_name(item.name or '')}")

    def _track(self, item: Any) -> Track | None:
        if not isinstance(item, self._otio.schema.Track):
            self._lose(type(item).__name__, item)
            return None
        for extra in item.effects:
            self._lose(type(extra).__name__, item)
        if item.source_range is not None:
            self._lose("trimmed-track", item)
        metadata = _builtin(item.metadata)
        own = metadata.pop(_OWN, None) or {}
        sound = item.kind == self._otio.schema.TrackKind.Audio
        kind = own.get("kind", "audio" if sound else "video")
        return Track(
            id=self._id(own.get("id") or item.name or kind),
            kind=TrackKind(kind),
            clips=tuple(self._clips(item)),
            name=_read(own.get("name", item.name), str),
            enabled=bool(item.enabled),
            metadata=metadata,
            markers=self._markers(item),
        )

    def _markers(self, item: Any) -> tuple[dict[str, Any], ...]:
        """The markers of an item as OpenTimelineIO writes them; their times must be times."""
        for marker in item.markers:
            self._frames(marker.marked_range.start_time)
            self._frames(marker.marked_range.duration)
        return tuple(msgspec.json.decode(marker.to_json_string()) for marker in item.markers)

    def _clips(self, track: Any) -> Iterator[Clip]:
        at, joint, before = Fraction(0), None, None
        for item in track:
            if isinstance(item, self._otio.schema.Transition):
                joint = self._joint(item, before)
                continue
            length = self._frames(item.duration())
            if self._shown(item):
                made = self._clip(item, at, length, joint)
                yield made
                before = made
            else:
                before = None
                for _ in item.markers:
                    self._lose("Marker", item)
                if joint is not None:
                    self._lose("transition-to-a-gap", item)
            at, joint = at + length, None
        if joint is not None:
            self._lose("transition-to-a-gap", track)

    def _shown(self, item: Any) -> bool:
        """Whether an item is a clip; what is neither that nor a gap is named and left empty."""
        schema = self._otio.schema
        if isinstance(item, schema.Clip) and item.enabled:
            return True
        if isinstance(item, schema.Clip):
            self._lose("disabled-clip", item)
        elif not isinstance(item, schema.Gap):
            self._lose(type(item).__name__, item)
        return False

    def _joint(self, item: Any, before: Clip | None) -> Transition | None:
        if before is None:
            self._lose("transition-from-a-gap", item)
            return None
        frames = round(self._frames(item.in_offset) + self._frames(item.out_offset))
        own = _builtin(item.metadata).get(_OWN)
        kept = _read(own, Transition) if own else None
        if kept and kept.frames == frames and kept.easing in EASINGS:
            effect(kept.name)
            return kept
        if frames != 2 * round(self._frames(item.in_offset)) and frames > 1:
            self._lose("transition-off-centre", item)
        if item.transition_type != self._otio.schema.TransitionTypes.SMPTE_Dissolve:
            self._lose(f"transition-{item.transition_type}", item)
        return Transition(name="fade", frames=max(1, frames))

    def _clip(self, item: Any, at: Fraction, length: Fraction, joint: Transition | None) -> Clip:
        for extra in item.effects:
            self._lose(type(extra).__name__, item)
        metadata = _builtin(item.metadata)
        own = metadata.pop(_OWN, None) or {}
        start, end = round(at), round(at + length)
        if start != at or end != at + length:
            self._lose("rounded-to-frames", item)
        text = own.get("cue") or own.get("title")
        source = Fraction(0) if text else self._source_start(item, own)
        extras = {
            name: _read(own[name], kind) for name, kind in _CLIP_EXTRAS.items() if name in own
        }
        return Clip(
            id=self._id(own.get("id") or item.name or "clip"),
            start=start,
            frames=max(1, end - start),
            media=None if text else self._reference(item, own),
            source_start=source,
            name=_read(own.get("name", item.name), str),
            transition=joint,
            metadata=metadata,
            markers=self._markers(item),
            **{**extras, "animations": self._animations(extras.get("animations", ()))},
        )

    def _animations(self, given: tuple[Animation, ...]) -> tuple[Animation, ...]:
        return tuple(replace(animation(a.name, a.keyframes), delay_s=a.delay_s) for a in given)

    def _source_start(self, item: Any, own: Mapping[str, Any]) -> Fraction:
        """The exact time, if it still is what the program that moved the clip last says."""
        seen = self._frames(item.trimmed_range().start_time) / self._fps
        exact = _fraction(own["source_start"]) if "source_start" in own else seen
        return exact if abs(exact - seen) < Fraction(1, 10_000) else seen

    def _reference(self, item: Any, own: Mapping[str, Any]) -> str:
        reference = item.media_reference
        if not isinstance(reference, self._otio.schema.ExternalReference):
            self._lose(type(reference).__name__, item)
            return self._medium(own.get("media") or f"missing-{item.name}", "", None)
        kept = _builtin(reference.metadata).get(_OWN) or {}
        url = reference.target_url
        there = next((m.id for m in self._media.values() if (m.url or m.id) == url), None)
        return self._medium(kept.get("id") or there or url, url, reference.available_range)

    def _medium(self, name: str, url: str, there: Any) -> str:
        if name not in self._media:
            start = self._frames(there.start_time) / self._fps if there else Fraction(0)
            length = self._frames(there.duration) / self._fps if there else None
            self._media[name] = Media(id=name, start=start, duration=length, url=url)
        return name

    def _frames(self, time: Any) -> Fraction:
        """A time in frames of the timeline; a float's noise is not part of it."""
        if not (math.isfinite(time.value) and math.isfinite(time.rate) and time.rate > 0):
            raise UnreadableTimelineError(f"a time of {time.value} at rate {time.rate}")
        exact = Fraction(time.value).limit_denominator(1_000_000)
        return (exact / _snapped(time.rate) * self._fps).limit_denominator(1_000_000)

    def _id(self, wanted: str) -> str:
        made, number = str(wanted), 2
        while made in self._ids:
            made, number = f"{wanted}~{number}", number + 1
        self._ids.add(made)
        return made


def _snapped(rate: float) -> Fraction:
    """A rate as an exact fraction: 29.97 and 29.97002997 are 30000/1001."""
    if not (math.isfinite(rate) and 0 < rate < 1e6):
        raise UnreadableTimelineError(f"a rate of {rate} per second")
    ntsc = Fraction(round(rate * 1.001) * 1000, 1001)
    if abs(ntsc - Fraction(rate)) < Fraction(1, 200) and abs(rate - round(rate)) > 0.005:
        return ntsc
    return Fraction(rate).limit_denominator(1001)


def _builtin(value: Any) -> Any:
    """OpenTimelineIO's own containers as plain dicts and lists."""
    if hasattr(value, "items"):
        return {str(key): _builtin(member) for key, member in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return [_builtin(member) for member in value]


def _read(value: Any, kind: Any) -> Any:
    return msgspec.convert(value, learned(kind), dec_hook=_decoded)


def _decoded(kind: type, value: Any) -> Any:
    if kind is Fraction:
        return _fraction(value)
    raise NotImplementedError(f"a timeline has no {kind.__name__}")


def _fraction(text: Any) -> Fraction:
    if not isinstance(text, str) or not re.fullmatch(r"-?\d{1,30}(/[1-9]\d{0,29})?", text):
        raise UnreadableTimelineError(f"{str(text)[:40]!r} is no fraction such as 1001/30000")
    return Fraction(text)
