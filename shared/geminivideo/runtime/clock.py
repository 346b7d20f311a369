"""The one clock: real time, a faster one, or one that is moved by hand, named by ``GV_CLOCK``.

``GV_CLOCK`` is empty (machine time), ``real_anchor,anchor,speed``, or ``file:PATH``: a small file
that one owner writes and every process maps, so that all of them follow when it is moved. Who
sleeps on it while it stands says until when in a folder beside it (``sleepers``), so that whoever
moves it can tell work from sleep.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENV = "GV_CLOCK"
FILE_SCHEME = "file:"
SLICE_S = 0.05  # machine seconds: how soon a wait sees that a shared clock was moved
SLEEP_SLICE_S = 0.005  # the same of a sleep while the clock stands: somebody waits for its end
_RECORD = struct.Struct("<Qddd")
_CHECK = struct.Struct("<I")
_SLOT = _RECORD.size + _CHECK.size
FILE_SIZE = 2 * _SLOT + 1  # the last byte is not 0 while the owner makes a move
MOVE_PATIENCE_S = 5.0  # an owner that takes longer has been killed in the middle of its move
_MOVE_LOOK_S = 0.0005
_BEDS = ".sleepers"


class ClockFileError(RuntimeError):
    """The file that ``GV_CLOCK`` names is no clock; the message says what to do."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not a clock file: start the cloud that owns it, or correct {ENV}"
        )


@dataclass(frozen=True)
class Clock:
    """Maps machine time to product time: ``now = anchor + (real - real_anchor) * speed``.

    Times are UTC epoch seconds; durations are product seconds. With the defaults product time
    is machine time.
    """

    real_anchor: float = 0.0
    anchor: float = 0.0
    speed: float = 1.0

    @classmethod
    def from_env(cls, environ: os._Environ[str] | dict[str, str] = os.environ) -> Clock:
        """The clock that ``GV_CLOCK`` describes, else real time; raises ``ClockFileError``."""
        raw = environ.get(ENV, "")
        if raw.startswith(FILE_SCHEME):
            return SharedClock(Path(raw.removeprefix(FILE_SCHEME)))
        return cls(*(float(part) for part in raw.split(","))) if raw else cls()

    @classmethod
    def starting_now(cls, speed: float) -> Clock:
        """A clock that agrees with machine time now and runs ``speed`` times as fast."""
        started = time.time()
        return cls(started, started, speed)

    def to_env(self) -> dict[str, str]:
        """The environment that makes another process run on this clock."""
        return {ENV: f"{self.real_anchor!r},{self.anchor!r},{self.speed!r}"}

    def now(self) -> float:
        """Product time in UTC epoch seconds."""
        return self.anchor + (time.time() - self.real_anchor) * self.speed

    def real_seconds(self, seconds: float) -> float:
        """How long ``seconds`` of product time last on the machine; for ever when it stands."""
        speed = self.speed
        if not speed:
            return math.inf if seconds > 0 else 0.0
        return seconds / speed

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds`` of product time."""
        time.sleep(max(0.0, self.real_seconds(seconds)))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for ``event`` for at most ``seconds`` of product time; True when it was set."""
        return event.wait(max(0.0, self.real_seconds(seconds)))


@dataclass(frozen=True)
class Reading(Clock):
    """What a clock file says at one moment; ``sequence`` grows with every move."""

    sequence: int = 0

    def at(self, real: float) -> float:
        """Product time at a machine time; it stands still until ``real_anchor`` has come."""
        return self.anchor + max(0.0, real - self.real_anchor) * self.speed

    def encode(self) -> tuple[int, bytes]:
        """Where in the file it belongs, and its bytes: two places take turns, so that a reader
        (or a crash) in the middle of a write finds the one before whole."""
        record = _RECORD.pack(self.sequence, self.real_anchor, self.anchor, self.speed)
        return self.sequence % 2 * _SLOT, record + _CHECK.pack(zlib.crc32(record))

    @classmethod
    def decode(cls, raw: bytes) -> Reading | None:
        """The newest whole record of a clock file's bytes; None when there is none."""
        found = [cls._slot(raw[place : place + _SLOT]) for place in (0, _SLOT)]
        whole = [reading for reading in found if reading is not None]
        return max(whole, key=lambda reading: reading.sequence, default=None)

    @classmethod
    def _slot(cls, raw: bytes) -> Reading | None:
        record, check = raw[: _RECORD.size], raw[_RECORD.size :]
        if len(check) != _CHECK.size or _CHECK.unpack(check)[0] != zlib.crc32(record):
            return None
        sequence, real_anchor, anchor, speed = _RECORD.unpack(record)
        return cls(real_anchor, anchor, speed, sequence) if sequence else None


