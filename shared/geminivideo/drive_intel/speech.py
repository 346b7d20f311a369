"""What is said: faster-whisper with word times, entirely on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geminivideo import degraded as why
from geminivideo.drive_intel import media
from geminivideo.drive_intel.models import Models
from geminivideo.policy import SpeechPolicy
from geminivideo.records import Transcript, Word

_BEAM = 5


def transcribe(
    path: Path, transcript_id: str, models: Models, policy: SpeechPolicy, hint: str | None = None
) -> Transcript:
    """The words of the first sound track with their times in the video.

    Without a sound track ``words`` is None (``no-audio``); with sound but no speech it is empty.
    ``hint`` holds names that the recogniser should expect (product, offer). The local model hears
    English only, so any words carry ``english-only-speech``.
    """
    offset = _sound_starts(path)
    if offset is None:
        return Transcript(
            id=transcript_id, words=None, language=None, source="none", degraded=(why.NO_AUDIO,)
        )
    segments, info = models.speech.transcribe(
        str(path),
        beam_size=_BEAM,
        vad_filter=True,
        word_timestamps=True,
        condition_on_previous_text=False,
        hotwords=hint,
    )
    words = tuple(_words(segments, offset, policy))
    return Transcript(
        id=transcript_id,
        words=words,
        language=info.language if words else None,
        source=models.speech_source,
        degraded=(why.ENGLISH_ONLY,) if words else (),
    )


def _sound_starts(path: Path) -> float | None:
    """Where the first sound track starts in the video (s); None when there is none."""
    with media.opened(path) as container:
        for stream in container.streams.audio:
            start = float((stream.start_time or 0) * (stream.time_base or 0))
            return max(0.0, start - media.start_of(container))
    return None


def _words(segments: Iterable[Any], offset_s: float, policy: SpeechPolicy) -> Iterable[Word]:
    for segment in segments:
        if _is_speech(segment, policy):
            for pieces in whole(segment.words):
                yield Word(
                    text="".join(piece.word for piece in pieces).strip(),
                    start_s=round(float(pieces[0].start) + offset_s, 3),
                    end_s=round(float(pieces[-1].end) + offset_s, 3),
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
