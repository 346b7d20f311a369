"""How far one decision may move each ad's daily budget, and which rule says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geminivideo.budget.signals import AdSignals, contradiction
from geminivideo.policy import Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Cents = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """An ad's budget may lie in [lower, upper] (minor units); the words say who set each end."""

    lower: int
    upper: int
    lower_by: str = ""
    upper_by: str = ""
    contradiction: str | None = None


def in_ignorance_zone(ad: AdSignals, policy: Policy) -> bool:
    """Too young, or too little spent, to be cut."""
    gate = policy.gate
    return ad.age_hours < gate.ignorance_hours or ad.spend < gate.ignorance_spend


def bound(ad: AdSignals, *, total: int, ads: int, policy: Policy) -> Bound:
    """The bounds of one ad. Velocity is the hardest, then the ignorance zone, then the floors.

    An ad of unknown budget has no velocity bound: there is nothing to measure it against.
    """
    kept = _kept(ad)
    if kept is not None:
        return kept
    floor, floor_by = _floor(ad, total=total, ads=ads, policy=policy)
    ceiling, ceiling_by = _ceiling(ad, total, policy)
    least, most = _velocity(ad, policy)
    if most is not None and most <= ceiling:
        ceiling, ceiling_by = most, "velocity"
    if least is not None and least > floor:
        floor, floor_by = least, "velocity"
    if in_ignorance_zone(ad, policy) and (ad.daily_budget or 0) > floor:
        floor, floor_by = ad.daily_budget or 0, "ignorance zone"
    lower, upper = min(floor, most if most is not None else floor), ceiling
    return Bound(lower=lower, upper=max(lower, upper), lower_by=floor_by, upper_by=ceiling_by)


def columns(bounds: Sequence[Bound]) -> tuple[Cents, Cents]:
    """(lower, upper) as columns."""
    import numpy as np

    lower = np.fromiter((b.lower for b in bounds), np.int64, len(bounds))
    upper = np.fromiter((b.upper for b in bounds), np.int64, len(bounds))
    return lower, upper


def _kept(ad: AdSignals) -> Bound | None:
    """The ad keeps what it has: a person locked it, or its numbers cannot be true."""
    wrong = contradiction(ad)
    if not ad.locked and wrong is None:
        return None
    now = max(0, ad.daily_budget or 0)
    why = "contradiction" if wrong else "a person's lock"
    return Bound(lower=now, upper=now, lower_by=why, upper_by=why, contradiction=wrong)


def _floor(ad: AdSignals, *, total: int, ads: int, policy: Policy) -> tuple[int, str]:
    """The minimum budget, or the share of an equal split that keeps the ad observable."""
    allocation = policy.allocation
    least = max(allocation.min_daily_budget, ad.min_budget or 0)
    inside = in_ignorance_zone(ad, policy)
    share = allocation.exploration_share if inside else allocation.least_share
    explore = math.ceil(share * total / max(1, ads))
    if explore <= least:
        return least, "minimum budget"
    return explore, "exploration floor" if inside else "least share"


def _ceiling(ad: AdSignals, total: int, policy: Policy) -> tuple[int, str]:
    share = math.floor(policy.allocation.max_share * total)
    if ad.max_budget is not None and ad.max_budget < share:
        return ad.max_budget, "maximum budget"
    return share, "share of the total"


def _velocity(ad: AdSignals, policy: Policy) -> tuple[int | None, int | None]:
    """The budgets within ``max_budget_change`` of the one at the window's start."""
    base = ad.window_budget if ad.window_budget is not None else ad.daily_budget
    if not base:
        return None, None
    change = policy.executor.max_budget_change
    return math.ceil(base * (1 - change) - 1e-9), math.floor(base * (1 + change) + 1e-9)
