"""What accounts learn from each other: one bounded vector an account, one noisy sum of them.

The traits are a fixed, public list, so that which cells exist tells nothing. Of a trait an account
says how its CTR with the trait compares with its CTR without it (within the account, so that what
its market and audience do cancels out), clipped, and of at most ``max_traits`` traits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from geminivideo.learning.privacy import (
    MECHANISM,
    Slot,
    gate_units,
    scale_of,
    sensitivity,
)
from geminivideo.learning_records import (
    Actual,
    Condition,
    Contribution,
    CreativeFeatures,
    GlobalPattern,
    SharedRelease,
)
from geminivideo.policy import SamplerPolicy, SharingPolicy
from geminivideo.records import HookType

VOCABULARY = "2026-11"
ACCOUNTS, BASE = "accounts", "base"
TOO_FEW = "too few accounts contribute for what the noise must hide"
_Z90 = 1.6449


def _kinds(member: str, kinds: Iterable[str]) -> dict[str, Condition]:
    return {f"{member}={kind}": Condition(member=member, equals=kind) for kind in kinds}


TRAITS: Mapping[str, Condition] = {
    **_kinds("hook_type", (kind.value for kind in HookType)),
    **_kinds("first_frame", ("face", "text", "motion", "still")),
    **_kinds("cta_type", ("learn_more", "shop_now", "sign_up", "get_offer")),
    "hook_has_number": Condition(member="hook_has_number", equals=True),
    "has_speech": Condition(member="has_speech", equals=True),
    "has_music": Condition(member="has_music", equals=True),
    "hook_words<7": Condition(member="hook_words", high=7.0),
    "opening_shot_s<1.5": Condition(member="opening_shot_s", high=1.5),
    "cuts_per_s>=0.5": Condition(member="cuts_per_s", low=0.5),
    "letters_per_s>=8": Condition(member="letters_per_s", low=8.0),
    "duration_s<15": Condition(member="duration_s", high=15.0),
}
CELLS = (ACCOUNTS, BASE, *TRAITS)


# What one account says ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ad:
    """An ad's CTR, drawn to its account's by the policy's impressions."""

    ctr: float
    features: CreativeFeatures


def contribute(actuals: Iterable[Actual], policy: SharingPolicy, now: float) -> Contribution | None:
    """An account's vector; ``None`` when no ad has been seen enough."""
    seen = [ad for ad in actuals if ad.impressions >= policy.min_impressions and _is_sound(ad)]
    if not seen:
        return None
    ctr = _account_ctr(seen, policy)
    ads = [
        _Ad(_drawn(ad.clicks, ad.impressions, ctr, policy), ad.features)
        for ad in seen
        if ad.features is not None
    ]
    return Contribution(
        vocabulary=VOCABULARY,
        at=now,
        base=_units(math.log(ctr / policy.base_ctr), policy.base_clip, policy.base_units),
        lifts=_lifts(ads, policy),
    )


def _is_sound(ad: Actual) -> bool:
    return 0 <= ad.clicks <= ad.impressions


def _account_ctr(ads: Sequence[Actual], policy: SharingPolicy) -> float:
    clicks, impressions = sum(ad.clicks for ad in ads), sum(ad.impressions for ad in ads)
    return _drawn(clicks, impressions, policy.base_ctr, policy)


def _drawn(clicks: int, impressions: int, towards: float, policy: SharingPolicy) -> float:
    extra = policy.prior_impressions
    return (clicks + extra * towards) / (impressions + extra)


def _units(value: float, clip: float, units: int) -> int:
    """A logarithm in whole units, clipped; what is no number says nothing."""
    if not math.isfinite(value):
        return 0
    return round(min(1.0, max(-1.0, value / clip)) * units)


