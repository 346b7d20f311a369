"""The pictures of a timeline as one ffmpeg graph: the ground, the layers over it, the texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from pathlib import Path

from geminivideo.video_agent import graph
from geminivideo.video_agent.captions import Overlay, draw, layout
from geminivideo.video_agent.geometry import Geometry, even
from geminivideo.video_agent.keyframe_engine import Animation, Layer, layer, value_at
from geminivideo.video_agent.plan import RenderRequest
from geminivideo.video_agent.source import Source
from geminivideo.video_agent.timeline_engine.model import (
    Clip,
    InvalidTimelineError,
    Timeline,
    Track,
)
from geminivideo.video_agent.timeline_engine.shown import (
    PICTURES,
    Shown,
    cut_shown,
    ground_of,
    runs,
    shown_in,
)
from geminivideo.video_agent.transitions_library import xfade

MAX_LAYER_PX = 8192
STILLS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class Studio:
    """What a timeline's picture is made of: its files, what they are, and the graph so far."""

    timeline: Timeline
    media: Mapping[str, Path]
    sources: Mapping[str, Source]
    request: RenderRequest
    graph: graph.Graph = field(default_factory=graph.Graph)
    numbers: count[int] = field(default_factory=count)

    def open(self, arguments: Sequence[str]) -> str:
        """An input of its own: shared ones would be held in memory between their places."""
        return self.graph.open(arguments, place=next(self.numbers))

    def canvas(self, frames: int, *, clear: bool = False) -> str:
        """A frame of the timeline's size without anything on it."""
        timeline = self.timeline
        colour, pixels = ("black@0", "yuva420p") if clear else ("black", "yuv420p")
        return self.graph.node(
            f"color=c={colour}:s={timeline.width}x{timeline.height}:r={timeline.fps},"
            f"format={pixels},trim=end_frame={frames},setsar=1,settb=AVTB",
            place=next(self.numbers),
        )

    def path(self, clip: Clip) -> Path:
        """The file of a clip."""
        return self.media[str(clip.media)]

    def source(self, clip: Clip) -> Source:
        """What the file of a clip is."""
        return self.sources[str(clip.media)]

    def is_still(self, clip: Clip) -> bool:
        """Whether a clip shows a picture file."""
        return self.path(clip).suffix.lower() in STILLS


def pictures(studio: Studio, workdir: Path) -> tuple[str, tuple[Overlay, ...], tuple[str, ...]]:
    """The node of the whole picture, the texts that are on it, and what those lost."""
    timeline, request = studio.timeline, studio.request
    ground = ground_of(timeline)
    below = studio.graph.node(
        ",".join([*request.grade.filters(), "format=yuv420p,setsar=1"]),
        _ground_stream(studio, ground),
    )
    for track in timeline.tracks:
        if track.enabled and track.kind in PICTURES and track is not ground:
            for run in runs(shown_in(track)):
                below = _laid_over(studio, below, run)
    texts, lost = layout(request, timeline.width, timeline.height)
    for number, text in enumerate(texts):
        drawn = draw(text, workdir / f"{request.name}-text{number:02d}.png")
        entry = studio.open(["-f", "image2", "-i", f"file:{drawn}"])
        below = graph.laid(studio.graph, below, entry, text, timeline.fps)
    return below, texts, lost


def _ground_stream(studio: Studio, ground: Track | None) -> str:
    """The lowest track from the first frame to the timeline's last, black where it has nothing."""
    pieces, at = [], 0
    for run in runs(shown_in(ground) if ground else ()):
        if run[0].clip.start > at:
            pieces.append(studio.canvas(run[0].clip.start - at))
        pieces.append(_joined(studio, [(_on_ground(studio, one), one) for one in run]))
        at = run[-1].clip.end
    if at < studio.timeline.frames:
        pieces.append(studio.canvas(studio.timeline.frames - at))
    if len(pieces) == 1:
        return pieces[0]
    return studio.graph.node(f"concat=n={len(pieces)}:v=1:a=0", *pieces)


