"""Two models on the same ads: who was better, and how sure that is."""

import numpy as np
import pytest
from geminivideo.ml.judging import Row, compare, log_loss, worth
from geminivideo.policy import TrainingPolicy
from hypothesis import given, settings
from hypothesis import strategies as st

POLICY = TrainingPolicy(resamples=400, level=0.95)


def ads(rng, count, spread=0.0, shown=2000):
    """Ads of a true rate near 3 %, and those rates."""
    truth = 1 / (1 + np.exp(-(-3.5 + 0.4 * rng.normal(size=count))))
    noisy = truth * np.exp(spread * rng.normal(size=count))
    clicks = rng.binomial(shown, np.clip(noisy, 0, 1))
    rows = [Row(values={}, impressions=shown, clicks=int(c), at=float(i))
            for i, c in enumerate(clicks)]  # fmt: skip
    return rows, truth


def test_the_truth_beats_the_base_rate():
    """Sixty ads are enough to see what is there, and the losses are those of the ads."""
    rows, truth = ads(np.random.default_rng(1), 60)
    base = [float(truth.mean())] * 60
    found = compare(base, truth.tolist(), rows, 0.0, POLICY)
    assert found.better
    assert found.p_value < 0.01
    assert found.champion_loss == pytest.approx(log_loss(base, rows))
    assert found.challenger_loss < found.champion_loss
    assert (found.ads, found.impressions) == (60, 120_000)


def test_equal_models_are_rarely_told_apart():
    """Two models that are wrong alike: one is called better about one time in twenty."""
    rng = np.random.default_rng(2)
    called = 0
    for _ in range(100):
        rows, truth = ads(rng, 40, spread=0.1)
        first, second = (truth * np.exp(0.2 * rng.normal(size=40)) for _ in range(2))
        called += compare(first.tolist(), second.tolist(), rows, 0.001, POLICY).better
    assert called <= 0.12 * 100


def test_the_same_model_is_not_better_than_itself():
    """No difference is no gain."""
    rows, truth = ads(np.random.default_rng(3), 30)
    found = compare(truth.tolist(), truth.tolist(), rows, 0.0, POLICY)
    assert (found.gain, found.bound, found.p_value, found.better) == (0.0, 0.0, 1.0, False)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 30), likeness=st.floats(0, 0.3))
def test_turned_round_the_gain_is_a_loss(seed, count, likeness):
    """What one gains the other loses, both cannot be better, and asked again it is the same."""
    rng = np.random.default_rng(seed)
    rows, truth = ads(rng, count)
    other = np.clip(truth * np.exp(rng.normal(size=count)), 1e-6, 0.9).tolist()
    there = compare(other, truth.tolist(), rows, likeness, POLICY)
    back = compare(truth.tolist(), other, rows, likeness, POLICY)
    assert there.gain == pytest.approx(-back.gain)
    assert not (there.better and back.better)
    assert compare(other, truth.tolist(), rows, likeness, POLICY) == there


def test_one_huge_ad_does_not_decide():
    """A million alike impressions are worth as few as they are alike."""
    rows, truth = ads(np.random.default_rng(5), 40)
    huge = Row(values={}, impressions=1_000_000, clicks=80_000, at=99.0)
    base = [float(truth.mean())] * 41
    rates = [*truth.tolist(), 0.01]
    assert not compare(base, rates, [*rows, huge], 0.0, POLICY).better
    assert compare(base, rates, [*rows, huge], 0.05, POLICY).gain > -0.01
    assert worth(huge, 0.05) * huge.impressions < 21


def test_nothing_shown_is_nothing_to_compare():
    """An error, not a verdict."""
    with pytest.raises(ValueError, match="nothing to compare"):
        compare([0.1], [0.1], [Row(values={}, impressions=0, clicks=0, at=0)], 0.0, POLICY)
