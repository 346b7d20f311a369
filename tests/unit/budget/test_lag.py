"""The conversion lag is learned although late deals have not come yet."""

import numpy as np
import pytest
from geminivideo.budget.lag import Delay, learn, share
from geminivideo.budget.signals import LagCurve
from geminivideo.policy import LagPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = LagPolicy()


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
