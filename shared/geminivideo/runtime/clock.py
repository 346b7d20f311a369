"""The one clock: real time, or a faster one that every process agrees on through ``GV_CLOCK``."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass

ENV = "GV_CLOCK"


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
        """The clock that ``GV_CLOCK`` describes (``real_anchor,anchor,speed``), else real time."""
        raw = environ.get(ENV, "")
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
        """How long ``seconds`` of product time last on the machine."""
        return seconds / self.speed

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds`` of product time."""
        time.sleep(max(0.0, self.real_seconds(seconds)))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for ``event`` for at most ``seconds`` of product time; True when it was set."""
        return event.wait(max(0.0, self.real_seconds(seconds)))
