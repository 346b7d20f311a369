"""The conversion lag is learned although late deals have not come yet."""

import numpy as np
import pytest
from geminivideo.budget.lag import Delay, learn, learn_purchases, share
from geminivideo.budget.signals import LagCurve
from geminivideo.policy import LagPolicy, Policy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = LagPolicy()
BUYING = Policy().purchasing


def seen(median: float, observed: float, clicks: int = 2000, shape: float = 1.5) -> list[Delay]:
    """Deals of clicks spread evenly over ``observed`` days, cut off at today."""
    rng = np.random.default_rng(3)
    delays = median / np.log(2) ** (1 / shape) * rng.weibull(shape, clicks)
    windows = rng.uniform(0, observed, clicks)
    return [
        Delay(days=float(delay), observed_days=float(window))
        for delay, window in zip(delays, windows, strict=True)
        if delay <= window
    ]


def test_without_deals_the_prior_stands():
    """Half of the value is credited about the prior's median, and the curve says it knows none."""
    curve = learn([], POLICY)
    assert curve.deals == 0
    assert 0.35 < share(curve, POLICY.prior_median_days) < 0.6


@pytest.mark.parametrize("median", [1.5, 6.0])
def test_the_true_median_is_found_in_cut_off_data(median):
    """Of ten days of clicks mostly the quick deals are seen; that is allowed for."""
    delays = seen(median, 10.0)
    curve = learn(delays, POLICY)
    naive = float(np.median([delay.days for delay in delays]))
    assert share(curve, median) == pytest.approx(0.5, abs=0.06)
    assert naive < median


def test_a_few_deals_move_the_curve_less_than_many():
    """Five quick deals are weak evidence against the prior, five hundred are strong."""
    few = [Delay(days=1.0 + n / 10, observed_days=60.0) for n in range(5)]
    at = 2.0
    prior, little, much = (share(learn(d, POLICY), at) for d in ([], few, few * 100))
    assert prior < little < much


def test_weights_do_not_pose_as_evidence():
    """Delays weighted by value count relative to each other, whatever the unit of value."""
    one = [Delay(days=2.0, observed_days=30.0), Delay(days=6.0, observed_days=30.0)]
    scaled = [Delay(days=d.days, observed_days=d.observed_days, weight=9000.0) for d in one]
    assert learn(one, POLICY).shares == pytest.approx(learn(scaled, POLICY).shares)


def test_no_lag_credits_everything_at_once():
    """The curve of direct sales is 1 from the first moment, and 0 before the click."""
    curve = LagCurve.immediate()
    assert (share(curve, -1.0), share(curve, 0.0), share(curve, 9.0)) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "delay",
    [
        Delay(days=-1.0, observed_days=3.0),
        Delay(days=4.0, observed_days=3.0),
        Delay(days=1.0, observed_days=3.0, weight=0.0),
    ],
)
def test_impossible_delays_are_refused(delay):
    """A credit before its click, or after today, is an error of the caller."""
    with pytest.raises(ValueError, match="delay"):
        learn([delay], POLICY)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60)), max_size=30))
def test_every_curve_rises_from_nothing_to_everything(pairs):
    """Shares are 0-1, never fall, begin at 0 and end at 1."""
    curve = learn([Delay(days=min(p), observed_days=max(p)) for p in pairs], POLICY)
    assert curve.shares[0] == 0.0
    assert curve.shares[-1] == 1.0
    assert all(a <= b for a, b in zip(curve.shares, curve.shares[1:], strict=False))
    assert share(curve, 1e9) == 1.0


DEALS = seen(3.0, 8.0, clicks=30)


@settings(max_examples=15, deadline=None)
@given(st.permutations(DEALS))
def test_the_order_of_deals_is_of_no_consequence(delays):
    """The curve is a function of the set of deals."""
    assert learn(delays, POLICY).shares == pytest.approx(
        learn(seen(3.0, 8.0, clicks=30), POLICY).shares
    )


# Purchases ------------------------------------------------------------------------------------


def test_without_purchases_most_are_expected_within_a_day():
    """The prior of a shop: four of five within a day, all that is ever attributed in a week."""
    curve = learn_purchases(0, 0, BUYING)
    assert curve.deals == 0
    assert share(curve, 1.0) == pytest.approx(0.8, abs=0.1)
    assert share(curve, 7.0) == 1.0


@pytest.mark.parametrize("soon", [0.05, 0.4, 0.7, 0.95])
def test_the_share_of_a_day_is_what_meta_tells(soon):
    """Two thousand purchases outweigh the prior."""
    curve = learn_purchases(2000 * soon, 2000, BUYING)
    assert share(curve, 1.0) == pytest.approx(soon, abs=0.02)
    assert curve.deals == 2000


def test_a_few_purchases_move_the_curve_less_than_many():
    """Ten slow purchases are weak evidence, a thousand are strong."""
    none, few, many = (learn_purchases(n * 0.2, n, BUYING) for n in (0, 10, 1000))
    assert share(none, 1.0) > share(few, 1.0) > share(many, 1.0)


@pytest.mark.parametrize("soon", [0.3, 0.5, 0.7, 0.97])
def test_a_million_purchases_say_no_more_of_other_days_than_a_thousand(soon):
    """One share is told, and not the whole curve: what is between is the prior's."""
    some, many = (learn_purchases(n * soon, n, BUYING) for n in (1000, 1_000_000))
    assert many.shares == pytest.approx(some.shares)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_every_curve_of_purchases_rises_from_nothing_to_everything(one, other):
    """Whatever Meta counts, whole or modelled: shares are 0-1, never fall, and end at 1."""
    curve = learn_purchases(min(one, other), max(one, other), BUYING)
    assert (curve.shares[0], curve.shares[-1]) == (0.0, 1.0)
    assert all(0 <= a <= b <= 1 for a, b in zip(curve.shares, curve.shares[1:], strict=False))


@pytest.mark.parametrize(("day", "week"), [(3, 2), (-1, 2), (float("nan"), 2)])
def test_impossible_counts_of_purchases_are_refused(day, week):
    """Nobody buys within a day and not within the week."""
    with pytest.raises(ValueError, match="within a day"):
        learn_purchases(day, week, BUYING)
