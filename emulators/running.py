"""A state directory and the cloud that runs on it: the lock, and the card that others find it by.

Light to import: the commands that only talk to a running cloud start quickly.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

CARD = "cloud.json"
MARK = ".geminivideo-cloud"


class StateDirError(RuntimeError):
    """The state directory cannot be used; the message says why."""


class CloudNotRunningError(RuntimeError):
    """No cloud runs on a state directory."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(
            f"no local cloud runs in {state_dir}: start one with `geminivideo up`, "
            "or name its folder with --state"
        )


@dataclass(frozen=True, kw_only=True)
class Running:
    """``cloud.json``: how the other commands find a running cloud."""

    pid: int
    project: str
    region: str
    speed: float
    started_at: float
    services: dict[str, int]
    urls: dict[str, str]
    env: dict[str, str]
    uploads_bucket: str

    @classmethod
    def find(cls, state_dir: Path) -> Running:
        """The cloud that runs on ``state_dir``; raises ``CloudNotRunningError``."""
        path = state_dir / CARD
        if not path.exists() or not is_held(state_dir):
            raise CloudNotRunningError(state_dir)
        return cls(**json.loads(path.read_text()))

    def save(self, state_dir: Path) -> None:
        """Write it so that a reader never sees half of it."""
        partial = state_dir / f".{CARD}.new"
        partial.write_text(json.dumps(asdict(self), indent=1, sort_keys=True))
        partial.replace(state_dir / CARD)


@contextmanager
def held(state_dir: Path, *, fresh: bool) -> Iterator[None]:
    """Hold the directory for one cloud; empty it first when asked to.

    Raises ``StateDirError`` when another cloud holds it, or when it holds what is not a cloud's.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    if not (state_dir / MARK).exists() and any(state_dir.iterdir()):
        raise StateDirError(f"{state_dir} is not a local cloud's folder and is not empty")
    (state_dir / MARK).touch()
    with (state_dir / MARK).open("r+") as lock:
        if not _try_lock(lock):
            raise StateDirError(
                f"a local cloud runs on {state_dir} already (process {lock.read() or 'unknown'}): "
                "stop it, or name another folder with --state"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            if fresh:
                _empty(state_dir)
            yield
        finally:
            # A process that is just being started still has this file open: closing is not enough.
            fcntl.flock(lock, fcntl.LOCK_UN)


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(state_dir: Path) -> bool:
    """Whether a cloud runs on the directory now."""
    if not (state_dir / MARK).exists():
        return False
    with (state_dir / MARK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _empty(state_dir: Path) -> None:
    for path in state_dir.iterdir():
        if path.name == MARK:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
