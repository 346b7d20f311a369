"""The sound of a timeline: every sound track mixed to one file as long as the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg, graph
from geminivideo.video_agent.keyframe_engine import Animation, volume_filters
from geminivideo.video_agent.plan import RenderRequest, safe_name
from geminivideo.video_agent.timeline_engine.model import (
    Clip,
    InvalidTimelineError,
    Timeline,
    Track,
    TrackKind,
)
from geminivideo.video_agent.timeline_engine.shown import Shown, cut_shown, shown_in
from geminivideo.video_agent.transitions_library import sound_fades

_RATE = 48000


def mixed_sound(
    timeline: Timeline, media: Mapping[str, Path], request: RenderRequest, workdir: Path
) -> Path | None:
    """Every sound track mixed to a 48 kHz float WAV, or None when there is no sound.

    Raises InvalidTimelineError when a clip's file has no sound.
    """
    heard = [
        (track, number, one)
        for track in timeline.tracks
        if track.enabled and track.kind is TrackKind.AUDIO
        for number, one in enumerate(shown_in(track))
    ]
    if not heard:
        return None
    inputs: list[str] = []
    chains = []
    for entry, (track, number, one) in enumerate(heard):
        inputs += _opened(timeline, media, request, one)
        chain = ",".join(_chain(timeline, track, number, one, request.policy))
        chains.append(f"[{entry}:a:0]{chain}[a{entry}]")
    chains.append(_mix(len(heard), float(timeline.frames / timeline.fps)))
    path = workdir / f"{safe_name(timeline.name)}.wav"
    ffmpeg.run(
        [
            *inputs,
            *ffmpeg.filter_graph(";".join(chains), path.with_suffix(".sound")),
            *("-map", "[sound]", "-c:a", "pcm_f32le", str(path)),
        ],
        timeout_s=request.policy.timeout_s,
    )
    return path


def _mix(count: int, length_s: float) -> str:
    heads = "".join(f"[a{entry}]" for entry in range(count))
    mix = f"amix=inputs={count}:normalize=0:duration=longest," if count > 1 else ""
    return f"{heads}{mix}apad=whole_dur={length_s:.6f},atrim=end={length_s:.6f}[sound]"


def _opened(
    timeline: Timeline, media: Mapping[str, Path], request: RenderRequest, one: Shown
) -> list[str]:
    path = media[str(one.clip.media)]
    _needs_sound(path, one.clip)
    only = replace(request, cuts=(cut_shown(timeline, one),))
    return graph.cut_inputs([path], only, "-vn")


def _needs_sound(path: Path, clip: Clip) -> None:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise InvalidTimelineError(
                    f"clip {clip.id} is on an audio track, but {path.name} has no sound"
                )
    except av.FFmpegError as error:
        raise ffmpeg.RenderFailedError(f"{path.name} cannot be read: {error}") from error


def _chain(
    timeline: Timeline, track: Track, number: int, one: Shown, policy: RenderPolicy
) -> list[str]:
    fps, clip = timeline.fps, one.clip
    length = f"{float(one.frames / fps):.6f}"
    early = graph.early_s(cut_shown(timeline, one), fps)
    delay = round((clip.start - one.head) / fps * _RATE)
    return [
        f"aresample={_RATE}:async=1:first_pts=0",
        "aformat=sample_fmts=flt:channel_layouts=stereo",
        f"atrim=start={early:.6f}",
        "asetpts=PTS-STARTPTS",
        f"apad=whole_dur={length}",
        f"atrim=end={length}",
        *_edges(timeline, track, number, one, policy),
        *sound_fades(_overlap(clip), _overlap(_next(track, number)), one.frames, fps),
        *_own_fades(one, timeline),
        *volume_filters(_moves(timeline, one)),
        *([f"adelay=delays={delay}S:all=1"] if delay else []),
    ]


def _next(track: Track, number: int) -> Clip | None:
    return track.clips[number + 1] if number + 1 < len(track.clips) else None


def _overlap(clip: Clip | None) -> int:
    """The frames that a clip shares with the one before it."""
    return clip.transition.frames if clip and clip.transition else 0


def _moves(timeline: Timeline, one: Shown) -> list[Animation]:
    head = float(one.head / timeline.fps)
    return [replace(moved, delay_s=moved.delay_s + head) for moved in one.clip.animations]


def _own_fades(one: Shown, timeline: Timeline) -> list[str]:
    fps, clip = timeline.fps, one.clip
    start, length = float(one.head / fps), float(clip.fade_in / fps)
    end = float((one.head + clip.frames - clip.fade_out) / fps)
    last = float(clip.fade_out / fps)
    return [
        *([f"afade=t=in:st={start:.6f}:d={length:.6f}"] if clip.fade_in else []),
        *([f"afade=t=out:st={end:.6f}:d={last:.6f}"] if clip.fade_out else []),
    ]


def _edges(
    timeline: Timeline, track: Track, number: int, one: Shown, policy: RenderPolicy
) -> list[str]:
    """A moment's fade where the sound truly starts or ends, so that nothing clicks."""
    fade, length = policy.join_fade_s, float(one.frames / timeline.fps)
    before = track.clips[number - 1] if number else None
    after = _next(track, number)
    open_in = not one.head and not _runs_on(timeline, before, one.clip)
    open_out = not one.tail and not _runs_on(timeline, one.clip, after)
    return [
        *([f"afade=t=in:d={fade}"] if open_in else []),
        *([f"afade=t=out:st={max(0.0, length - fade):.6f}:d={fade}"] if open_out else []),
    ]


def _runs_on(timeline: Timeline, first: Clip | None, second: Clip | None) -> bool:
    """Whether the second clip goes on in the source where the first one ends."""
    if first is None or second is None or first.media != second.media:
        return False
    ends = first.source_start + first.frames / timeline.fps
    near = abs(ends - second.source_start) < 1 / (2 * timeline.fps)
    return first.end == second.start and near
