"""A variation as a timeline, and a timeline as the renderer's request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent.geometry import geometry
from geminivideo.video_agent.plan import Cue, Cut, RenderRequest, Title, output_fps
from geminivideo.video_agent.source import Source, look
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


class NotOneRowError(InvalidTimelineError):
    """The timeline is more than a row of shots with texts: render it with ``compose``."""


def timeline_of(
    request: RenderRequest, width: int, height: int, durations: Sequence[Fraction | None] = ()
) -> Timeline:
    """The timeline of a variation: its cuts on V1, their sound on A1, its texts on T1 and C1.

    ``durations`` are those of the sources (s), where they are known. ``request_of`` gives the
    request back, as long as the timeline stays a row of shots.
    """
    cuts = [_shot(request, number, cut) for number, cut in enumerate(request.cuts, start=1)]
    sound = [replace(c, id=f"sound{c.id[4:]}", fade_in=0, fade_out=0, cut=None) for c in cuts]
    cues = [_text(request, f"cue-{n}", c) for n, c in enumerate(request.captions, start=1)]
    titles = [_text(request, f"title-{n}", t) for n, t in enumerate(request.titles, start=1)]
    tracks = (
        Track(id="V1", kind=TrackKind.VIDEO, clips=tuple(cuts)),
        *([Track(id="A1", kind=TrackKind.AUDIO, clips=tuple(sound))] if request.has_audio else []),
        *_rows("C", cues),
        *_rows("T", titles),
    )
    return checked(
        Timeline(
            fps=request.fps,
            width=width,
            height=height,
            media=tuple(_media(request, n, durations) for n in _sources(request)),
            tracks=tracks,
            name=request.name,
            request=request,
        )
    )


def _sources(request: RenderRequest) -> list[int]:
    return sorted({cut.source for cut in request.cuts})


def _media(request: RenderRequest, number: int, durations: Sequence[Fraction | None]) -> Media:
    """A source, at least as long as what is shown of it: the last frame may reach over its end."""
    known = durations[number] if number < len(durations) else None
    ends = [
        Fraction(cut.start_s) + cut.frames / request.fps
        for cut in request.cuts
        if cut.source == number
    ]
    return Media(id=f"source-{number}", duration=None if known is None else max(known, *ends))


def _shot(request: RenderRequest, number: int, cut: Cut) -> Clip:
    fade = min(round(request.policy.fade_s * request.fps), cut.frames // 2)
    return Clip(
        id=f"shot-{number}",
        start=cut.first_frame,
        frames=cut.frames,
        media=f"source-{cut.source}",
        source_start=Fraction(cut.start_s),
        fade_in=fade if cut.fade_in else 0,
        fade_out=fade if cut.fade_out else 0,
        cut=cut,
    )


def _text(request: RenderRequest, name: str, text: Cue | Title) -> Clip:
    start, frames = _frames_of(text, request.fps)
    return Clip(
        id=name,
        start=start,
        frames=frames,
        cue=text if isinstance(text, Cue) else None,
        title=text if isinstance(text, Title) else None,
    )


def _frames_of(text: Cue | Title, fps: Fraction) -> tuple[int, int]:
    """The frames in which a text is shown; it may be timed between two of them."""
    start = round(text.start_s * fps)
    return start, max(1, round(text.end_s * fps) - start)


def _rows(stem: str, clips: Sequence[Clip]) -> list[Track]:
    """As few caption tracks as the texts need that are shown at the same time."""
    rows: list[list[Clip]] = []
    for clip in sorted(clips, key=lambda c: c.start):
        row = next((r for r in rows if r[-1].end <= clip.start), None)
        if row is None:
            rows.append([clip])
        else:
            row.append(clip)
    return [
        Track(id=f"{stem}{n}", kind=TrackKind.CAPTION, clips=tuple(row))
        for n, row in enumerate(rows, start=1)
    ]


def request_of(timeline: Timeline) -> RenderRequest:
    """The renderer's request of a timeline that is one row of shots with texts.

    Look, policy and words are those of the request that the timeline was made of. Raises
    NotOneRowError when a request cannot say what the timeline shows: gaps, layers, transitions,
    keyframes, or sound that is not that of the pictures.
    """
    if (planned := timeline.request) is None:
        raise NotOneRowError("the timeline was not made of a request; render it with compose")
    shots = [t for t in timeline.tracks if t.enabled and t.kind is TrackKind.VIDEO and t.clips]
    if len(shots) != 1 or any(
        t.kind is TrackKind.OVERLAY and t.enabled and t.clips for t in timeline.tracks
    ):
        raise NotOneRowError("the timeline has layers: render it with compose")
    _need_row(timeline, shots[0])
    _need_own_sound(timeline, shots[0], planned.has_audio)
    return replace(
        planned,
        cuts=_with_joints(timeline, shots[0]),
        captions=cues_of(timeline),
        titles=titles_of(timeline),
        degraded=tuple(dict.fromkeys((*planned.degraded, *timeline.degraded))),
    )


def _need_row(timeline: Timeline, track: Track) -> None:
    at = 0
    for clip in track.clips:
        if clip.start != at or clip.transition or clip.animations or clip.fit != "cover":
            raise NotOneRowError(
                f"clip {clip.id} follows a gap, or has a transition or keyframes: use compose"
            )
        at = clip.end


def _need_own_sound(timeline: Timeline, shots: Track, has_audio: bool) -> None:
    tracks = [t for t in timeline.tracks if t.enabled and t.kind is TrackKind.AUDIO and t.clips]
    heard = [_plain(clip) for track in tracks for clip in track.clips]
    shown = [_plain(clip) for clip in shots.clips] if has_audio else []
    if heard != shown or any(c.animations or c.fade_in for t in tracks for c in t.clips):
        raise NotOneRowError("the sound is not that of the pictures: render it with compose")


def _plain(clip: Clip) -> tuple[object, ...]:
    return clip.media, clip.start, clip.frames, clip.source_start


def _with_joints(timeline: Timeline, track: Track) -> tuple[Cut, ...]:
    cuts: list[Cut] = []
    for clip in track.clips:
        cut = cut_of(timeline, clip)
        before = cuts[-1] if cuts else None
        cuts.append(
            replace(
                cut,
                fade_in=clip.fade_in > 0,
                fade_out=clip.fade_out > 0,
                joined=before is not None and _meets(before, cut, timeline.fps),
            )
        )
    return tuple(cuts)


def _meets(before: Cut, after: Cut, fps: Fraction) -> bool:
    """Whether the source runs on from one cut into the next."""
    near = abs(before.end_s - after.start_s) < float(1 / (2 * fps))
    return near and before.source == after.source


def cut_of(timeline: Timeline, clip: Clip) -> Cut:
    """A clip of the ground as the renderer knows it: the plan's own cut, at its present place."""
    seen = clip.cut or Cut(scene_id="", start_s=0.0, end_s=0.0, first_frame=0, frames=0)
    start = float(clip.source_start)
    same = seen.start_s == start and seen.frames == clip.frames
    end = seen.end_s if same else float(clip.source_start + clip.frames / timeline.fps)
    number = str(clip.media).removeprefix("source-")
    return replace(
        seen,
        start_s=start,
        end_s=end,
        first_frame=clip.start,
        frames=clip.frames,
        source=int(number) if number.isdigit() else 0,
    )


