"""The voice generator: lines spoken by a synthetic voice, fitted to their beats.

Local voices ship in packages and speak without a network; a cloud voice comes as a ``Voice``. A
line is sped up or slowed down by no more than is still fair to an ear; what does not fit is said.
No real person's voice is imitated: cloning is refused.
"""

from __future__ import annotations

import re
import unicodedata
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.policy import VoicePolicy
from geminivideo.records import Check, Word
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.options import UnknownOptionError
from geminivideo.voices import Recogniser, Speech, Voice, VoiceInfo, VoiceUnavailableError

if TYPE_CHECKING:
    import numpy as np

RATE = 48_000
# Quieter than this (of full scale) is the pause around a line, not the line.
_SILENCE = 0.003
_KEPT_S = 0.03
_TIMEOUT_S = 120.0
_ROUNDING_S = 0.03
_MIN_HEARD = 0.5
# A stop takes about as long as this many letters.
_PAUSES = {",": 2, ";": 3, ":": 3, ".": 5, "!": 5, "?": 5}


class CloningRefusedError(ValueError):
    """A real person's voice was to be imitated; the product does not do that."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A sentence and the beat (seconds of the video) that it belongs to."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class VoiceRequest:
    """Lines to be spoken over a video of ``duration_s`` (None: as long as they take).

    ``language`` is BCP 47. ``cloned_from`` is what a caller may send to have a voice imitated; it
    is refused.
    """

    lines: tuple[Line, ...]
    language: str = "en-US"
    voice: str | None = None
    duration_s: float | None = None
    cloned_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class SpokenLine:
    """A line as it is heard: when, and by how much faster (above 1) than the voice spoke it."""

    text: str
    start_s: float
    end_s: float
    tempo: float


@dataclass(frozen=True, kw_only=True)
class VoiceTrack:
    """The lines as one mono 48 kHz WAV file, with the voice and its licence.

    ``word_source`` says where the words' times come from: ``synthesis``, ``recogniser`` or
    ``letters`` (estimated). ``cost_microusd`` is None where prices are unknown.
    """

    path: Path
    duration_s: float
    lines: tuple[SpokenLine, ...]
    words: tuple[Word, ...]
    word_source: str
    voice: VoiceInfo
    characters: int
    cost_microusd: int | None
    checks: tuple[Check, ...]
    degraded: tuple[str, ...] = ()


# --- local voices


class Heart:
    """An American woman's voice that never was one's: a small model that ships in its package."""

    info = VoiceInfo(
        name="heart",
        language="en-US",
        licence="Apache-2.0",
        maker="hibari-tts, distilled from Kokoro-82M (Apache-2.0)",
        offline=True,
    )

    def speak(self, text: str, to: Path) -> Speech:
        """Speak a line at 24 kHz; the same text gives the same sound."""
        import numpy as np

        sound = _heart()(text, seed=0)
        _write(to, np.clip(sound, -1, 1), 24_000)
        return Speech(path=to, words=None, characters=len(text), cost_microusd=0)


@cache
def _heart() -> Any:
    from hibari import Hibari

    return Hibari(voice="heart")


class Pico:
    """SVOX Pico, the voices of early Android, in five languages."""

    def __init__(self, language: str) -> None:
        self.info = VoiceInfo(
            name=f"pico-{language}",
            language=language,
            licence="Apache-2.0",
            maker="SVOX Pico, in py-nanotts",
            offline=True,
        )

    def speak(self, text: str, to: Path) -> Speech:
        """Speak a line at 16 kHz. Pico reads files that its markup names: none reaches it."""
        import numpy as np

        try:
            from py_nanotts import NanoTTS
        except ImportError as error:
            raise VoiceUnavailableError("Pico ships in py-nanotts: install it") from error

        plain = re.sub(r"[<>&\\]", " ", text)
        sound = NanoTTS().speak(plain, voice=self.info.language)
        _write(to, np.frombuffer(sound, "<i2").astype(np.float32) / 32768, 16_000)
        return Speech(path=to, words=None, characters=len(text), cost_microusd=0)


_PICO_LANGUAGES = ("en-GB", "de-DE", "es-ES", "fr-FR", "it-IT", "en-US")
_MODULES = {"heart": "hibari"}


def library() -> tuple[VoiceInfo, ...]:
    """The local voices that can speak here."""
    return tuple(voice.info for voice in _local() if _installed(voice.info.name))


def local_voice(language: str = "en-US", name: str | None = None) -> Voice:
    """A local voice by name, or the best of a language (a bare ``en`` is any English).

    Raises VoiceUnavailableError, with what there is instead.
    """
    there = [voice for voice in _local() if _installed(voice.info.name)]
    asked = language.replace("_", "-").lower()
    for voice in there:
        own = voice.info.language.lower()
        if name == voice.info.name or (
            name is None and (own == asked or own.partition("-")[0] == asked)
        ):
            return voice
    names = ", ".join(f"{v.info.name} ({v.info.language})" for v in there) or "none"
    raise VoiceUnavailableError(
        f"no local voice {name or language}; installed: {names}. "
        "A cloud voice speaks other languages when one is configured."
    )


def _local() -> list[Voice]:
    return [Heart(), *(Pico(language) for language in _PICO_LANGUAGES)]


def _installed(name: str) -> bool:
    return find_spec(_MODULES.get(name, "py_nanotts")) is not None


# --- lines to a track


def generate(
    request: VoiceRequest,
    voice: Voice,
    workdir: Path,
    policy: VoicePolicy,
    *,
    recognise: Recogniser | None = None,
) -> VoiceTrack:
    """Speak the lines into ``workdir/voice.wav``, each from the start of its beat on.

    Raises CloningRefusedError, UnknownOptionError for lines that say nothing or overlap, and
    VoiceUnavailableError when the voice cannot speak.
    """
    lines = _validated(request, policy)
    workdir.mkdir(parents=True, exist_ok=True)
    takes = [
        _taken(line, voice.speak(line.text, workdir / f"line-{number:02d}.wav"), policy)
        for number, line in enumerate(lines, start=1)
    ]
    spoken, reasons = _placed(takes, policy)
    total = max([request.duration_s or 0.0, *(line.end_s for line in spoken)])
    sound = _joined(takes, spoken, total, policy)
    path = workdir / "voice.wav"
    _write(path, sound, RATE)
    words, source, more = _words(takes, spoken, path, recognise)
    costs = [take.speech.cost_microusd for take in takes]
    known = [cost for cost in costs if cost is not None]
    return VoiceTrack(
        path=path,
        duration_s=len(sound) / RATE,
        lines=tuple(spoken),
        words=words,
        word_source=source,
        voice=voice.info,
        characters=sum(take.speech.characters for take in takes),
        cost_microusd=sum(known) if len(known) == len(costs) else None,
        checks=_checks(path, total, spoken, lines, reasons, policy),
        degraded=(*reasons, *more),
    )


def _validated(request: VoiceRequest, policy: VoicePolicy) -> list[Line]:
    if request.cloned_from is not None:
        raise CloningRefusedError(
            "cloning a person's voice is refused: choose one of the synthetic voices"
        )
    lines = [replace(line, text=_plain(line.text)) for line in request.lines]
    if not lines or not all(re.search(r"\w", line.text) for line in lines):
        raise UnknownOptionError("every line needs words to speak")
    if sum(len(line.text) for line in lines) > policy.max_chars:
        raise UnknownOptionError(f"the lines have more than {policy.max_chars} characters")
    clock = 0.0
    for number, line in enumerate(lines, start=1):
        if not clock <= line.start_s < line.end_s:
            raise UnknownOptionError(
                f"line {number} ({line.start_s:g}-{line.end_s:g} s) does not follow the one before"
            )
        clock = line.end_s
    return lines


def _plain(text: str) -> str:
    """One line without control characters, and without the markup that a voice may know."""
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)
    return " ".join(re.sub(r"[<>\[\]]", " ", shown).split())


@dataclass(frozen=True, kw_only=True)
class _Take:
    """A spoken line without the pauses around it, at its tempo and the track's rate."""

    line: Line
    speech: Speech
    sound: np.ndarray
    lead_s: float
    tempo: float
    ratio: float

    @property
    def length_s(self) -> float:
        return len(self.sound) / RATE


