"""The ffmpeg graph of one or several variations: text of numbers and our own words only.

What several variations have in common is in the graph once: a cut is decoded once, cropped and
scaled once for all that frame it alike, joined once for all that join it alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.captions import Band, Overlay
from geminivideo.video_agent.geometry import (
    Framing,
    Geometry,
    Keyframe,
    band,
    even,
    framing,
    geometry,
)
from geminivideo.video_agent.grades import LutFile
from geminivideo.video_agent.plan import Cut, RenderRequest
from geminivideo.video_agent.source import Source

_POP_S = 0.18
# A cut's time was rounded: a jump of the window must not come a frame after it.
_JUMP_EARLY_S = 0.002
# Seeking a quarter of a frame early makes the wanted frame the first one, whatever was rounded.
_EARLY = 0.25
_TONEMAP = (
    "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
)


def shapes_of(sources: Sequence[Source], request: RenderRequest) -> tuple[Geometry, ...]:
    """The crop window in each source, all for one output: the largest that any of them deserves.

    The aspect ``source`` is that of the first one.
    """
    first, aspect, policy = sources[0], request.aspect, request.policy
    own = [geometry(s.width, s.height, aspect, policy) for s in sources]
    largest = own[0] if aspect == "source" else max(own, key=lambda g: g.width * g.height)
    if aspect != "source":
        return tuple(replace(g, width=largest.width, height=largest.height) for g in own)
    return tuple(_like(first, source, largest) for source in sources)


def _like(first: Source, source: Source, shape: Geometry) -> Geometry:
    """The largest window of the first source's own shape in another source."""
    wanted = first.width / first.height
    return replace(
        shape,
        source_width=source.width,
        source_height=source.height,
        window_width=even(min(source.width, source.height * wanted)),
        window_height=even(min(source.height, source.width / wanted)),
    )


class Graph:
    """Inputs and filter chains that are written once, however many outputs take them.

    The same arguments are one input, the same chain of the same heads one node; what is taken
    more than once is split. Labels are the graph's own.
    """

    def __init__(self, prefix: str = "") -> None:
        """``prefix`` keeps its labels apart from those of a graph that it becomes a part of."""
        self._prefix = prefix
        self._inputs: dict[tuple[int, tuple[str, ...]], int] = {}
        self._nodes: dict[tuple[int, tuple[str, ...], str, bool], str] = {}
        self._ends: dict[str, str] = {}

    @property
    def arguments(self) -> list[str]:
        """What opens the inputs, in their order."""
        return [argument for _, given in self._inputs for argument in given]

    def open(self, arguments: Sequence[str], *, sound: bool = False, place: int = 0) -> str:
        """An input's first stream of this kind.

        What is used at two places of one output is opened twice (``place`` tells them apart):
        split, it would be held in memory from the first to the second.
        """
        number = self._inputs.setdefault((place, tuple(arguments)), len(self._inputs))
        return f"{number}:{'a' if sound else 'v'}:0"

    def node(self, chain: str, *heads: str, sound: bool = False, place: int = 0) -> str:
        """The result of a chain of filters over its heads; one without heads has a ``place``."""
        key = (place, heads, chain, sound)
        return self._nodes.setdefault(
            key, f"{'a' if sound else 'v'}{self._prefix}{len(self._nodes)}"
        )

    def end(self, label: str, name: str) -> str:
        """What an output maps: this node, under a name that no other one has."""
        self._ends[name] = label
        return f"[{name}]"

    @property
    def text(self) -> str:
        """The whole graph for ``-filter_complex``."""
        uses = Counter(head for _, heads, _, _ in self._nodes for head in heads)
        uses.update(self._ends.values())
        taken: Counter[str] = Counter()

        def take(label: str) -> str:
            taken[label] += 1
            return f"[{label}]" if uses[label] == 1 else _branch(label, taken[label])

        parts = [_split(label, uses[label]) for label in uses if ":" in label and uses[label] > 1]
        for (_, heads, chain, _), label in self._nodes.items():
            parts.append(f"{''.join(take(head) for head in heads)}{chain}[{label}]")
            if uses[label] > 1:
                parts.append(_split(label, uses[label]))
        for name, label in self._ends.items():
            parts.append(f"{take(label)}{'anull' if _is_sound(label) else 'null'}[{name}]")
        return ";".join(parts)


def _split(label: str, count: int) -> str:
    kind = "asplit" if _is_sound(label) else "split"
    return f"[{label}]{kind}={count}" + "".join(_branch(label, n + 1) for n in range(count))


