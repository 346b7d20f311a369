"""Working through long columns part by part, several at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# Few enough rows that they stay in cache from one step to the next, and so many that threads seldom
# wait for one another between two calls of numpy.
_PART = 65_536
_MOST_THREADS = 4


def each(count: int, work: Callable[[slice], T]) -> list[T]:
    """What ``work`` makes of the rows, part by part, in order.

    The parts depend on ``count`` alone, never on how many processors there are; numpy lets several
    threads calculate at once.
    """
    parts = [slice(start, min(start + _PART, count)) for start in range(0, count, _PART)]
    threads = min(_MOST_THREADS, _processors(), len(parts))
    if threads < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def _processors() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