def cues_of(timeline: Timeline) -> tuple[Cue, ...]:
    """The captions of a timeline in the order of time."""
    cues = []
    for clip in _texts(timeline):
        if clip.cue:
            start, end = _times(timeline, clip, clip.cue)
            cues.append(replace(clip.cue, start_s=start, end_s=end))
    return tuple(sorted(cues, key=lambda cue: cue.start_s))


def titles_of(timeline: Timeline) -> tuple[Title, ...]:
    """The titles of a timeline in the order of time."""
    titles = []
    for clip in _texts(timeline):
        if clip.title:
            start, end = _times(timeline, clip, clip.title)
            titles.append(replace(clip.title, start_s=start, end_s=end))
    return tuple(sorted(titles, key=lambda title: title.start_s))


def _texts(timeline: Timeline) -> list[Clip]:
    tracks = [t for t in timeline.tracks if t.enabled and t.kind is TrackKind.CAPTION]
    return [clip for track in tracks for clip in track.clips]


def _times(timeline: Timeline, clip: Clip, text: Cue | Title) -> tuple[float, float]:
    """The text's own times while its clip is where it was; else those of the clip."""
    if _frames_of(text, timeline.fps) == (clip.start, clip.frames):
        return text.start_s, text.end_s
    return float(clip.start / timeline.fps), float(clip.end / timeline.fps)


