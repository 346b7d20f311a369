"""Chance that depends on (seed, what, number) alone, never on who asked before.

Draws are uniforms at fixed places, turned by quantile functions: the same ad in the same hour has
the same luck under every budget, and more impressions never mean fewer clicks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

Column = NDArray[np.float64]

AD, CHANGE, HOUR, DAY, DEAL, CREATIVE, TASTE = range(7)
_BITS = 56
_LARGE = 30.0
_MOST = 120  # more than a mean of 30 ever gives


class _Key(ISeedSequence):
    """A Philox key as it is; ``key=`` would ask the system's generator for a seed as well."""

    def __init__(self, *words: int) -> None:
        self._words = np.array(words, np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        return self._words


def generator(seed: int, what: int, number: int) -> np.random.Generator:
    """A stream of its own for each (seed, what, number)."""
    key = _Key(seed & (2**64 - 1), (what << _BITS) | number)
    return np.random.Generator(np.random.Philox(key))


def uniforms(seed: int, what: int, number: int, ads: int, each: int) -> NDArray[np.float64]:
    """[each, ads] numbers in (0, 1); those of an ad do not depend on how many ads there are."""
    drawn = generator(seed, what, number).random((ads, each)).T
    return np.maximum(drawn, 1e-12)


def normals(first: Column, second: Column) -> Column:
    """Standard normal draws of two uniforms each (Box and Muller, 1958)."""
    return np.asarray(np.sqrt(-2.0 * np.log(first)) * np.cos(2.0 * np.pi * second))


def poisson(uniform: Column, mean: Column) -> Column:
    """Poisson quantiles by summing probabilities; a mean of 0 gives 0.

    Above a mean of 30 the expansion of Cornish and Fisher (1938) to its second term is used.
    """
    small = np.minimum(mean, _LARGE)
    mass = np.exp(-small)
    reached = mass.copy()
    found = np.zeros_like(mean)
    left = np.where(mean > _LARGE, 0.0, uniform)
    for count in range(1, _MOST):
        below = reached < left
        if not below.any():
            break
        found += below
        mass *= small / count
        reached += mass
    return np.where(mean > _LARGE, _large(uniform, mean), found)


def _large(uniform: Column, mean: Column) -> Column:
    from scipy.special import ndtri

    z = ndtri(uniform)
    root = np.sqrt(np.maximum(mean, _LARGE))
    wide = mean + z * root + (z * z - 1.0) / 6.0 + (z - z**3) / (72.0 * root)
    return np.maximum(0.0, np.floor(wide + 0.5))
