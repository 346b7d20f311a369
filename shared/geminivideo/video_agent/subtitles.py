"""Captions as subtitle files: SubRip and WebVTT."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from geminivideo.video_agent.plan import Cue


def srt(cues: Sequence[Cue]) -> str:
    """SubRip: numbered cues, comma before the milliseconds."""
    blocks = [
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{_plain(cue.text)}\n"
        for number, cue in enumerate(cues, start=1)
    ]
    return "\n".join(blocks)


def vtt(cues: Sequence[Cue], *, word_level: bool = False) -> str:
    """WebVTT (W3C): a header, a full stop before the milliseconds, markup characters escaped.

    ``word_level`` puts the time of every word but the first before it (cue timestamps, section
    4.2.2), where the cue's words are its text.
    """
    blocks = [
        f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n"
        f"{_timed(cue) if word_level else _escaped(cue.text)}\n"
        for cue in cues
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _timed(cue: Cue) -> str:
    """The cue's words, each with its own time where that lies inside the cue."""
    parts = [_escaped(word.text) for word in cue.words]
    if " ".join(parts) != _escaped(cue.text):
        return _escaped(cue.text)
    shift = cue.start_s - cue.words[0].start_s
    text, last = parts[0], cue.start_s
    for word, part in zip(cue.words[1:], parts[1:], strict=True):
        at = round(word.start_s + shift, 3)
        inside = last < at < cue.end_s
        text += f" <{_clock(at, '.')}>{part}" if inside else f" {part}"
        last = at if inside else last
    return text


@dataclass(frozen=True)
class Line:
    """One subtitle as a file has it."""

    start_s: float
    end_s: float
    text: str


def read(text: str) -> tuple[Line, ...]:
    """The subtitles of a SubRip or WebVTT text that we wrote, without their inner times."""
    found = []
    unescaped = html.unescape if text.startswith("WEBVTT") else str
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line]
        at = next((n for n, line in enumerate(lines) if _TIMES.fullmatch(line)), None)
        if at is not None and (match := _TIMES.fullmatch(lines[at])):
            start, end = _seconds(match[1]), _seconds(match[2])
            plain = unescaped(_INNER.sub("", " ".join(lines[at + 1 :])))
            found.append(Line(start, end, plain))
    return tuple(found)


_TIMES = re.compile(r"(\d+:\d\d:\d\d[.,]\d{3}) --> (\d+:\d\d:\d\d[.,]\d{3})")
_INNER = re.compile(r"<\d+:\d\d:\d\d\.\d{3}>")


def _seconds(clock: str) -> float:
    hours, minutes, rest = clock.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def _clock(seconds: float, mark: str) -> str:
    whole = round(seconds * 1000)
    minutes, rest = divmod(whole, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("-->", "->")


def _escaped(text: str) -> str:
    return _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
