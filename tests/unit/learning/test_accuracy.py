"""Measures of accuracy: scikit-learn's where it has them, and noise told apart from error."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from geminivideo.learning.accuracy import (
    Outcome,
    believable,
    calibration,
    counting_error,
    score,
    wilson,
)
from geminivideo.policy import AccuracyPolicy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

POLICY = AccuracyPolicy(resamples=100)
QUICK = AccuracyPolicy(resamples=10)


def outcome(index, predicted, impressions, clicks):
    return Outcome(
        ad_id=f"a{index:04d}",
        predicted=predicted,
        impressions=impressions,
        clicks=clicks,
        at=float(index),
    )


def market(seed, ads=100, shown=2000, bias=1.0, scatter=0.0):
    """Ads with rates of their own, their clicks, and what a model says of the rates."""
    draws = np.random.default_rng(seed)
    rates = 0.02 * np.exp(draws.normal(0, 0.4, ads))
    impressions = draws.integers(shown // 2, 2 * shown, ads)
    predicted = np.clip(rates * bias * np.exp(draws.normal(0, scatter, ads)), 0, 1)
    clicks = draws.binomial(impressions, rates)
    own = 1 - (impressions * abs(predicted - rates)).sum() / (impressions * rates).sum()
    found = [
        outcome(i, float(p), int(n), int(c))
        for i, (p, n, c) in enumerate(zip(predicted, impressions, clicks, strict=True))
    ]
    return found, float(own)


PARTS = st.floats(0, 1)
OUTCOMES = st.lists(st.tuples(PARTS, st.integers(1, 10**6), PARTS), min_size=3, max_size=12).map(
    lambda rows: [outcome(i, p, n, int(n * part)) for i, (p, n, part) in enumerate(rows)]
)


@settings(max_examples=20)
@given(OUTCOMES)
def test_rmse_mae_and_r2_are_scikit_learns(outcomes):
    """Weighted by impressions, each measure is that of the library that is everybody's oracle."""
    assume(sum(o.clicks for o in outcomes) >= QUICK.min_clicks)
    seen = np.array([o.clicks / o.impressions for o in outcomes])
    predicted = np.array([o.predicted for o in outcomes])
    weights = np.array([o.impressions for o in outcomes], float)
    assume(seen.std() > 1e-3)
    found = score(outcomes, QUICK, seed=1)
    squared = metrics.mean_squared_error(seen, predicted, sample_weight=weights)
    assert found.rmse == pytest.approx(math.sqrt(squared), rel=1e-9, abs=1e-12)
    absolute = metrics.mean_absolute_error(seen, predicted, sample_weight=weights)
    assert found.mae == pytest.approx(absolute, rel=1e-9, abs=1e-12)
    explained = metrics.r2_score(seen, predicted, sample_weight=weights)
    assert found.r_squared == pytest.approx(explained, rel=1e-6, abs=1e-9)


@settings(max_examples=20)
@given(OUTCOMES)
def test_figures_keep_their_bounds(outcomes):
    """Accuracy is in [0, 1] or unknown, also as seen; every figure that is there is finite."""
    found = score(outcomes, QUICK, seed=1)
    for value in (found.accuracy, found.accuracy_as_seen):
        assert value is None or 0.0 <= value <= 1.0
    for name, (low, high) in found.intervals.items():
        assert low <= high
        assert math.isfinite(low + high)
        assert getattr(found, name) is not None


@settings(max_examples=15)
@given(OUTCOMES, st.randoms())
def test_the_order_of_the_ads_does_not_matter(outcomes, shuffler):
    """The same ads in any order are the same report, drawn intervals included."""
    mixed = list(outcomes)
    shuffler.shuffle(mixed)
    assert score(mixed, QUICK, seed=3) == score(outcomes, QUICK, seed=3)


@settings(max_examples=20)
@given(st.integers(1, 400), st.floats(0.001, 0.999))
def test_the_error_of_counting_is_the_binomials_mean_absolute_deviation(shown, rate):
    """de Moivre's closed form is the sum over all counts."""
    counts = np.arange(shown + 1)
    known = (stats.binom.pmf(counts, shown, rate) * abs(counts - shown * rate)).sum()
    assert counting_error(shown, rate) == pytest.approx(known, rel=1e-6)


def test_rates_of_none_or_all_leave_nothing_to_chance():
    """An ad that is never clicked, or always, has no noise of counting."""
    assert counting_error(1000, 0.0) == counting_error(1000, 1.0) == counting_error(0, 0.5) == 0.0


@pytest.mark.parametrize("shown", [500, 20000])
def test_a_perfect_model_is_not_blamed_for_chance(shown):
    """Predicting the true rates is near 1, though the seen rates are far off for small ads."""
    found = [score(market(seed, shown=shown)[0], POLICY, seed) for seed in range(10)]
    assert np.mean([one.accuracy for one in found]) > 0.95
    seen = np.mean([one.accuracy_as_seen for one in found])
    if shown == 500:
        assert seen < 0.85


@pytest.mark.parametrize(("bias", "scatter"), [(1.2, 0.0), (0.7, 0.0), (1.0, 0.3), (0.8, 0.25)])
def test_accuracy_is_the_models_own_relative_error(bias, scatter):
    """Errors to one side, at random and both are found at their true size within 0.03."""
    drawn = [market(seed, ads=150, bias=bias, scatter=scatter) for seed in range(10)]
    found = [score(outcomes, POLICY, seed).accuracy for seed, (outcomes, _) in enumerate(drawn)]
    assert np.mean(found) == pytest.approx(np.mean([own for _, own in drawn]), abs=0.03)


