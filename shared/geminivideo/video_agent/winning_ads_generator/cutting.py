"""The cast footage as the renderer's cuts; a split screen becomes a source of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from geminivideo.policy import AdPolicy, RenderPolicy
from geminivideo.records import Box, Features, Word
from geminivideo.video_agent import ffmpeg, graph
from geminivideo.video_agent.geometry import Geometry, even
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.plan import Cut, RenderRequest, output_fps
from geminivideo.video_agent.pro_renderer import platform_of
from geminivideo.video_agent.render import cut_sound
from geminivideo.video_agent.source import Source, look
from geminivideo.video_agent.winning_ads_generator.asking import WinningAd
from geminivideo.video_agent.winning_ads_generator.casting import Casting, Clip, Piece, cast
from geminivideo.video_agent.winning_ads_generator.templates import TEMPLATES, Template, timed

_MIN_TEXT_HEIGHT = 0.025
_DIVIDER_PX = 4


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """What all variants share: sources, cuts and words. A split screen is a source of its own."""

    template: Template
    casting: Casting
    paths: tuple[Path, ...]
    sources: tuple[Source, ...]
    spoken: tuple[tuple[Word, ...], ...]
    cuts: tuple[Cut, ...]
    fps: Fraction
    aspect: str
    policy: RenderPolicy
    degraded: tuple[str, ...]


def cutting_of(
    asked: WinningAd,
    clips: Sequence[Clip],
    workdir: Path,
    policy: RenderPolicy,
    limits: AdPolicy,
) -> Cutting:
    """Cast the template's beats and lay their cuts in a row; writes the split screen, if any."""
    template, platform = TEMPLATES[asked.template], platform_of(asked.platform)
    aspect = asked.aspect or platform.aspect
    policy = replace(
        policy,
        max_short_px=min(policy.max_short_px, platform.width, platform.height),
        max_side_px=min(policy.max_side_px, max(platform.width, platform.height)),
        max_fps=min(policy.max_fps, platform.max_fps),
    )
    fps = max(output_fps(clip.fps, policy) for clip in clips)
    casting = cast(
        template, timed(template, asked.duration_target, fps, limits), clips, fps, limits
    )
    bare = Cutting(
        template=template,
        casting=casting,
        paths=tuple(clip.path for clip in clips),
        sources=tuple(look(clip.path) for clip in clips),
        spoken=tuple(clip.words or () for clip in clips),
        cuts=(),
        fps=fps,
        aspect=aspect,
        policy=policy,
        degraded=(*casting.degraded, *_speech_unknown(clips, casting)),
    )
    with_cuts = _with_cuts(bare, clips, asked, workdir)
    return replace(with_cuts, degraded=(*with_cuts.degraded, *_enlarged(with_cuts, clips)))


def _speech_unknown(clips: Sequence[Clip], casting: Casting) -> list[str]:
    used = {piece.clip for piece in casting.pieces}
    return ["no-transcript"] if any(clips[number].words is None for number in used) else []


def _enlarged(cutting: Cutting, clips: Sequence[Clip]) -> Iterable[str]:
    shapes = graph.shapes_of(cutting.sources, bare_request(cutting))
    for number in sorted({piece.clip for piece in cutting.casting.pieces}):
        if shapes[number].scale > cutting.policy.max_upscale + 0.01:
            yield f"clip-enlarged:{clips[number].id}"


def bare_request(cutting: Cutting, name: str = "bare") -> RenderRequest:
    """The cuts alone: no text, no grade."""
    return RenderRequest(
        name=name,
        aspect=cutting.aspect,
        fps=cutting.fps,
        cuts=cutting.cuts,
        captions=(),
        titles=(),
        grade=GRADES["natural"],
        has_audio=any(source.has_audio for source in cutting.sources),
        policy=cutting.policy,
    )


def _with_cuts(cutting: Cutting, clips: Sequence[Clip], asked: WinningAd, workdir: Path) -> Cutting:
    """The pieces as cuts, one after the other; a split beat's two become one new source."""
    cuts: list[Cut] = []
    for at, pieces in cutting.casting.beats:
        if at.beat.split:
            cutting = _split_screen(cutting, clips, pieces, workdir)
            shown = [_of_split(len(cutting.paths) - 1, pieces[0].frames, cutting.fps)]
        else:
            shown = [_cut(piece, clips[piece.clip]) for piece in pieces]
        fades = asked.transition == "fade" or (asked.transition == "template" and at.beat.fade)
        if cuts and fades and not cutting.template.uncut:
            shown[0] = replace(shown[0], fade_in=True)
        cuts += shown
    return replace(cutting, cuts=_in_row(cuts, cutting.fps))