def _branch(label: str, number: int) -> str:
    return f"[{label.replace(':', '')}-{number}]"


def _is_sound(label: str) -> bool:
    return label.startswith("a") or ":a:" in label


def cut_inputs(paths: Sequence[Path], request: RenderRequest, *kind: str) -> list[str]:
    """The sources opened once per cut."""
    return [
        argument
        for cut in request.cuts
        for argument in cut_input(paths[cut.source], cut, request.fps, *kind)
    ]


def cut_input(path: Path, cut: Cut, fps: Fraction, *kind: str) -> list[str]:
    """The source opened at a cut's own place: only what is shown is decoded."""
    length = float(cut.frames / fps) + 1.0
    return ffmpeg.source(path, *kind, "-ss", f"{_seek(cut, fps):.6f}", "-t", f"{length:.6f}")


def _seek(cut: Cut, fps: Fraction) -> float:
    return max(0.0, cut.start_s - early_s(cut, fps))


def early_s(cut: Cut, fps: Fraction) -> float:
    """How much before a cut its source is opened (s)."""
    return min(cut.start_s, float(_EARLY / fps))


def sound(
    graph: Graph, request: RenderRequest, sources: Sequence[Source], paths: Sequence[Path]
) -> str:
    """The cuts' sound, exactly as long as their frames, with a short fade at every true join.

    A cut of a source without sound is silent.
    """
    parts = []
    followers = [*request.cuts[1:], None]
    for place, (cut, follower) in enumerate(zip(request.cuts, followers, strict=True)):
        last = follower is None or not follower.joined
        if sources[cut.source].has_audio:
            given = cut_input(paths[cut.source], cut, request.fps, "-vn")
            opened = graph.open(given, sound=True, place=place)
            parts.append(graph.node(_heard(cut, request, last=last), opened, sound=True))
        else:
            length = float(cut.frames / request.fps)
            silence = f"anullsrc=r=48000:cl=stereo,aformat=sample_fmts=flt,atrim=end={length:.6f}"
            parts.append(graph.node(silence, sound=True, place=place))
    return graph.node(f"concat=n={len(parts)}:v=0:a=1", *parts, sound=True)


def _heard(cut: Cut, request: RenderRequest, *, last: bool) -> str:
    """One cut's sound; ``last``: the source does not run on in the cut after it."""
    fade, length = request.policy.join_fade_s, float(cut.frames / request.fps)
    chain = [
        "aresample=48000:async=1:first_pts=0",
        "aformat=sample_fmts=flt:channel_layouts=stereo",
        f"atrim=start={early_s(cut, request.fps):.6f}",
        "asetpts=PTS-STARTPTS",
        f"apad=whole_dur={length:.6f}",
        f"atrim=end={length:.6f}",
        *([] if cut.joined else [f"afade=t=in:d={fade}"]),
        *([f"afade=t=out:st={max(0.0, length - fade):.6f}:d={fade}"] if last else []),
    ]
    return ",".join(chain)


def frame(cut: Cut, shape: Geometry) -> Framing:
    """How a cut is framed."""
    start, end = cut.start_s, cut.end_s
    given = (cut.focus, cut.texts, start, end, shape, cut.subjects, cut.jumps)
    return framing(*given, still=cut.still)


def bands_of(request: RenderRequest, shapes: Sequence[Geometry]) -> tuple[Band, ...]:
    """Where and when the source's own texts and faces are seen in the output."""
    bands = []
    for cut in request.cuts:
        shape = shapes[cut.source]
        framed = frame(cut, shape)
        start, end = (
            float(n / request.fps) for n in (cut.first_frame, cut.first_frame + cut.frames)
        )
        for box, face in [(b, False) for b in cut.texts] + [(b, True) for b in cut.faces]:
            top, bottom = band(box, framed, shape)
            bands.append(Band(start_s=start, end_s=end, top=top, bottom=bottom, face=face))
    return tuple(bands)


def picture_graph(
    request: RenderRequest,
    shapes: Sequence[Geometry],
    sources: Sequence[Source],
    overlays: Sequence[Overlay],
) -> str:
    """The graph of one picture, ``[picture]``: inputs 0.. are the cuts, then the texts."""
    graph = Graph()
    opened = [graph.open([f"input {number}"]) for number, _ in enumerate(request.cuts)]
    shown = picture(graph, request, shapes, sources, opened)
    for number, overlay in enumerate(overlays, start=len(opened)):
        shown = laid(graph, shown, graph.open([f"input {number}"]), overlay, request.fps)
    graph.end(shown, "picture")
    return graph.text


