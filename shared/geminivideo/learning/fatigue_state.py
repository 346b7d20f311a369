"""How worn an ad is, by the slopes of its CTR, price and frequency; each state with its evidence.

The tests are the budget's own (``SamplerPolicy.fatigue_*``): a state here and the factor by which
the sampler lowers an ad's CTR rest on the same slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from geminivideo.policy import FatiguePolicy, SamplerPolicy


class Wear(StrEnum):
    """The state of an ad."""

    HEALTHY = "HEALTHY"
    FATIGUING = "FATIGUING"
    SATURATED = "SATURATED"
    AUDIENCE_EXHAUSTED = "AUDIENCE_EXHAUSTED"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@dataclass(frozen=True, kw_only=True)
class Slope:
    """A relative change per day, and how many standard errors it is from none."""

    per_day: float
    z: float


@dataclass(frozen=True, kw_only=True)
class Worn:
    """An ad's recent days: ``days`` with delivery, their impressions, and the three slopes.

    ``frequency`` is impressions per person on one day (the mean of its days; ``None``: unknown),
    ``cpm`` the price of impressions at equal spend.
    """

    ad_id: str
    days: int
    impressions: int
    ctr: Slope
    cpm: Slope
    frequency_slope: Slope
    frequency: float | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An ad's state and the facts behind it, a sentence each."""

    wear: Wear
    facts: tuple[str, ...]


REMEDIES: dict[Wear, tuple[str, ...]] = {
    Wear.HEALTHY: (),
    Wear.INSUFFICIENT_DATA: ("Let it deliver: a slope needs more days of impressions.",),
    Wear.FATIGUING: (
        "Make variations with another opening line or another first shot "
        "(POST /api/ml/creative-doctor/generate).",
        "Leave its budget to the budget cycle, which counts the decline already.",
    ),
    Wear.SATURATED: (
        "Show the same people another creative: rotate in ads with other hooks and other footage.",
        "Do not raise its budget: more money shows it to the same people more often.",
    ),
    Wear.AUDIENCE_EXHAUSTED: (
        "Widen the audience: the people who are left cost more and have seen it.",
        "Let its budget fall, or pause it, once another ad takes over.",
    ),
}


def state(worn: Worn, policy: FatiguePolicy, sampler: SamplerPolicy) -> Finding:
    """The worst state that the slopes prove.

    AUDIENCE_EXHAUSTED: impressions grow dearer at equal spend and people see the ad often or ever
    more often. SATURATED: its CTR falls and people see it so. FATIGUING: its CTR falls, or
    impressions grow dearer, alone.
    """
    lacking = _lacking(worn, policy, sampler)
    if lacking:
        return Finding(wear=Wear.INSUFFICIENT_DATA, facts=(lacking,))
    rises = worn.frequency_slope.z >= sampler.fatigue_z_frequency
    often = worn.frequency is not None and worn.frequency >= policy.high_frequency
    needed = sampler.fatigue_z_frequency if rises else sampler.fatigue_z
    falls, dearer = -worn.ctr.z >= needed, worn.cpm.z >= needed
    return Finding(wear=_wear(rises or often, falls, dearer), facts=_facts(worn))


def _wear(seen_often: bool, falls: bool, dearer: bool) -> Wear:
    if dearer and seen_often:
        return Wear.AUDIENCE_EXHAUSTED
    if falls and seen_often:
        return Wear.SATURATED
    return Wear.FATIGUING if falls or dearer else Wear.HEALTHY


def _lacking(worn: Worn, policy: FatiguePolicy, sampler: SamplerPolicy) -> str:
    if worn.days < sampler.fatigue_min_days:
        return (
            f"{worn.days} of {sampler.fatigue_min_days} days with delivery in the last "
            f"{sampler.fatigue_days}"
        )
    if worn.impressions < policy.min_impressions:
        return f"{worn.impressions} of {policy.min_impressions} impressions on those days"
    return ""


def _facts(worn: Worn) -> tuple[str, ...]:
    facts = [
        f"CTR {worn.ctr.per_day:+.1%} a day (z {worn.ctr.z:+.1f})",
        f"price of impressions at equal spend {worn.cpm.per_day:+.1%} a day (z {worn.cpm.z:+.1f})",
    ]
    if worn.frequency is None:
        facts.append("how often people see it is not known")
    else:
        slope = worn.frequency_slope
        facts.append(
            f"{worn.frequency:.2f} impressions per person and day, {slope.per_day:+.1%} a day "
            f"(z {slope.z:+.1f})"
        )
    return (*facts, f"{worn.impressions} impressions on {worn.days} days")
