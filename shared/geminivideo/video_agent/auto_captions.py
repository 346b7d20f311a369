"""Auto captions: what is said, as SRT and WebVTT, drawn into the picture, masked where asked.

Words and their times are the transcript's. Subtitles are read back from the files that were
written and compared with it; drawn captions are checked like those of an ad. Masking in the sound
is as exact as the recogniser's word times, which are given some room on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from geminivideo.policy import RenderPolicy
from geminivideo.records import Check, Transcript, Word
from geminivideo.video_agent import ffmpeg
from geminivideo.video_agent.options import UnknownOptionError, known
from geminivideo.video_agent.plan import Cue, RenderRequest, captions_of, in_time, place
from geminivideo.video_agent.pro import ProResult, made, whole
from geminivideo.video_agent.profanity import masked
from geminivideo.video_agent.subtitles import Line, read, srt, vtt

if TYPE_CHECKING:
    import numpy as np

STYLES = ("instagram", "youtube", "karaoke", "tiktok", "hormozi")
SOUNDS = ("keep", "mute", "bleep")
_LIT = ("instagram", "karaoke")
_MAX_WORDS = {"hormozi": 1, "tiktok": 4, "youtube": 12}
_MAX_CHARS = {"youtube": 70}
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_MAX_OWN_WORDS = 1000
_SYNC_S = 0.1
_RATE = 48000
_ROOM_S = 0.08
_RAMP_S = 0.005
_BLEEP_HZ = 1000.0


@dataclass(frozen=True, kw_only=True)
class CaptionRequest:
    """How captions look and what they hide.

    ``language`` is a BCP 47 tag: it chooses the word list and names the files. ``word_level``
    lights the spoken word (instagram), all up to it (karaoke), and times the words inside WebVTT.
    ``mask_profanity`` hides the words of our list, ``mask_words`` those of the caller as well;
    ``mask_sound`` mutes or bleeps what was hidden, which makes a video even without ``burn_in``.
    """

    style: str = "instagram"
    language: str = "en"
    word_level: bool = True
    burn_in: bool = False
    mask_profanity: bool = False
    mask_words: tuple[str, ...] = ()
    mask_sound: str = "keep"

    def __post_init__(self) -> None:
        """Raise UnknownOptionError for an option that does not exist."""
        known("style", self.style, STYLES)
        known("mask_sound", self.mask_sound, SOUNDS)
        if not _LANGUAGE.fullmatch(self.language):
            raise UnknownOptionError(f"language {self.language!r} is no language tag such as en-GB")
        if len(self.mask_words) > _MAX_OWN_WORDS:
            raise UnknownOptionError(f"mask_words has more than {_MAX_OWN_WORDS} entries")
        if self.mask_sound != "keep" and not (self.mask_profanity or self.mask_words):
            raise UnknownOptionError("mask_sound needs mask_profanity or mask_words")


@dataclass(frozen=True, kw_only=True)
class CaptionResult(ProResult):
    """``subtitles`` are the SRT and the WebVTT file; ``masked`` is how many words were hidden."""

    cues: tuple[Cue, ...] = ()
    masked: int = 0


def auto_captions(
    source: Path,
    transcript: Transcript | None,
    workdir: Path,
    policy: RenderPolicy,
    request: CaptionRequest,
) -> CaptionResult:
    """Subtitle files of what is said, and the video with captions or a masked sound when asked.

    No transcript, or one whose words are unknown, gives empty files and ``no-transcript``. Raises
    RenderFailedError for a video that cannot be read.
    """
    limits = limits_of(request.style, policy)
    spoken = transcript.words if transcript else None
    masked_words, hits = _hidden(spoken or (), request)
    asked = whole(source, "caption", "source", limits)
    words, late = _shown(masked_words, asked.duration_s)
    asked = replace(asked, words=words, caption_style=request.style)
    cues = captions_of(words, asked.cuts, asked.fps, limits)
    files = _write(cues, workdir, request)
    result = CaptionResult(
        rendered=None,
        checks=_file_checks(files, cues, words),
        subtitles=files,
        degraded=(*_reasons(transcript, spoken, request), *late),
        cues=cues,
        masked=len(hits),
    )
    covered = request.mask_sound != "keep" and bool(hits) and asked.has_audio
    if not (request.burn_in or covered):
        return result
    sound = (
        _covered(source, [masked_words[n] for n in hits], asked, workdir, request)
        if covered
        else None
    )
    return _burnt(result, asked, source, workdir, request, sound)


def _hidden(
    words: Sequence[Word], request: CaptionRequest
) -> tuple[tuple[Word, ...], tuple[int, ...]]:
    if not (request.mask_profanity or request.mask_words):
        return tuple(words), ()
    listed = request.language if request.mask_profanity else None
    return masked(words, listed, request.mask_words)


def _shown(words: Sequence[Word], end_s: float) -> tuple[tuple[Word, ...], tuple[str, ...]]:
    """The words that are begun while there is a picture, and the reason when some are not."""
    timed = in_time(words)
    begun = tuple(replace(w, end_s=min(w.end_s, end_s)) for w in timed if w.start_s < end_s)
    lost = len(timed) - len(begun)
    return begun, ((f"words-after-picture:{lost}",) if lost else ())


def _reasons(
    transcript: Transcript | None, spoken: Sequence[Word] | None, request: CaptionRequest
) -> tuple[str, ...]:
    if transcript is None or spoken is None:
        return (*(transcript.degraded if transcript else ()), "no-transcript")
    heard = (transcript.language or request.language).partition("-")[0].casefold()
    other = heard != request.language.partition("-")[0].casefold()
    return (*transcript.degraded, *([f"language-differs:{heard}"] if other else []))


def _burnt(
    result: CaptionResult,
    asked: RenderRequest,
    source: Path,
    workdir: Path,
    request: CaptionRequest,
    sound: Path | None,
) -> CaptionResult:
    cues: tuple[Cue, ...] = result.cues if request.burn_in else ()
    if request.word_level:
        cues = lit(cues, request.style, asked)
    words = asked.words if request.burn_in else ()
    drawn = made(replace(asked, captions=cues, words=words), source, workdir, sound=sound)
    return replace(
        result,
        rendered=drawn.rendered,
        checks=(*result.checks, *drawn.checks),
        degraded=tuple(dict.fromkeys((*result.degraded, *drawn.degraded))),
    )


def limits_of(style: str, policy: RenderPolicy) -> RenderPolicy:
    """The policy with as many words and characters in a caption as the style shows."""
    return replace(
        policy,
        caption_words=_MAX_WORDS.get(style, policy.caption_words),
        caption_chars=_MAX_CHARS.get(style, policy.caption_chars),
    )


def lit(cues: Sequence[Cue], style: str, shown: RenderRequest) -> tuple[Cue, ...]:
    """The captions as a style that lights its words draws them; those of others as they are."""
    if style not in _LIT:
        return tuple(cues)
    return tuple(part for cue in cues for part in _lit(cue, shown, trail=style == "karaoke"))


def _lit(cue: Cue, shown: RenderRequest, *, trail: bool) -> list[Cue]:
    """A cue as one picture a word: the word being said (and those before it) lights up."""
    begun = (_begun(word, cue, shown) for word in cue.words)
    starts = [min(cue.end_s, max(cue.start_s, start)) for start in begun]
    ends = [*starts[1:], cue.end_s]
    return [
        replace(cue, start_s=start, end_s=end, lit=(0 if trail else number, number + 1))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        if end > start
    ]


def _begun(word: Word, cue: Cue, shown: RenderRequest) -> float:
    """When a cue's word is heard; of a stretch that is shown twice, in the cue's own showing."""
    middle = (word.start_s + word.end_s) / 2
    heard = [
        place(word, cut, shown.fps)[0]
        for cut in shown.cuts
        if cut.source == cue.source and cut.start_s <= middle < cut.end_s
    ]
    about = cue.start_s + word.start_s - cue.words[0].start_s
    return min(heard, key=lambda at: abs(at - about), default=about)


def _write(cues: Sequence[Cue], workdir: Path, request: CaptionRequest) -> tuple[Path, ...]:
    workdir.mkdir(parents=True, exist_ok=True)
    texts = {"srt": srt(cues), "vtt": vtt(cues, word_level=request.word_level)}
    paths = {kind: workdir / f"captions.{request.language}.{kind}" for kind in texts}
    for kind, path in paths.items():
        path.write_text(texts[kind], encoding="utf-8")
    return tuple(paths.values())


def _file_checks(
    files: Iterable[Path], cues: Sequence[Cue], words: Sequence[Word]
) -> tuple[Check, ...]:
    """What the files themselves say, against the transcript: every word, in order, in time."""
    if not words:
        return ()
    checks = []
    for path in files:
        lines = read(path.read_text(encoding="utf-8"))
        said = "".join(_letters(line.text) for line in lines)
        same = said == "".join(_letters(word.text) for word in words)
        late = _lateness(lines, cues)
        checks += [
            Check(
                name=f"{path.suffix[1:]}-words",
                passed=same,
                measured=f"{len(lines)} captions",
                wanted="the transcript's words in their order",
            ),
            Check(
                name=f"{path.suffix[1:]}-in-sync",
                passed=late is not None and late <= _SYNC_S,
                measured=None if late is None else round(late, 3),
                wanted=f"at most {_SYNC_S} s from the first word",
            ),
        ]
    return tuple(checks)


def _lateness(lines: Sequence[Line], cues: Sequence[Cue]) -> float | None:
    """The largest distance (s) of a caption from its first word; None when captions are missing."""
    if len(lines) != len(cues):
        return None
    return max(
        (abs(line.start_s - cue.words[0].start_s) for line, cue in zip(lines, cues, strict=True)),
        default=0.0,
    )


def _letters(text: str) -> str:
    return re.sub(r"[^\w*]+|_", "", text).casefold()


def _covered(
    source: Path,
    hidden: Sequence[Word],
    asked: RenderRequest,
    workdir: Path,
    request: CaptionRequest,
) -> Path:
    """The video's sound as WAV with the hidden words muted or bleeped."""
    path = workdir / "masked.f32"
    length = f"{asked.duration_s:.6f}"
    even = f"aresample={_RATE}:async=1:first_pts=0,apad=whole_dur={length},atrim=end={length}"
    ffmpeg.run(
        [
            *ffmpeg.source(source, "-vn"),
            *("-map", "0:a:0", "-af", even, "-ac", "2", "-f", "f32le", str(path)),
        ],
        timeout_s=asked.policy.timeout_s,
    )
    cover(path, [(w.start_s, w.end_s) for w in hidden], bleep=request.mask_sound == "bleep")
    wave = path.with_suffix(".wav")
    raw = ["-f", "f32le", "-ar", str(_RATE), "-ac", "2", "-i", f"file:{path}"]
    ffmpeg.run([*raw, "-c:a", "pcm_f32le", str(wave)], timeout_s=asked.policy.timeout_s)
    path.unlink()
    return wave


