"""Waits of product time that end when the clock is moved past them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from geminivideo.runtime.clock import Clock

SLICE_S = 0.05  # machine seconds: how soon a wait sees that the clock was moved


class _Wait:
    """``seconds`` of product time from now: at most what they last on the machine now."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._until = clock.now() + seconds
        self._ends = time.monotonic() + clock.real_seconds(seconds)

    def slice_s(self) -> float:
        """Machine seconds to sleep before looking again; 0 when it is over."""
        if self._clock.now() >= self._until:
            return 0.0
        return min(max(0.0, self._ends - time.monotonic()), SLICE_S)


def pause(clock: Clock, seconds: float, goes_on: Callable[[], bool]) -> None:
    """Block this thread for ``seconds`` of product time, or until ``goes_on()`` is false."""
    wait = _Wait(clock, seconds)
    while goes_on() and (machine_s := wait.slice_s()) > 0:
        time.sleep(machine_s)


async def delay(clock: Clock, seconds: float) -> None:
    """Wait ``seconds`` of product time."""
    wait = _Wait(clock, seconds)
    while (machine_s := wait.slice_s()) > 0:
        await asyncio.sleep(machine_s)