def empty_like(source: Source, policy: RenderPolicy, name: str) -> Timeline:
    """A timeline without clips in the size and at the rate in which a source is rendered."""
    shape = geometry(source.width, source.height, "source", policy)
    return Timeline(
        fps=output_fps(source.fps, policy), width=shape.width, height=shape.height, name=name
    )


def in_row(
    clips: Sequence[Path],
    policy: RenderPolicy,
    transition: Callable[[Fraction], Transition | None] = lambda _: None,
    name: str = "transitions",
) -> Timeline:
    """Whole files one after the other, media ``clip-1`` and on, with the same transition between.

    Size and rate are the first file's. A transition takes its frames from both files' ends, so
    the row is as long as the files together less the overlaps. Raises ClipTooShortError.
    """
    from geminivideo.video_agent.transitions_library import ClipTooShortError

    sources = [look(path) for path in clips]
    timeline = empty_like(sources[0], policy, name)
    joint = transition(timeline.fps)
    whole = [
        int(Fraction(source.duration_s) * timeline.fps + Fraction(1, 1000)) for source in sources
    ]
    row: list[Clip] = []
    at = 0
    for number, frames in enumerate(whole):
        head = joint.before if joint and number else 0
        tail = joint.after if joint and number + 1 < len(whole) else 0
        overlaps = (joint.frames if joint else 0) * ((number > 0) + (number + 1 < len(whole)))
        if frames < max(1, overlaps):
            raise ClipTooShortError(
                f"clip {number + 1} has {frames} frames, its transitions take {overlaps}"
            )
        row.append(_row_clip(timeline, number, at, frames - head - tail, head, joint))
        at = row[-1].end
    heard = [replace(c, id=f"sound-{n}") for n, c in enumerate(row, start=1)]
    with_sound = [c for c, source in zip(heard, sources, strict=True) if source.has_audio]
    return checked(
        replace(
            timeline,
            media=tuple(
                Media(id=f"clip-{n}", duration=frames / timeline.fps)
                for n, frames in enumerate(whole, start=1)
            ),
            tracks=(
                Track(id="V1", kind=TrackKind.VIDEO, clips=tuple(row)),
                Track(id="A1", kind=TrackKind.AUDIO, clips=tuple(_rejoined(with_sound))),
            ),
        )
    )


def _row_clip(
    timeline: Timeline, number: int, at: int, frames: int, head: int, joint: Transition | None
) -> Clip:
    return Clip(
        id=f"shot-{number + 1}",
        start=at,
        frames=frames,
        media=f"clip-{number + 1}",
        source_start=head / timeline.fps,
        transition=joint if number else None,
    )


def _rejoined(clips: Sequence[Clip]) -> list[Clip]:
    """Sounds without the transitions that a silent neighbour cannot share."""
    ends = {clip.end for clip in clips}
    return [c if c.start in ends else replace(c, transition=None) for c in clips]
