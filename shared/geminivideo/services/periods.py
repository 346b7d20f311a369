"""Times that callers ask for by name, as seconds of the epoch (UTC)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from geminivideo.runtime.http import ApiError

DAY_S = 86_400.0
_QUARTER = re.compile(r"q([1-4])(?:[ _-]?(20[0-9]{2}))?|(20[0-9]{2})[ _-]?q([1-4])")
_BACK = re.compile(
    r"(?:last[ _-]?)?([0-9]{1,4})?[ _-]?(h|hour|d|day|w|week|month|quarter|y|year)s?"
)
_UNIT_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "month": 30.0, "quarter": 91.0, "y": 365.0}
_LEAST_DAYS = 1 / 1440
_EVER = ("", "all", "all_time", "lifetime")


@dataclass(frozen=True)
class Period:
    """From ``since`` to before ``until``."""

    since: float
    until: float


def period(asked: str | float | None, now: float, member: str) -> Period | None:
    """``Q1``-``Q4`` (the latest one that has begun, or of a year: ``Q3 2026``), ``last_week``,
    ``last_month``, ``last_quarter``, ``last_7_days``, ``7d``, ``48h``, or a number of days.

    None is all time; raises 422 naming ``member`` for what is none of them.
    """
    text = "" if asked is None else str(asked).strip().lower()
    if text in _EVER:
        return None
    if (named := _QUARTER.fullmatch(text)) is not None:
        return _quarter(named, now)
    days = _days(text)
    if not _LEAST_DAYS <= days < 10_000:
        raise ApiError(
            422,
            f"{member} {asked!r} is no time: give Q1 to Q4, last_week, last_month, last_quarter, "
            "7d or a number of days",
        )
    return Period(now - days * DAY_S, now)


def _days(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        back = _BACK.fullmatch(text)
    if back is None:
        return 0.0
    unit = back[2] if back[2] in _UNIT_DAYS else back[2][0]
    return float(back[1] or 1) * _UNIT_DAYS[unit]


def _quarter(named: re.Match[str], now: float) -> Period:
    number = int(named[1] or named[4])
    year = named[2] or named[3]
    if year is not None:
        return _of_quarter(int(year), number, now)
    this_year = datetime.fromtimestamp(now, UTC).year
    found = _of_quarter(this_year, number, now)
    return found if found.since <= now else _of_quarter(this_year - 1, number, now)


def _of_quarter(year: int, number: int, now: float) -> Period:
    since = datetime(year, 3 * number - 2, 1, tzinfo=UTC).timestamp()
    following = divmod(3 * number, 12)
    until = datetime(year + following[0], following[1] + 1, 1, tzinfo=UTC).timestamp()
    return Period(since, min(until, now) if since <= now else until)
