"""What is known about a clip of the corpus, and how it is read back.

Positions are frames in the order in which they are shown, counted from 0, and seconds from the
start of the file; boxes are fractions of the upright picture (rotation applied).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from geminivideo.records import Box

FOLDER = Path(".local/corpus")
TRUTH = "truth.json"

CutKind = Literal["hard", "dissolve", "fade"]


class CorpusMissingError(FileNotFoundError):
    """The corpus was not built; the message says how."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One change of shot.

    ``frame`` is where it counts: of a hard cut the first frame of the new shot, of a dissolve the
    middle of the mixed frames, of a fade through black its darkest frame. ``first`` and ``last``
    are the frames that it touches (of a hard cut: ``frame`` itself). ``at_s`` is when ``frame``
    is shown.
    """

    kind: CutKind
    frame: int
    first: int
    last: int
    at_s: float

    @property
    def frames(self) -> int:
        """How many frames it takes: 1 for a hard cut."""
        return self.last - self.first + 1


@dataclass(frozen=True, kw_only=True)
class Flash:
    """Frames ``first`` to ``last`` that are burnt out inside one shot: no cut."""

    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class SeenWord:
    """A word on screen from ``start_s`` to ``end_s``."""

    text: str
    box: Box
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """What is said between two positions (s)."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class SeenObject:
    """A face, or an object by its COCO name, in one frame."""

    label: str
    frame: int
    at_s: float
    box: Box


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip of the corpus and its truth; ``path`` is the file.

    ``kinds`` says what it is for (``hard``, ``text``, ``portrait``, ...). None means that nothing
    is known of it, an empty tuple that there is none. ``loudness_lufs`` is what ffmpeg's ebur128
    measures in the finished file.
    """

    name: str
    path: Path
    kinds: tuple[str, ...]
    width: int
    height: int
    fps: float
    frames: int
    duration_s: float
    rotation_deg: int = 0
    channels: int = 0
    cuts: tuple[Cut, ...] | None = None
    flashes: tuple[Flash, ...] = ()
    words: tuple[SeenWord, ...] | None = None
    spoken: tuple[Sentence, ...] | None = None
    faces: tuple[SeenObject, ...] | None = None
    objects: tuple[SeenObject, ...] | None = None
    loudness_lufs: float | None = None
    licences: tuple[str, ...] = ()
    recipe: str = ""


def load(folder: Path = FOLDER) -> tuple[Clip, ...]:
    """The clips of a corpus in the order of their names; raises ``CorpusMissingError``."""
    found = sorted(folder.glob(f"*/{TRUTH}"))
    if not found:
        raise CorpusMissingError(f"there is no corpus in {folder}: run `make corpus` first")
    return tuple(_read(path) for path in found)


def named(name: str, folder: Path = FOLDER) -> Clip:
    """One clip; raises ``CorpusMissingError``."""
    path = folder / name / TRUTH
    if not path.is_file():
        raise CorpusMissingError(f"there is no clip {name} in {folder}: run `make corpus` first")
    return _read(path)


def save(clip: Clip) -> None:
    """Write the truth beside the clip; the file's name is kept, not where the corpus lies."""
    text = msgspec.json.encode(msgspec.to_builtins(clip, enc_hook=_name))
    clip.path.with_name(TRUTH).write_bytes(msgspec.json.format(text, indent=1) + b"\n")


def _read(path: Path) -> Clip:
    body = msgspec.json.decode(path.read_bytes())
    return msgspec.convert(body | {"path": str(path.with_name(body["path"]))}, Clip, dec_hook=_path)


def _name(value: object) -> object:
    return value.name if isinstance(value, Path) else value


def _path(kind: type, value: object) -> object:
    return kind(value) if kind is Path else value