def _in_row(cuts: Sequence[Cut], fps: Fraction) -> tuple[Cut, ...]:
    """The cuts on the ad's clock; where the source runs on, the sound does so too."""
    placed: list[Cut] = []
    first = 0
    for cut in cuts:
        before = placed[-1] if placed else None
        joined = (
            before is not None
            and before.source == cut.source
            and abs(before.end_s - cut.start_s) < 0.5 / fps
        )
        placed.append(replace(cut, first_frame=first, joined=joined))
        first += cut.frames
    return tuple([replace(a, fade_out=b.fade_in) for a, b in pairwise(placed)] + placed[-1:])


def _cut(piece: Piece, clip: Clip) -> Cut:
    scene = next((s for s in clip.scenes if s.id == piece.scene_id), None)
    features = (scene.features if scene else None) or Features()
    return Cut(
        scene_id=piece.scene_id,
        start_s=piece.start_s,
        end_s=piece.end_s,
        first_frame=0,
        frames=piece.frames,
        focus=features.focus,
        texts=_texts(features, piece),
        faces=tuple(f.box for f in features.faces or () if piece.start_s <= f.at_s <= piece.end_s),
        source=piece.clip,
    )


def _texts(features: Features, piece: Piece) -> tuple[Box, ...]:
    """The readable texts of the source that may be seen in a piece of it."""
    return tuple(
        text.box
        for text in features.texts or ()
        if len(re.findall(r"[^\W\d_]", text.text)) >= 3
        and text.box.h >= _MIN_TEXT_HEIGHT
        and text.at_s <= piece.end_s
        and (text.until_s is None or text.until_s >= piece.start_s)
    )


def _of_split(source: int, frames: int, fps: Fraction) -> Cut:
    return Cut(
        scene_id="split",
        start_s=0.0,
        end_s=float(frames / fps),
        first_frame=0,
        frames=frames,
        source=source,
    )


def _split_screen(
    cutting: Cutting, clips: Sequence[Clip], pieces: Sequence[Piece], workdir: Path
) -> Cutting:
    """Both pieces at once, side by side, in a tall frame one above the other, as a new source.

    The sound is that of the second piece: two voices at once are none.
    """
    left, right = (replace(_cut(piece, clips[piece.clip]), source=piece.clip) for piece in pieces)
    (shape, *_) = graph.shapes_of(cutting.sources, bare_request(cutting))
    tall = shape.height > shape.width * 1.2
    half = (shape.width, even(shape.height / 2)) if tall else (even(shape.width / 2), shape.height)
    request = replace(bare_request(cutting, "split"), cuts=(left, right))
    path = workdir / "split.mkv"
    sound = None
    if cutting.sources[right.source].has_audio:
        alone = replace(request, name="split-sound", cuts=(right,))
        sound = cut_sound(alone, cutting.paths, cutting.sources, workdir)
    _stack(cutting, request, half, path, sound, tall=tall)
    heard = cutting.spoken[right.source]
    shift = -right.start_s
    moved = (
        replace(word, start_s=word.start_s + shift, end_s=word.end_s + shift)
        for word in heard
        if word.start_s >= right.start_s and word.end_s <= right.end_s
    )
    return replace(
        cutting,
        paths=(*cutting.paths, path),
        sources=(*cutting.sources, look(path)),
        spoken=(*cutting.spoken, tuple(moved)),
    )


def _stack(
    cutting: Cutting,
    request: RenderRequest,
    half: tuple[int, int],
    path: Path,
    sound: Path | None,
    *,
    tall: bool,
) -> None:
    inputs, parts = [], []
    for number, cut in enumerate(request.cuts):
        source = cutting.sources[cut.source]
        inputs += graph.cut_input(cutting.paths[cut.source], cut, request.fps, "-an")
        shape = Geometry.covering((source.width, source.height), *half)
        parts.append(graph.cut_graph(number, cut, request, shape, source))
    width, height = half
    line = (
        f"drawbox=x=0:y={height - _DIVIDER_PX // 2}:w=iw:h={_DIVIDER_PX}"
        if tall
        else f"drawbox=x={width - _DIVIDER_PX // 2}:y=0:w={_DIVIDER_PX}:h=ih"
    )
    stacked = f"[v0][v1]{'vstack' if tall else 'hstack'},{line}:color=white:t=fill[both]"
    heard = ["-map", "2:a:0", "-c:a", "copy"] if sound else []
    ffmpeg.run(
        [
            *(*inputs, *(ffmpeg.source(sound) if sound else [])),
            *("-filter_complex", ";".join([*parts, stacked]), "-map", "[both]", *heard),
            *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", "yuv420p"),
            *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
            *("-r", str(request.fps), str(path)),
        ],
        timeout_s=request.policy.timeout_s,
    )
