"""From footage and a template to finished ads: plan, split screen, sound, rendering, checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from geminivideo.policy import AdPolicy, RenderPolicy
from geminivideo.records import Box, Check, Features, Prediction, Scene, Word
from geminivideo.video_agent import audio_mixer, ffmpeg, graph, loudness
from geminivideo.video_agent.audio_mixer import Kind, Track
from geminivideo.video_agent.captions import STYLES
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.ffmpeg import Progress
from geminivideo.video_agent.geometry import Geometry, InvalidPlanError, even
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.options import UnknownOptionError, known
from geminivideo.video_agent.plan import (
    Cut,
    RenderRequest,
    Title,
    captions_by_source,
    output_fps,
    safe_name,
)
from geminivideo.video_agent.pro import ProResult
from geminivideo.video_agent.pro_renderer import platform_of
from geminivideo.video_agent.render import cut_sound, render_together
from geminivideo.video_agent.source import Source, look
from geminivideo.video_agent.winning_ads_generator.casting import Casting, Clip, Piece, cast
from geminivideo.video_agent.winning_ads_generator.templates import (
    CTA,
    HOOK,
    HOOK_STYLES,
    TEMPLATES,
    Template,
    Timed,
    timed,
)

ASPECTS = ("9:16", "1:1", "4:5", "16:9")
TRANSITIONS = ("template", "cut", "fade")
_TOGETHER = 3  # outputs of one ffmpeg process: more of them save little and cost memory
_MIN_TEXT_HEIGHT = 0.025
_MIN_TEXT_S = 0.8
_DIVIDER_PX = 4
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class MissingTextError(ValueError):
    """A hook style needs words that were not given; the message names them."""


@dataclass(frozen=True, kw_only=True)
class WinningAd:
    """An ad of a template.

    ``hook_text`` wins over ``hook_style``. ``words`` are the caller's own for the placeholders
    of templates and hook styles (price, offer, problem, solution, pain_point, desire, statistic);
    ``texts`` replace the text of a beat by its name. Without ``aspect`` and ``grade`` the
    platform's and the template's are taken. ``transition``: the template's own, or hard cuts or
    fades through black between all beats.
    """

    template: str
    platform: str = "instagram"
    aspect: str | None = None
    hook_text: str = ""
    hook_style: str | None = None
    cta_text: str = "Learn more"
    product_name: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    duration_target: float = 30.0
    grade: str | None = None
    grade_intensity: float = 1.0
    captions: bool = True
    caption_style: str = "caption"
    transition: str = "template"
    name: str = "ad"


@dataclass(frozen=True, kw_only=True)
class ShownBeat:
    """A beat of the finished ad (seconds of the ad) with the footage that it shows."""

    name: str
    start_s: float
    end_s: float
    text: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class AdResult(ProResult):
    """A finished ad. ``predicted`` is what a model that learned from clicks says of its scenes,
    weighed by their time; None without such a model: how an ad will do is then unknown.
    """

    asked: WinningAd
    beats: tuple[ShownBeat, ...]
    predicted: Prediction | None = None


def clip_of(
    path: Path,
    clip_id: str,
    *,
    scenes: Sequence[Scene] = (),
    words: Sequence[Word] | None = None,
    role: str | None = None,
) -> Clip:
    """A clip with its true length and rate; raises RenderFailedError when it is unreadable."""
    seen = look(path)
    return Clip(
        id=safe_name(clip_id),
        path=path,
        duration_s=seen.duration_s,
        fps=seen.fps,
        scenes=tuple(scenes),
        words=None if words is None else tuple(words),
        role=role,
    )


def make_ad(
    asked: WinningAd,
    clips: Sequence[Clip],
    workdir: Path,
    policy: RenderPolicy,
    limits: AdPolicy,
    *,
    music: Path | None = None,
    progress: Progress | None = None,
) -> AdResult:
    """Render one ad; see ``make_batch``."""
    return make_batch([asked], clips, workdir, policy, limits, music=music, progress=progress)[0]


def make_batch(
    asked: Sequence[WinningAd],
    clips: Sequence[Clip],
    workdir: Path,
    policy: RenderPolicy,
    limits: AdPolicy,
    *,
    music: Path | None = None,
    progress: Progress | None = None,
) -> tuple[AdResult, ...]:
    """Render variants of one ad, which share their footage, its cutting and its sound.

    Raises UnknownOptionError for an unknown option, InvalidPlanError for ads that do not share
    template, shape and length or have no footage, MissingTextError, RenderFailedError.
    """
    first = asked[0]
    for one in asked:
        _validated(one, limits)
    if (
        len({(a.template, a.platform, a.aspect, a.duration_target, a.transition) for a in asked})
        > 1
    ):
        raise InvalidPlanError("a batch varies texts and looks; template, shape, length are shared")
    workdir.mkdir(parents=True, exist_ok=True)
    cutting = _cutting(first, clips, workdir, policy, limits)
    requests = [
        _request(one, f"{safe_name(one.name)}-{number:02d}", cutting)
        for number, one in enumerate(asked, start=1)
    ]
    sound = _sound(requests[0], cutting, workdir, limits, music)
    results: list[AdResult] = []
    for begin in range(0, len(requests), _TOGETHER):
        some = requests[begin : begin + _TOGETHER]
        told = progress and _share(progress, begin, len(some), len(requests))
        files = render_together(some, cutting.paths, workdir, progress=told, sound=sound)
        for one, request, file in zip(asked[begin:], some, files, strict=False):
            results.append(
                AdResult(
                    rendered=file,
                    checks=(*check(file.path, file.expected, request.policy), _once(cutting)),
                    degraded=file.degraded,
                    asked=one,
                    beats=_shown(one, cutting),
                    predicted=_predicted(cutting, clips),
                )
            )
    return tuple(results)


def ab_batch(
    base: WinningAd,
    *,
    hooks: Sequence[str] = (),
    grades: Sequence[str] = (),
    ctas: Sequence[str] = (),
    limits: AdPolicy,
) -> tuple[WinningAd, ...]:
    """The ad itself and its variants, each changed in one thing: a difference then has one cause.

    Raises UnknownOptionError when the lists ask for more than ``max_variants``.
    """
    changed = [
        base,
        *(replace(base, hook_text=hook) for hook in hooks),
        *(replace(base, grade=grade) for grade in grades),
        *(replace(base, cta_text=cta) for cta in ctas),
    ]
    different: list[WinningAd] = []
    for one in changed:
        if one not in different:
            different.append(one)
    if len(different) > limits.max_variants:
        raise UnknownOptionError(
            f"{len(different)} variants are more than {limits.max_variants}: shorten the lists"
        )
    return tuple(different)


def _share(progress: Progress, begin: int, count: int, total: int) -> Progress:
    return lambda done: progress((begin + done * count) / total)


def _validated(asked: WinningAd, limits: AdPolicy) -> None:
    known("template", asked.template, TEMPLATES)
    known("aspect", asked.aspect or ASPECTS[0], ASPECTS)
    known("grade", asked.grade or "natural", GRADES)
    known("caption_style", asked.caption_style, STYLES)
    known("transition", asked.transition, TRANSITIONS)
    longest = platform_of(asked.platform).max_duration_s or limits.max_duration_s
    longest = min(longest, limits.max_duration_s)
    if not limits.min_duration_s <= asked.duration_target <= longest:
        raise UnknownOptionError(
            f"duration_target {asked.duration_target:g} is not between {limits.min_duration_s:g} "
            f"and {longest:g} seconds"
        )
    if not 0 <= asked.grade_intensity <= 1:
        raise UnknownOptionError(f"grade_intensity {asked.grade_intensity} is not between 0 and 1")
    names = [beat.name for beat in TEMPLATES[asked.template].beats]
    for name in asked.texts:
        known("texts", name, names)
    _hook_text(asked)


@dataclass(frozen=True, kw_only=True)
class _Cutting:
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


def _cutting(
    asked: WinningAd,
    clips: Sequence[Clip],
    workdir: Path,
    policy: RenderPolicy,
    limits: AdPolicy,
) -> _Cutting:
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
    bare = _Cutting(
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


def _enlarged(cutting: _Cutting, clips: Sequence[Clip]) -> Iterable[str]:
    shapes = graph.shapes_of(cutting.sources, _bare_request(cutting))
    for number in sorted({piece.clip for piece in cutting.casting.pieces}):
        if shapes[number].scale > cutting.policy.max_upscale + 0.01:
            yield f"clip-enlarged:{clips[number].id}"


def _bare_request(cutting: _Cutting, name: str = "bare") -> RenderRequest:
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


def _with_cuts(
    cutting: _Cutting, clips: Sequence[Clip], asked: WinningAd, workdir: Path
) -> _Cutting:
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
    cutting: _Cutting, clips: Sequence[Clip], pieces: Sequence[Piece], workdir: Path
) -> _Cutting:
    """Both pieces at once, side by side, in a tall frame one above the other, as a new source.

    The sound is that of the second piece: two voices at once are none.
    """
    left, right = (replace(_cut(piece, clips[piece.clip]), source=piece.clip) for piece in pieces)
    (shape, *_) = graph.shapes_of(cutting.sources, _bare_request(cutting))
    tall = shape.height > shape.width * 1.2
    half = (shape.width, even(shape.height / 2)) if tall else (even(shape.width / 2), shape.height)
    request = replace(_bare_request(cutting, "split"), cuts=(left, right))
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
    cutting: _Cutting,
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
        parts.append(graph.cut_graph(number, cut, request, _window(source, *half), source))
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


def _window(source: Source, width: int, height: int) -> Geometry:
    """The largest window of this shape in a source, brought to this size."""
    wanted = width / height
    return Geometry(
        source_width=source.width,
        source_height=source.height,
        window_width=even(min(source.width, source.height * wanted)),
        window_height=even(min(source.height, source.width / wanted)),
        width=width,
        height=height,
    )


def _request(asked: WinningAd, name: str, cutting: _Cutting) -> RenderRequest:
    titles, missing = _titles(asked, cutting)
    captions = captions_by_source(cutting.spoken, cutting.cuts, cutting.fps, cutting.policy)
    grade = GRADES[asked.grade or cutting.template.grade].at(asked.grade_intensity)
    silent = any(source.has_audio for source in cutting.sources)
    return replace(
        _bare_request(cutting, name),
        captions=captions if asked.captions else (),
        titles=titles,
        grade=grade,
        words=cutting.spoken[0] if asked.captions else (),
        more_words=cutting.spoken[1:] if asked.captions else (),
        caption_style=asked.caption_style,
        degraded=(*cutting.degraded, *missing, *([] if silent else ["no-audio"])),
    )


def _titles(asked: WinningAd, cutting: _Cutting) -> tuple[tuple[Title, ...], list[str]]:
    titles, missing = [], []
    for at, _ in cutting.casting.beats:
        start, end = (float(n / cutting.fps) for n in (at.first_frame, at.first_frame + at.frames))
        text, wanted = _text(asked, at)
        if text and end - start >= _MIN_TEXT_S:
            kind = at.beat.name if at.beat.name in (HOOK, CTA) else "title"
            titles.append(Title(kind=kind, text=text, start_s=start, end_s=end))
        elif text:
            missing.append(f"overlay-unplaced:{at.beat.name}")
        elif wanted:
            missing.append(f"beat-text-missing:{at.beat.name}")
    return tuple(titles), missing


def _text(asked: WinningAd, at: Timed) -> tuple[str, bool]:
    """What a beat says, and whether its template wants it to say something."""
    if at.beat.name in asked.texts:
        return " ".join(asked.texts[at.beat.name].split()), True
    if at.beat.name == HOOK:
        return _hook_text(asked), True
    if at.beat.name == CTA:
        return " ".join(asked.cta_text.split()), True
    return _filled(at.beat.text, asked)[0], bool(at.beat.text)


def _hook_text(asked: WinningAd) -> str:
    if asked.hook_text.strip() or asked.hook_style is None:
        return " ".join(asked.hook_text.split())
    known("hook_style", asked.hook_style, HOOK_STYLES)
    text, missing = _filled(HOOK_STYLES[asked.hook_style], asked)
    if missing:
        raise MissingTextError(f"the hook style {asked.hook_style} needs {', '.join(missing)}")
    return text


def _filled(pattern: str, asked: WinningAd) -> tuple[str, list[str]]:
    """A pattern with the caller's words in it, and the names of those that were not given."""
    given = {**asked.words, "product": asked.product_name}
    missing = [name for name in _PLACEHOLDER.findall(pattern) if not given.get(name, "").strip()]
    text = _PLACEHOLDER.sub(lambda match: given.get(match[1], ""), pattern)
    return " ".join(text.split()), missing


