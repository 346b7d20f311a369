"""How much more than by chance an account's days differ."""

from __future__ import annotations

import random

import pytest
from geminivideo.learning.dispersion import Delivered, Estimated, of_account, of_days


def days(rng, clicks, noise, count=40, spend=5000, drift=0.0):
    """Poisson days (as a normal) around a mean that is shaken by ``noise`` and drifts slowly."""
    for day in range(count):
        mean = clicks * (1 + drift) ** day * rng.lognormvariate(0.0, noise)
        yield Delivered(max(0, round(rng.gauss(mean, mean**0.5))), spend)


def account(noise, seed=3, clicks=60, **members):
    rng = random.Random(seed)
    return [list(days(rng, clicks, noise, **members)) for _ in range(8)]


def test_days_that_differ_by_chance_alone_count_as_they_are():
    """Near 1, and never below it."""
    assert 1.0 <= of_account(account(0.0), 0.0).ratio < 1.25


@pytest.mark.parametrize("noise", [0.15, 0.3])
def test_noise_between_days_is_measured(noise):
    """Near 1 + clicks x noise squared."""
    assert of_account(account(noise), 0.05).ratio == pytest.approx(1 + 60 * noise**2, rel=0.35)


def test_a_slow_change_is_no_noise():
    """An ad that tires by 3 % a day does not make its days look shaken."""
    assert of_account(account(0.0, drift=-0.03, count=20), 0.0).ratio < 1.35


def test_few_days_lean_on_what_is_usual():
    """One pair says little; none says nothing."""
    pair = [[Delivered(40, 5000), Delivered(80, 5000)]]
    alone = of_days([(one.spend, one.clicks) for one in pair[0]]).ratio
    found = of_account(pair, 0.05)
    assert 1.0 < found.ratio < alone / 2
    assert found.freedom < 3
    assert of_account([[Delivered(40, 5000)]], 0.05) == Estimated(1.0, 2.0)
    assert of_account([], 0.05).ratio == 1.0


def test_days_with_hardly_a_click_are_left_out():
    """Chance has no fixed size there: such ads tell nothing of noise."""
    assert of_account([[Delivered(n % 2, 5000) for n in range(30)]], 0.05).ratio == 1.0
    assert of_account([[Delivered(0, 0), Delivered(5, 0)]], 0.05).ratio == 1.0
