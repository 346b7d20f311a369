"""One moment of a cloud's state, running or not: what a kill -9 of that moment would leave.

Every service acknowledges only what its database holds. While the write lock of all databases is
held at once nothing is acknowledged anywhere, so what they hold together is one moment of the whole
cloud. The locks are kept just long enough to open a reader on each database (WAL readers keep what
they saw) and to link the files; the copies are made while the cloud runs on.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from emulators.running import CARD, MARK
from emulators.snapshots.errors import BusyError

PATIENCE_S = 20.0
_LOCK_S = 0.5  # shorter than the services' own patience: two who wait for each other let go
_MAGIC = b"SQLite format 3\x00"
_OBJECTS = "objects"  # immutable once whole: linked, not copied
# Not state: the lock and the card of a running cloud, its clock (the manifest says the time), its
# logs, and what is unpacked or recorded anew at every start.
_LEFT_OUT = frozenset({MARK, CARD, "clock", "clock.speed", "clock.sleepers", "logs", "bundles"})


def cut(state_dir: Path, target: Path) -> float:
    """Copy one moment of ``state_dir`` to ``target`` (which is made); returns its machine time.

    Raises ``BusyError`` when the databases are written to without a pause.
    """
    target.mkdir(parents=True)
    with ExitStack() as readers:
        with standing_still(databases(state_dir)) as writers:
            moment = time.time()
            opened = {path: readers.enter_context(_reader(path)) for path in writers}
            growing = _open_uploads(opened)
            for source in _files(state_dir):
                place = target / source.relative_to(state_dir)
                place.parent.mkdir(parents=True, exist_ok=True)
                take(source, place, linked=_is_whole(source, state_dir, growing))
        for path, reader in opened.items():
            _copy_database(reader, target / path.relative_to(state_dir))
    return moment


def take(source: Path, place: Path, *, linked: bool) -> None:
    """Have a file in another place: a second name for the same bytes, or a copy."""
    if linked:
        try:
            os.link(source, place)
        except OSError:  # another file system
            pass
        else:
            return
    shutil.copy2(source, place)


def databases(state_dir: Path) -> list[Path]:
    """The SQLite files of a cloud's state."""
    return [path for path in _everything(state_dir) if _is_database(path)]


@contextmanager
def standing_still(paths: list[Path]) -> Iterator[list[Path]]:
    """Hold the write lock of every database at once; raises ``BusyError``."""
    until = time.monotonic() + PATIENCE_S
    while True:
        with ExitStack() as held:
            try:
                for path in paths:
                    held.enter_context(_write_lock(path))
            except sqlite3.OperationalError as error:
                if time.monotonic() > until:
                    raise BusyError(PATIENCE_S) from error
                continue
            yield paths
            return


@contextmanager
def _write_lock(path: Path) -> Iterator[None]:
    with _connected(path, _LOCK_S) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


@contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that goes on seeing the database as it is now."""
    with _connected(path, _LOCK_S) as database:
        database.execute("BEGIN")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield database


@contextmanager
def _connected(path: Path, timeout_s: float) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(
        path, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    try:
        yield database
    finally:
        database.close()


def _copy_database(reader: sqlite3.Connection, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with _connected(place, _LOCK_S) as copy:
        reader.backup(copy)


def _open_uploads(opened: dict[Path, sqlite3.Connection]) -> set[str]:
    """The contents that resumable uploads still add to: they may not share their bytes."""
    for path, database in opened.items():
        if path.name == "storage.sqlite":
            rows = database.execute("SELECT content FROM uploads WHERE content IS NOT NULL")
            return {row[0] for row in rows}
    return set()


def _is_whole(path: Path, state_dir: Path, growing: set[str]) -> bool:
    return path.relative_to(state_dir).parts[0] == _OBJECTS and path.name not in growing


def _files(state_dir: Path) -> list[Path]:
    return [path for path in _everything(state_dir) if not _is_database(path)]


def _everything(state_dir: Path) -> Iterator[Path]:
    for child in sorted(state_dir.iterdir()):
        if child.name in _LEFT_OUT or child.name.startswith("."):
            continue
        found = sorted(child.rglob("*")) if child.is_dir() else [child]
        for path in found:
            if path.is_file() and not path.name.endswith(("-wal", "-shm", "-journal", ".new")):
                yield path


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
