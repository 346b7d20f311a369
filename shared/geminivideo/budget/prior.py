"""Empirical Bayes: what the account's ads have in common is learned from all of them.

Method of moments for the Beta of CTRs (Kleinman 1973) and for the Gamma of deals or value per click
(DuMouchel 1999), each shrunk to the policy's prior by the amount of evidence. The mean is that of
the ads, not of the clicks (Buehlmann and Straub 1970): an ad counts by what it says of all ads, so
that one which gets most of the clicks does not pass for the account.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geminivideo.budget.evidence import Evidence, total
from geminivideo.budget.signals import AccountPrior
from geminivideo.policy import SamplerPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]

_SAMPLE = 16_384  # of so many ads the prior is near that of all
_TURNS = 12


def learn(evidence: Evidence, policy: SamplerPolicy) -> AccountPrior:
    """The account's prior; with nothing seen, the policy's."""
    some = _sample(evidence, 1 + len(evidence.clicks) // _SAMPLE)
    alpha, beta = _ctr(evidence, some, policy)
    size = _credit_size(evidence, policy)
    deal = _deal_value(some, size, policy) if evidence.counted else 0.0
    unit = deal or size
    seen = some.deals if deal else some.value / max(unit, 1.0)
    rate, dispersion = _between(seen, some.exposure, policy)
    return AccountPrior(
        ctr_alpha=alpha,
        ctr_beta=beta,
        value_per_click=rate * unit,
        value_shape=1.0 / dispersion,
        credit_size=size,
        deal_value=deal,
    )


def _sample(evidence: Evidence, stride: int) -> Evidence:
    """Every so many-th ad; the columns that are looked at again and again side by side."""
    some = evidence.rows(slice(None, None, stride))
    return replace(
        some,
        clicks=some.clicks.copy(),
        impressions=some.impressions.copy(),
        exposure=some.exposure.copy(),
        value=some.value.copy(),
        deals=some.deals.copy(),
        ripe=some.ripe.copy(),
    )


def _ctr(evidence: Evidence, some: Evidence, policy: SamplerPolicy) -> tuple[float, float]:
    """The Beta of the CTRs: its mean of all ads, its variance of those in the sample."""
    shown = float(evidence.impressions.sum())
    pseudo = policy.prior_ctr_impressions
    mean = (float(evidence.clicks.sum()) + policy.prior_ctr * pseudo) / (shown + pseudo)
    between = max(_ctr_spread(some, mean, policy), policy.min_value_dispersion)
    strength = max(2.0, (1 - mean) / (mean * between) - 1)
    return mean * strength, (1 - mean) * strength


def _ctr_spread(some: Evidence, mean: float, policy: SamplerPolicy) -> float:
    """The variance between the ads' CTRs by the square of their mean."""
    import numpy as np

    prior, impressions = policy.prior_value_dispersion, some.impressions
    ads = int(np.count_nonzero(impressions > 0))
    if ads < 2:
        return prior
    shown = float(impressions.sum())
    apart = some.clicks / np.maximum(impressions, 1e-9)
    apart -= mean
    scatter = total(impressions, apart, apart)
    spread = shown - total(impressions, impressions) / shown
    variance = max(0.0, scatter - (ads - 1) * mean * (1 - mean)) / max(spread, 1e-9)
    weight = policy.prior_ctr_strength
    return (prior * weight + variance / mean**2 * ads) / (weight + ads)


def _credit_size(evidence: Evidence, policy: SamplerPolicy) -> float:
    """E[x^2]/E[x] of one deal's credit: its mean times (1 + squared variation); none seen: 0."""
    mean = evidence.credit_mean or evidence.credit_guess
    return mean * (1.0 + policy.prior_credit_spread) if mean else 0.0


def _deal_value(evidence: Evidence, size: float, policy: SamplerPolicy) -> float:
    """What a deal is credited in the end, in the mean of the ads; nothing credited: 0.

    While little is ripe, one deal of what deals are credited so far (too little) holds it down.
    """
    variation = 1.0 + policy.prior_credit_spread
    trust = 1.0 / (1.0 + policy.deal_value_dispersion / variation * evidence.ripe)
    so_far = size / variation
    return (total(trust, evidence.value) + so_far) / (total(trust, evidence.ripe) + 1.0)


def _between(seen: Column, exposure: Column, policy: SamplerPolicy) -> tuple[float, float]:
    """(the mean rate of the ads, the variance between them relative to it).

    Seen ~ Poisson(exposure * rate * Gamma(1 / variance)), solved by turns: the variance says how
    much each ad counts for the mean, and the mean how far each ad is from it.
    """
    spread = policy.prior_value_dispersion
    if not (seen.any() and exposure.any()):
        return 0.0, spread
    rate = float(seen.sum() / exposure.sum())
    for _ in range(_TURNS):
        trust = 1.0 / (1.0 + spread * rate * exposure)
        rate = total(trust, seen) / total(trust, exposure)
        spread = _spread(seen, rate * exposure, spread, policy)
    return rate, spread


def _spread(seen: Column, expected: Column, spread: float, policy: SamplerPolicy) -> float:
    """The mean of what each ad says, ((seen - expected) ** 2 - expected) / expected ** 2.

    An ad weighs by the square of its credibility c = v e / (1 + v e); the relative variance of the
    mean is 2 / sum(c ** 2), by which it is weighed against the policy's.
    """
    trust = spread / (1.0 + spread * expected)
    beyond = total(trust, trust, (seen - expected) ** 2 - expected)
    told = total(trust, trust, expected, expected)
    weight, prior = told / 2.0, policy.prior_dispersion_strength
    found = policy.prior_value_dispersion * prior + beyond / max(told, 1e-12) * weight
    return min(
        policy.max_value_dispersion, max(policy.min_value_dispersion, found / (prior + weight))
    )