def _sound(
    request: RenderRequest,
    cutting: _Cutting,
    workdir: Path,
    limits: AdPolicy,
    music: Path | None,
) -> Path | None:
    """The cuts' sound with every clip at one level, and the music under it; None: no sound."""
    used = sorted({cut.source for cut in cutting.cuts})
    voiced = any(cutting.sources[number].has_audio for number in used)
    if not voiced and music is None:
        return None
    tracks = []
    if voiced:
        joined = cut_sound(request, cutting.paths, cutting.sources, workdir)
        tracks.append(Track(path=_even(joined, cutting, workdir, limits), kind=Kind.DIALOGUE))
    if music is None:
        return tracks[0].path
    tracks.append(Track(path=music, kind=Kind.MUSIC))
    stems = audio_mixer.stems_of(tracks, request.duration_s, workdir / "mix", request.policy)
    return stems.mix


def _even(joined: Path, cutting: _Cutting, workdir: Path, limits: AdPolicy) -> Path:
    """Each clip's part of the joined sound turned up or down to the common level."""
    gains = _gains(cutting, limits)
    steps = [
        f"volume=volume={gain:.2f}dB:enable='between(t,{start:.4f},{end:.4f})'"
        for cut in cutting.cuts
        if abs(gain := gains.get(cut.source, 0.0)) > 0.1
        for start, end in [_heard_at(cut, cutting.fps)]
    ]
    if len({cut.source for cut in cutting.cuts}) < 2 or not steps:
        return joined
    path = workdir / "level.wav"
    ffmpeg.run(
        [
            *ffmpeg.source(joined),
            *("-af", ",".join(["asetnsamples=n=480", *steps]), "-c:a", "pcm_f32le", str(path)),
        ],
        timeout_s=cutting.policy.timeout_s,
    )
    return path