def test_intervals_hold_the_models_own_accuracy_as_often_as_they_say():
    """Of 60 markets, the 90 % intervals hold the true accuracy in no fewer than 47."""
    inside = 0
    for seed in range(60):
        outcomes, own = market(seed, ads=80, scatter=0.3)
        low, high = score(outcomes, POLICY, seed).intervals["accuracy"]
        inside += low <= own <= high
    assert inside >= 47  # fewer than 1 time in 1000 for a true 90 %


def test_a_hopeless_model_is_at_zero():
    """Predictions ten times too high are not negative accuracy."""
    outcomes, _ = market(1, bias=10.0)
    assert score(outcomes, POLICY, 1).accuracy == 0.0


def test_bias_is_predicted_over_seen_clicks():
    """A model that promises half of the clicks says so in one number."""
    outcomes = [outcome(i, 0.01, 10_000, 200) for i in range(5)]
    found = score(outcomes, POLICY, 1)
    assert found.bias == pytest.approx(0.5)
    assert found.rmse == pytest.approx(0.01)
    assert found.r_squared is None  # all rates are one: there is nothing to explain


def test_rmse_beyond_counting_is_the_distance_from_the_true_rates():
    """The part of the squared error that is chance is taken off, on average exactly."""
    own, found = [], []
    for seed in range(20):
        outcomes, _ = market(seed, ads=200, shown=1000, bias=1.3)
        found.append(score(outcomes, QUICK, seed).rmse_beyond_counting)
        weights = np.array([o.impressions for o in outcomes])
        true = np.array([o.predicted for o in outcomes]) * (1 - 1 / 1.3)
        own.append(math.sqrt((weights * true**2).sum() / weights.sum()))
    assert np.mean(found) == pytest.approx(np.mean(own), rel=0.05)


def test_too_little_is_unknown_not_zero():
    """Two ads, or three without clicks: every figure is None, the count is said."""
    few = score([outcome(i, 0.02, 1000, 20) for i in range(2)], POLICY, 1)
    silent = score([outcome(i, 0.02, 1000, 0) for i in range(9)], POLICY, 1)
    for found in (few, silent, score([], POLICY, 1)):
        assert (found.accuracy, found.rmse, found.mae, found.r_squared) == (None,) * 4
        assert (found.intervals, found.calibration) == ({}, ())
    assert (few.n, silent.n) == (2, 9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clicks": 1001},
        {"clicks": -1},
        {"impressions": 0, "clicks": 0},
        {"predicted": math.nan},
        {"predicted": 1.5},
    ],
)
def test_numbers_that_cannot_be_judge_nobody(wrong):
    """An impossible row leaves every figure as if it were not there."""
    outcomes, _ = market(2, ads=20)
    bad = replace(outcome(99, 0.02, 1000, 20), **wrong)
    assert not believable(bad)
    assert score([*outcomes, bad], POLICY, 5) == score(outcomes, POLICY, 5)


def test_the_same_seed_draws_the_same_intervals():
    """A report can be made again; another seed moves its intervals alone."""
    outcomes, _ = market(4)
    one, again, other = (score(outcomes, POLICY, seed) for seed in (1, 1, 2))
    assert one == again
    assert one.intervals != other.intervals
    assert replace(one, intervals={}) == replace(other, intervals={})


def test_more_ads_narrow_the_interval():
    """Ten times the ads make the interval less than half as wide."""
    widths = []
    for ads in (30, 300):
        low, high = score(market(5, ads=ads, scatter=0.3)[0], POLICY, 1).intervals["accuracy"]
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


# Calibration -----------------------------------------------------------------------------------


@settings(max_examples=20)
@given(OUTCOMES)
def test_every_ad_is_in_one_bin_and_bins_are_in_order(outcomes):
    """No ad is lost or counted twice; predictions rise from bin to bin and rates are inside."""
    bins = calibration(outcomes, POLICY)
    assert sum(one.ads for one in bins) == len(outcomes)
    assert sum(one.impressions for one in bins) == sum(o.impressions for o in outcomes)
    predicted = [one.predicted for one in bins]
    assert predicted == sorted(predicted)
    for one in bins:
        low, high = one.interval
        assert low - 1e-9 <= one.observed <= high + 1e-9


def test_equal_predictions_share_a_bin():
    """A model that says one number has a curve of one point."""
    outcomes = [outcome(i, 0.02, 1000, 10 + i) for i in range(40)]
    (only,) = calibration(outcomes, POLICY)
    assert only.ads == 40


def test_a_calibrated_models_bins_hold_what_they_predicted():
    """Of a perfect model nearly all 90 % intervals hold the prediction; of a biased one few do."""

    def held(bias):
        bins = [b for seed in range(8) for b in calibration(market(seed, bias=bias)[0], POLICY)]
        return np.mean([low <= b.predicted <= high for b in bins for low, high in [b.interval]])

    assert held(1.0) >= 0.8
    assert held(1.5) <= 0.2


def test_ads_that_differ_widen_their_bins_interval():
    """Clicks that scatter more than counting does are worth fewer impressions."""
    even = [outcome(i, 0.02, 1000, 20) for i in range(10)]
    apart = [outcome(i, 0.02, 1000, 40 * (i % 2)) for i in range(10)]
    (one,), (other,) = calibration(even, POLICY)[:1], calibration(apart, POLICY)[:1]
    assert one.observed == other.observed
    assert other.interval[1] - other.interval[0] > 3 * (one.interval[1] - one.interval[0])


@settings(max_examples=20)
@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_wilsons_interval_is_scipys(counts):
    """The interval of a rate is that of the reference implementation."""
    trials, clicks = counts
    known = stats.binomtest(clicks, trials).proportion_ci(0.9, method="wilson")
    assert wilson(clicks / trials, trials, 0.9) == pytest.approx((known.low, known.high), abs=1e-9)
