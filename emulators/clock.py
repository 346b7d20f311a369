"""The owner of a cloud's clock: the only one who moves it, in the file that all others map."""

from __future__ import annotations

import mmap
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

from geminivideo.runtime.clock import FILE_SIZE, Clock, Reading, SharedClock, beds

# Nobody reads a time while a move is made, so nobody has seen a later one than the new record
# begins with. The margin is for processors that show another one's writes a little late.
_MARGIN_S = 0.002
MOST_STEPS = 10_000


class ClockMoveError(ValueError):
    """A clock cannot be moved so; the message says why."""


class OwnedClock(SharedClock):
    """The clock of a state directory. Product time never goes back on it.

    ``speed`` None keeps the speed that it ran at last (1 on a new one). What the file says is
    gone on from, whatever the speeds and moves of earlier runs; while no cloud runs, a clock that
    was closed goes on as machine time does, or stands.
    """

    def __init__(self, path: Path, speed: float | None = None) -> None:
        _check_speed(speed)
        self._moving = threading.Lock()
        begun = _begin(path, kept_speed(path) if speed is None else speed)
        write(path, begun)
        shutil.rmtree(beds(path), ignore_errors=True)  # of processes that were killed asleep
        super().__init__(path)
        self._map = self._mapped(mmap.ACCESS_WRITE)
        keep_speed(path, begun.speed)

    def advance(self, seconds: float) -> float:
        """Move it ``seconds`` ahead; returns the new time, raises ``ClockMoveError``."""
        if not 0 <= seconds < float("inf"):
            raise ClockMoveError(f"a clock is moved ahead by seconds >= 0, not by {seconds}")
        return self._move(seconds)

    def set_speed(self, speed: float) -> float:
        """Run at another speed from now on (0: stand still); returns the time."""
        _check_speed(speed)
        now = self._move(0.0, speed)
        keep_speed(self.path, speed)
        return now

    def close(self) -> None:
        """No cloud runs on it any more: it goes on with machine time at most."""
        self._move(0.0, min(self.speed, 1.0))

    def _move(self, seconds: float, speed: float | None = None) -> float:
        with self._moving:
            last = self.reading()
            self._map[-1:] = b"\1"
            try:
                real = time.time() + _MARGIN_S
                anchor = last.at(real) + seconds
                chosen = last.speed if speed is None else speed
                moved = Reading(max(real, last.real_anchor), anchor, chosen, last.sequence + 1)
                place, raw = moved.encode()
                self._map[place : place + len(raw)] = raw
            finally:
                self._map[-1:] = b"\0"
            return anchor


def steps(seconds: float, step: float | None) -> list[float]:
    """``seconds`` in moves of at most ``step``; raises ``ClockMoveError`` when that cannot be."""
    if step is None or not seconds:
        return [seconds]
    if not seconds <= step * MOST_STEPS:  # also when step is no number above 0
        raise ClockMoveError(f"{seconds} s in steps of {step} s are more than {MOST_STEPS} moves")
    whole = int(seconds // step)
    rest = seconds - whole * step
    return [step] * whole + ([rest] if rest > 0 else [])


def read(path: Path) -> Reading | None:
    """What a clock file says, also one of an earlier release; None when there is no clock."""
    if not path.exists():
        return None
    raw = path.read_bytes()
    if len(raw) == FILE_SIZE:
        return Reading.decode(raw)
    try:
        old = Clock.from_env({"GV_CLOCK": raw.decode()})
    except (ValueError, TypeError):
        return None
    return Reading(old.real_anchor, old.anchor, old.speed, 1)


def write(path: Path, reading: Reading) -> None:
    """Put a clock file in place, whole or not at all."""
    place, raw = reading.encode()
    content = bytearray(FILE_SIZE)
    content[place : place + len(raw)] = raw
    partial = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(content)
    partial.replace(path)


def _begin(path: Path, speed: float) -> Reading:
    """The first record of a run: where the last one stands by now."""
    last, real = read(path), time.time()
    if last is None:
        return Reading(real, real, speed, 1)
    return replace(last, real_anchor=real, anchor=last.at(real), speed=speed, sequence=1)


def keep_speed(path: Path, speed: float) -> None:
    """Remember how fast a clock is to run when it is gone on with."""
    _speed_file(path).write_text(repr(speed))


def kept_speed(path: Path) -> float:
    """The speed that a clock ran at last; 1 on a new one."""
    kept = _speed_file(path)
    return float(kept.read_text()) if kept.exists() else 1.0


def _speed_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.speed")


def _check_speed(speed: float | None) -> None:
    if speed is not None and not 0 <= speed < float("inf"):
        raise ClockMoveError(f"a clock's speed is a number >= 0, not {speed}")