def _taken(line: Line, speech: Speech, policy: VoicePolicy) -> _Take:
    """The line at the tempo that fits its beat; its own where no fair tempo does."""
    sound, rate = _read(speech.path)
    loud = abs(sound) > _SILENCE
    if not loud.any():
        raise VoiceUnavailableError(f"the voice says nothing for {line.text!r}")
    first = max(0, int(loud.argmax()) - int(_KEPT_S * rate))
    last = len(sound) - int(loud[::-1].argmax()) + int(_KEPT_S * rate)
    ratio = (min(last, len(sound)) - first) / rate / (line.end_s - line.start_s)
    tempo = 1.0 if ratio < policy.min_tempo else min(ratio, policy.max_tempo)
    trimmed = speech.path.with_suffix(".trimmed.wav")
    _write(trimmed, sound[first:last], rate)
    fitted = speech.path.with_suffix(".fitted.wav")
    ffmpeg.run(
        [
            *ffmpeg.source(trimmed),
            *("-af", f"atempo={tempo:.6f},aresample={RATE}", "-c:a", "pcm_s16le", str(fitted)),
        ],
        timeout_s=_TIMEOUT_S,
    )
    return _Take(
        line=line,
        speech=speech,
        sound=_read(fitted)[0],
        lead_s=first / rate,
        tempo=tempo,
        ratio=ratio,
    )


