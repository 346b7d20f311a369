"""What is said: faster-whisper with word times, entirely on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo import degraded as why
from geminivideo.drive_intel import media
from geminivideo.drive_intel.models import Models
from geminivideo.policy import SpeechPolicy
from geminivideo.records import Transcript, Word

if TYPE_CHECKING:
    import numpy as np

_BEAM = 5
_RATE = 16_000
_LANGUAGE = "en"
_MARGIN_S = 0.4  # words may reach this far out of what the voice detector marks


def transcribe(
    path: Path, transcript_id: str, models: Models, policy: SpeechPolicy, hint: str | None = None
) -> Transcript:
    """The words of the first sound track with their times in the video.

    With sound but no speech ``words`` is empty; without a sound track, or with one that cannot be
    decoded, it is None (``no-audio``, ``sound-unreadable``).
    ``hint`` holds names that the recogniser should expect (product, offer). The local model hears
    English only, so any words carry ``english-only-speech``.
    """
    offset = _sound_starts(path)
    if offset is None:
        return _unheard(transcript_id, why.NO_AUDIO)
    sound = _decoded(path)
    if not len(sound):
        return _unheard(transcript_id, why.SOUND_UNREADABLE)
    words, reasons = _hear(sound, models, policy, hint)
    return Transcript(
        id=transcript_id,
        words=tuple(_shifted(word, offset) for word in words),
        language=_LANGUAGE if words else None,
        source=models.speech_source,
        degraded=(*reasons, why.ENGLISH_ONLY) if words else reasons,
    )


def _unheard(transcript_id: str, reason: str) -> Transcript:
    return Transcript(
        id=transcript_id, words=None, language=None, source="none", degraded=(reason,)
    )


def _decoded(path: Path) -> np.ndarray:
    """The first sound track, mono at 16 kHz; empty when none of it can be decoded."""
    import numpy as np
    from av import FFmpegError
    from faster_whisper.audio import decode_audio

    try:
        return decode_audio(str(path), sampling_rate=_RATE)
    except FFmpegError:
        return np.empty(0, np.float32)


def _sound_starts(path: Path) -> float | None:
    """Where the first sound track starts in the video (s); None when there is none."""
    with media.opened(path) as container:
        for stream in container.streams.audio:
            start = float((stream.start_time or 0) * (stream.time_base or 0))
            return max(0.0, start - media.start_of(container))
    return None


def _hear(
    sound: np.ndarray, models: Models, policy: SpeechPolicy, hint: str | None
) -> tuple[list[Word], tuple[str, ...]]:
    """Words in the time of the sound track, and what was left out.

    The voice detector says where words may be, but the recogniser hears the whole track: cut into
    pieces it loses the beginnings of words.
    """
    from faster_whisper.vad import get_speech_timestamps

    heard = sound[: int(policy.max_heard_s * _RATE)]
    reasons = (why.SPEECH_IN_PART,) if len(heard) < len(sound) else ()
    spoken = [(s["start"] / _RATE, s["end"] / _RATE) for s in get_speech_timestamps(heard)]
    if not spoken:
        return [], reasons
    segments, _ = models.speech.transcribe(
        heard[: int((spoken[-1][1] + _MARGIN_S) * _RATE)],
        beam_size=_BEAM,
        word_timestamps=True,
        condition_on_previous_text=False,
        hotwords=hint,
    )
    placed = (_placed(word, spoken) for word in _words(segments, policy))
    return [word for word in placed if word is not None], reasons


def _placed(word: Word, spoken: Iterable[tuple[float, float]]) -> Word | None:
    """The word, started no earlier than the voice around it; None when there is no voice."""
    middle = (word.start_s + word.end_s) / 2
    for start, end in spoken:
        if start - _MARGIN_S <= middle <= end + _MARGIN_S:
            return replace(word, start_s=min(max(word.start_s, round(start, 3)), word.end_s))
    return None


def _shifted(word: Word, by_s: float) -> Word:
    return replace(word, start_s=round(word.start_s + by_s, 3), end_s=round(word.end_s + by_s, 3))


def _words(segments: Iterable[Any], policy: SpeechPolicy) -> Iterable[Word]:
    for segment in segments:
        if _is_speech(segment, policy):
            for pieces in whole(segment.words):
                yield Word(
                    text="".join(piece.word for piece in pieces).strip(),
                    start_s=round(float(pieces[0].start), 3),
                    end_s=round(float(pieces[-1].end), 3),
                    confidence=round(float(min(p.probability for p in pieces)), 4),
                )


def whole(pieces: Iterable[Any]) -> list[list[Any]]:
    """Pieces grouped to words: one without a leading space goes on the word before it."""
    words: list[list[Any]] = []
    for piece in pieces:
        if words and not piece.word.startswith(" "):
            words[-1].append(piece)
        else:
            words.append([piece])
    return words


def _is_speech(segment: Any, policy: SpeechPolicy) -> bool:
    """Music and noise make the model invent words, which it then does not believe itself."""
    if not segment.words or segment.no_speech_prob > policy.max_no_speech:
        return False
    mean = sum(word.probability for word in segment.words) / len(segment.words)
    return mean >= policy.min_segment_confidence