def cover(raw: Path, spans: Iterable[tuple[float, float]], *, bleep: bool) -> None:
    """Silence (or bleep) spans of seconds in a 48 kHz stereo float file, in place.

    Each span gets 80 ms of room on both sides and 5 ms ramps; a bleep is a 1 kHz sine as strong as
    what it replaces. Only the spans are held in memory.
    """
    import numpy as np

    mapped = np.memmap(raw, np.float32, "r+")
    samples = mapped.reshape(-1, 2)
    for start_s, end_s in _merged(spans):
        first, last = max(0, round(start_s * _RATE)), min(len(samples), round(end_s * _RATE))
        if last <= first:
            continue
        ramp = _ramp(last - first)
        part = samples[first:last]
        tone = _tone(part) if bleep else 0.0
        samples[first:last] = part * (1 - ramp) + tone * ramp
    mapped.flush()


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spans with their room, those that touch made one."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted((s - _ROOM_S, e + _ROOM_S) for s, e in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _ramp(length: int) -> np.ndarray:
    """0 to 1 and back, (length, 1)."""
    import numpy as np

    rise = max(1, min(round(_RAMP_S * _RATE), length // 2))
    place = np.arange(length)
    edge = np.minimum(place, length - 1 - place) / rise
    return np.minimum(edge, 1.0).astype(np.float32)[:, None]


def _tone(part: np.ndarray) -> np.ndarray:
    import numpy as np

    strength = float(np.sqrt(2 * (part.astype(np.float64) ** 2).mean()))
    wave = np.sin(2 * np.pi * _BLEEP_HZ * np.arange(len(part)) / _RATE)
    return (strength * wave).astype(np.float32)[:, None]
