"""What is said: faster-whisper with word times, entirely on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo import degraded as why
from geminivideo.deadline import NEVER, Deadline
from geminivideo.drive_intel.models import Models
from geminivideo.drive_intel.voice_activity import RATE, WINDOW, Track, decoded, stretches
from geminivideo.policy import SpeechPolicy
from geminivideo.records import Brief, Transcript, Word

if TYPE_CHECKING:
    import numpy as np

_BEAM = 5
_ENGLISH = "en"
_MARGIN_S = 0.4  # words may reach this far out of what the voice detector marks
_VOICE, _PAUSE_S = 0.5, 2.0  # the recogniser is asked only where a voice may be, pauses included


def transcribe(
    path: Path,
    transcript_id: str,
    models: Models,
    policy: SpeechPolicy,
    hint: str | None = None,
    track: Track | None = None,
    deadline: Deadline = NEVER,
) -> Transcript:
    """The words of the first sound track with their times in the video, and the language.

    With sound but no voice ``words`` is empty; it is None without a sound track, with one that
    cannot be decoded, and with a voice of which no word was understood (``no-audio``,
    ``sound-unreadable``, ``speech-not-understood``).
    ``hint`` holds names that the recogniser should expect (``names_to_expect``). A model that
    knows English only says ``english-only-speech`` with any voice; a multilingual one hears which
    language it is, and says ``language-unsure`` below the policy's confidence.
    ``track`` spares decoding the sound again. What is not heard before the ``deadline`` is left out
    (``speech-heard-in-part``).
    """
    track = track or decoded(path, policy.max_heard_s)
    if track is None:
        return _unheard(transcript_id, why.NO_AUDIO)
    if not len(track.samples):
        return _unheard(transcript_id, why.SOUND_UNREADABLE)
    heard = _hear(track, models, policy, hint, deadline)
    in_part = heard.is_cut or not track.is_whole
    reasons = (why.SPEECH_IN_PART, *heard.reasons) if in_part else heard.reasons
    return Transcript(
        id=transcript_id,
        words=None
        if heard.words is None
        else tuple(_shifted(word, track.starts_s) for word in heard.words),
        language=heard.language,
        language_confidence=heard.language_confidence,
        source=models.speech_source,
        model_version=models.version("speech"),
        degraded=reasons,
    )


def names_to_expect(brief: Brief | None, policy: SpeechPolicy) -> str | None:
    """The brand names and the offer of a brief, as the recogniser's hint; None without any.

    Few words only: a recogniser that is told many begins to hear them everywhere.
    """
    told = [brief.product_name, brief.offer] if brief else []
    words = " ".join(text for text in told if text).split()
    return " ".join(words[: policy.max_hint_words]) or None


def _unheard(transcript_id: str, reason: str) -> Transcript:
    return Transcript(
        id=transcript_id, words=None, language=None, source="none", degraded=(reason,)
    )


@dataclass(frozen=True)
class _Heard:
    """What the recogniser gave: words in the time of the track, and of which language.

    ``words`` None: there is a voice, and no word of it was understood. ``is_cut``: time was up
    before its end.
    """

    words: tuple[Word, ...] | None = ()
    language: str | None = None
    language_confidence: float | None = None
    reasons: tuple[str, ...] = ()
    is_cut: bool = False


def _hear(
    track: Track, models: Models, policy: SpeechPolicy, hint: str | None, deadline: Deadline
) -> _Heard:
    """The voice detector says where words may be, but the recogniser hears the whole track: cut
    into pieces it loses the beginnings of words."""
    spoken = stretches(track.voice, _VOICE, _PAUSE_S, _MARGIN_S, track.length_s)
    if not spoken:
        return _Heard()
    model = models.speech
    language, sure = _language(model, track.samples, spoken)
    segments, _ = model.transcribe(
        track.samples[: int((spoken[-1][1] + _MARGIN_S) * RATE)],
        beam_size=_BEAM,
        word_timestamps=True,
        condition_on_previous_text=False,
        hotwords=hint,
        language=language,
    )
    timely = _Timely(segments, deadline)
    placed = (_placed(word, spoken) for word in _words(timely, policy))
    words = tuple(word for word in placed if word is not None)
    if not words and not timely.cut and _is_certain(track.voice, policy):
        only = (why.ENGLISH_ONLY,) if sure is None else ()
        return _Heard(None, reasons=(why.SPEECH_NOT_UNDERSTOOD, *only))
    if not words:
        return _Heard(is_cut=timely.cut)
    return _Heard(words, language, sure, _doubts(sure, policy), timely.cut)


def _is_certain(voice: np.ndarray, policy: SpeechPolicy) -> bool:
    """Whether somebody speaks for sure, understood or not."""
    certain_s = float((voice >= policy.certain_voice).sum()) * WINDOW / RATE
    return certain_s >= policy.certain_voice_s


class _Timely:
    """Segments, which the recogniser makes as they are taken, until the deadline."""

    def __init__(self, segments: Iterable[Any], deadline: Deadline) -> None:
        self._segments, self._deadline = iter(segments), deadline
        self.cut = False

    def __iter__(self) -> Iterator[Any]:
        while not self._deadline.passed:
            try:
                yield next(self._segments)
            except StopIteration:
                return
        self.cut = True


def _doubts(sure: float | None, policy: SpeechPolicy) -> tuple[str, ...]:
    if sure is None:
        return (why.ENGLISH_ONLY,)
    return (why.LANGUAGE_UNSURE,) if sure < policy.min_language_confidence else ()


def _language(
    model: Any, sound: np.ndarray, spoken: Sequence[tuple[float, float]]
) -> tuple[str, float | None]:
    """The language and how sure it is; None for a model that knows English only.

    It is judged from where somebody first speaks: a film often begins with music, of which the
    model would make up a language.
    """
    if not model.model.is_multilingual:
        return _ENGLISH, None
    language, probability, _ = model.detect_language(sound[int(spoken[0][0] * RATE) :])
    return language, round(float(probability), 4)


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
