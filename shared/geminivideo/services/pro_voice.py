"""Spoken lines over HTTP: a cloud voice where one is configured, else a local one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geminivideo.policy import Policy
from geminivideo.records import Word
from geminivideo.services.pro_task import Made, MadeFile, Task, Tool
from geminivideo.services.pro_tools import made_of
from geminivideo.video_agent import audio_mixer, voice_generator
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.voices import Recogniser, Voice

# A beat that no line fills: a text without times is spoken at its own pace.
_OPEN_S = 3600.0
CLOUD_ENV = ("GV_TTS_VOICE", "GV_TTS_URL")


@dataclass(frozen=True, kw_only=True)
class LineBody:
    """A sentence and the beat (s) that it belongs to."""

    text: str
    start_time: float
    end_time: float


@dataclass(frozen=True, kw_only=True)
class VoiceBody:
    """``lines`` in their beats, or one ``text`` from ``start_time`` on. With ``video_path`` the
    voice is mixed into the video. ``clone_from`` is refused."""

    text: str = ""
    lines: list[LineBody] = field(default_factory=list)
    start_time: float = 0.0
    language: str = "en-US"
    voice: str | None = None
    video_path: str | None = None
    normalization: str = "social_media"
    clone_from: str | None = None


def _lines(asked: VoiceBody) -> tuple[voice_generator.Line, ...]:
    if bool(asked.text) == bool(asked.lines):
        raise UnknownOptionError("give text, or lines with their times")
    if asked.text:
        end = asked.start_time + _OPEN_S
        return (voice_generator.Line(text=asked.text, start_s=asked.start_time, end_s=end),)
    return tuple(
        voice_generator.Line(text=one.text, start_s=one.start_time, end_s=one.end_time)
        for one in asked.lines
    )


def _check(asked: VoiceBody) -> None:
    if asked.clone_from is not None:
        raise voice_generator.CloningRefusedError("cloning a person's voice is refused")
    lines = _lines(asked)
    most = Policy().ad.max_duration_s
    if not all(0 <= line.start_s <= most for line in lines):
        raise UnknownOptionError(f"a line starts at 0 to {most:g} s")
    if asked.lines and not all(line.end_s <= most for line in lines):
        raise UnknownOptionError(f"a line ends at {most:g} s at the latest")
    _voice(asked)
    if asked.video_path:
        _ = audio_mixer.MixRequest(normalization=asked.normalization).loudness_lufs


def _voice(asked: VoiceBody) -> Voice:
    """Who speaks; raises VoiceUnavailableError with what there is instead."""
    if asked.voice is None and any(os.environ.get(name) for name in CLOUD_ENV):
        from geminivideo.cloud.speech import GoogleVoice

        return GoogleVoice.from_env(asked.language)
    return voice_generator.local_voice(asked.language, asked.voice)


def _speak(task: Task) -> Made:
    asked: VoiceBody = task.body
    track = voice_generator.generate(
        voice_generator.VoiceRequest(lines=_lines(asked), language=asked.language),
        _voice(asked),
        task.workdir,
        task.policy.voice,
        recognise=_ears(task),
    )
    short = "voice-short" if asked.text else "-"
    details = {
        "voice": asdict(track.voice),
        "lines": [asdict(line) for line in track.lines],
        "words": [asdict(word) for word in track.words],
        "word_source": track.word_source,
        "duration_s": round(track.duration_s, 3),
        "characters": track.characters,
        "cost_microusd": track.cost_microusd,
    }
    return _with_video(
        task,
        Made(
            files=(MadeFile(path=track.path),),
            checks=track.checks,
            degraded=tuple(one for one in track.degraded if not one.startswith(short)),
            details=details,
        ),
    )


def _ears(task: Task) -> Recogniser | None:
    senses = task.senses
    if senses is None:
        return None

    def recognise(path: Path, expected: str) -> Sequence[Word] | None:
        return senses.words(path, task.policy).words

    return recognise


def _with_video(task: Task, spoken: Made) -> Made:
    """The voice mixed into the video, if there is one; the voice alone comes with it."""
    if "video" not in task.files:
        return spoken
    track = audio_mixer.Track(path=spoken.files[0].path, kind=audio_mixer.Kind.VOICEOVER)
    request = audio_mixer.MixRequest(tracks=(track,), normalization=task.body.normalization)
    mixed = made_of(audio_mixer.mix(task.files["video"], task.workdir, task.policy.render, request))
    details: dict[str, Any] = {**mixed.details, **spoken.details}
    return Made(
        files=(*mixed.files, *spoken.files),
        checks=(*mixed.checks, *spoken.checks),
        degraded=(*mixed.degraded, *spoken.degraded),
        details=details,
    )


def _sources(asked: VoiceBody) -> Mapping[str, str]:
    return {"video": asked.video_path} if asked.video_path else {}


TOOLS = (
    Tool(
        name="voice",
        module="voice_generator",
        path="/api/voice/generate",
        body=VoiceBody,
        sources=_sources,
        check=_check,
        run=_speak,
        about="Lines spoken by a synthetic voice, alone or mixed into a video.",
        rate=1.5,
    ),
)
