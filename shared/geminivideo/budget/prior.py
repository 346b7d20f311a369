"""Empirical Bayes: what the account's ads have in common is learned from all of them.

Method of moments for the Beta of CTRs (Kleinman 1973) and for the Gamma of value per click
(DuMouchel 1999), each shrunk to the policy's prior by the amount of evidence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from geminivideo.budget import parts
from geminivideo.budget.evidence import Evidence, total
from geminivideo.budget.signals import AccountPrior
from geminivideo.policy import SamplerPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]


def learn(evidence: Evidence, policy: SamplerPolicy) -> AccountPrior:
    """The account's prior; with nothing seen, the policy's."""
    alpha, beta = _ctr(evidence.clicks, evidence.impressions, policy)
    exposure = float(evidence.exposure.sum())
    value = float(evidence.value.sum())
    per_click = value / exposure if exposure > 0 else 0.0
    size = _credit_size(evidence, policy)
    return AccountPrior(
        ctr_alpha=alpha,
        ctr_beta=beta,
        value_per_click=per_click,
        value_shape=_shape(evidence, per_click, size, policy),
        credit_size=size,
        elasticity=evidence.account_elasticity,
    )


def _ctr(clicks: Column, impressions: Column, policy: SamplerPolicy) -> tuple[float, float]:
    import numpy as np

    shown = float(impressions.sum())
    pseudo = policy.prior_ctr_impressions
    mean = (float(clicks.sum()) + policy.prior_ctr * pseudo) / (shown + pseudo)
    between = policy.prior_value_dispersion
    ads = int(np.count_nonzero(impressions > 0))
    if ads > 1:
        scatter = math.fsum(
            parts.each(len(clicks), lambda at: _scatter(clicks[at], impressions[at], mean))
        )
        spread = shown - total(impressions, impressions) / shown
        variance = max(0.0, scatter - (ads - 1) * mean * (1 - mean)) / max(spread, 1e-9)
        weight = policy.prior_ctr_strength
        between = (between * weight + variance / mean**2 * ads) / (weight + ads)
    between = max(between, policy.min_value_dispersion)
    strength = max(2.0, (1 - mean) / (mean * between) - 1)
    return mean * strength, (1 - mean) * strength


def _scatter(clicks: Column, impressions: Column, mean: float) -> float:
    """The squared distances of the rates from the mean, by impressions."""
    import numpy as np

    apart = clicks / np.maximum(impressions, 1e-9)
    apart -= mean
    return total(impressions, apart, apart)


def _credit_size(evidence: Evidence, policy: SamplerPolicy) -> float:
    """E[x^2]/E[x] of one deal's credit: its mean times (1 + squared variation); none seen: 0."""
    mean = evidence.credit_mean or evidence.credit_guess
    return mean * (1.0 + policy.prior_credit_spread) if mean else 0.0


def _shape(evidence: Evidence, per_click: float, size: float, policy: SamplerPolicy) -> float:
    """1 / (variance between ads of their value per click, relative to the account's)."""
    dispersion = policy.prior_value_dispersion
    if size > 0 and per_click > 0:
        ads = len(evidence.value)
        sums = parts.each(ads, lambda at: _credits(evidence.rows(at), per_click, size))
        squares, beyond, weight = (math.fsum(column) for column in zip(*sums, strict=True))
        seen = beyond / max(squares, 1e-12)
        prior = policy.prior_dispersion_strength
        dispersion = (dispersion * prior + seen * weight) / (prior + weight)
    limited = min(policy.max_value_dispersion, max(policy.min_value_dispersion, dispersion))
    return 1.0 / limited


def _credits(evidence: Evidence, per_click: float, size: float) -> tuple[float, float, float]:
    """Sums over the ads: (expected deals squared, seen beyond chance, weight of the evidence)."""
    expected = evidence.exposure * (per_click / size)
    apart = evidence.value / size
    apart -= expected
    squares, beyond = total(expected, expected), total(apart, apart) - float(expected.sum())
    return squares, beyond, total(expected, 1.0 / (expected + 0.5))
