"""Waits of product time that end when the clock is moved past them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from geminivideo.runtime.clock import Clock

SLICE_S = 0.05  # machine seconds: how soon a wait sees that the clock was moved


def pause(clock: Clock, seconds: float, goes_on: Callable[[], bool]) -> None:
    """Block this thread for ``seconds`` of product time, or until ``goes_on()`` is false."""
    until = clock.now() + seconds
    while goes_on() and (left := _machine_left(clock, until)) > 0:
        time.sleep(min(left, SLICE_S))


async def delay(clock: Clock, seconds: float) -> None:
    """Wait ``seconds`` of product time."""
    until = clock.now() + seconds
    while (left := _machine_left(clock, until)) > 0:
        await asyncio.sleep(min(left, SLICE_S))


def _machine_left(clock: Clock, until: float) -> float:
    left = until - clock.now()
    return clock.real_seconds(left) if left > 0 else 0.0
