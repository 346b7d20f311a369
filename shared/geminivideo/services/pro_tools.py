"""The Pro tools that change one whole video, each as its route takes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.policy import QUALITIES
from geminivideo.services.pro_task import Made, MadeFile, Task, Tool
from geminivideo.video_agent import (
    audio_mixer,
    auto_captions,
    color_grading,
    preview_generator,
    pro_renderer,
    smart_crop,
)
from geminivideo.video_agent.encoders import CODECS
from geminivideo.video_agent.geometry import ratio
from geminivideo.video_agent.options import known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geminivideo.video_agent.pro import ProResult

_OWN_SHAPES = ("source",)
_DEFAULT_LOOK = "cinematic"


@dataclass(frozen=True, kw_only=True)
class CaptionBody:
    """Captions of what is said: SRT and WebVTT, and the video with them when ``burn_in``.

    ``mask_profanity`` hides the words of our list, ``mask_words`` the caller's own;
    ``mask_sound`` (keep, mute, bleep) hides them in the sound too.
    """

    video_path: str
    style: str = "instagram"
    language: str = "en"
    word_level: bool = True
    burn_in: bool = False
    mask_profanity: bool = False
    mask_words: list[str] = field(default_factory=list)
    mask_sound: str = "keep"


@dataclass(frozen=True, kw_only=True)
class GradeBody:
    """A look: a ``preset`` (cinematic when nothing else is asked for), a .cube, or the colours of
    a reference picture. ``intensity`` 0-1 blends it with the source."""

    video_path: str
    preset: str | None = None
    intensity: float = 1.0
    cube_path: str | None = None
    reference_path: str | None = None
    white_balance: str = "none"
    temperature_k: float | None = None


@dataclass(frozen=True, kw_only=True)
class CropBody:
    """Another shape, ``W:H``."""

    video_path: str
    target_aspect: str = "9:16"
    track_faces: bool = True
    smooth_motion: bool = True


@dataclass(frozen=True, kw_only=True)
class MixTrackBody:
    """One more sound: ``kind`` voiceover, dialogue, music, sfx or ambience; times in seconds.

    ``gain_db`` is relative to the level of its kind, or to the file when not ``leveled``; ``pan``
    is -1 (left) to 1; ``low_db``, ``mid_db`` and ``high_db`` are the equaliser's.
    """

    path: str
    kind: str = "sfx"
    gain_db: float = 0.0
    leveled: bool = True
    pan: float = 0.0
    start_time: float = 0.0
    fade_in: float = 0.0
    fade_out: float = 0.0
    noise_reduction: float = 0.0
    low_db: float = 0.0
    mid_db: float = 0.0
    high_db: float = 0.0
    enhance: bool = False


@dataclass(frozen=True, kw_only=True)
class MixBody:
    """Sounds laid in, at a platform's loudness (``target_lufs`` with ``custom``).

    ``own`` is what the video's own sound is: a kind, ``none`` to leave it out, or ``auto``
    (dialogue; ambience under a voiceover).
    """

    video_path: str
    music_path: str | None = None
    voiceover_path: str | None = None
    auto_duck: bool = True
    normalization: str = "social_media"
    target_lufs: float | None = None
    voice_enhance: bool = False
    noise_reduction: float = 0.0
    tracks: list[MixTrackBody] = field(default_factory=list)
    own: str = "auto"
    own_gain_db: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RenderBody:
    """A video as a platform wants it; ``aspect_ratio`` null is the platform's own shape."""

    input_path: str
    platform: str = "generic"
    quality: str = "standard"
    aspect_ratio: str | None = None
    codec: str | None = None
    use_gpu: bool = False
    upscale: bool = False
    trim: bool = False


@dataclass(frozen=True, kw_only=True)
class PreviewBody:
    """Proxies (``quality`` null: only ``qualities``), and whatever else is to be looked at."""

    video_path: str
    quality: str | None = "360p"
    qualities: list[str] = field(default_factory=list)
    thumbnail_strip: bool = False
    frame_count: int = 10
    sprite: bool = False
    sprite_every_s: float | None = None
    waveform: bool = False


def made_of(result: ProResult, **details: Any) -> Made:
    """A module's result as what is kept: the video, its poster, its subtitles."""
    rendered, files = result.rendered, []
    if rendered is not None:
        files += [MadeFile(path=rendered.path), MadeFile(path=rendered.poster, name="poster.jpg")]
        details |= {
            "width": rendered.width,
            "height": rendered.height,
            "duration_s": round(rendered.duration_s, 3),
        }
    files += [MadeFile(path=path) for path in result.subtitles]
    return Made(files=tuple(files), checks=result.checks, degraded=result.degraded, details=details)