def picture(
    graph: Graph,
    request: RenderRequest,
    shapes: Sequence[Geometry],
    sources: Sequence[Source],
    opened: Sequence[str],
) -> str:
    """Cut, crop, scale, join and grade what was opened for each cut; texts come on top of it."""
    lut = request.grade.lut if _enlarged(request, shapes) else None
    cuts = [
        framed_cut(graph, cut, request, shapes[cut.source], sources[cut.source], entry, lut)
        for cut, entry in zip(request.cuts, opened, strict=True)
    ]
    joined = graph.node(f"concat=n={len(cuts)}:v=1:a=0", *cuts)
    grade = replace(request.grade, lut=None) if lut else request.grade
    return graph.node(",".join([*grade.filters(), "format=yuv420p,setsar=1"]), joined)


def _enlarged(request: RenderRequest, shapes: Sequence[Geometry]) -> bool:
    """Whether every cut is a window at rest that becomes larger: a LUT costs less before that."""
    framed = [(frame(cut, shapes[cut.source]), shapes[cut.source]) for cut in request.cuts]
    return all(len(f.path) == 1 and not f.padded and shape.scale > 1 for f, shape in framed)


def cut_graph(
    number: int, cut: Cut, request: RenderRequest, shape: Geometry, source: Source
) -> str:
    """Input ``number`` as one cut is shown, ``[v{number}]``, for a graph of another make."""
    graph = Graph(f"{number}_")
    graph.end(framed_cut(graph, cut, request, shape, source, f"{number}:v:0"), f"v{number}")
    return graph.text


def framed_cut(
    graph: Graph,
    cut: Cut,
    request: RenderRequest,
    shape: Geometry,
    source: Source,
    opened: str,
    lut: LutFile | None = None,
) -> str:
    """A cut of what was opened, framed and scaled to the output; its node."""
    timed = graph.node(",".join(timing(cut, request.fps, source)), opened)
    framed = frame(cut, shape)
    if framed.padded:
        shown = _padded(graph, timed, framed, shape, source)
    elif len(framed.path) == 1:
        shown = graph.node(",".join(_resting(framed.path[0], shape, source, lut)), timed)
    else:
        shown = graph.node(",".join(_panning(framed.path, shape, source)), timed)
    return graph.node(",".join(_ended(cut, request)), shown)


def in_range(source: Source) -> str:
    """The filters that bring a source's pictures to BT.709's range of light."""
    return _TONEMAP if source.hdr else "null"


def timing(cut: Cut, fps: Fraction, source: Source) -> list[str]:
    """A cut's frames at the output's rate, as many as it has, as they are shown."""
    return [
        f"setpts=PTS-{early_s(cut, fps):.6f}/TB",
        f"fps=fps={fps}:start_time=0",
        "tpad=stop_mode=clone:stop_duration=1",
        f"trim=end_frame={cut.frames}",
        "setpts=PTS-STARTPTS",
        *([_TONEMAP] if source.hdr else []),
        *([f"scale={source.width}:{source.height},setsar=1"] if source.squeezed else []),
    ]


def _ended(cut: Cut, request: RenderRequest) -> list[str]:
    fps, fade = request.fps, request.policy.fade_s
    begin = max(0.0, float(cut.frames / fps) - fade)
    return [
        *([f"fade=t=in:st=0:d={fade}"] if cut.fade_in else []),
        *([f"fade=t=out:st={begin:.6f}:d={fade}"] if cut.fade_out else []),
        f"format=yuv420p,setsar=1,settb=AVTB,fps=fps={fps}",
    ]


def _padded(graph: Graph, timed: str, framed: Framing, shape: Geometry, source: Source) -> str:
    """The wide window over a blurred and darkened enlargement of itself."""
    corner = framed.path[0]
    window = f"crop={framed.width}:{framed.height}:{corner.x:.0f}:{corner.y:.0f}"
    small = f"{even(shape.width / 8)}:{even(shape.height / 8)}"
    fitted = scaling(shape.width, framed.picture_height, source)
    front = graph.node(f"{window},{fitted},format=yuv420p,setsar=1", timed)
    ground = graph.node(
        f"scale={small}:force_original_aspect_ratio=increase,crop={small},boxblur=6:2,"
        f"eq=brightness=-0.08,scale={shape.width}:{shape.height}:flags=bilinear,setsar=1",
        front,
    )
    top = even((shape.height - framed.picture_height) / 2) if framed.picture_height else 0
    return graph.node(f"overlay=0:{top}:format=yuv420", ground, front)


