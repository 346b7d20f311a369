"""An ad's days in its state: set to value, settled when old, totals that always add up."""

from geminivideo.budget.history import AdDay, absorb, absorb_before, days_of
from geminivideo.records import AdState
from hypothesis import given
from hypothesis import strategies as st

EMPTY = AdState(id="a", account_id="acme", currency="USD", updated_at=0.0)


def day(number, impressions=10):
    return AdDay(
        date=f"2026-10-{number:02d}", begins_at=number * 86400.0, impressions=impressions,
        clicks=impressions // 2, spend=impressions * 3, cash_revenue=impressions,
    )  # fmt: skip


readings = st.lists(
    st.lists(st.tuples(st.integers(1, 28), st.integers(0, 1000)), max_size=6), max_size=6
)


@given(readings, st.integers(1, 40))
def test_totals_are_those_of_the_latest_reading_of_every_day(batches, keep):
    """Whatever is read again in whatever order: a kept day counts once, as it was last read."""
    state, latest = EMPTY, {}
    for batch in batches:
        before = state.settled.through
        days = [day(*one) for one in dict(batch).items()]
        state = absorb(state, days, keep)
        latest |= {one.date: one.impressions for one in days if one.date > before}
    assert state.impressions == sum(latest.values())
    assert state.clicks == sum(value // 2 for value in latest.values())
    assert state.spend == 3 * state.impressions
    assert len(days_of(state)) <= keep


@given(readings)
def test_the_same_reading_again_changes_nothing(batches):
    """A delivery that comes twice is one."""
    for batch in batches:
        days = [day(*one) for one in dict(batch).items()]
        once = absorb(EMPTY, days, 10)
        assert absorb(once, days, 10) == once


def test_a_late_correction_of_a_settled_day_is_too_late():
    """What is settled stays; the policy's window is far inside what is kept."""
    state = absorb(EMPTY, [day(n) for n in range(1, 6)], 2)
    assert state.settled.through == "2026-10-03"
    assert absorb(state, [day(1, 999)], 2) == state


def test_what_was_before_is_added_once():
    """The life before the first reading is settled, and a repeated delivery adds nothing."""
    state = absorb(EMPTY, [day(20)], 30)
    state = absorb_before(state, day(1, 5000), "2026-10-19")
    again = absorb_before(state, day(1, 5000), "2026-10-19")
    assert (state.impressions, again) == (5010, state)
    assert state.settled.through == "2026-10-19"


def test_days_before_the_first_reading_give_way_to_it():
    """A day that a caller sent long ago is part of what Meta says was before."""
    state = absorb(EMPTY, [day(2, 70), day(20)], 30)
    state = absorb_before(state, day(1, 500), "2026-10-19")
    assert state.impressions == 510
