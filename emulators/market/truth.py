"""What is hidden of every ad: how people answer it, what their deals are worth, when it changes.

Ad ``index`` of a market is drawn from (seed, index) alone: a market of 100 ads begins with the 20
of the market of 20.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emulators.market.draws import AD, CHANGE, generator

Column = NDArray[np.float64]

# Between ads: the median, and the standard deviation of the natural logarithm around it.
_CTR = (0.012, 0.55)
_CPM = (8_00.0, 0.25)
_SATURATION = (100_00.0, 0.40)
_AUDIENCE = (100_000.0, 0.30)
_FATIGUE = (12.0, 0.30)
_DEAL_RATE = (0.025, 0.50)
_AMOUNT = (180_00.0, 0.20)
_WIN_RATE = (0.35, 0.20)
_PURCHASE_RATE = (0.020, 0.50)
_BASKET = (75_00.0, 0.20)
_MOST_WON = 0.80
_MEAN_LAG = (0.20, 0.45)  # of the lag's range
_FALL = (0.60, 0.50)  # what a change does to CTR and to the deal rate
_RISE = (1.60, 2.00)
_CHANGED_BETWEEN = (0.30, 0.60)  # of the market's days


@dataclass(frozen=True, kw_only=True)
class AdTruth:
    """One ad. Money is minor units, rates are fractions.

    ``cpm`` is the price of the day's first thousand impressions; the price of the next rises by
    1 + spend / ``saturation``. ``audience`` is people; CTR falls by 1 / (1 + f / ``fatigue``) with
    f = impressions so far / audience. ``deal_rate`` is deals (or purchases) per link click,
    ``win_rate`` the share of deals that pay ``amount`` (the mean). ``lag`` is the mean delay from
    click to deal, as a share of its range.
    """

    ctr: float
    cpm: float
    saturation: float
    audience: float
    fatigue: float
    deal_rate: float
    win_rate: float
    amount: float
    lag: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """From ``at`` on, ad ``ad``'s CTR and deal rate are multiplied."""

    ad: int
    at: float
    ctr: float
    deal_rate: float


@dataclass(frozen=True)
class Columns:
    """The truths of ads 0, 1, ... side by side."""

    ctr: Column
    cpm: Column
    saturation: Column
    audience: Column
    fatigue: Column
    deal_rate: Column
    win_rate: Column
    amount: Column
    lag: Column

    @property
    def value_per_click(self) -> Column:
        """What a link click brings in the end, minor units."""
        return self.deal_rate * self.win_rate * self.amount


@lru_cache(maxsize=100_000)
def draw(seed: int, index: int, cent: float, direct: bool) -> AdTruth:
    """The truth of one ad; ``cent`` is how many minor units a US cent is."""
    rng = generator(seed, AD, index)
    z = rng.standard_normal(8)

    def lognormal(center: tuple[float, float], number: int) -> float:
        return float(center[0] * np.exp(center[1] * z[number]))

    return AdTruth(
        ctr=lognormal(_CTR, 0),
        cpm=lognormal(_CPM, 1) * cent,
        saturation=lognormal(_SATURATION, 2) * cent,
        audience=lognormal(_AUDIENCE, 3),
        fatigue=lognormal(_FATIGUE, 4),
        deal_rate=lognormal(_PURCHASE_RATE if direct else _DEAL_RATE, 5),
        win_rate=1.0 if direct else min(_MOST_WON, lognormal(_WIN_RATE, 6)),
        amount=lognormal(_BASKET if direct else _AMOUNT, 7) * cent,
        lag=float(rng.uniform(*_MEAN_LAG)),
    )


def columns(truths: list[AdTruth]) -> Columns:
    """Ads side by side."""
    return Columns(*(np.array([getattr(t, f.name) for t in truths]) for f in fields(AdTruth)))


def draw_changes(
    seed: int, truths: list[AdTruth], start: float, days: int, count: int
) -> tuple[Change, ...]:
    """``count`` ads whose truth changes once: one of the better half falls, or a worse one rises.

    Better is more value for the first money of a day.
    """
    rng = generator(seed, CHANGE, 0)
    found = columns(truths)
    order = np.argsort(-found.ctr / found.cpm * found.value_per_click, kind="stable")
    changes = []
    for _ in range(min(count, len(truths))):
        falls, place = rng.random() < 0.5, rng.random()
        half = max(1, len(truths) // 2)
        rank = int(place * half) if falls else len(truths) - 1 - int(place * half)
        day = int(days * rng.uniform(*_CHANGED_BETWEEN))
        ctr, deal_rate = _FALL if falls else _RISE
        at = start + day * 86_400.0
        changes.append(Change(ad=int(order[rank]), at=at, ctr=ctr, deal_rate=deal_rate))
    return tuple(changes)
