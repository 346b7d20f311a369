"""Actuals that are told wrongly: what a broken pixel, a lost feed or a mixed-up join would leave.

All but ``SWAPPED`` are lies about one day, about every so many-th ad of an account. ``SWAPPED`` is
a batch of launches that is recorded with the features of others of the same batch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import msgspec
from geminivideo.budget.history import AdDay, days_of, packed
from geminivideo.records import AdState

DAY_S = 86_400.0


class Poison(StrEnum):
    """What is told of a day; the numbers are as many times its clicks."""

    FIVEFOLD = "x5"
    TWENTYFOLD = "x20"
    HALF_MORE = "x1.5"
    ZEROED = "zeroed"
    SHUFFLED = "shuffled"
    SWAPPED = "swapped"


_TIMES = {
    Poison.FIVEFOLD: 5.0,
    Poison.TWENTYFOLD: 20.0,
    Poison.HALF_MORE: 1.5,
    Poison.ZEROED: 0.0,
}


def told_wrong(
    states: Sequence[AdState], poison: Poison, at: float, every: int, seed: int
) -> list[AdState]:
    """The ads' documents with the day of ``at`` told wrongly of every ``every``-th of them.

    Clicks stay within impressions. ``SHUFFLED``: each is told the views and clicks of another.
    """
    lied = [ad for ad in range(0, len(states), every) if _day(states[ad], at) is not None]
    given = _given([_day(states[ad], at) for ad in lied], poison, seed)
    found = list(states)
    for ad, day in zip(lied, given, strict=True):
        found[ad] = _with(states[ad], day)
    return found


def _day(state: AdState, at: float) -> AdDay | None:
    return next((d for d in days_of(state) if d.begins_at <= at < d.begins_at + DAY_S), None)


def _given(days: Sequence[AdDay | None], poison: Poison, seed: int) -> list[AdDay]:
    told = [day for day in days if day is not None]
    if poison is Poison.SHUFFLED:
        others = list(told)
        random.Random(f"{seed}/shuffled").shuffle(others)
        return [
            msgspec.structs.replace(day, impressions=other.impressions, clicks=other.clicks)
            for day, other in zip(told, others, strict=True)
        ]
    times = _TIMES[poison]
    return [
        msgspec.structs.replace(day, clicks=min(day.impressions, round(day.clicks * times)))
        for day in told
    ]


def _with(state: AdState, told: AdDay) -> AdState:
    """The document with one day told so, and totals that agree with its days."""
    days = [told if day.date == told.date else day for day in days_of(state)]
    return replace(
        state,
        clicks=sum(day.clicks for day in days),
        impressions=sum(day.impressions for day in days),
        days=packed(days),
    )
