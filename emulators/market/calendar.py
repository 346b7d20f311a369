"""Hours, days and weeks of an account, and how much of a day's traffic an hour has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR_S = 3600.0
DAY_S = 86_400.0
_HOUR_SWING = 0.45  # of traffic around its mean, lowest at 4, highest at 16
_WEEKDAY = (1.02, 1.03, 1.02, 1.00, 0.98, 0.97, 0.98)  # Monday first: of CTR
_SHARES = [1.0 - _HOUR_SWING * math.cos(2 * math.pi * (hour - 4) / 24) for hour in range(24)]


@dataclass(frozen=True)
class Hour:
    """One hour: of which local day and week it is, its share of a day, and CTR's weekday factor.

    Weeks begin on Sunday, as Meta's budget weeks do; ``last_day`` is a Saturday.
    """

    day: int
    week: int
    share: float
    mood: float
    last_day: bool


@lru_cache(maxsize=20_000)
def hour_of(start: float, zone: str) -> Hour:
    """The hour that begins at ``start``."""
    local = datetime.fromtimestamp(start, ZoneInfo(zone))
    day, weekday = local.toordinal(), local.weekday()
    return Hour(
        day=day,
        week=(day - (weekday + 1) % 7) // 7,
        share=_SHARES[local.hour] / sum(_SHARES),
        mood=_WEEKDAY[weekday],
        last_day=weekday == 5,
    )


def hour_start(at: float) -> float:
    """The beginning of the hour that ``at`` is in (zones are taken to be whole hours off UTC)."""
    return math.floor(at / HOUR_S) * HOUR_S


def local_date(at: float, zone: str) -> date:
    """The account's date at a moment."""
    return datetime.fromtimestamp(at, ZoneInfo(zone)).date()


def midnight(day: date, zone: str) -> float:
    """When a date begins."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()


def span_of(first: date, last: date, zone: str) -> tuple[float, float]:
    """The beginning of ``first`` and the end of ``last``."""
    return midnight(first, zone), midnight(last + timedelta(days=1), zone)
