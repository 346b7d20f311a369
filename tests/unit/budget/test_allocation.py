"""Water-filling: the best split under bounds, exact to the cent."""

import numpy as np
import pytest
from geminivideo.budget import allocation, parts
from geminivideo.budget.allocation import Forced, fill
from hypothesis import given, settings
from hypothesis import strategies as st


def cents(*amounts: int) -> np.ndarray:
    return np.array(amounts, np.int64)


def test_unbound_ads_share_by_their_weight():
    """With wide bounds each ad gets its weight's share of the total."""
    filled = fill(np.array([1.0, 2.0, 5.0]), cents(0, 0, 0), cents(800, 800, 800), 800)
    assert filled.amounts.tolist() == [100, 200, 500]
    assert filled.level == pytest.approx(500)


def test_what_a_bound_ad_cannot_take_is_shared_by_the_others():
    """By hand: the ceiling takes 150 of the 500, the floor gives 100, the rest is 1 : 2."""
    filled = fill(
        np.array([1.0, 2.0, 6.0, 0.1]), cents(0, 0, 0, 100), cents(900, 900, 150, 900), 550
    )
    assert filled.amounts.tolist() == [100, 200, 150, 100]


def test_the_odd_cent_goes_to_the_largest_remainder():
    """100 over three equal ads is 34, 33, 33: ties go to the first."""
    filled = fill(np.ones(3), cents(0, 0, 0), cents(100, 100, 100), 100)
    assert filled.amounts.tolist() == [34, 33, 33]


def test_a_total_below_all_floors_is_reported_not_broken():
    """Nobody goes below the floor; the shortfall says by how much the total is missed."""
    filled = fill(np.ones(2), cents(60, 70), cents(100, 100), 100)
    assert (filled.amounts.tolist(), filled.shortfall, filled.forced) == (
        [60, 70],
        -30,
        Forced.LOWER,
    )


def test_a_total_above_all_ceilings_is_reported_not_broken():
    """Nobody goes above the ceiling; the shortfall is what could not be placed."""
    filled = fill(np.ones(2), cents(0, 0), cents(100, 50), 200)
    assert (filled.amounts.tolist(), filled.shortfall, filled.forced) == (
        [100, 50],
        50,
        Forced.UPPER,
    )


def test_a_total_equal_to_the_bounds_is_no_shortfall():
    """The bounds themselves are a valid split."""
    assert fill(np.ones(2), cents(60, 40), cents(90, 90), 100).forced is None
    assert fill(np.ones(2), cents(0, 0), cents(60, 40), 100).forced is None


def test_worthless_ads_still_take_what_nobody_else_can():
    """Weight 0 does not lose money: the total is placed before it is refused."""
    filled = fill(np.array([0.0, 1.0]), cents(0, 0), cents(100, 30), 80)
    assert filled.amounts.tolist() == [50, 30]


def test_no_weight_at_all_is_an_equal_split():
    """When nothing is worth anything, nothing is preferred."""
    assert fill(np.zeros(4), cents(0, 0, 0, 0), cents(9, 9, 9, 9), 20).amounts.tolist() == [5] * 4


def test_crossed_bounds_are_refused():
    """A floor above its ceiling is the caller's error."""
    with pytest.raises(ValueError, match="lower bound above"):
        fill(np.ones(1), cents(5), cents(4), 4)


def test_an_unknown_weight_is_refused():
    """NaN must not decide where money goes."""
    with pytest.raises(ValueError, match="weight"):
        fill(np.array([np.nan]), cents(0), cents(4), 4)