class SharedClock(Clock):
    """The clock in a file: every process that maps it has the same time and follows its moves.

    Raises ``ClockFileError`` when the file is missing or holds no clock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map = self._mapped(mmap.ACCESS_READ)
        self._known: tuple[bytes, Reading] | None = None
        self._abandoned = b""
        self.reading()

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"SharedClock({str(self.path)!r})"

    @property
    def real_anchor(self) -> float:
        """Machine time of the last move."""
        return self.reading().real_anchor

    @property
    def anchor(self) -> float:
        """Product time right after the last move."""
        return self.reading().anchor

    @property
    def speed(self) -> float:
        """How fast it runs now; 0 while it stands still."""
        return self.reading().speed

    def reading(self) -> Reading:
        """What the file says now; a move under way is waited for."""
        raw = self._map[:]
        if raw[-1] and raw != self._abandoned:
            raw = self._after_move()
        if self._known is None or self._known[0] != raw:
            self._known = (raw, self._decoded(raw))
        return self._known[1]

    def to_env(self) -> dict[str, str]:
        """The environment that makes another process follow this clock."""
        return {ENV: f"{FILE_SCHEME}{self.path}"}

    def now(self) -> float:
        """Product time in UTC epoch seconds; it never goes back, however the clock is moved."""
        while True:
            reading = self.reading()
            if not reading.speed:
                return reading.anchor
            now = reading.at(time.time())
            if self.reading() is reading:
                return now

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds`` of product time, less when the clock is moved meanwhile."""
        until = self.now() + seconds
        if self.speed:
            self._wait_until(threading.Event(), until, SLICE_S)
            return
        with _asleep(self.path, until):
            self._wait_until(threading.Event(), until, SLEEP_SLICE_S)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for ``event`` for at most ``seconds`` of product time; True when it was set."""
        return self._wait_until(event, self.now() + seconds, SLICE_S)

    def _wait_until(self, event: threading.Event, until: float, slice_s: float) -> bool:
        while (left := until - self.now()) > 0:
            if event.wait(min(self.real_seconds(left), slice_s)):
                return True
        return event.is_set()

    def _after_move(self) -> bytes:
        until = time.monotonic() + MOVE_PATIENCE_S
        while (raw := self._map[:])[-1]:
            if time.monotonic() > until:
                self._abandoned = raw
                break
            time.sleep(_MOVE_LOOK_S)
        return raw

    def _mapped(self, access: int) -> mmap.mmap:
        try:
            with self.path.open("rb" if access == mmap.ACCESS_READ else "r+b") as file:
                return mmap.mmap(file.fileno(), FILE_SIZE, access=access)
        except (OSError, ValueError) as error:
            raise ClockFileError(self.path) from error

    def _decoded(self, raw: bytes) -> Reading:
        reading = Reading.decode(raw)
        if reading is None:
            raise ClockFileError(self.path)
        return reading


def sleepers(path: Path) -> list[float]:
    """Until when each sleeper of the clock at ``path`` sleeps that lay down while it stood.

    One whose time has come is on the list until it has got up.
    """
    try:
        return [float(name.partition(" ")[0]) for name in os.listdir(f"{path}{_BEDS}")]
    except FileNotFoundError:
        return []


def beds(path: Path) -> Path:
    """The folder in which the sleepers of the clock at ``path`` lie."""
    return path.with_name(f"{path.name}{_BEDS}")


@contextlib.contextmanager
def _asleep(path: Path, until: float) -> Iterator[None]:
    """A file named by the time of waking, for as long as the sleep lasts."""
    bed = beds(path) / f"{until!r} {os.getpid()} {threading.get_ident()}"
    bed.parent.mkdir(exist_ok=True)
    bed.touch()
    try:
        yield
    finally:
        bed.unlink(missing_ok=True)
