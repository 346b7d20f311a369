"""Synthetic revenue: exact, reversible, and the same in whatever order events come."""

import itertools

import pytest
from geminivideo.budget.revenue import (
    NO_AMOUNT,
    UNKNOWN_STAGE,
    StageMap,
    StageValue,
    change,
    credited,
    fold,
    rises,
    worth,
)
from geminivideo.records import StageSeen
from hypothesis import given, settings
from hypothesis import strategies as st

STAGES = StageMap(
    currency="USD",
    stages={
        "sales/lead": StageValue(value=0, confidence=0.1),
        "sales/appointment": StageValue(value=2250_00, confidence=0.6),
        "sales/show_up": StageValue(value=9000_00, confidence=0.85),
        "sales/won": StageValue(value=15000_00, confidence=1.0),
    },
    won=frozenset({"sales/won"}),
    lost=frozenset({"sales/lost"}),
)


def seen(stage: str, at: float, amount: int | None = None) -> StageSeen:
    return StageSeen(pipeline="sales", stage=stage, at=at, amount=amount)


def test_an_appointment_is_worth_its_stage():
    """Nothing -> appointment credits 2,250.00."""
    step = change(None, "sales/appointment", None, STAGES)
    assert (step.value, step.increment, step.confidence) == (2250_00, 2250_00, 0.6)


def test_the_next_stage_credits_the_difference():
    """Appointment -> show-up is 9,000 - 2,250."""
    assert change("sales/appointment", "sales/show_up", None, STAGES).increment == 6750_00


def test_a_won_deal_is_worth_its_real_amount():
    """12,345.67 was paid, so that is what it is worth, surely."""
    step = change("sales/show_up", "sales/won", 12345_67, STAGES)
    assert (step.value, step.increment, step.confidence) == (12345_67, 3345_67, 1.0)


def test_a_won_deal_without_amount_says_so():
    """The map's value stands in, with a warning."""
    found = worth("sales/won", None, STAGES)
    assert (found.value, found.warnings) == (15000_00, (f"{NO_AMOUNT}:sales/won",))


def test_a_deal_that_goes_back_gives_its_credit_back():
    """Show-up -> appointment takes 6,750.00 back."""
    assert change("sales/show_up", "sales/appointment", None, STAGES).increment == -6750_00


def test_a_lost_deal_gives_everything_back():
    """After closed lost nothing is credited, and the reason says so."""
    credit = fold([seen("appointment", 1), seen("show_up", 2), seen("lost", 3)], STAGES)
    assert credit.value == 0
    assert [step.increment for step in credit.changes] == [2250_00, 6750_00, -9000_00]
    assert "taken back" in credit.changes[-1].reason


def test_an_unknown_stage_is_worth_nothing_and_flagged():
    """Display names and stages of other pipelines are not guessed."""
    credit = fold([seen("Appointment Booked", 1)], STAGES)
    assert (credit.value, credit.confidence) == (0, 0.0)
    assert credit.warnings == (f"{UNKNOWN_STAGE}:sales/Appointment Booked",)


def test_a_late_event_does_not_undo_a_later_stage():
    """What occurred first but came last changes nothing about the end."""
    credit = fold([seen("show_up", 20), seen("appointment", 10)], STAGES)
    assert (credit.stage, credit.value) == ("sales/show_up", 9000_00)


def test_an_amount_known_before_the_close_is_kept():
    """The amount of the proposal is that of the won deal, unless the close names another."""
    assert fold([seen("appointment", 1, 800_00), seen("won", 2)], STAGES).value == 800_00
    assert fold([seen("appointment", 1, 800_00), seen("won", 2, 900_00)], STAGES).value == 900_00


def test_nothing_seen_is_worth_nothing():
    """A deal without history has no stage and no credit."""
    credit = fold([], STAGES)
    assert (credit.value, credit.stage, credit.changes) == (0, None, ())


@pytest.mark.parametrize(("confidence", "expected"), [(1.0, 2250_00), (0.7, 1575_00), (0.0, 0)])
def test_credit_is_value_times_attribution_confidence(confidence, expected):
    """An uncertain attribution credits in proportion."""
    assert credited(2250_00, confidence) == expected


histories = st.lists(
    st.builds(
        seen,
        st.sampled_from(["lead", "appointment", "show_up", "won", "lost", "elsewhere"]),
        st.integers(0, 12).map(float),
        st.none() | st.integers(0, 2_000_000),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(history=histories, data=st.data())
def test_the_credit_is_a_function_of_the_set_of_events(history, data):
    """Shuffled and doubled deliveries fold to the same steps."""
    shuffled = data.draw(st.permutations(history + history[: len(history) // 2]))
    assert fold(shuffled, STAGES) == fold(history, STAGES)


@settings(max_examples=200, deadline=None)
@given(history=histories, confidence=st.floats(0, 1))
def test_increments_sum_to_the_value(history, confidence):
    """Credits telescope, also after the attribution's confidence is applied to each."""
    credit = fold(history, STAGES)
    assert sum(step.increment for step in credit.changes) == credit.value
    assert credit.value >= 0
    steps = [0, *(step.value for step in credit.changes)]
    parts = [
        credited(b, confidence) - credited(a, confidence) for a, b in itertools.pairwise(steps)
    ]
    assert sum(parts) == credited(credit.value, confidence)


@settings(max_examples=100, deadline=None)
@given(history=histories)
def test_rises_are_the_steps_up(history):
    """Their times and increments are those of the whole fold."""
    steps = fold(history, STAGES).changes
    ups = [(step.at, step.increment) for step in steps if step.increment > 0]
    assert rises(history, STAGES) == ups