def _video(body: Any) -> Mapping[str, str]:
    return {"video": body.video_path}


def _caption_request(asked: CaptionBody) -> auto_captions.CaptionRequest:
    return auto_captions.CaptionRequest(
        style=asked.style,
        language=asked.language,
        word_level=asked.word_level,
        burn_in=asked.burn_in,
        mask_profanity=asked.mask_profanity,
        mask_words=tuple(asked.mask_words),
        mask_sound=asked.mask_sound,
    )


def _caption(task: Task) -> Made:
    heard = task.transcript()
    result = auto_captions.auto_captions(
        task.files["video"], heard, task.workdir, task.policy.render, _caption_request(task.body)
    )
    return made_of(
        result,
        language=heard.language,
        words=len(heard.words or ()),
        captions=len(result.cues),
        masked=result.masked,
        recogniser=heard.source,
    )


def _grade_sources(asked: GradeBody) -> Mapping[str, str]:
    more = {"lut": asked.cube_path, "reference": asked.reference_path}
    return {"video": asked.video_path} | {role: path for role, path in more.items() if path}


def _grade_request(asked: GradeBody, files: Mapping[str, Path]) -> color_grading.GradeRequest:
    """``files`` has the table and the reference, wherever they are."""
    given = asked.preset or asked.cube_path or asked.reference_path
    plain = not given and asked.white_balance == "none"
    return color_grading.GradeRequest(
        preset=_DEFAULT_LOOK if plain else asked.preset,
        cube=files.get("lut"),
        reference=files.get("reference"),
        intensity=asked.intensity,
        white_balance=asked.white_balance,
        temperature_k=asked.temperature_k,
    )


def _grade(task: Task) -> Made:
    request = _grade_request(task.body, task.files)
    result = color_grading.grade(task.files["video"], task.workdir, task.policy.render, request)
    made = made_of(result, gains=result.gains, method=result.method)
    return replace(made, files=(*made.files, MadeFile(path=result.cube, name="look.cube")))


def _crop_request(asked: CropBody) -> smart_crop.CropRequest:
    return smart_crop.CropRequest(
        target_aspect=asked.target_aspect,
        track_faces=asked.track_faces,
        smooth_motion=asked.smooth_motion,
    )


def _crop(task: Task) -> Made:
    scenes = task.scenes()
    result = smart_crop.crop(
        task.files["video"], scenes, task.workdir, task.policy.render, _crop_request(task.body)
    )
    looked = [reason for scene in scenes for reason in scene.degraded]
    made = made_of(result, followed=list(result.followed))
    return replace(made, degraded=(*made.degraded, *dict.fromkeys(looked)))


def _mix_sources(asked: MixBody) -> Mapping[str, str]:
    more = {"music": asked.music_path, "voiceover": asked.voiceover_path}
    named = {"video": asked.video_path} | {role: path for role, path in more.items() if path}
    return named | {_track_role(number): one.path for number, one in enumerate(asked.tracks)}


def _track_role(number: int) -> str:
    return f"tracks-{number:03d}"


def _mix_request(asked: MixBody, files: Mapping[str, Path]) -> audio_mixer.MixRequest:
    """``files`` has the sounds, wherever they are; raises UnknownOptionError."""
    kinds = {"music": audio_mixer.Kind.MUSIC, "voiceover": audio_mixer.Kind.VOICEOVER}
    named = [
        audio_mixer.Track(path=files[role], kind=kind)
        for role, kind in kinds.items()
        if role in files
    ]
    more = [_track(one, files[_track_role(number)]) for number, one in enumerate(asked.tracks)]
    if asked.own not in ("auto", "none"):
        known("own", asked.own, [*audio_mixer.Kind, "auto", "none"])
    return audio_mixer.MixRequest(
        tracks=(*named, *more),
        own=None if asked.own == "none" else asked.own,
        own_gain_db=asked.own_gain_db,
        auto_duck=asked.auto_duck,
        normalization=asked.normalization,
        target_lufs=asked.target_lufs,
        voice_enhance=asked.voice_enhance,
        denoise=asked.noise_reduction,
    )


def _track(asked: MixTrackBody, path: Path) -> audio_mixer.Track:
    known("kind", asked.kind, list(audio_mixer.Kind))
    return audio_mixer.Track(
        path=path,
        kind=audio_mixer.Kind(asked.kind),
        gain_db=asked.gain_db,
        leveled=asked.leveled,
        pan=asked.pan,
        starts_s=asked.start_time,
        fade_in_s=asked.fade_in,
        fade_out_s=asked.fade_out,
        denoise=asked.noise_reduction,
        equaliser=audio_mixer.Equaliser(
            low_db=asked.low_db, mid_db=asked.mid_db, high_db=asked.high_db
        ),
        enhance=asked.enhance,
    )