def _placed(takes: Sequence[_Take], policy: VoicePolicy) -> tuple[list[SpokenLine], list[str]]:
    """Each line from its beat's start on, or as soon as the one before it has ended."""
    spoken: list[SpokenLine] = []
    reasons = []
    for number, take in enumerate(takes, start=1):
        start = max(take.line.start_s, spoken[-1].end_s if spoken else 0.0)
        spoken.append(
            SpokenLine(
                text=take.line.text, start_s=start, end_s=start + take.length_s, tempo=take.tempo
            )
        )
        if spoken[-1].end_s > take.line.end_s + _ROUNDING_S:
            reasons.append(f"voice-overruns:line-{number}")
        elif take.ratio < policy.min_tempo:
            reasons.append(f"voice-short:line-{number}")
    return spoken, reasons


def _joined(
    takes: Sequence[_Take], spoken: Sequence[SpokenLine], total_s: float, policy: VoicePolicy
) -> np.ndarray:
    import numpy as np

    sound = np.zeros(round(total_s * RATE) + 1, np.float32)
    for take, line in zip(takes, spoken, strict=True):
        first = round(line.start_s * RATE)
        part = take.sound[: len(sound) - first]
        sound[first : first + len(part)] += part
    highest = float(abs(sound).max())
    return sound[: round(total_s * RATE)] * (10 ** (policy.peak_dbfs / 20) / max(highest, 1e-6))


# --- when each word is said


def _words(
    takes: Sequence[_Take],
    spoken: Sequence[SpokenLine],
    path: Path,
    recognise: Recogniser | None,
) -> tuple[tuple[Word, ...], str, list[str]]:
    """The words with their times, where these come from, and what is to be said of that."""
    told = [_of_synthesis(take, line) for take, line in zip(takes, spoken, strict=True)]
    if all(words is not None for words in told):
        return tuple(word for words in told for word in words or ()), "synthesis", []
    guessed = [word for line in spoken for word in estimated(line)]
    script = " ".join(line.text for line in spoken)
    heard = recognise(_for_ears(path), script) if recognise else None
    if heard and (aligned := align(guessed, heard)) is not None:
        return tuple(aligned), "recogniser", []
    return tuple(guessed), "letters", ["word-times-estimated"]


def _for_ears(path: Path) -> Path:
    """The same sound in the kind of file in which videos come."""
    packed = path.with_suffix(".mkv")
    arguments = [*ffmpeg.source(path), "-c:a", "copy", str(packed)]
    ffmpeg.run(arguments, timeout_s=_TIMEOUT_S)
    return packed


def _of_synthesis(take: _Take, line: SpokenLine) -> list[Word] | None:
    """The synthesis' own times, moved to where the line is heard."""
    if take.speech.words is None:
        return None

    def moved(at_s: float) -> float:
        at = line.start_s + (at_s - take.lead_s) / take.tempo
        return round(min(max(at, line.start_s), line.end_s), 3)

    return [
        replace(word, start_s=moved(word.start_s), end_s=moved(word.end_s))
        for word in take.speech.words
    ]


