"""How much days differ: 1 for chance alone and for slow change, more for days of their own."""

from __future__ import annotations

import numpy as np
import pytest
from geminivideo.learning.accuracy import Outcome, score
from geminivideo.learning.dispersion import Dispersion, of_days, pooled
from geminivideo.policy import AccuracyPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = AccuracyPolicy(resamples=50)


def days(draws, rate=0.02, count=20, shown=2000, noise=0.0, trend=0.0):
    """An ad's days, whose rates move by themselves (``noise``) or slowly down (``trend``)."""
    own = rate * np.exp(noise * draws.normal(size=count) - trend * np.arange(count) / count)
    impressions = draws.integers(shown // 2, 2 * shown, count)
    clicks = draws.binomial(impressions, own)
    return [(int(n), int(c)) for n, c in zip(impressions, clicks, strict=True)]


def of_many(seed, ads=60, **how):
    draws = np.random.default_rng(seed)
    return pooled((of_days(days(draws, **how)) for _ in range(ads)), 20)


def test_chance_alone_is_one():
    """Independent clicks make the days differ by as much as is expected."""
    assert of_many(1) == pytest.approx(1.0, abs=0.08)


def test_an_ad_that_tires_has_no_dispersion():
    """A rate that halves over twenty days changes little from one day to the next."""
    assert of_many(2, trend=0.7) == pytest.approx(1.0, abs=0.1)


def test_days_of_their_own_are_measured():
    """Rates that move by 20 % a day, at 45 clicks, add 45 x 0.2^2 to the variance of chance."""
    assert of_many(3, noise=0.2) == pytest.approx(1 + 0.2**2 * 0.02 * 2000, rel=0.2)


def test_few_days_tell_nothing():
    """Below the policy's pairs of days clicks are taken as independent; hardly any tell nothing."""
    assert pooled([Dispersion(9.0, 19)], 20) == 1.0
    assert pooled([Dispersion(9.0, 20), Dispersion(None, 0)], 20) == 9.0
    assert of_days([(1000, 20)]) == Dispersion(None, 0)
    assert of_days([(1000, 0), (1000, 0), (0, 0)]) == Dispersion(None, 0)


DAYS = st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1)), max_size=12).map(
    lambda rows: [(shown, int(shown * part)) for shown, part in rows]
)


@settings(max_examples=20)
@given(DAYS)
def test_any_days_give_a_number_that_can_be(found):
    """No day breaks it: the ratio is finite and not negative, pairs are no more than there are."""
    told = of_days(found)
    assert told.ratio is None or (np.isfinite(told.ratio) and told.ratio >= 0)
    assert told.pairs <= max(0, len(found) - 1)
    assert pooled([told], 1) >= 1.0


def test_a_perfect_model_is_not_blamed_for_days_of_their_own():
    """Where days move by 30 %, only what the days tell brings a perfect model near 1."""
    with_days, without = [], []
    for seed in range(6):
        draws = np.random.default_rng(seed)
        rates = 0.02 * np.exp(draws.normal(0, 0.4, 60))
        ads = [days(draws, rate, count=6, noise=0.3) for rate in rates]
        outcomes = [
            Outcome(
                ad_id=f"a{i:02d}",
                predicted=float(rate) * float(np.exp(0.3**2 / 2)),
                impressions=sum(n for n, _ in ad),
                clicks=sum(c for _, c in ad),
                at=float(i),
            )
            for i, (rate, ad) in enumerate(zip(rates, ads, strict=True))
        ]
        wider = pooled(map(of_days, ads), 20)
        with_days.append(score(outcomes, POLICY, seed, wider).accuracy)
        without.append(score(outcomes, POLICY, seed).accuracy)
    assert np.mean(with_days) > 0.94
    assert np.mean(without) < 0.90
