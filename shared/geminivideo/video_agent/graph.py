"""The ffmpeg graph of one variation, as text. Only numbers and our own words stand in it."""

from __future__ import annotations

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


def cut_inputs(paths: Sequence[Path], request: RenderRequest, *kind: str) -> list[str]:
    """The sources opened once per cut, each at its own place: only what is shown is decoded."""
    inputs: list[str] = []
    for cut in request.cuts:
        length = float(cut.frames / request.fps) + 1.0
        inputs += ffmpeg.source(
            paths[cut.source], *kind, "-ss", f"{_seek(cut, request.fps):.6f}", "-t", f"{length:.6f}"
        )
    return inputs


def _seek(cut: Cut, fps: Fraction) -> float:
    return max(0.0, cut.start_s - _early(cut, fps))


def _early(cut: Cut, fps: Fraction) -> float:
    return min(cut.start_s, float(_EARLY / fps))


def sound_graph(request: RenderRequest, sources: Sequence[Source]) -> str:
    """The cuts' sound, exactly as long as their frames, with a short fade at every true join.

    A cut of a source without sound is silent.
    """
    fade = request.policy.join_fade_s
    parts = []
    for number, cut in enumerate(request.cuts):
        length = float(cut.frames / request.fps)
        follower = request.cuts[number + 1] if number + 1 < len(request.cuts) else None
        early = _early(cut, request.fps)
        if not sources[cut.source].has_audio:
            parts.append(
                f"anullsrc=r=48000:cl=stereo,aformat=sample_fmts=flt,atrim=end={length:.6f}[a{number}]"
            )
            continue
        chain = [
            "aresample=48000:async=1:first_pts=0",
            "aformat=sample_fmts=flt:channel_layouts=stereo",
            f"atrim=start={early:.6f}",
            "asetpts=PTS-STARTPTS",
            f"apad=whole_dur={length:.6f}",
            f"atrim=end={length:.6f}",
        ]
        if not cut.joined:
            chain.append(f"afade=t=in:d={fade}")
        if follower is None or not follower.joined:
            chain.append(f"afade=t=out:st={max(0.0, length - fade):.6f}:d={fade}")
        parts.append(f"[{number}:a:0]{','.join(chain)}[a{number}]")
    heads = "".join(f"[a{number}]" for number in range(len(request.cuts)))
    return ";".join([*parts, f"{heads}concat=n={len(request.cuts)}:v=0:a=1[sound]"])


def frame(cut: Cut, shape: Geometry) -> Framing:
    """How a cut is framed."""
    start, end = cut.start_s, cut.end_s
    return framing(cut.focus, cut.texts, start, end, shape, cut.subjects, cut.jumps)


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
    """Cut, crop, scale, join, grade and overlay: inputs 0.. are the cuts, then the overlays."""
    count = len(request.cuts)
    parts = [
        _cut_graph(number, cut, request, shapes[cut.source], sources[cut.source])
        for number, cut in enumerate(request.cuts)
    ]
    heads = "".join(f"[v{number}]" for number in range(count))
    grade = "".join(f",{part}" for part in request.grade.filters())
    parts.append(f"{heads}concat=n={count}:v=1:a=0{grade},format=yuv420p[p0]")
    for number, overlay in enumerate(overlays):
        parts += _overlay_parts(number, count + number, overlay, request.fps)
    return ";".join([*parts, f"[p{len(overlays)}]setsar=1[picture]"])


def _cut_graph(
    number: int, cut: Cut, request: RenderRequest, shape: Geometry, source: Source
) -> str:
    timed = ",".join(_timed(cut, request.fps, source))
    ended = ",".join(_ended(cut, request))
    framed = frame(cut, shape)
    if framed.padded:
        shown = _padded(number, framed, shape, source)
    elif len(framed.path) == 1:
        shown = ",".join(_resting(framed.path[0], shape, source))
    else:
        shown = ",".join(_panning(framed.path, shape, source))
    return f"[{number}:v:0]{timed},{shown},{ended}[v{number}]"


def _timed(cut: Cut, fps: Fraction, source: Source) -> list[str]:
    return [
        f"setpts=PTS-{_early(cut, fps):.6f}/TB",
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


def _padded(number: int, framed: Framing, shape: Geometry, source: Source) -> str:
    """The wide window over a blurred and darkened enlargement of itself."""
    corner = framed.path[0]
    window = f"crop={framed.width}:{framed.height}:{corner.x:.0f}:{corner.y:.0f}"
    small = f"{even(shape.width / 8)}:{even(shape.height / 8)}"
    ground = (
        f"scale={small}:force_original_aspect_ratio=increase,crop={small},boxblur=6:2,"
        f"eq=brightness=-0.08,scale={shape.width}:{shape.height}:flags=bilinear"
    )
    top = even((shape.height - framed.picture_height) / 2) if framed.picture_height else 0
    return (
        f"{window},{_scale(shape.width, framed.picture_height, source)},format=yuv420p,setsar=1,"
        f"split[f{number}][b{number}];[b{number}]{ground},setsar=1[g{number}];"
        f"[g{number}][f{number}]overlay=0:{top}:format=yuv420"
    )


def _scale(width: int, height: int, source: Source) -> str:
    matrix = "bt709" if source.hdr else source.matrix
    # Without these flags a change of matrix darkens every pixel by one level.
    exact = "" if matrix == "bt709" else "+accurate_rnd+full_chroma_int+full_chroma_inp"
    return (
        f"scale={width}:{height}:flags=bicubic{exact}:in_color_matrix={matrix}"
        ":out_color_matrix=bt709:out_range=tv"
    )


def _resting(corner: Keyframe, shape: Geometry, source: Source) -> list[str]:
    window = f"crop={shape.window_width}:{shape.window_height}:{corner.x:.0f}:{corner.y:.0f}"
    whole = shape.slack == (0, 0)
    return [*([] if whole else [window]), _scale(shape.width, shape.height, source)]


def _panning(path: tuple[Keyframe, ...], shape: Geometry, source: Source) -> list[str]:
    """A moving window is cut after scaling: its steps are then output pixels, not source pixels."""
    wide = max(even(round(shape.source_width * shape.scale)), shape.width)
    high = max(even(round(shape.source_height * shape.height / shape.window_height)), shape.height)
    x = piecewise([(k.at_s, k.x * shape.scale) for k in path], wide - shape.width)
    y = piecewise([(k.at_s, k.y * shape.scale) for k in path], high - shape.height)
    return [_scale(wide, high, source), f"crop={shape.width}:{shape.height}:x='{x}':y='{y}'"]


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


def _overlay_parts(number: int, entry: int, overlay: Overlay, fps: Fraction) -> list[str]:
    """Captions cut in and out; hook, titles and call to action fade in over a moment."""
    start, end = overlay.start_s, overlay.end_s
    shown = f"enable='gte(t,{start:.4f})*lt(t,{end:.4f})'"
    place = f"overlay=x={overlay.box.x}:y={overlay.box.y}:{shown}:eof_action=repeat:format=yuv420"
    if overlay.kind == "caption" or start == 0:
        return [f"[p{number}][{entry}:v:0]{place}[p{number + 1}]"]
    still = (
        f"[{entry}:v:0]format=rgba,loop=loop=-1:size=1,setpts=N/({fps})/TB,fps=fps={fps},"
        f"trim=end={end:.4f},fade=t=in:st={start:.4f}:d={_POP_S}:alpha=1[o{number}]"
    )
    return [still, f"[p{number}][o{number}]{place}[p{number + 1}]"]
