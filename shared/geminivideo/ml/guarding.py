"""Actuals that cannot be true are not learned from, and too many of them stop the learning."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from geminivideo.ml.judging import Row, clicks_of, impressions_of
from geminivideo.policy import TrainingPolicy

DAY_S = 86400.0
_MAD_TO_SPREAD = 1.4826  # a normal distribution's standard deviation by its median deviation
_LEAST_SPREAD = 0.1  # logit: days differ by as much without any cause
_LEAST_DAYS = 5


class PoisonedActualsError(ValueError):
    """So many actuals cannot be true that nothing is learned from any; the message counts them."""


@dataclass(frozen=True)
class Guarded:
    """What may be learned from, and what was left out (sentences)."""

    rows: list[Row]
    left_out: tuple[str, ...]


def guarded(rows: Sequence[Row], policy: TrainingPolicy, now: float) -> Guarded:
    """The rows that can be true; raises ``PoisonedActualsError`` when too many cannot.

    Impossible: more clicks than impressions, negative counts, numbers that are none, an ad of the
    future, a rate above ``max_ctr``. A day of an account whose ads as a whole are far from its
    other days' is left out: a true change of taste is seen in later days too, and then counts.
    """
    possible = [row for row in rows if _is_possible(row, policy, now)]
    refused = len(rows) - len(possible)
    if refused > policy.max_refused * len(rows):
        raise PoisonedActualsError(
            f"{refused} of {len(rows)} ads have actuals that cannot be true (more clicks than "
            "impressions, rates no ad has, or times to come): nothing was learned"
        )
    outlying = _outlying_days(possible, policy)
    usual = [row for row in possible if _day(row) not in outlying]
    lost = len(possible) - len(usual)
    if lost > policy.max_outlying * len(possible):
        raise PoisonedActualsError(
            f"{lost} of {len(possible)} ads began on days whose click-through rates are far from "
            "all others: nothing was learned"
        )
    return Guarded(usual, tuple(_told(refused, outlying, lost)))


def _told(refused: int, outlying: set[tuple[str, int]], lost: int) -> list[str]:
    said = [f"{refused} ads with actuals that cannot be true"] if refused else []
    return [*said, f"{lost} ads of {len(outlying)} days far from all others"] if lost else said


def _is_possible(row: Row, policy: TrainingPolicy, now: float) -> bool:
    counts = 0 <= row.clicks <= row.impressions
    known = [value for value in row.values.values() if value is not None]
    finite = all(math.isfinite(value) for value in (*known, row.at))
    judged = row.impressions >= policy.min_extreme_impressions
    extreme = judged and row.clicks > policy.max_ctr * row.impressions
    return counts and finite and row.at <= now and not extreme


def _day(row: Row) -> tuple[str, int]:
    return row.account_id, math.floor(row.at / DAY_S)


def _outlying_days(rows: Sequence[Row], policy: TrainingPolicy) -> set[tuple[str, int]]:
    """Days on which an account's ads as a whole do far better or worse than on its others."""
    accounts: dict[str, dict[tuple[str, int], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        accounts[row.account_id][_day(row)].append(row)
    return {day for days in accounts.values() for day in _outliers(days, policy)}


def _outliers(
    days: dict[tuple[str, int], list[Row]], policy: TrainingPolicy
) -> set[tuple[str, int]]:
    levels = {day: _level(rows) for day, rows in days.items()}
    if len(levels) < _LEAST_DAYS:
        return set()
    usual = median(levels.values())
    spread = _MAD_TO_SPREAD * median(abs(level - usual) for level in levels.values())
    far = max(policy.outlier_z * max(spread, _LEAST_SPREAD), math.log(policy.outlier_factor))
    return {
        day
        for day, level in levels.items()
        if abs(level - usual) > far and _counts(days[day], usual, policy)
    }


def _level(rows: Sequence[Row]) -> float:
    """The log odds of a click, half a click added to either side."""
    clicks = clicks_of(rows)
    return math.log((clicks + 0.5) / (impressions_of(rows) - clicks + 0.5))


def _counts(rows: Sequence[Row], usual: float, policy: TrainingPolicy) -> bool:
    """Whether there was enough to see: clicks that came, or that were to come."""
    expected = impressions_of(rows) / (1.0 + math.exp(-usual))
    return max(expected, clicks_of(rows)) >= policy.min_outlier_clicks