def _heard_at(cut: Cut, fps: Fraction) -> tuple[float, float]:
    return float(cut.first_frame / fps), float((cut.first_frame + cut.frames) / fps) - 0.005


def _gains(cutting: _Cutting, limits: AdPolicy) -> dict[int, float]:
    """By how much each source is turned up or down; a silent one is left as it is."""
    gains = {}
    for number in sorted({cut.source for cut in cutting.cuts}):
        if not cutting.sources[number].has_audio:
            continue
        heard = loudness.measure(cutting.paths[number], cutting.policy.timeout_s)
        if heard.integrated_lufs >= cutting.policy.silence_lufs:
            gain = limits.level_lufs - heard.integrated_lufs
            gains[number] = max(-limits.max_gain_db, min(limits.max_gain_db, gain))
    return gains


def _once(cutting: _Cutting) -> Check:
    """No stretch is shown twice, unless there was too little footage and the result says so."""
    twice = sum(
        max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))
        for number, a in enumerate(cutting.casting.pieces)
        for b in cutting.casting.pieces[number + 1 :]
        if a.clip == b.clip
    )
    told = any(reason.startswith("footage-reused") for reason in cutting.degraded)
    return Check(
        name="footage-once",
        passed=told or twice < 0.5 / cutting.fps,
        measured=round(twice, 3),
        wanted="0 s shown twice, or footage-reused",
    )


