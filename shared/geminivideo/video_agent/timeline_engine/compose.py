"""A timeline as one ffmpeg graph: tracks laid over each other, transitions, keyframes, sound.

The lowest video track is the ground: its clips are cut, framed and joined by the renderer's own
graph, so a plain row of shots costs what it costs there. Every other picture is a layer that is
laid over it for its time. Sound tracks are mixed first and brought to the policy's loudness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from geminivideo.policy import RenderPolicy
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.encode import Drawn, encode
from geminivideo.video_agent.ffmpeg import Progress
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.plan import Cut, RenderRequest, safe_name
from geminivideo.video_agent.pro import ProResult
from geminivideo.video_agent.source import Source, look
from geminivideo.video_agent.timeline_engine.model import (
    InvalidTimelineError,
    Timeline,
    TrackKind,
    checked,
)
from geminivideo.video_agent.timeline_engine.pictures import STILLS, Studio, pictures
from geminivideo.video_agent.timeline_engine.shown import PICTURES, ground_of
from geminivideo.video_agent.timeline_engine.sound import mixed_sound
from geminivideo.video_agent.timeline_engine.variation import cues_of, cut_of, titles_of

MAX_CLIPS = 200
MAX_SIDE_PX = 3840
MAX_SECONDS = 3600


def compose(
    timeline: Timeline,
    media: Mapping[str, Path],
    workdir: Path,
    policy: RenderPolicy,
    *,
    progress: Progress | None = None,
) -> ProResult:
    """Render a timeline; ``media`` tells the local file of every medium that is shown.

    Raises InvalidTimelineError for a timeline that breaks a rule, shows nothing, or misses a
    file, and RenderFailedError when a file cannot be read or ffmpeg fails.
    """
    _bounded(checked(timeline))
    workdir.mkdir(parents=True, exist_ok=True)
    sources = _looked_at(timeline, media)
    request = _request(timeline, policy)
    studio = Studio(timeline=timeline, media=media, sources=sources, request=request)
    node, texts, lost = pictures(studio, workdir)
    sound = mixed_sound(timeline, media, request, workdir)
    drawn = Drawn(
        graph=studio.graph,
        node=node,
        width=timeline.width,
        height=timeline.height,
        fps=timeline.fps,
        frames=timeline.frames,
        overlays=texts,
    )
    silent = () if sound else ("no-audio",)
    degraded = (*timeline.degraded, *request.degraded, *lost, *silent)
    return encode(drawn, request, workdir, sound=sound, degraded=degraded, progress=progress)


def _bounded(timeline: Timeline) -> None:
    """A timeline may come from anywhere: no frame or length that a worker cannot hold."""
    width, height = timeline.width, timeline.height
    if width % 2 or height % 2 or max(width, height) > MAX_SIDE_PX or min(width, height) < 16:
        raise InvalidTimelineError(
            f"a frame of {width}x{height} cannot be encoded: even sides of 16 to {MAX_SIDE_PX} px"
        )
    if not Fraction(1) <= timeline.fps <= 120:
        raise InvalidTimelineError(f"{float(timeline.fps):g} frames per second: 1 to 120")
    if timeline.frames > MAX_SECONDS * timeline.fps:
        raise InvalidTimelineError(f"the timeline is longer than {MAX_SECONDS} s")


def _looked_at(timeline: Timeline, media: Mapping[str, Path]) -> dict[str, Source]:
    tracks = [t for t in timeline.tracks if t.enabled and t.kind is not TrackKind.CAPTION]
    clips = [(track, clip) for track in tracks for clip in track.clips]
    if not clips:
        raise InvalidTimelineError("the timeline shows nothing: add a clip")
    if len(clips) > MAX_CLIPS:
        raise InvalidTimelineError(f"{len(clips)} clips in one rendering: at most {MAX_CLIPS}")
    wanted = {clip.media for _, clip in clips if clip.media}
    if missing := sorted(wanted - set(media)):
        raise InvalidTimelineError(f"no file was given for the media {', '.join(missing)}")
    seen = {c.media for t, c in clips if c.media and t.kind in PICTURES}
    return {name: _still(media[name]) or look(media[name]) for name in sorted(seen)}


def _still(path: Path) -> Source | None:
    """The size of a picture file, or None for anything else."""
    if path.suffix.lower() not in STILLS:
        return None
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            width, height = picture.size
    except OSError as error:
        raise ffmpeg.RenderFailedError(f"{path.name} cannot be read: {error}") from error
    return Source(
        width=width,
        height=height,
        matrix="bt709",
        squeezed=False,
        hdr=False,
        has_audio=False,
        fps=0.0,
        duration_s=0.0,
    )


def _request(timeline: Timeline, policy: RenderPolicy) -> RenderRequest:
    """The rendering as the checks know it: the ground's clips as cuts, the texts as they are."""
    whole = Cut(scene_id="", start_s=0.0, end_s=1.0, first_frame=0, frames=timeline.frames)
    ground = ground_of(timeline)
    cuts = tuple(cut_of(timeline, clip) for clip in ground.clips) if ground else ()
    made = RenderRequest(
        name=safe_name(timeline.name),
        aspect="source",
        fps=timeline.fps,
        cuts=cuts or (whole,),
        captions=cues_of(timeline),
        titles=titles_of(timeline),
        grade=GRADES["natural"],
        has_audio=any(t.kind is TrackKind.AUDIO and t.clips for t in timeline.tracks),
        policy=policy,
    )
    if (planned := timeline.request) is None:
        return made
    return replace(
        made,
        grade=planned.grade,
        words=planned.words,
        more_words=planned.more_words,
        caption_style=planned.caption_style,
        degraded=planned.degraded,
    )
