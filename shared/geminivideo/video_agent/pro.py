"""The Pro tools: one thing done to a whole video, with the same parts and the same checks.

Every file made here is H.264 with AAC at the policy's loudness, as everything the Video Agent
makes. Callers resolve URIs and fetch files; here everything is a local path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from geminivideo.policy import RenderPolicy
from geminivideo.records import Check, Word
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.geometry import Focus, InvalidPlanError
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.options import UnknownOptionError as UnknownOptionError
from geminivideo.video_agent.options import known
from geminivideo.video_agent.plan import Cue, Cut, RenderRequest, captions_of, output_fps
from geminivideo.video_agent.render import RenderedFile, render
from geminivideo.video_agent.source import look
from geminivideo.video_agent.subtitles import srt, vtt

CAPTION_STYLES = ("instagram", "youtube", "karaoke", "tiktok", "hormozi")
_MAX_WORDS = {"hormozi": 1, "tiktok": 4, "youtube": 12}
_MAX_CHARS = {"youtube": 70}


@dataclass(frozen=True, kw_only=True)
class ProResult:
    """What a Pro tool made: the video (None when only subtitles were wanted) and its checks."""

    rendered: RenderedFile | None
    checks: tuple[Check, ...]
    subtitles: tuple[Path, ...] = ()
    degraded: tuple[str, ...] = ()


def caption(
    source: Path,
    words: Sequence[Word] | None,
    workdir: Path,
    policy: RenderPolicy,
    *,
    style: str = "instagram",
    word_level: bool = True,
    burn_in: bool = False,
) -> ProResult:
    """SRT and WebVTT of the spoken words, and the video with them drawn in when ``burn_in``.

    ``words`` None means that the speech is unknown: nothing is drawn, and the result says so.
    ``word_level`` lights the spoken word (instagram) or all up to it (karaoke).
    """
    known("style", style, CAPTION_STYLES)
    limits = replace(
        policy,
        caption_words=_MAX_WORDS.get(style, policy.caption_words),
        caption_chars=_MAX_CHARS.get(style, policy.caption_chars),
    )
    request = replace(
        whole(source, "caption", "source", limits), words=tuple(words or ()), caption_style=style
    )
    cues = captions_of(request.words, request.cuts, request.fps, limits)
    unknown = ("no-transcript",) if words is None else ()
    files = _subtitle_files(cues, workdir)
    if not burn_in:
        return ProResult(rendered=None, checks=(), subtitles=files, degraded=unknown)
    if word_level and style in ("instagram", "karaoke"):
        cues = tuple(lit for cue in cues for lit in _lit(cue, trail=style == "karaoke"))
    burnt = made(replace(request, captions=cues, degraded=unknown), source, workdir)
    return replace(burnt, subtitles=files)


def _lit(cue: Cue, *, trail: bool) -> list[Cue]:
    """A cue as one picture a word: the word being said (and those before it) lights up."""
    shift = cue.start_s - cue.words[0].start_s
    starts = [min(cue.end_s, max(cue.start_s, word.start_s + shift)) for word in cue.words]
    ends = [*starts[1:], cue.end_s]
    return [
        replace(cue, start_s=start, end_s=end, lit=(0 if trail else number, number + 1))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        if end > start
    ]


def _subtitle_files(cues: Sequence[Cue], workdir: Path) -> tuple[Path, ...]:
    workdir.mkdir(parents=True, exist_ok=True)
    texts = {"captions.srt": srt(cues), "captions.vtt": vtt(cues)}
    for name, text in texts.items():
        (workdir / name).write_text(text, encoding="utf-8")
    return tuple(workdir / name for name in texts)


def color_grade(
    source: Path, workdir: Path, policy: RenderPolicy, *, preset: str, intensity: float = 1.0
) -> ProResult:
    """The video in a named look, blended with the source by ``intensity`` (0-1)."""
    known("preset", preset, GRADES)
    if not 0 <= intensity <= 1:
        raise UnknownOptionError(f"intensity {intensity} is not between 0 and 1")
    request = whole(source, "color-grade", "source", policy)
    return made(replace(request, grade=GRADES[preset].at(intensity)), source, workdir)


def smart_crop(
    source: Path,
    workdir: Path,
    policy: RenderPolicy,
    *,
    target_aspect: str,
    focus: Focus | None,
) -> ProResult:
    """The video in another shape; the window follows ``focus`` (time s, x, y in fractions)."""
    request = whole(source, "smart-crop", target_aspect, policy)
    (cut,) = request.cuts
    lost = () if focus else ("no-focus",)
    tracked = replace(request, cuts=(replace(cut, focus=focus),), degraded=lost)
    return made(tracked, source, workdir)


def whole(source: Path, name: str, aspect: str, policy: RenderPolicy) -> RenderRequest:
    """A request that shows a whole video as it is; raises RenderFailedError if it is unreadable."""
    seen = look(source)
    fps = output_fps(seen.fps, policy)
    frames = round(Fraction(seen.duration_s) * fps)
    if frames < 1:
        raise InvalidPlanError("the video is shorter than one frame")
    cut = Cut(scene_id="", start_s=0.0, end_s=seen.duration_s, first_frame=0, frames=frames)
    return RenderRequest(
        name=name,
        aspect=aspect,
        fps=fps,
        cuts=(cut,),
        captions=(),
        titles=(),
        grade=GRADES["natural"],
        has_audio=seen.has_audio,
        policy=policy,
    )


def made(
    request: RenderRequest, source: Path, workdir: Path, sound: Path | None = None
) -> ProResult:
    """Render a request and check the file; ``sound`` replaces the source's own."""
    rendered = render(request, source, workdir, sound=sound)
    return ProResult(
        rendered=rendered,
        checks=check(rendered.path, rendered.expected, request.policy),
        degraded=rendered.degraded,
    )
