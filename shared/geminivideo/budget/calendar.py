"""The calendar of an ad account: which moments are a day of Meta's insights. Pure.

Meta counts days from midnight to midnight of the account's time zone. Where clocks change, a day
has 23 or 25 hours, and the days before it began at another offset from UTC than those after.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from geminivideo.budget.signals import HOUR_S


class UnknownZoneError(ValueError):
    """A time zone that the IANA database here does not have; the message names it."""


@dataclass(frozen=True)
class Calendar:
    """Days (ISO dates) and moments (UTC epoch seconds) of one time zone."""

    zone: tzinfo = UTC

    @classmethod
    def of_zone(cls, name: str) -> Calendar:
        """By its IANA name; raises ``UnknownZoneError``."""
        try:
            return cls(ZoneInfo(name))
        except (ValueError, OSError, ZoneInfoNotFoundError) as error:
            raise UnknownZoneError(f"{name!r} is no time zone of the IANA database") from error

    @classmethod
    def of_offset(cls, hours: float) -> Calendar:
        """Always so many hours ahead of UTC; raises ``ValueError`` beyond a day."""
        return cls(timezone(timedelta(hours=hours)))

    @classmethod
    def of(cls, name: str, utc_offset_hours: float) -> Calendar:
        """The named zone's, or, where its name is not known, that of a fixed offset."""
        try:
            return cls.of_zone(name)
        except UnknownZoneError:
            return cls.of_offset(utc_offset_hours)

    def begins_at(self, day: str) -> float:
        """When a day begins: its midnight, or the first moment after it where clocks skip it."""
        return datetime.fromisoformat(day).replace(tzinfo=self.zone).timestamp()

    def hours(self, day: str) -> float:
        """How long a day is: 24 hours, but for those on which clocks change."""
        return (self.begins_at(days_before(day, -1)) - self.begins_at(day)) / HOUR_S

    def day_of(self, at: float) -> str:
        """The day on which a moment falls."""
        return datetime.fromtimestamp(at, self.zone).date().isoformat()

    def offset_hours(self, at: float) -> float:
        """How far its clocks are ahead of UTC at a moment."""
        ahead = datetime.fromtimestamp(at, self.zone).utcoffset() or timedelta()
        return ahead.total_seconds() / HOUR_S


def days_before(day: str, days: int) -> str:
    """The day so many days earlier."""
    return (date.fromisoformat(day) - timedelta(days=days)).isoformat()
