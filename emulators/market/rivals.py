"""The rivals of our policy in the market: what advertisers do without it.

Each sees the same signals and total as ours, is free of the velocity bound and of the gate (which
is to its advantage), and leaves every ad ``FLOOR``. Budgets are minor units and sum to the total.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from geminivideo.budget.signals import AdSignals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]

FLOOR = 100
_DRAWS = 1000

Rival = Callable[[Sequence[AdSignals], int, int, float], dict[str, int]]


def equal(ads: Sequence[AdSignals], total: int, seed: int, now: float) -> dict[str, int]:
    """The same for every ad."""
    return _share(ads, total, [1.0] * len(ads))


def ctr_thompson(ads: Sequence[AdSignals], total: int, seed: int, now: float) -> dict[str, int]:
    """Thompson sampling on lifetime clicks, Beta(1, 1) prior.

    Each ad's share is how often its draw is the best of ``_DRAWS`` (probability matching).
    """
    import numpy as np

    clicks = np.array([ad.clicks for ad in ads], float)
    others = np.array([max(0, ad.impressions - ad.clicks) for ad in ads], float)
    drawn = _rng(seed, now).beta(1 + clicks, 1 + others, (_DRAWS, len(ads)))
    return _share(ads, total, np.bincount(drawn.argmax(1), minlength=len(ads)).tolist())


def roas_greedy(ads: Sequence[AdSignals], total: int, seed: int, now: float) -> dict[str, int]:
    """In proportion to the ROAS credited so far (no lag, no prior); before any credit, equal.

    A market has deals or purchases, and the other's ROAS is none or 0.
    Softer than giving all to the best, and better: with concave returns the best alone saturates.
    """
    seen = [max(0.0, ad.pipeline_roas or 0.0, ad.cash_roas or 0.0) for ad in ads]
    return _share(ads, total, seen if any(seen) else [1.0] * len(ads))


RIVALS: dict[str, Rival] = {
    "equal": equal,
    "ctr-thompson": ctr_thompson,
    "roas-greedy": roas_greedy,
}

# What each looks at: all else need not be played for it.
READS: dict[str, frozenset[str]] = {
    "equal": frozenset(),
    "ctr-thompson": frozenset({"insights"}),
    "roas-greedy": frozenset({"insights", "deals"}),
}


def _rng(seed: int, now: float) -> np.random.Generator:
    import numpy as np

    digest = hashlib.sha256(f"{seed}/{round(now)}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8])))


def _share(ads: Sequence[AdSignals], total: int, weights: Sequence[float]) -> dict[str, int]:
    """The floor for each, the rest by weight; the first ads take what rounding leaves."""
    floor = min(FLOOR, total // max(1, len(ads)))
    rest, whole = total - floor * len(ads), sum(weights)
    given = [floor + int(rest * weight / whole) for weight in weights]
    left = total - sum(given)
    pairs = enumerate(zip(ads, given, strict=True))
    return {ad.ad_id: amount + (number < left) for number, (ad, amount) in pairs}