def _shown(asked: WinningAd, cutting: _Cutting) -> tuple[ShownBeat, ...]:
    return tuple(
        ShownBeat(
            name=at.beat.name,
            start_s=float(at.first_frame / cutting.fps),
            end_s=float((at.first_frame + at.frames) / cutting.fps),
            text=_text(asked, at)[0],
            pieces=pieces,
        )
        for at, pieces in cutting.casting.beats
    )


def _predicted(cutting: _Cutting, clips: Sequence[Clip]) -> Prediction | None:
    """The scenes' own predictions, weighed by their time; None unless a model made all of them."""
    scenes = {(n, s.id): s for n, clip in enumerate(clips) for s in clip.scenes}
    found = [
        (piece.frames, scene.prediction)
        for piece in cutting.casting.pieces
        if (scene := scenes.get((piece.clip, piece.scene_id))) and scene.prediction
    ]
    learned = [(frames, p, p.ctr) for frames, p in found if p.ctr is not None]
    if len(learned) < len(cutting.casting.pieces):
        return None
    total = sum(frames for frames, _, _ in learned)
    return Prediction(
        score=sum(frames * p.score for frames, p, _ in learned) / total,
        ctr=sum(frames * ctr for frames, _, ctr in learned) / total,
        interval=None,
        model_version="; ".join(dict.fromkeys(p.model_version for _, p, _ in learned)),
        sample_size=min(p.sample_size for _, p, _ in learned),
    )