ads = st.lists(
    st.tuples(st.floats(0, 1e9), st.integers(0, 10_000), st.integers(0, 100_000)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(ads=ads, part=st.floats(-0.2, 1.2))
def test_every_split_is_inside_its_bounds_and_sums_to_the_total(ads, part):
    """Conservation to the cent, or a shortfall that names the bounds."""
    weights = np.array([weight for weight, _, _ in ads])
    lower = cents(*(low for _, low, _ in ads))
    upper = lower + cents(*(room for _, _, room in ads))
    total = int(lower.sum() + part * (upper.sum() - lower.sum()))
    filled = fill(weights, lower, upper, total)
    assert (filled.amounts >= lower).all()
    assert (filled.amounts <= upper).all()
    assert int(filled.amounts.sum()) + filled.shortfall == total
    feasible = lower.sum() <= total <= upper.sum()
    assert (filled.forced is None) == feasible
    assert (filled.shortfall == 0) == feasible


@settings(max_examples=80, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=12),
    total=st.integers(100, 100_000),
    which=st.integers(0, 11),
)
def test_a_heavier_ad_never_gets_less(weights, total, which):
    """Raising one ad's weight raises its share and nobody else's."""
    first = np.array(weights)
    at = which % len(first)
    second = first.copy()
    second[at] *= 2
    lower, upper = np.zeros(len(first), np.int64), np.full(len(first), total)
    before = fill(first, lower, upper, total).amounts
    after = fill(second, lower, upper, total).amounts
    assert after[at] >= before[at]
    others = np.arange(len(first)) != at
    assert (after[others] <= before[others] + 1).all()  # a cent of rounding


@settings(max_examples=40, deadline=None)
@given(
    ads=st.lists(
        st.tuples(st.floats(0.1, 10), st.integers(1_000, 10_000_000)), min_size=2, max_size=6
    )
)
def test_no_single_move_of_money_improves_the_split(ads):
    """The split maximises concave returns: shifting a little between any two ads loses."""
    worth, saturation = np.array([a[0] for a in ads]), np.array([a[1] for a in ads])
    total = 1_000_000
    amounts = fill(
        worth * saturation,
        np.zeros(len(worth), np.int64),
        np.full(len(worth), total),
        total,
        saturation,
    ).amounts.astype(float)
    assert amounts.sum() == total

    def value(budgets):
        return float((worth * saturation * np.log1p(np.maximum(budgets, 0) / saturation)).sum())

    best = value(amounts)
    for giver in range(len(worth)):
        for taker in range(len(worth)):
            moved = amounts.copy()
            step = min(1000.0, amounts[giver])
            moved[giver] -= step
            moved[taker] += step
            assert value(moved) <= best * (1 + 1e-9)


def test_a_hundred_thousand_ads_are_split_at_once():
    """The solver works on columns: size changes neither exactness nor the bounds."""
    rng = np.random.default_rng(5)
    weights = rng.gamma(1.0, 100.0, 100_000)
    lower = rng.integers(0, 500, 100_000)
    upper = lower + rng.integers(1, 5000, 100_000)
    total = int((lower.sum() + upper.sum()) // 2)
    filled = fill(weights, lower, upper, total)
    assert int(filled.amounts.sum()) == total
    free = (filled.amounts > lower) & (filled.amounts < upper)
    assert np.abs(filled.amounts[free] - filled.level * weights[free] / weights.max()).max() < 1.01


@pytest.mark.parametrize("spread", [0.2, 3.0, 30.0])
def test_the_shortcut_by_a_sample_finds_the_level_of_the_whole(spread, monkeypatch):
    """However unlike the ads are, a sample only saves time: the split is that of all of them."""
    rng = np.random.default_rng(11)
    weights = np.exp(spread * rng.standard_normal(9000))
    lower = rng.integers(0, 500, 9000)
    upper = lower + rng.integers(0, 5000, 9000)
    monkeypatch.setattr(allocation, "_SAMPLE", 1_000)
    monkeypatch.setattr(parts, "_PART", 600)
    total = int(0.7 * lower.sum() + 0.3 * upper.sum())
    quick = fill(weights, lower, upper, total)
    monkeypatch.setattr(allocation, "_SAMPLE", 10_000)
    whole = fill(weights, lower, upper, total)
    assert np.abs(quick.amounts - whole.amounts).max() <= 1  # of a cent's rounding
    assert quick.level == pytest.approx(whole.level, rel=1e-9)
    assert int(quick.amounts.sum()) == total