def _lifts(ads: Sequence[_Ad], policy: SharingPolicy) -> dict[str, int]:
    """The account's lifts of the traits that most of its ads tell about."""
    told: list[tuple[int, str, int]] = []
    for trait, condition in TRAITS.items():
        sides = _sides(ads, condition)
        least = min(len(sides[True]), len(sides[False]))
        if least >= policy.min_ads:
            lift = math.log(_mean(sides[True]) / _mean(sides[False]))
            told.append((-least, trait, _units(lift, policy.lift_clip, policy.lift_units)))
    return {trait: units for _, trait, units in sorted(told)[: policy.max_traits]}


def _sides(ads: Sequence[_Ad], condition: Condition) -> dict[bool, list[float]]:
    sides: dict[bool, list[float]] = {True: [], False: []}
    for ad in ads:
        met = condition.met_by(ad.features)
        if met is not None:
            sides[met].append(ad.ctr)
    return sides


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def ratios(contribution: Contribution, policy: SharingPolicy) -> dict[str, float]:
    """A contribution as its own account reads it: CTR with each trait over CTR without it."""
    per_unit = policy.lift_clip / policy.lift_units
    return {trait: math.exp(units * per_unit) for trait, units in contribution.lifts.items()}


# What all of them say together ----------------------------------------------------------------


def bounded(contribution: Contribution, policy: SharingPolicy) -> Contribution:
    """The contribution within the policy's bounds, whoever wrote it and under which policy."""
    known = sorted(trait for trait in contribution.lifts if trait in TRAITS)
    lifts = {
        trait: _clip(contribution.lifts[trait], policy.lift_units)
        for trait in known[: policy.max_traits]
    }
    return replace(contribution, base=_clip(contribution.base, policy.base_units), lifts=lifts)


def _clip(value: int, most: int) -> int:
    return min(most, max(-most, value))


def counts(contribution: Contribution | None, policy: SharingPolicy, now: float) -> bool:
    """Whether a contribution may be in a release of now: neither old nor of another vocabulary."""
    return (
        contribution is not None
        and contribution.vocabulary == VOCABULARY
        and now - contribution.at <= policy.max_age_days * 86400.0
    )


def measured(contributions: Iterable[Contribution], policy: SharingPolicy) -> dict[str, int]:
    """Every cell, exact: what the noise is added to. One account changes it by ``sensitivity``.

    A cell of c accounts holds their mean times c - (k - 1), k being ``min_accounts``, and nothing
    below k. With one more account that moves by mean * (k - 1) / (c + 1) + its value * (c - k + 2)
    / (c + 1), which is at most the bound of one value: leaving small cells out costs no privacy.
    """
    vectors = [bounded(one, policy) for one in contributions]
    lifts = {trait: [one.lifts[trait] for one in vectors if trait in one.lifts] for trait in TRAITS}
    ones = [policy.count_units] * len(vectors)
    bases = [one.base for one in vectors]
    columns = {ACCOUNTS: ones, BASE: bases, **lifts}
    return {cell: _beyond_least(columns[cell], policy.min_accounts) for cell in CELLS}


def _beyond_least(values: Sequence[int], least: int) -> int:
    count = len(values)
    return (count - (least - 1)) * sum(values) // count if count >= least else 0


def withheld(slot: Slot, policy: SharingPolicy, now: float) -> SharedRelease:
    """A slot in which nothing is let out."""
    return SharedRelease(
        id=slot.id,
        at=now,
        from_at=slot.from_at,
        until_at=slot.until_at,
        vocabulary=VOCABULARY,
        mechanism=MECHANISM,
        epsilon=policy.epsilon,
        delta=policy.delta,
        sensitivity=sensitivity(policy),
        scale=scale_of(policy),
        min_accounts=policy.min_accounts,
        reason=TOO_FEW,
    )


