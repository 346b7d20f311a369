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
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.ffmpeg import RenderFailedError
from geminivideo.video_agent.geometry import Focus, InvalidPlanError
from geminivideo.video_agent.grades import GRADES
from geminivideo.video_agent.options import UnknownOptionError as UnknownOptionError
from geminivideo.video_agent.options import known
from geminivideo.video_agent.plan import Cue, Cut, RenderRequest, captions_of, output_fps
from geminivideo.video_agent.render import RenderedFile, render
from geminivideo.video_agent.source import look
from geminivideo.video_agent.subtitles import srt, vtt

CAPTION_STYLES = ("instagram", "youtube", "karaoke", "tiktok", "hormozi")
NORMALIZATIONS = {"social_media": -16.0, "streaming": -14.0, "broadcast": -23.0}
_MUSIC_DB = -12.0
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
    made = _made(replace(request, captions=cues, degraded=unknown), source, workdir)
    return replace(made, subtitles=files)


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
    return _made(replace(request, grade=GRADES[preset].at(intensity)), source, workdir)


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
    return _made(tracked, source, workdir)


def audio_mix(
    source: Path,
    workdir: Path,
    policy: RenderPolicy,
    *,
    music: Path | None = None,
    voiceover: Path | None = None,
    auto_duck: bool = True,
    normalization: str = "social_media",
) -> ProResult:
    """The video with music and a voice laid in, brought to a platform's loudness.

    The voice is the voiceover, or else the source's own sound; everything else lies 12 dB below
    and, with ``auto_duck``, gives way while the voice is heard. Music is repeated to the end.
    """
    known("normalization", normalization, NORMALIZATIONS)
    target = replace(policy, loudness_lufs=NORMALIZATIONS[normalization])
    request = whole(source, "audio-mix", "source", target)
    has_sound = look(source).has_audio
    if not (has_sound or music or voiceover):
        raise RenderFailedError("there is nothing to mix: the video is silent, no file was given")
    mixed = _mixed(request, source if has_sound else None, music, voiceover, workdir, auto_duck)
    return _made(request, source, workdir, sound=mixed)


def _mixed(
    request: RenderRequest,
    own: Path | None,
    music: Path | None,
    voiceover: Path | None,
    workdir: Path,
    auto_duck: bool,
) -> Path:
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / f"{request.name}-mix.wav"
    voice = voiceover or own
    beds = [bed for bed in (own if voiceover else None, music) if bed is not None]
    inputs = ffmpeg.source(voice) if voice else []
    for bed in beds:
        inputs += ffmpeg.source(bed, *(["-stream_loop", "-1"] if bed == music else []))
    ffmpeg.run(
        [
            *inputs,
            *("-filter_complex", mix_graph(voice is not None, len(beds), request, auto_duck)),
            *("-map", "[mix]", "-c:a", "pcm_f32le", str(path)),
        ],
        timeout_s=request.policy.timeout_s,
    )
    return path


def mix_graph(voice: bool, beds: int, request: RenderRequest, auto_duck: bool) -> str:
    """Voice first, beds after it; a bed is what is turned down, the voice is the key.

    ffmpeg's sidechaincompress turns its first input down by its second.
    """
    length = f"{request.duration_s:.6f}"
    even = "aresample=48000,aformat=sample_fmts=flt:channel_layouts=stereo"
    fit = f"apad=whole_dur={length},atrim=end={length},asetpts=PTS-STARTPTS"
    level = f",volume={_MUSIC_DB}dB" if voice else ""
    parts = [f"[0:a:0]{even},{fit},asplit={beds + 1}[v]" + "".join(f"[k{n}]" for n in range(beds))]
    parts = parts if voice else []
    first = 1 if voice else 0
    for n in range(beds):
        parts.append(f"[{first + n}:a:0]{even},{fit}{level}[b{n}]")
        if voice and auto_duck:
            duck = "sidechaincompress=threshold=0.03:ratio=4:attack=100:release=500"
            parts.append(f"[b{n}][k{n}]{duck}[d{n}]")
        elif voice:
            parts.append(f"[k{n}]anullsink;[b{n}]anull[d{n}]")
        else:
            parts.append(f"[b{n}]anull[d{n}]")
    heads = ("[v]" if voice else "") + "".join(f"[d{n}]" for n in range(beds))
    parts.append(f"{heads}amix=inputs={beds + first}:normalize=0:duration=longest,{fit}[mix]")
    return ";".join(parts)


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


def _made(
    request: RenderRequest, source: Path, workdir: Path, sound: Path | None = None
) -> ProResult:
    made = render(request, source, workdir, sound=sound)
    return ProResult(
        rendered=made,
        checks=check(made.path, made.expected, request.policy),
        degraded=made.degraded,
    )
