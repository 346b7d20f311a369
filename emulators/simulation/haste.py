"""What a simulation saves itself that a deployed step cannot: work that ends the same anyway."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from geminivideo.budget.revenue import Rise, StageMap
from geminivideo.records import StageSeen
from geminivideo.runtime import runs
from geminivideo.services.budget_decisions import Rises, rising_by


class Remembered:
    """``budget_decisions.rising_by`` that folds the history of a deal once: of a thousand deals
    most stand still between two decisions.

    Histories are told apart as objects, which the memory's records keep; they are never changed.
    """

    def __init__(self) -> None:
        self._stages: StageMap | None = None
        self._known: dict[int, tuple[Iterable[StageSeen], Sequence[Rise]]] = {}

    def __call__(self, stages: StageMap) -> Rises:
        """The rises by this stage map."""
        if stages != self._stages:
            self._stages, self._known = stages, {}
        rises = rising_by(stages)

        def once(history: Iterable[StageSeen]) -> Sequence[Rise]:
            known = self._known.get(id(history))
            if known is None or known[0] is not history:
                known = self._known[id(history)] = (history, rises(history))
            return known[1]

        return once


def never(stages: StageMap) -> Rises:
    """For who does not ask how a deal's value ripened: rivals do not."""
    return lambda history: ()


@contextmanager
def without_collections() -> Iterator[None]:
    """Records have no cycles worth looking for in the midst of a simulation."""
    were_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if were_on:
            gc.enable()


@contextmanager
def without_heartbeats() -> Iterator[None]:
    """No thread renews the lease of a step: on a clock that stands while it works none ever would.

    For a process of its own: steps on a real clock would lose their leases meanwhile.
    """
    heartbeat: Any = runs.Heartbeat
    runs.Heartbeat = lambda *_: nullcontext()  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        runs.Heartbeat = heartbeat  # type: ignore[misc]
