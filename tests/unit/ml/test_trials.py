"""A model on trial: it waits, it proves itself, or it goes."""

import numpy as np
import pytest
from geminivideo.ml.judging import Row
from geminivideo.ml.trials import State, on_trial
from geminivideo.policy import TrainingPolicy

POLICY = TrainingPolicy(resamples=400)


def trial(good, bad, count=40, age_days=5.0, seed=1):
    """Ads whose rates ``good`` says to within little, ``bad`` to within much: who is on trial?"""
    rng = np.random.default_rng(seed)
    truth = 1 / (1 + np.exp(-(-3.5 + 0.5 * rng.normal(size=count))))
    rows = [Row(values={}, impressions=3000, clicks=int(rng.binomial(3000, rate)), at=float(i))
            for i, rate in enumerate(truth)]  # fmt: skip
    said = {off: np.clip(truth * np.exp(off * rng.normal(size=count)), 1e-5, 0.9).tolist()
            for off in (0.05, 0.6)}  # fmt: skip
    return on_trial(said[bad], said[good], rows, age_days, 0.001, POLICY)


def test_a_better_shadow_is_promoted():
    """New ads show it better in nearly every resample."""
    found = trial(good=0.05, bad=0.6)
    assert found.state is State.CHAMPION
    assert "also better on 40 new ads" in found.reason
    assert found.comparison.p_value < 0.05


def test_a_worse_shadow_goes():
    """New ads show it worse: no further trial."""
    found = trial(good=0.6, bad=0.05)
    assert found.state is State.REJECTED
    assert "not better" in found.reason


@pytest.mark.parametrize(("age_days", "state"), [(5.0, State.SHADOW), (46.0, State.REJECTED)])
def test_too_few_ads_wait_for_a_time(age_days, state):
    """Nothing is decided on a handful of ads, and nobody is on trial for ever."""
    found = trial(good=0.05, bad=0.6, count=5, age_days=age_days)
    assert found.state is state
    assert f"5 of {POLICY.min_shadow_ads} new ads" in found.reason


def test_a_twin_of_the_champion_waits():
    """No difference at all is not better, and not worse either way that counts: it goes."""
    found = trial(good=0.6, bad=0.6)
    assert found.state is State.REJECTED
