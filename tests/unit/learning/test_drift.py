"""Drift: found where errors change over time, with no more false alarms than stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from geminivideo.learning import drift
from geminivideo.learning.accuracy import Outcome
from geminivideo.policy import AccuracyPolicy

POLICY = AccuracyPolicy(permutations=499)
LOOSE = AccuracyPolicy(permutations=199, drift_false_alarms=0.10)


def ads(seed, count=60, shown=5000, factor=1.0, since=None, scatter=0.2, bias=1.0):
    """Ads in order of time, a day apart; the audience's rates change by ``factor`` from one on."""
    draws = np.random.default_rng(seed)
    predicted = 0.02 * np.exp(draws.normal(0, 0.4, count))
    changed = np.where(np.arange(count) >= (count if since is None else since), factor, 1.0)
    rates = predicted * changed / bias * np.exp(draws.normal(0, scatter, count))
    impressions = draws.integers(shown // 4, 2 * shown, count)
    return [
        Outcome(
            ad_id=f"a{i:03d}",
            predicted=float(p),
            impressions=int(n),
            clicks=int(draws.binomial(n, r)),
            at=86400.0 * i,
        )
        for i, (p, r, n) in enumerate(zip(predicted, rates, impressions, strict=True))
    ]


@pytest.mark.parametrize("factor", [0.55, 1.8])
def test_a_change_of_the_audience_is_found_with_its_time(factor):
    """Rates that change for good after the 40th of 60 ads are drift, dated within a week."""
    for seed in range(5):
        found = drift.look(ads(seed, factor=factor, since=40), POLICY, seed)
        assert found.found is True
        assert found.kind == drift.LEVEL
        assert abs(found.since_at / 86400.0 - 40) <= 7
        assert (found.after > found.before) is (factor > 1)


def test_errors_that_only_grow_are_found_too():
    """Predictions that miss to both sides alike, but farther, changed as well."""
    kinds = []
    for seed in range(5):
        calm = ads(seed, count=50, scatter=0.05)
        wild = [replace(o, ad_id=f"w{o.ad_id}", at=o.at + 1e8) for o in ads(seed + 90, 50)]
        wild = [replace(o, clicks=round(o.clicks * (1.9 if i % 2 else 0.3)))
                for i, o in enumerate(wild)]  # fmt: skip
        kinds.append(drift.look([*calm, *wild], POLICY, seed).kind)
    assert kinds.count(drift.SPREAD) >= 4


@pytest.mark.parametrize("bias", [1.0, 2.0])
def test_false_alarms_are_no_more_than_stated(bias):
    """Without a change, of 100 looks at 10 % no more than 18 alarm; a constant bias is none."""
    alarms = sum(
        bool(drift.look(ads(seed, count=40, bias=bias), LOOSE, seed).found) for seed in range(100)
    )
    assert alarms <= 18  # 10 expected at most; more in 1 of 100 such tests, and the seeds are fixed


def test_ads_of_different_sizes_are_no_drift():
    """Older ads have more impressions, so less noise: that is not read as a change of errors."""
    alarms = 0
    for seed in range(40):
        draws = np.random.default_rng(seed)
        shown = np.geomspace(200_000, 1500, 60).astype(int)
        told = [
            Outcome(ad_id=f"a{i:02d}", predicted=0.02, impressions=int(n), at=float(i),
                    clicks=int(draws.binomial(n, 0.02 * np.exp(draws.normal(0, 0.2)))))
            for i, n in enumerate(shown)
        ]  # fmt: skip
        alarms += bool(drift.look(told, LOOSE, seed).found)
    assert alarms <= 9  # 4 expected at 10 %


def test_too_few_ads_are_unknown():
    """Nineteen ads tell nothing, nor do many that were hardly shown; the reason says how many."""
    few = drift.look(ads(1, count=19), POLICY, 1)
    tiny = drift.look(ads(1, count=60, shown=40), POLICY, 1)
    for found in (few, tiny, drift.look([], POLICY, 1)):
        assert found.found is None
        assert found.p_value is None
        assert "at least 20 ads" in found.reason
    assert few.n == 19


def test_a_model_that_always_says_nothing_is_not_asked():
    """Predictions of 0 expect no clicks, so that nothing can be said of their errors."""
    silent = [replace(one, predicted=0.0) for one in ads(1)]
    assert drift.look(silent, POLICY, 1).found is None


def test_the_same_seed_and_ads_in_any_order_give_the_same_answer():
    """Time is in the ads, not in the order in which they were read."""
    told = ads(3, factor=1.5, since=30)
    assert drift.look(told, POLICY, 7) == drift.look(told[::-1], POLICY, 7)


def test_impossible_counts_are_left_out():
    """More clicks than impressions would be the largest error of all: they are no error."""
    told = ads(4)
    wrong = [replace(told[0], ad_id="bad", clicks=told[0].impressions + 1, at=1e9)]
    assert drift.look([*told, *wrong], POLICY, 1) == drift.look(told, POLICY, 1)