def scaling(width: int, height: int, source: Source) -> str:
    """A picture of the source at another size, in the output's colours."""
    matrix = "bt709" if source.hdr else source.matrix
    # Without these flags a change of matrix darkens every pixel by one level.
    exact = "" if matrix == "bt709" else "+accurate_rnd+full_chroma_int+full_chroma_inp"
    return (
        f"scale={width}:{height}:flags=bicubic{exact}:in_color_matrix={matrix}"
        ":out_color_matrix=bt709:out_range=tv"
    )


def _resting(corner: Keyframe, shape: Geometry, source: Source, lut: LutFile | None) -> list[str]:
    window = f"crop={shape.window_width}:{shape.window_height}:{corner.x:.0f}:{corner.y:.0f}"
    whole = shape.slack == (0, 0)
    crop = [] if whole else [window]
    if lut is None:
        return [*crop, scaling(shape.width, shape.height, source)]
    looked = replace(source, matrix="bt709")
    given = "bt709" if source.hdr else source.matrix
    return [*crop, *lut.filters(given), scaling(shape.width, shape.height, looked)]


def _panning(path: tuple[Keyframe, ...], shape: Geometry, source: Source) -> list[str]:
    """A moving window is cut after scaling: its steps are then output pixels, not source pixels.

    Only what the window passes over is scaled.
    """
    left, reach_x = _reach([k.x for k in path], shape.window_width, shape.source_width)
    top, reach_y = _reach([k.y for k in path], shape.window_height, shape.source_height)
    wide = max(even(round(reach_x * shape.scale)), shape.width)
    high = max(even(round(reach_y * shape.height / shape.window_height)), shape.height)
    x = piecewise([(k.at_s, (k.x - left) * shape.scale) for k in path], wide - shape.width)
    y = piecewise([(k.at_s, (k.y - top) * shape.scale) for k in path], high - shape.height)
    whole = (reach_x, reach_y) == (shape.source_width, shape.source_height)
    return [
        *([] if whole else [f"crop={reach_x}:{reach_y}:{left}:{top}"]),
        scaling(wide, high, source),
        f"crop={shape.width}:{shape.height}:x='{x}':y='{y}'",
    ]


def _reach(corners: Sequence[float], window: int, side: int) -> tuple[int, int]:
    """Where the stretch that a window passes over begins, and its length, in even pixels."""
    first = 2 * math.floor(min(corners) / 2)
    length = 2 * math.ceil((max(corners) + window - first) / 2)
    return first, min(length, side - first)


def piecewise(points: Sequence[tuple[float, float]], highest: float) -> str:
    """A line through the points over ``t`` as an ffmpeg expression, held at both ends.

    Between two points of the same time it jumps.
    """
    terms = [f"{points[0][1]:.2f}"]
    for (t0, v0), (t1, v1) in pairwise(points):
        if t1 > t0 and abs(v1 - v0) > 0.005:
            terms.append(f"{(v1 - v0) / (t1 - t0):+.4f}*clip(t-{t0:.3f},0,{t1 - t0:.3f})")
        elif t1 <= t0 and v1 != v0:
            terms.append(f"{v1 - v0:+.2f}*gte(t,{t0 - _JUMP_EARLY_S:.4f})")
    return f"clip({''.join(terms)},0,{highest:.0f})"


def laid(graph: Graph, below: str, text: str, overlay: Overlay, fps: Fraction) -> str:
    """A text over the picture: captions cut in and out; all others fade in over a moment."""
    start, end = overlay.start_s, overlay.end_s
    shown = f"enable='gte(t,{start:.4f})*lt(t,{end:.4f})'"
    place = f"overlay=x={overlay.box.x}:y={overlay.box.y}:{shown}:eof_action=repeat:format=yuv420"
    if overlay.kind != "caption" and start > 0:
        text = graph.node(_appearing(start, end, fps), text)
    return graph.node(place, below, text)


def _appearing(start: float, end: float, fps: Fraction) -> str:
    """A text's picture as the few frames in which it fades in; the last of them stays.

    It is in the picture's own format before it is split, and no frame is made in which it is not
    seen yet. None is later than ``end``: it would make the picture longer.
    """
    first = math.floor(start * fps)
    count = math.ceil(_POP_S * fps) + 4  # a picture's ticks are coarse: two frames may be lost
    return (
        f"format=rgba,loop=loop={count}:size=1,setpts=(N+{first})/({fps})/TB,fps=fps={fps},"
        f"trim=end={end:.4f},fade=t=in:st={start:.4f}:d={_POP_S}:alpha=1,format=yuva420p"
    )
