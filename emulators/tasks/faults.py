"""Dispatch faults that tests switch on: what at-least-once execution may do on any day."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class DispatchFault(Protocol):
    """Asked about each dispatch: how often it is sent, and whether its answer is lost."""

    def copies(self, task: str) -> int:
        """How many times the same dispatch is sent, concurrently; at least 1."""

    def loses_answer(self, task: str) -> bool:
        """Whether a successful answer is treated as never received."""


class DuplicateDispatches:
    """Every dispatch is sent ``times`` times; one success completes the task."""

    def __init__(self, times: int = 2) -> None:
        self.times = times

    def copies(self, task: str) -> int:
        """The same for every task."""
        return self.times

    def loses_answer(self, task: str) -> bool:
        """Never."""
        return False


class LostAnswers:
    """The first ``times`` successful answers of each task are lost; it is dispatched again."""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self._lost: Counter[str] = Counter()

    def copies(self, task: str) -> int:
        """One."""
        return 1

    def loses_answer(self, task: str) -> bool:
        """True ``times`` times for each task, then False."""
        self._lost[task] += 1
        return self._lost[task] <= self.times
