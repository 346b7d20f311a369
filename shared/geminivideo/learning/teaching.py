"""What a plan should heed of what is known: the strongest patterns, each as one sentence. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from geminivideo.learning.traits import phrase
from geminivideo.learning_records import WinningPattern
from geminivideo.policy import PatternPolicy

_UNITS = {"within": "ads", "between": "videos"}
_OUTCOMES = {"winners": "share of winners", "ctr": "click-through rate"}


def teachable(
    patterns: Iterable[WinningPattern], policy: PatternPolicy, audience: str | None = None
) -> tuple[WinningPattern, ...]:
    """The patterns to plan by, most effective first: not ended, and not accounted for by others.

    For an ``audience`` (as a brief names it) of which enough ads are known, a pattern is what it is
    among these.
    """
    patterns = [for_audience(one, audience) for one in patterns]
    known = (p for p in patterns if p.ended_at is None and p.conditions and not p.confounded_by)
    ordered = sorted((p for p in known if effect(p)), key=lambda p: (-abs(effect(p)), p.id))
    return tuple(ordered[: policy.taught])


def for_audience(pattern: WinningPattern, audience: str | None) -> WinningPattern:
    """A pattern as it is among the ads for an audience; itself where that is not known."""
    wanted = audience_name(audience)
    found = next((one for one in pattern.audiences if one.audience == wanted), None)
    if found is None:
        return pattern
    return replace(
        pattern,
        lift=found.lift,
        interval=found.interval,
        support=found.support,
        others=found.others,
    )


def audience_name(told: str | None) -> str | None:
    """An audience's name, whatever its case and spaces."""
    return " ".join((told or "").split()).casefold() or None


def effect(pattern: WinningPattern) -> float:
    """The least that a pattern does: the logarithm of its interval's end next to 1, by strength.

    Above 0 it raises, below 0 it lowers; 0 when the interval holds 1.
    """
    low, high = (math.log(end) for end in pattern.interval)
    return pattern.strength * (max(0.0, low) if pattern.raises else min(0.0, high))


def sentence(one: WinningPattern) -> str:
    """A pattern as one sentence of what was measured."""
    low, high = one.interval
    return (
        f"{phrase(one.conditions)}: {_OUTCOMES[one.basis]} {one.lift:.2f} times that of others "
        f"({low:.2f} to {high:.2f}), {one.support} {_UNITS[one.design]} with it, "
        f"{one.others} without"
    )