def _check_mix(asked: MixBody) -> None:
    _ = _mix_request(asked, {role: Path(role) for role in _mix_sources(asked)}).loudness_lufs
    audio_mixer.Track(path=Path("own"), kind=audio_mixer.Kind.DIALOGUE, gain_db=asked.own_gain_db)


def _mix(task: Task) -> Made:
    request = _mix_request(task.body, task.files)
    result = audio_mixer.mix(task.files["video"], task.workdir, task.policy.render, request)
    return made_of(
        result, voice_above_bed_db=result.voice_above_bed_db, gains_db=list(result.levels)
    )


def _platform_render(task: Task) -> Made:
    asked: RenderBody = task.body
    request = pro_renderer.PlatformRender(
        platform=asked.platform,
        quality=asked.quality,
        aspect_ratio=asked.aspect_ratio,
        codec=asked.codec,
        use_gpu=asked.use_gpu,
        upscale=asked.upscale,
        trim=asked.trim,
        focus=None if asked.aspect_ratio in _OWN_SHAPES else task.focus() or None,
    )
    made = pro_renderer.render_for_platform(
        request, task.files["video"], task.workdir, task.policy.render, progress=task.report
    )
    return made_of(
        made,
        encoder=made.encoder,
        container=made.container,
        passes=made.passes,
        video_kbps=made.video_kbps,
    )


def _preview_request(asked: PreviewBody) -> preview_generator.PreviewRequest:
    first = () if asked.quality is None else (asked.quality,)
    return preview_generator.PreviewRequest(
        qualities=tuple(dict.fromkeys((*first, *asked.qualities))),
        contact_sheet=asked.thumbnail_strip,
        frame_count=asked.frame_count,
        sprite=asked.sprite,
        sprite_every_s=asked.sprite_every_s,
        waveform=asked.waveform,
    )


def _preview(task: Task) -> Made:
    result = preview_generator.preview(
        task.files["video"],
        task.workdir,
        task.policy.render,
        _preview_request(task.body),
        progress=task.report,
    )
    return Made(
        files=tuple(MadeFile(path=path) for path in result.files),
        checks=result.checks,
        degraded=result.degraded,
        details={
            "duration_s": round(result.duration_s, 3),
            "proxies": result.proxies,
            "sheet": result.sheet,
            "sprite": result.sprite,
        },
    )


def _check_render(asked: RenderBody) -> None:
    pro_renderer.platform_of(asked.platform)
    known("quality", asked.quality, QUALITIES)
    if asked.codec is not None:
        known("codec", asked.codec, CODECS)
    if asked.aspect_ratio is not None:
        ratio(asked.aspect_ratio, 1, 1)


def _check_grade(asked: GradeBody) -> None:
    named = _grade_sources(asked)
    _grade_request(asked, {role: Path(role) for role in named if role != "video"})


TOOLS = (
    Tool(
        name="caption",
        module="auto_captions",
        path="/api/pro/caption",
        body=CaptionBody,
        sources=_video,
        check=_caption_request,
        run=_caption,
        about="Captions of what is said, as files and drawn into the video.",
        rate=1.2,
    ),
    Tool(
        name="color-grade",
        module="color_grading",
        path="/api/pro/color-grade",
        body=GradeBody,
        sources=_grade_sources,
        others=("lut",),
        check=_check_grade,
        run=_grade,
        about="The video in another look.",
    ),
    Tool(
        name="smart-crop",
        module="smart_crop",
        path="/api/pro/smart-crop",
        body=CropBody,
        sources=_video,
        check=_crop_request,
        run=_crop,
        about="The video in another shape, the window following what matters.",
    ),
    Tool(
        name="audio-mix",
        module="audio_mixer",
        path="/api/pro/audio-mix",
        body=MixBody,
        sources=_mix_sources,
        check=_check_mix,
        run=_mix,
        about="The video with music, voices and effects laid in, at a platform's loudness.",
    ),
    Tool(
        name="render",
        module="pro_renderer",
        path="/api/pro/render",
        body=RenderBody,
        sources=lambda asked: {"video": asked.input_path},
        check=_check_render,
        run=_platform_render,
        about="The video as a platform wants it, at a quality level.",
        rate=4.0,
    ),
    Tool(
        name="preview",
        module="preview_generator",
        path="/api/pro/preview",
        body=PreviewBody,
        sources=_video,
        check=_preview_request,
        run=_preview,
        about="Proxies, a contact sheet, a sprite with its track, a waveform.",
        rate=0.6,
    ),
)
