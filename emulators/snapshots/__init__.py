"""Snapshots of a cloud's state: test fixtures that everything goes on from."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec
from geminivideo.runtime.clock import Reading

from emulators import addresses, clock
from emulators.running import MARK, StateDirError, held, is_held
from emulators.snapshots.errors import (
    BusyError,
    NothingToSaveError,
    SnapshotError,
    SnapshotExistsError,
    SnapshotFormatError,
    SnapshotMissingError,
    SnapshotNameError,
)
from emulators.snapshots.moment import cut, take

__all__ = [
    "BusyError",
    "Manifest",
    "NothingToSaveError",
    "SnapshotError",
    "SnapshotExistsError",
    "SnapshotFormatError",
    "SnapshotMissingError",
    "SnapshotNameError",
    "Snapshots",
]

FORMAT = 1
FOLDER = "snapshots"
_MANIFEST = "manifest.json"
_STATE = "state"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a snapshot says of itself; ``at`` is product time, ``saved_at`` machine time."""

    name: str
    project: str
    at: float
    speed: float
    saved_at: float
    version: str
    format: int
    size: int
    running: bool


class Snapshots:
    """The snapshots in one folder, each a folder of its own with a manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, state_dir: Path) -> Snapshots:
        """Those that lie beside a state directory (``.local/snapshots``)."""
        return cls(state_dir.resolve().parent / FOLDER)

    def save(self, name: str, state_dir: Path, *, replace: bool = False) -> Manifest:
        """Keep one moment of a cloud, running or not; a running one runs on.

        Raises ``SnapshotNameError``, ``SnapshotExistsError``, ``NothingToSaveError``,
        ``BusyError``.
        """
        place = self._place(name)
        if place.exists() and not replace:
            raise SnapshotExistsError(name)
        if not (state_dir / MARK).exists() or clock.read(state_dir / "clock") is None:
            raise NothingToSaveError(state_dir)
        partial = self._emptied(f".{name}.{os.getpid()}.new")
        try:
            manifest = self._written(name, state_dir, partial)
            if place.exists():
                shutil.rmtree(place)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return manifest

    def load(self, name: str, state_dir: Path) -> Manifest:
        """Put a snapshot in the place of ``state_dir``'s state; the clock stands until the start.

        Raises ``SnapshotMissingError``, ``SnapshotFormatError``, and ``StateDirError`` when a
        cloud runs there or the folder is something else.
        """
        manifest = self.manifest(name)
        state_dir.parent.mkdir(parents=True, exist_ok=True)
        with held(state_dir, fresh=False):
            incoming = state_dir / ".incoming"
            shutil.rmtree(incoming, ignore_errors=True)
            _copied(self._place(name) / _STATE, incoming)
            _replace_state(state_dir, incoming)
            reading = Reading(time.time(), manifest.at, 0.0, 1)
            clock.write(state_dir / "clock", reading)
            clock.keep_speed(state_dir / "clock", manifest.speed)
        return manifest

    def all(self) -> list[Manifest]:
        """Every snapshot that can be used, the oldest first."""
        found = self.folder.glob(f"[!.]*/{_MANIFEST}") if self.folder.exists() else ()
        usable = [self._usable(path.parent.name) for path in found]
        return sorted((m for m in usable if m), key=lambda m: (m.saved_at, m.name))

    def manifest(self, name: str) -> Manifest:
        """What a snapshot says of itself; raises as ``load`` does."""
        path = self._place(name) / _MANIFEST
        if not path.exists():
            raise SnapshotMissingError(name, self.folder)
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except msgspec.DecodeError as error:
            raise SnapshotFormatError(name, f"its manifest is not understood: {error}") from error
        if manifest.format != FORMAT:
            raise SnapshotFormatError(name, f"its format is {manifest.format}, ours {FORMAT}")
        return manifest

    def delete(self, name: str) -> None:
        """Remove a snapshot; raises ``SnapshotMissingError``."""
        place = self._place(name)
        if not place.exists():
            raise SnapshotMissingError(name, self.folder)
        shutil.rmtree(place)

    def _usable(self, name: str) -> Manifest | None:
        try:
            return self.manifest(name)
        except SnapshotFormatError:
            return None

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SnapshotNameError(name)
        return self.folder / name

    def _emptied(self, name: str) -> Path:
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def _written(self, name: str, state_dir: Path, partial: Path) -> Manifest:
        with _stays(state_dir) as running:
            moment = cut(state_dir, partial / _STATE)
            reading = clock.read(state_dir / "clock")
            assert reading is not None
            manifest = Manifest(
                name=name,
                project=addresses.read(state_dir).project,
                at=reading.at(moment),
                speed=clock.kept_speed(state_dir / "clock"),
                saved_at=time.time(),
                version=version("geminivideo"),
                format=FORMAT,
                size=sum(p.stat().st_size for p in partial.rglob("*") if p.is_file()),
                running=running,
            )
        (partial / _MANIFEST).write_bytes(msgspec.json.encode(manifest))
        return manifest


@contextmanager
def _stays(state_dir: Path) -> Iterator[bool]:
    """Whether a cloud runs there; when none does, none begins meanwhile."""
    if is_held(state_dir):
        yield True
        return
    try:
        with held(state_dir, fresh=False):
            yield False
    except StateDirError as error:
        raise SnapshotError(f"{error}; or try again") from error


def _copied(source: Path, target: Path) -> None:
    """A snapshot's state to be written to: only whole objects share their bytes with it."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            # a link count of one: the copy of an upload that had not ended
            linked = path.relative_to(source).parts[0] == "objects" and path.stat().st_nlink > 1
            take(path, place, linked=linked)


def _replace_state(state_dir: Path, incoming: Path) -> None:
    for path in state_dir.iterdir():
        if path.name in (MARK, incoming.name):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in incoming.iterdir():
        path.rename(state_dir / path.name)
    incoming.rmdir()