def published(
    noisy: Mapping[str, int], slot: Slot, policy: SharingPolicy, now: float
) -> SharedRelease:
    """What follows from the noisy cells alone; withheld when their count is below the gate."""
    nothing = withheld(slot, policy, now)
    if noisy[ACCOUNTS] < gate_units(policy):
        return nothing
    beyond = noisy[ACCOUNTS] / policy.count_units
    base = _estimate(
        noisy[BASE] / policy.base_units * policy.base_clip / beyond,
        _error(policy.base_clip / policy.base_units, beyond, policy),
        policy.base_spread,
    )
    return replace(
        nothing,
        released_at=now,
        reason="",
        accounts=round(beyond) + policy.min_accounts - 1,
        noisy=dict(noisy),
        patterns=tuple(_patterns(noisy, beyond, policy)),
        base_ctr=policy.base_ctr * base.ratio,
        base_interval=(policy.base_ctr * base.interval[0], policy.base_ctr * base.interval[1]),
    )


@dataclass(frozen=True)
class _Estimate:
    """A ratio with its 90 % interval."""

    ratio: float
    interval: tuple[float, float]


def _error(per_unit: float, beyond: float, policy: SharingPolicy) -> float:
    """The standard error (log) that the noise gives a mean over the accounts."""
    return math.sqrt(2.0) * scale_of(policy) * per_unit / beyond


def _estimate(log: float, error: float, spread: float) -> _Estimate:
    """A mean drawn to none by how uncertain it is: the posterior of N(0, spread) effects."""
    trust = spread**2 / (spread**2 + error**2)
    mean, deviation = trust * log, math.sqrt(trust) * error
    low, high = mean - _Z90 * deviation, mean + _Z90 * deviation
    return _Estimate(math.exp(mean), (math.exp(low), math.exp(high)))


def _patterns(
    noisy: Mapping[str, int], beyond: float, policy: SharingPolicy
) -> Iterable[GlobalPattern]:
    per_unit = policy.lift_clip / policy.lift_units
    error = _error(per_unit, beyond, policy)
    for trait, condition in TRAITS.items():
        log = noisy[trait] * per_unit / beyond
        if abs(log) >= policy.min_z * error:
            clipped = min(policy.lift_clip, max(-policy.lift_clip, log))
            found = _estimate(clipped, error, policy.lift_spread)
            yield GlobalPattern(
                trait=trait, condition=condition, lift=found.ratio, interval=found.interval
            )


# What an account takes from it ----------------------------------------------------------------


@dataclass(frozen=True)
class Wisdom:
    """What a release suggests of an ad: a ratio to its prior CTR (1 is neutral), and why."""

    ratio: float
    reasons: tuple[str, ...]


def wisdom(
    features: CreativeFeatures | None,
    release: SharedRelease,
    *,
    newness: float,
    prior: SamplerPolicy,
) -> Wisdom | None:
    """The release's word on an ad, at most ``prior.prior_move`` away from 1; ``None``: it has none.

    ``newness`` (0-1) is the weight of what other accounts' ads are usually clicked, against
    ``prior.prior_ctr``: 1 for an account without any impressions of its own. That start takes at
    most half of the move, so that traits still tell the ads of a new account apart.
    """
    most = math.log1p(prior.prior_move)
    start = _within(newness * _start(release, prior), most / 2)
    traits = _traits(features, release)
    log = start + _within(math.fsum(traits.values()), most - abs(start))
    parts = traits | ({"usual CTR of accounts": start} if start else {})
    if not parts:
        return None
    reasons = (f"shared {release.id}: {name} x{math.exp(by):.3f}" for name, by in parts.items())
    return Wisdom(math.exp(log), tuple(reasons))


def _start(release: SharedRelease, prior: SamplerPolicy) -> float:
    return math.log(release.base_ctr / prior.prior_ctr) if release.base_ctr else 0.0


def _traits(features: CreativeFeatures | None, release: SharedRelease) -> dict[str, float]:
    """The logs of the lifts that an ad has."""
    if features is None:
        return {}
    return {
        pattern.trait: math.log(pattern.lift)
        for pattern in release.patterns
        if pattern.condition.met_by(features)
    }


def _within(value: float, most: float) -> float:
    return min(most, max(-most, value))
