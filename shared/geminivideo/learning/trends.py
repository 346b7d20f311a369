"""What works more, or less, than it did: traits' lifts in the account's newer ads and before. Pure.

A trait's CTR lift in ads first shown in the newer half of the time is compared with its lift in the
older half: the difference of the logarithms over their joint standard error is a standard normal
under no change. Benjamini and Hochberg's procedure controls what is called rising or falling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from geminivideo.learning.comparing import CTR, DAY_S, Ad, Comparison
from geminivideo.learning.lifts import Lift, false_discovery_q
from geminivideo.learning.patterns import candidates
from geminivideo.learning.traits import Trait
from geminivideo.policy import PatternPolicy

RISING, FALLING, STEADY = "rising", "falling", "steady"


@dataclass(frozen=True)
class Trend:
    """A trait's lift (CTR with it over CTR without) before and now, and how sure the change is.

    ``share_before`` and ``share_now`` are of the impressions of ads that are known to have it or
    not. ``change`` is the ratio of the lifts.
    """

    trait: Trait
    before: Lift
    now: Lift
    share_before: float
    share_now: float
    q_value: float
    direction: str

    @property
    def change(self) -> float:
        """How many times its former lift a trait has now."""
        return self.now.value / self.before.value


@dataclass(frozen=True)
class _Half:
    lift: Lift
    share: float


def trends(ads: Iterable[Ad], policy: PatternPolicy, now: float) -> list[Trend]:
    """The traits that both halves of ``policy.trend_days`` can speak of, surest change first."""
    turn = now - policy.trend_days / 2 * DAY_S
    known = [ad for ad in ads if now - policy.trend_days * DAY_S <= ad.shown_at <= now]
    older = Comparison([ad for ad in known if ad.shown_at < turn], policy)
    newer = Comparison([ad for ad in known if ad.shown_at >= turn], policy)
    halves = [
        (trait, _half(trait, older), _half(trait, newer)) for trait in candidates(known, policy)
    ]
    return _controlled([(t, b, n) for t, b, n in halves if b and n], policy)


def _half(trait: Trait, comparison: Comparison) -> _Half | None:
    if not comparison.ads:
        return None
    has = comparison.has([trait.condition])
    sides = comparison.sides(has)
    lift = sides.lift(CTR, comparison.policy.interval)
    if lift is None or sides.least < comparison.policy.min_support:
        return None
    impressions = comparison.within.impressions
    return _Half(lift, float(impressions[has == 1].sum() / impressions[has >= 0].sum()))


def _controlled(compared: list[tuple[Trait, _Half, _Half]], policy: PatternPolicy) -> list[Trend]:
    if not compared:
        return []
    from scipy.special import ndtr, ndtri

    width = 2 * float(ndtri(0.5 + policy.interval / 2))
    scores = [_score(before.lift, now.lift, width) for _, before, now in compared]
    q_values = false_discovery_q([2 * float(ndtr(-abs(score))) for score in scores])
    found = [
        Trend(trait, before.lift, now.lift, before.share, now.share, q, _said(z, q, policy))
        for (trait, before, now), z, q in zip(compared, scores, q_values, strict=True)
    ]
    return sorted(found, key=lambda t: (t.q_value, -abs(math.log(t.change)), t.trait.name))


def _score(before: Lift, now: Lift, width: float) -> float:
    """The change of the logarithmic lift in standard errors."""
    errors = [math.log(one.high / one.low) / width for one in (before, now)]
    error = math.hypot(*errors)
    return (now.log - before.log) / error if error else 0.0


def _said(score: float, q_value: float, policy: PatternPolicy) -> str:
    if q_value > policy.false_discovery_rate:
        return STEADY
    return RISING if score > 0 else FALLING
