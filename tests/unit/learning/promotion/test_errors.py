"""Equal ads are hardly ever promoted, however often they are looked at; better ones are."""

from __future__ import annotations

import random
from dataclasses import replace
from math import comb

import pytest
from geminivideo.learning.promotion import check
from geminivideo.policy import Policy, WinnerPolicy
from geminivideo.services.promotion_evidence import numbers

FREE = Policy(winner=WinnerPolicy(min_ctr=0.0))


def beyond(wrong, of, rate=0.05):
    """The probability of so many or more when each has ``rate``."""
    return sum(comb(of, k) * rate**k * (1 - rate) ** (of - k) for k in range(wrong, of + 1))


def test_equal_ads_are_hardly_ever_promoted_over_all_their_looks(ad, ask):
    """Of forty sets of two to six equal ads, looked at six times each, at most 5 % are wrong."""
    rng, wrong = random.Random(5), 0
    for number in range(40):
        count = 2 + number % 5
        clicks, looks, hit = [0] * count, [(0, 0)] * count, False
        for day in range(1, 7):
            clicks = [so_far + round(rng.gauss(60, 60**0.5)) for so_far in clicks]
            ads = [
                ad(n, clicks=clicks[n], impressions=3000 * day, looks=had, clicks_looked_at=at)
                for n, (had, at) in enumerate(looks)
            ]
            record = check(ask(*ads, policy=FREE, seed=rng.getrandbits(40)))
            hit |= any(one.promoted for one in record.promotions)
            looks = [
                (one.look, clicks[n]) if one.look else looks[n]
                for n, one in enumerate(record.promotions)
            ]
        wrong += hit
    assert beyond(wrong, 40) > 0.01


def test_the_draws_are_those_of_the_samplers_posterior(promoting):
    """What is drawn of an ad has the mean of the sampler's own return at the margin."""
    import numpy as np
    from geminivideo.budget import evidence, lag, prior, sampler
    from geminivideo.learning import promotion

    rng = random.Random(2)
    ads = [promoting.signals(n, promoting.history(rng, 0.01 * (n + 1), 0.05)) for n in range(3)]
    seen = evidence.gather(
        ads, now=promoting.NOW, total=15000, lag=lag.learn((), FREE.lag), policy=FREE.sampler
    )
    posterior = sampler.believe(seen, prior.learn(seen, FREE.sampler), FREE.sampler)
    asked = promoting.look([[*ad.days] for ad in ads], FREE, seed=1)
    known = [replace(one, **row) for one, row in zip(asked.contenders, numbers(posterior),
                                                      strict=True)]  # fmt: skip
    drawn = promotion._returns(known, 20_000, np.random.default_rng(1), asked).mean(0)
    wanted = posterior.mean_returns * posterior.elasticity
    assert drawn == pytest.approx(wanted.tolist(), rel=0.02)


@pytest.mark.long
@pytest.mark.parametrize("ads", [2, 6])
@pytest.mark.parametrize("noise", [0.05, 0.15])
def test_equal_ads_through_the_samplers_own_evidence(promoting, ads, noise):
    """Twenty daily checks of each account, forgetting and noisy days included: at most 5 %."""
    row = promoting.equal(ads, noise, seed=11, accounts=60)
    assert beyond(round(row.ever * row.accounts), row.accounts) > 0.01
    assert row.check <= 0.02


@pytest.mark.long
def test_an_ad_that_is_twice_as_good_is_found(promoting):
    """Within twenty days in nine of ten accounts, and no other ad is promoted for it."""
    power = promoting.better(2.0, accounts=30)
    assert power.promoted >= 0.9
    assert power.wrong <= 0.05
