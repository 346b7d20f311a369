"""Checked graphs that are kept: a program that has not changed is not run again.

A graph is kept with everything that it follows from: what the run was told, the code that runs and
checks it, what is installed, and each file, folder and path that the run has asked about (see
``reads``). It is used only while every one of these is as it was.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from emulators.topology.graph import Graph
from emulators.topology.reads import Read, content, installed, unchanged
from emulators.topology.record import (
    Question,
    Recorded,
    RecordError,
    environment,
    recorded,
    write_whole,
)

FOLDER = ".local/graphs"
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A checked graph; ``told`` and ``reads`` are what it follows from."""

    told: str
    reads: tuple[Read, ...]
    graph: Graph


def checked(question: Question) -> Graph:
    """The graph of a program that passes every check, kept or made now; raises ``RecordError``."""
    if (kept := load(question)) is not None:
        return kept
    return renewed(question)


def renewed(question: Question) -> Graph:
    """Run the program and check its graph; keep it when that can be. Raises ``RecordError``."""
    from emulators.topology.check import check

    file_of(question).parent.mkdir(parents=True, exist_ok=True)
    found = recorded(question)
    if findings := check(found.graph):
        raise RecordError(findings)
    if not found.unrepeatable:
        _keep(question, found)
    return found.graph


def load(question: Question) -> Graph | None:
    """The graph that was kept for this question, if running the program would make it again."""
    try:
        kept = msgspec.json.decode(file_of(question).read_bytes(), type=Kept)
    except (FileNotFoundError, msgspec.DecodeError):  # none yet, or another version's
        return None
    return kept.graph if kept.told == _told(question) and unchanged(kept.reads) else None


def file_of(question: Question) -> Path:
    """Where the graph of a question is kept: one for each, beside its program."""
    asked = msgspec.json.encode(asdict(question), order="sorted")
    name = hashlib.blake2b(asked, digest_size=12).hexdigest()
    return Path(question.root, FOLDER, f"{name}.json")


def _keep(question: Question, found: Recorded) -> None:
    kept = Kept(told=_told(question), reads=found.reads, graph=found.graph)
    write_whole(msgspec.json.encode(kept), file_of(question))


def _told(question: Question) -> str:
    """A digest of all that a run is told, and of the code that runs and checks it."""
    parts = [
        msgspec.json.encode(asdict(question), order="sorted").decode(),
        msgspec.json.encode(environment(), order="sorted").decode(),
        installed(),
        *(f"{path} {content(str(path))}" for path in sorted(_HERE.rglob("*.py"))),
    ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
