"""What a synthetic voice is to the product: who speaks, under which licence, and what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geminivideo.records import Word


class VoiceUnavailableError(RuntimeError):
    """No voice speaks here; the message says which one was wanted and what would make it speak."""


@dataclass(frozen=True, kw_only=True)
class VoiceInfo:
    """A synthetic voice: its language (BCP 47), the licence of its code and data, who made it.

    ``offline``: it speaks on this machine. No voice of the product is a real person's.
    """

    name: str
    language: str
    licence: str
    maker: str
    offline: bool


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Spoken text as a mono 16-bit WAV file.

    ``words`` are the times that the synthesis itself tells (seconds in the file), None when it
    tells none; ``cost_microusd`` is None where prices are unknown, 0 where nothing is paid.
    """

    path: Path
    words: tuple[Word, ...] | None
    characters: int
    cost_microusd: int | None


class Voice(Protocol):
    """Something that speaks."""

    @property
    def info(self) -> VoiceInfo:
        """Who speaks."""
        ...

    def speak(self, text: str, to: Path) -> Speech:
        """Speak one line into a WAV file; raises ``VoiceUnavailableError`` when it cannot."""
        ...


class Recogniser(Protocol):
    """Something that hears words in the sound of a Matroska file; None: it cannot tell."""

    def __call__(self, path: Path, expected: str) -> Sequence[Word] | None:
        """The words with their times in the file; ``expected`` is what was meant to be said."""
        ...