def _joined(studio: Studio, run: Sequence[tuple[str, Shown]]) -> str:
    """The clips of a run as one stream, each turning into the next."""
    joined, length = run[0][0], run[0][1].frames
    for node, one in run[1:]:
        transition = one.clip.transition
        assert transition is not None
        joined = xfade(
            studio.graph,
            joined,
            node,
            name=transition.name,
            frames=transition.frames,
            offset=length - transition.frames,
            fps=studio.timeline.fps,
            eased=transition.easing,
        )
        length += one.frames - transition.frames
    return joined


def _on_ground(studio: Studio, one: Shown) -> str:
    """A clip of the lowest track as a whole, opaque frame."""
    clip = one.clip
    moved = _moves(studio, one) or _still_scale(clip) != 1
    if clip.fit == "cover" and not moved and not studio.is_still(clip):
        fades = _fades(one)
        shot = _as_rendered(studio, one)
        return studio.graph.node(",".join(fades), shot) if fades else shot
    return _on_canvas(studio, one, clear=False)


def _as_rendered(studio: Studio, one: Shown) -> str:
    """A clip as the renderer cuts and frames it."""
    timeline, source = studio.timeline, studio.source(one.clip)
    cut = replace(cut_shown(timeline, one), fade_in=False, fade_out=False)
    shape = Geometry.covering((source.width, source.height), timeline.width, timeline.height)
    return graph.framed_cut(studio.graph, cut, studio.request, shape, source, _film(studio, one))


def _film(studio: Studio, one: Shown) -> str:
    cut = cut_shown(studio.timeline, one)
    return studio.open(graph.cut_input(studio.path(one.clip), cut, studio.timeline.fps, "-an"))


def _fades(one: Shown, *, alpha: bool = False) -> list[str]:
    """The clip's own fades: of its colours, or of how solid it is."""
    clip, last = one.clip, one.head + one.clip.frames
    clear = ":alpha=1" if alpha else ""
    head = f"fade=t=in:start_frame={one.head}:nb_frames={clip.fade_in}{clear}"
    tail = f"fade=t=out:start_frame={last - clip.fade_out}:nb_frames={clip.fade_out}{clear}"
    faded = [*([head] if clip.fade_in else []), *([tail] if clip.fade_out else [])]
    return ["format=yuva420p", *faded] if faded and alpha else faded


def _laid_over(studio: Studio, below: str, run: tuple[Shown, ...]) -> str:
    """A run of an upper track over what is below it, for its time."""
    fps, start = studio.timeline.fps, run[0].clip.start
    if len(run) == 1:
        shown, place = _layer(studio, run[0], float(start / fps))
        x, y = place.x, place.y
    else:
        streams = [(_on_canvas(studio, one, clear=True), one) for one in run]
        shown, x, y = _joined(studio, streams), "0", "0"
    # A quarter of a frame early, so that no rounding of times shows or hides a frame too many.
    first, last = (float((n - Fraction(1, 4)) / fps) for n in (start, run[-1].clip.end))
    timed = studio.graph.node(f"setpts=PTS-STARTPTS+{float(start / fps):.6f}/TB", shown)
    return studio.graph.node(
        f"overlay=x='{x}':y='{y}':enable='gte(t,{first:.6f})*lt(t,{last:.6f})'"
        ":eof_action=pass:format=yuv420",
        below,
        timed,
    )


def _on_canvas(studio: Studio, one: Shown, *, clear: bool) -> str:
    """A clip laid over a whole frame of its own, at its place."""
    canvas = studio.canvas(one.frames, clear=clear)
    shown, place = _layer(studio, one, 0.0)
    pixels = "yuva420p" if clear else "yuv420p"
    return studio.graph.node(
        f"overlay=x='{place.x}':y='{place.y}':eof_action=repeat:format=yuv420,"
        f"format={pixels},setsar=1,settb=AVTB,fps=fps={studio.timeline.fps}",
        canvas,
        shown,
    )