def estimated(line: SpokenLine) -> list[Word]:
    """A line's words spread over its time by their letters; stops count as some more."""
    texts = line.text.split()
    lengths = [max(1, len(re.sub(r"\W", "", text))) + 1 for text in texts]
    pauses = [_PAUSES.get(text[-1], 0) for text in texts[:-1]] + [0]
    step = (line.end_s - line.start_s) / (sum(lengths) + sum(pauses))
    words, at = [], line.start_s
    for text, length, pause in zip(texts, lengths, pauses, strict=True):
        end = at + length * step
        words.append(Word(text=text, start_s=round(at, 3), end_s=round(end, 3), confidence=0.0))
        at = end + pause * step
    return words


def align(script: Sequence[Word], heard: Sequence[Word]) -> list[Word] | None:
    """The script's words with the times of the words heard; between them, in proportion.

    None when fewer than half of the script's words were heard.
    """
    meant, caught = ([_letters(word.text) for word in words] for words in (script, heard))
    matcher = SequenceMatcher(None, meant, caught, autojunk=False)
    found = {
        block.a + n: heard[block.b + n]
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
    }
    if len(found) < _MIN_HEARD * len(script):
        return None
    edges = [(-1, script[0].start_s, script[0].start_s)]
    edges += [(number, word.start_s, word.end_s) for number, word in sorted(found.items())]
    edges += [(len(script), script[-1].end_s, script[-1].end_s)]
    aligned: list[Word] = []
    for (before, _, left), (after, right, until) in pairwise(edges):
        aligned += _between(script[before + 1 : after], left, max(left, right))
        if after < len(script):
            word = found[after]
            kept = replace(script[after], confidence=word.confidence)
            aligned.append(replace(kept, start_s=max(left, right), end_s=max(left, right, until)))
    return aligned


def _between(words: Sequence[Word], start: float, end: float) -> list[Word]:
    """Words that were not heard, as they were guessed, squeezed into the time between."""
    if not words:
        return []
    first, length = words[0].start_s, max(words[-1].end_s - words[0].start_s, 1e-6)
    scale = (end - start) / length
    return [
        replace(
            word,
            start_s=round(start + (word.start_s - first) * scale, 3),
            end_s=round(start + (word.end_s - first) * scale, 3),
        )
        for word in words
    ]


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


# --- the finished file


def _checks(
    path: Path,
    total_s: float,
    spoken: Sequence[SpokenLine],
    lines: Sequence[Line],
    reasons: Sequence[str],
    policy: VoicePolicy,
) -> tuple[Check, ...]:
    """Measured on the file: its length, its peak, and silence wherever nobody is to speak."""
    import numpy as np

    sound, rate = _read(path)
    quiet = np.ones(len(sound), bool)
    for line in spoken:
        first = max(0, int((line.start_s - 0.01) * rate))
        quiet[first : int((line.end_s + 0.01) * rate)] = False
    outside = float(abs(sound[quiet]).max()) if quiet.any() else 0.0
    peak = 20 * float(np.log10(max(float(abs(sound).max()), 1e-6)))
    late = sum(a.end_s > b.end_s + _ROUNDING_S for a, b in zip(spoken, lines, strict=True))
    told = sum(reason.startswith("voice-overruns") for reason in reasons)
    return (
        Check(
            name="duration",
            passed=abs(len(sound) / rate - total_s) < 0.01,
            measured=round(len(sound) / rate, 3),
            wanted=round(total_s, 3),
        ),
        Check(
            name="peak",
            passed=abs(peak - policy.peak_dbfs) < 0.2,
            measured=round(peak, 2),
            wanted=f"{policy.peak_dbfs} dBFS",
        ),
        Check(
            name="silence-between",
            passed=outside <= _SILENCE,
            measured=round(outside, 4),
            wanted=f"at most {_SILENCE} of full scale",
        ),
        Check(name="lines-in-beats", passed=late == told, measured=late, wanted=f"{told} as said"),
    )


def _read(path: Path) -> tuple[np.ndarray, int]:
    """A mono 16-bit WAV file as floats (-1 to 1), and its rate."""
    import numpy as np

    with wave.open(str(path)) as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            raise VoiceUnavailableError(f"{path.name} is not mono 16-bit sound")
        data = file.readframes(file.getnframes())
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768, file.getframerate()


def _write(path: Path, sound: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
