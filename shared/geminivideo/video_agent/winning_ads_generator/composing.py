"""From footage and a template to finished ads: cut once, rendered together, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geminivideo.policy import AdPolicy, RenderPolicy
from geminivideo.records import Check, Prediction, Scene, Word
from geminivideo.video_agent.auto_captions import limits_of, lit
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.ffmpeg import Progress
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.plan import (
    RenderRequest,
    Title,
    captions_by_source,
    in_time,
    safe_name,
)
from geminivideo.video_agent.pro import ProResult
from geminivideo.video_agent.render import RenderedFile, render_together
from geminivideo.video_agent.source import look
from geminivideo.video_agent.winning_ads_generator.asking import WinningAd, text_of, validate
from geminivideo.video_agent.winning_ads_generator.casting import Clip, Piece
from geminivideo.video_agent.winning_ads_generator.cutting import (
    Cutting,
    bare_request,
    cutting_of,
)
from geminivideo.video_agent.winning_ads_generator.sound import sound_of
from geminivideo.video_agent.winning_ads_generator.templates import CTA, HOOK

_TOGETHER = 3  # outputs of one ffmpeg process: more of them save little and cost memory
_MIN_TEXT_S = 0.8


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
        words=None if words is None else in_time(words),
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
        validate(one, limits)
    if (
        len({(a.template, a.platform, a.aspect, a.duration_target, a.transition) for a in asked})
        > 1
    ):
        raise InvalidPlanError("a batch varies texts and looks; template, shape, length are shared")
    workdir.mkdir(parents=True, exist_ok=True)
    cutting = cutting_of(first, clips, workdir, policy, limits)
    requests = [
        _request(one, f"{safe_name(one.name)}-{number:02d}", cutting)
        for number, one in enumerate(asked, start=1)
    ]
    sound = sound_of(requests[0], cutting, workdir, limits, music)
    results: list[AdResult] = []
    for begin in range(0, len(requests), _TOGETHER):
        some = requests[begin : begin + _TOGETHER]
        told = progress and _share(progress, begin, len(some), len(requests))
        files = render_together(some, cutting.paths, workdir, progress=told, sound=sound)
        results += [
            _result(one, file, cutting, clips)
            for one, file in zip(asked[begin:], files, strict=False)
        ]
    return tuple(results)


def _result(
    asked: WinningAd, file: RenderedFile, cutting: Cutting, clips: Sequence[Clip]
) -> AdResult:
    policy = file.expected.request.policy
    return AdResult(
        rendered=file,
        checks=(*check(file.path, file.expected, policy), _once(cutting)),
        degraded=file.degraded,
        asked=asked,
        beats=_shown(asked, cutting),
        predicted=_predicted(cutting, clips),
    )


def _share(progress: Progress, begin: int, count: int, total: int) -> Progress:
    return lambda done: progress((begin + done * count) / total)


def _request(asked: WinningAd, name: str, cutting: Cutting) -> RenderRequest:
    titles, missing = _titles(asked, cutting)
    limits = limits_of(asked.caption_style, cutting.policy)
    captions = captions_by_source(cutting.spoken, cutting.cuts, cutting.fps, limits)
    grade = GRADES[asked.grade or cutting.template.grade].at(asked.grade_intensity)
    silent = any(source.has_audio for source in cutting.sources)
    bare = bare_request(cutting, name)
    return replace(
        bare,
        captions=lit(captions, asked.caption_style, bare) if asked.captions else (),
        titles=titles,
        grade=grade,
        words=cutting.spoken[0] if asked.captions else (),
        more_words=cutting.spoken[1:] if asked.captions else (),
        caption_style=asked.caption_style,
        degraded=(*cutting.degraded, *missing, *([] if silent else ["no-audio"])),
    )


def _titles(asked: WinningAd, cutting: Cutting) -> tuple[tuple[Title, ...], list[str]]:
    titles, missing = [], []
    for at, _ in cutting.casting.beats:
        start, end = (float(n / cutting.fps) for n in (at.first_frame, at.first_frame + at.frames))
        text, wanted = text_of(asked, at.beat)
        if text and end - start >= _MIN_TEXT_S:
            kind = at.beat.name if at.beat.name in (HOOK, CTA) else "title"
            titles.append(Title(kind=kind, text=text, start_s=start, end_s=end))
        elif text:
            missing.append(f"overlay-unplaced:{at.beat.name}")
        elif wanted:
            missing.append(f"beat-text-missing:{at.beat.name}")
    return tuple(titles), missing


def _once(cutting: Cutting) -> Check:
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


def _shown(asked: WinningAd, cutting: Cutting) -> tuple[ShownBeat, ...]:
    return tuple(
        ShownBeat(
            name=at.beat.name,
            start_s=float(at.first_frame / cutting.fps),
            end_s=float((at.first_frame + at.frames) / cutting.fps),
            text=text_of(asked, at.beat)[0],
            pieces=pieces,
        )
        for at, pieces in cutting.casting.beats
    )


def _predicted(cutting: Cutting, clips: Sequence[Clip]) -> Prediction | None:
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
