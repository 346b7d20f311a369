"""The best that could be done in a market."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.market import (
    Bounds,
    Delivery,
    Market,
    best_allocation,
    expected_value,
    play,
    share_of_best,
)

START, DAY = 1_789_948_800.0, 86_400.0
SEEDS = st.integers(0, 2**40)


@given(seed=SEEDS, total=st.integers(1, 10_000_00), luck=st.integers(0, 2**32))
def test_no_random_split_is_better(seed: int, total: int, luck: int) -> None:
    """The oracle's expected value is at least that of any split of the same total."""
    market = Market(seed, 12, start=START)
    best = best_allocation(market, total, START)
    assert sum(best) == total
    rng = np.random.default_rng(luck)
    for concentration in (0.1, 1.0, 10.0):
        split = total * rng.dirichlet(np.full(12, concentration))
        value = expected_value(market, split.tolist(), START)
        assert value <= expected_value(market, best, START) * (1 + 1e-9) + 12.0


@given(seed=SEEDS, total=st.integers(12_00, 10_000_00))
def test_no_small_shift_is_better(seed: int, total: int) -> None:
    """Moving a hundredth of the money from any ad to any other gains nothing."""
    market = Market(seed, 5, start=START)
    best = best_allocation(market, total, START)
    value = expected_value(market, best, START)
    for giver in range(5):
        for taker in range(5):
            moved = np.array(best, float)
            amount = min(moved[giver], total / 100)
            moved[giver] -= amount
            moved[taker] += amount
            assert expected_value(market, moved.tolist(), START) <= value * (1 + 1e-9) + 5.0


@given(seed=SEEDS, share=st.floats(0.05, 0.95))
def test_the_value_is_concave_in_the_budget(seed: int, share: float) -> None:
    """Of two budgets the mixture is worth at least the mixture of their worths."""
    market = Market(seed, 4, start=START)
    rng = np.random.default_rng(seed)
    one, other = (rng.uniform(0, 500_00, 4) for _ in range(2))
    mixed = share * one + (1 - share) * other

    def value(split: np.ndarray) -> float:
        return expected_value(market, split.tolist(), START)

    assert value(mixed) >= share * value(one) + (1 - share) * value(other) - 1e-6


@given(seed=SEEDS, total=st.integers(1_00, 2_000_00))
def test_bounds_are_kept(seed: int, total: int) -> None:
    """Every ad is inside its bounds; where no split fits the total, all are at one side."""
    market = Market(seed, 6, start=START)
    before = [50_00.0] * 6
    lower, upper = Bounds(least=1_00, velocity=0.2).around(before)
    given_ = np.array(best_allocation(market, total, START, bounds=(lower, upper)))
    assert ((given_ >= np.floor(lower)) & (given_ <= np.ceil(upper))).all()
    if lower.sum() < total < upper.sum():
        assert given_.sum() == total


def test_tired_ads_get_less() -> None:
    """An ad that everybody has seen ten times is given less than when it was new."""
    market = Market(1, 5, start=START)
    fresh = best_allocation(market, 250_00, START)
    seen = np.zeros(5)
    first = int(np.argmax(fresh))
    seen[first] = 10 * market.truth(first).audience
    assert best_allocation(market, 250_00, START, seen)[first] < fresh[first]


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_its_month_is_better_than_an_equal_split(seed: int) -> None:
    """Played over 12 days, an equal split has less than the oracle and more than nothing."""
    market, end = Market(seed, 10, days=12, start=START), START + 12 * DAY
    best = play(market, 500_00, end)
    equal = play(market, 500_00, end, bounds=Bounds(velocity=0.0))
    assert 0.2 < share_of_best(equal, best, end) < 1.0


def test_the_oracle_follows_a_change(even: Callable[..., Delivery]) -> None:
    """From its change on, an ad is given other budgets than before."""
    market = Market(2, 6, start=START)
    (change,) = market.changed
    best = play(market, 300_00, change.at + DAY)
    before = best.budgets.mean(change.at - 3600, change.at)[change.ad]
    after = best.budgets.mean(change.at + 3600, change.at + 7200)[change.ad]
    assert (after < before) == (change.ctr < 1)


def test_a_slower_oracle_has_a_little_less() -> None:
    """Held to 20 % steps from an equal split, the oracle loses only the way there."""
    market, end = Market(3, 20, start=START), START + 30 * DAY
    best = play(market, 1000_00, end)
    slow = play(market, 1000_00, end, bounds=Bounds(least=1_00, velocity=0.2))
    assert 0.95 < share_of_best(slow, best, end) < 1.0


def test_the_total_may_change_with_time() -> None:
    """A total by time is what the daily budgets sum to at that time."""
    market = Market(3, 5, start=START)
    best = play(market, lambda at: 100_00 if at < START + DAY else 400_00, START + 2 * DAY)
    assert best.budgets.mean(START, START + 3600).sum() == pytest.approx(100_00)
    late = best.budgets.mean(START + DAY + 3600, START + DAY + 7200)
    assert late.sum() == pytest.approx(400_00)
