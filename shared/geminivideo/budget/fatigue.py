"""Fatigue: the slope of an ad's recent CTR, CPM and frequency, never its lifetime impressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geminivideo.budget.panel import Panel
from geminivideo.policy import SamplerPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A relative change per day for every ad, and how many standard errors it is from none."""

    slope: Column
    z: Column


@dataclass(frozen=True, kw_only=True)
class Fatigue:
    """``decline`` is the relative loss per day (>= 0) where it is significant, else 0."""

    ctr: Trend
    cpm: Trend
    frequency: Trend
    decline: Column


def measure(panel: Panel, elasticity: Column, policy: SamplerPolicy) -> Fatigue:
    """The trends of the last ``fatigue_days``, and the decline that they prove.

    A falling CTR counts from ``fatigue_z`` standard errors on, or ``fatigue_z_frequency`` when
    the frequency rises as significantly; a rising CPM (at equal spend) is added by the same test.
    """
    import numpy as np

    ctr, cpm, frequency = _trends(panel, elasticity, policy)
    seen_again = frequency.z >= policy.fatigue_z_frequency
    needed = np.where(seen_again, policy.fatigue_z_frequency, policy.fatigue_z)
    lost = np.where(-ctr.z >= needed, -ctr.slope, 0.0) + np.where(cpm.z >= needed, cpm.slope, 0.0)
    return Fatigue(ctr=ctr, cpm=cpm, frequency=frequency, decline=np.maximum(lost, 0.0))


def _trends(panel: Panel, elasticity: Column, policy: SamplerPolicy) -> tuple[Trend, Trend, Trend]:
    import numpy as np

    noise = policy.daily_noise**2
    used = panel.known & (panel.age <= policy.fatigue_days) & (panel.impressions > 0)
    ctr = np.log((panel.clicks + 0.5) / (panel.impressions + 1.0))
    ctr_weight = np.where(used, 1.0 / (1.0 / (panel.clicks + 0.5) + noise), 0.0)
    length = np.where(used, panel.length, 1.0)
    rate = np.log(np.maximum(panel.spend, 1.0) / length)
    cpm = elasticity[:, None] * rate - np.log(np.maximum(panel.impressions, 1.0) / length)
    even = np.where(used & (panel.spend > 0), 1.0 / noise, 0.0) * panel.length
    seen = np.where(np.isnan(panel.frequency), 1.0, np.maximum(panel.frequency, 1e-6))
    known = np.where(np.isnan(panel.frequency), 0.0, even)
    return (
        _trend(panel.age, ctr, ctr_weight, policy),
        _trend(panel.age, cpm, even, policy),
        _trend(panel.age, np.log(seen), known, policy),
    )


def _trend(age: Matrix, y: Matrix, weight: Matrix, policy: SamplerPolicy) -> Trend:
    """Weighted least squares of ``y`` on time, row by row.

    The standard error is the larger of what the weights promise and what the residuals show.
    """
    import numpy as np

    total = np.maximum(weight.sum(1), 1e-300)
    time = -age
    t = time - ((weight * time).sum(1) / total)[:, None]
    v = y - ((weight * y).sum(1) / total)[:, None]
    spread = (weight * t * t).sum(1)
    days = (weight > 0).sum(1)
    enough = (days >= policy.fatigue_min_days) & (spread > 1e-9)
    safe = np.where(enough, spread, 1.0)
    slope = np.where(enough, (weight * t * v).sum(1) / safe, 0.0)
    residual = (weight * (v - slope[:, None] * t) ** 2).sum(1) / np.maximum(days - 2, 1)
    error = np.sqrt(np.maximum(residual, 1.0) / safe)
    return Trend(slope=slope, z=np.where(enough, slope / error, 0.0))