def _layer(studio: Studio, one: Shown, start_s: float) -> tuple[str, Layer]:
    """A clip's picture with its animations, and its place in the overlay."""
    timeline, clip = studio.timeline, one.clip
    width, height, window = fitted(
        studio.source(clip), timeline.width, timeline.height, clip.fit, _still_scale(clip)
    )
    _bearable(clip, max(width, height))
    if studio.is_still(clip):
        entry, chain = _picture_file(studio, clip), _still_chain(studio, one, width, height, window)
    else:
        entry, chain = _film(studio, one), _film_chain(studio, one, width, height, window)
    laid = layer(
        _moves(studio, one),
        width=width,
        height=height,
        fps=timeline.fps,
        frames=one.frames,
        name=f"m{next(studio.numbers)}",
        start_s=start_s,
    )
    faded = _fades(one, alpha=True)
    return studio.graph.node(",".join([*chain, *faded, *laid.filters]), entry), laid


def _bearable(clip: Clip, side: int) -> None:
    """An enlarged picture is held whole, also what lies outside the frame."""
    scales = [key.value for m in clip.animations if m.name == "scale" for key in m.keyframes]
    most = side if _still_scale(clip) != 1 else side * max(scales, default=1.0)
    if most > MAX_LAYER_PX:
        raise InvalidTimelineError(
            f"clip {clip.id} would be scaled to {most:.0f} px; at most {MAX_LAYER_PX}"
        )


def _moves(studio: Studio, one: Shown) -> list[Animation]:
    """The animations of the picture on the stream's clock, which starts with the clip's head.

    A scale that never changes is left to the fitting: the picture is scaled once.
    """
    head = float(one.head / studio.timeline.fps)
    return [
        replace(moved, delay_s=moved.delay_s + head)
        for moved in one.clip.animations
        if moved.name != "volume" and not (moved.name == "scale" and moved.still)
    ]


def _still_scale(clip: Clip) -> float:
    scales = [m for m in clip.animations if m.name == "scale" and m.still]
    return value_at(scales[0], 0.0) if scales else 1.0


def fitted(
    source: Source, width: int, height: int, fit: str, size: float
) -> tuple[int, int, str | None]:
    """The size (px) at which a picture is shown, and the crop that it needs before scaling."""
    if fit == "cover":
        shape = Geometry.covering((source.width, source.height), width, height)
        window = f"crop={shape.window_width}:{shape.window_height}"
        return even(width * size), even(height * size), None if shape.slack == (0, 0) else window
    share = 1.0 if fit == "own" else min(width / source.width, height / source.height)
    return even(source.width * share * size), even(source.height * share * size), None


def _film_chain(
    studio: Studio, one: Shown, width: int, height: int, window: str | None
) -> list[str]:
    fps, source = studio.timeline.fps, studio.source(one.clip)
    return [
        *graph.timing(cut_shown(studio.timeline, one), fps, source),
        *([window] if window else []),
        graph.scaling(width, height, source),
        f"format=yuv420p,setsar=1,settb=AVTB,fps=fps={fps}",
    ]


def _picture_file(studio: Studio, clip: Clip) -> str:
    path = studio.path(clip)
    return studio.open(["-f", "image2", "-pattern_type", "none", "-i", f"file:{path}"])


def _still_chain(
    studio: Studio, one: Shown, width: int, height: int, window: str | None
) -> list[str]:
    fps = studio.timeline.fps
    return [
        "format=rgba",
        *([window] if window else []),
        f"scale={width}:{height}:flags=bicubic:out_color_matrix=bt709:out_range=tv",
        "format=yuva420p,setsar=1,settb=AVTB,loop=loop=-1:size=1",
        f"setpts=N/({fps})/TB,fps=fps={fps},trim=end_frame={one.frames}",
    ]
