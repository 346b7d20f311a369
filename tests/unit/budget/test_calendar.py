"""An account's days: where each begins, how long it is, on which one a moment falls."""

from datetime import UTC, datetime

import pytest
from geminivideo.budget.calendar import Calendar, UnknownZoneError, days_before
from hypothesis import given
from hypothesis import strategies as st

HOUR = 3600.0
ZONES = (
    "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Asia/Kolkata", "Australia/Lord_Howe",
    "America/Havana", "Africa/Cairo", "America/Nuuk", "Pacific/Apia", "Etc/UTC",
)  # fmt: skip


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("zone", "day", "begins", "hours"),
    [
        ("Europe/Berlin", "2026-03-28", "2026-03-27T23:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-03-30", "2026-03-29T22:00", 24),
        ("Europe/Berlin", "2026-10-24", "2026-10-23T22:00", 24),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 25),
        ("Europe/Berlin", "2026-10-26", "2026-10-25T23:00", 24),
        ("America/New_York", "2026-03-07", "2026-03-07T05:00", 24),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00", 23),
        ("America/New_York", "2026-03-09", "2026-03-09T04:00", 24),
        ("America/New_York", "2026-10-31", "2026-10-31T04:00", 24),
        ("America/New_York", "2026-11-01", "2026-11-01T04:00", 25),
        ("America/New_York", "2026-11-02", "2026-11-02T05:00", 24),
        ("Asia/Tokyo", "2026-03-29", "2026-03-28T15:00", 24),
        ("Asia/Tokyo", "2026-10-25", "2026-10-24T15:00", 24),
        ("Asia/Kolkata", "2026-10-25", "2026-10-24T18:30", 24),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00", 23),  # has no midnight
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", 25),  # has two
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 24.5),
    ],
)
def test_a_day_begins_and_lasts_by_the_clocks_of_that_date(zone, day, begins, hours):
    """Each date at its own offset, on both changes of clocks, before and after them."""
    calendar = Calendar.of_zone(zone)
    assert calendar.begins_at(day) == utc(begins)
    assert calendar.hours(day) == hours


@given(st.sampled_from(ZONES), st.integers(1_600_000_000, 2_000_000_000))
def test_every_moment_is_in_its_day_and_days_leave_no_gap(zone, at):
    """A moment's day begins at or before it and ends after it, whatever the clocks did."""
    calendar = Calendar.of_zone(zone)
    day = calendar.day_of(at)
    begins, hours = calendar.begins_at(day), calendar.hours(day)
    assert begins <= at < begins + hours * HOUR
    assert calendar.day_of(begins) == day
    assert calendar.day_of(begins - 1) == days_before(day, 1)
    assert calendar.begins_at(days_before(day, -1)) == begins + hours * HOUR


def test_a_zone_that_nobody_knows_is_its_offset():
    """A name of no zone is an error by name; beside an offset, that offset on every day."""
    for name in ("", "Mars/Olympus", "../etc/passwd", "America", "x\0y", "a" * 5000):
        with pytest.raises(UnknownZoneError, match="no time zone"):
            Calendar.of_zone(name)
    calendar = Calendar.of("Mars/Olympus", 5.5)
    assert calendar.begins_at("2026-10-25") == utc("2026-10-24T18:30")
    assert calendar.offset_hours(utc("2026-10-25T12:00")) == 5.5
