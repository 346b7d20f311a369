"""The live daily budget of every ad over time: steps that the delivery reads."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
Step = tuple[float, float]


class Budgets(Protocol):
    """What was live when."""

    def __len__(self) -> int:
        """How many ads there are by now."""

    def mean(self, since: float, until: float) -> Column:
        """Each ad's daily budget (minor units) over that time; 0 while it does not deliver."""


class BudgetHistory:
    """Steps per ad, added in the order of time; before its first step an ad spends nothing."""

    def __init__(self, histories: Iterable[Iterable[Step]] = ()) -> None:
        self._lock = threading.RLock()
        self._at: list[list[float]] = []
        self._budgets: list[list[float]] = []
        for ad, history in enumerate(histories):
            self._grow(ad)
            for at, budget in history:
                self.set(ad, at, budget)

    def __len__(self) -> int:
        return len(self._at)

    def set(self, ad: int, at: float, budget: float) -> None:
        """From ``at`` on the ad has this daily budget; 0 while it is paused.

        What was planned for later than ``at`` is forgotten.
        """
        with self._lock:
            self._grow(ad)
            times, budgets = self._at[ad], self._budgets[ad]
            while times and times[-1] >= at:
                times.pop()
                budgets.pop()
            times.append(at)
            budgets.append(float(budget))

    def set_all(self, at: float, budgets: Sequence[float]) -> None:
        """Every ad's from ``at`` on."""
        for ad, budget in enumerate(budgets):
            self.set(ad, at, budget)

    def live(self, ad: int, at: float) -> float:
        """An ad's daily budget at a moment."""
        place = bisect_right(self._at[ad], at)
        return self._budgets[ad][place - 1] if place else 0.0

    def mean(self, since: float, until: float) -> Column:
        """Each ad's over that time, weighted by how long each was live."""
        with self._lock:
            return np.array([self._mean(ad, since, until) for ad in range(len(self))])

    def _mean(self, ad: int, since: float, until: float) -> float:
        times = self._at[ad]
        first, last = bisect_right(times, since), bisect_right(times, until)
        if first == last or until <= since:
            return self._budgets[ad][first - 1] if first else 0.0
        cuts = [since, *times[first:last], until]
        live = [self._budgets[ad][n - 1] if n else 0.0 for n in range(first, last + 1)]
        lengths = (b - a for a, b in pairwise(cuts))
        whole = sum(length * budget for length, budget in zip(lengths, live, strict=True))
        return whole / (until - since)

    def _grow(self, ad: int) -> None:
        while len(self._at) <= ad:
            self._at.append([])
            self._budgets.append([])
