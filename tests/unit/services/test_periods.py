"""Times by name: quarters of the calendar, and stretches back from now."""

import contextlib
from datetime import UTC, datetime

import pytest
from geminivideo.runtime.http import ApiError
from geminivideo.services.periods import DAY_S, Period, period
from hypothesis import given, settings
from hypothesis import strategies as st


def at(*day):
    return datetime(*day, tzinfo=UTC).timestamp()


NOW = at(2026, 11, 22, 12)


@pytest.mark.parametrize(
    ("asked", "since", "until"),
    [
        ("Q4", at(2026, 10, 1), NOW),
        ("q1", at(2026, 1, 1), at(2026, 4, 1)),
        ("Q4 2025", at(2025, 10, 1), at(2026, 1, 1)),
        ("2025-Q2", at(2025, 4, 1), at(2025, 7, 1)),
    ],
)
def test_quarters_are_those_of_the_calendar(asked, since, until):
    """The quarter that runs ends now, others at their end; without a year the latest is meant."""
    assert period(asked, NOW, "time") == Period(since, until)


def test_a_quarter_that_has_not_begun_is_last_years():
    """In May the third quarter is that of the year before."""
    asked = period("Q3", at(2026, 5, 5), "time")
    assert asked == Period(at(2025, 7, 1), at(2025, 10, 1))


@pytest.mark.parametrize(
    ("asked", "days"),
    [
        ("7d", 7), ("48h", 2), ("last_week", 7), ("last_month", 30), ("last_quarter", 91),
        ("last_7_days", 7), ("last-30-days", 30), ("2w", 14), ("3 months", 90), (14, 14),
        ("1y", 365), (0.5, 0.5),
    ],
)  # fmt: skip
def test_stretches_end_now(asked, days):
    """However it is written, so many days back from now."""
    found = period(asked, NOW, "time")
    assert found.until == NOW
    assert found.until - found.since == pytest.approx(days * DAY_S)


@pytest.mark.parametrize("asked", [None, "", "all", "all_time", " Lifetime "])
def test_no_time_is_all_time(asked):
    """Nothing asked for is everything."""
    assert period(asked, NOW, "time") is None


@pytest.mark.parametrize("asked", ["Q5", "Q1 0000", "9999-Q4", "-3d", "0", 1e-9, "nan", "soon"])
def test_what_is_no_time_is_refused_by_name(asked):
    """422 names the member and what is understood."""
    with pytest.raises(ApiError, match=r"time_period .* is no time: give Q1 to Q4") as refused:
        period(asked, NOW, "time_period")
    assert refused.value.status == 422


@settings(max_examples=60)
@given(asked=st.text(max_size=12) | st.floats() | st.integers())
def test_whatever_is_understood_begins_before_it_ends(asked):
    """Any text or number is a period with some time in it, all time, or refused."""
    with contextlib.suppress(ApiError):
        found = period(asked, NOW, "time_period")
        assert found is None or found.since < found.until
