"""Winners like the ad that is to be planned, as the Director learns from them. Pure.

They say what kind of opening and what length did well for this account before. They order what the
Director could do anyway; none of their words is ever taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from geminivideo.records import Blueprint, Citation, HookType


@dataclass(frozen=True, kw_only=True)
class Example:
    """A winner of the same account; ``similarity`` (cosine) is to what is to be planned.

    ``parts`` are the sentences of its creative DNA, ``ctr`` a fraction, ``roas`` value per
    unit of spend: pipeline value, or cash where purchases are what counts.
    """

    ad_id: str
    similarity: float
    hook_type: str | None = None
    duration_s: float | None = None
    ctr: float | None = None
    roas: float | None = None
    parts: dict[str, str] = field(default_factory=dict)


def weight_of(kind: HookType, examples: Sequence[Example]) -> float:
    """How much the examples speak for an opening: the similarities of those that have it."""
    return sum(max(0.0, one.similarity) for one in examples if one.hook_type == kind.value)


def nearest_first(lengths_s: Sequence[float], examples: Sequence[Example]) -> Sequence[float]:
    """Lengths by their distance from the examples' mean; as they are where none is known."""
    known = [one.duration_s for one in examples if one.duration_s is not None]
    if not known:
        return lengths_s
    mean = sum(known) / len(known)
    return sorted(lengths_s, key=lambda length: abs(length - mean))


def citing(blueprint: Blueprint, examples: Sequence[Example]) -> Blueprint:
    """The plan with the examples that it opens like; as it is without one."""
    opening = blueprint.hook_type.value
    cites = tuple(
        Citation(
            ad_id=one.ad_id,
            similarity=round(one.similarity, 4),
            reason=f"opens with {opening.replace('_', ' ')}, as this winner does",
        )
        for one in examples
        if one.hook_type == opening
    )
    return replace(blueprint, cites=cites) if cites else blueprint


def told(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """The examples as a language model is told them."""
    return [
        {
            "ad_id": one.ad_id,
            "similarity": round(one.similarity, 3),
            "hook_type": one.hook_type,
            "duration_s": one.duration_s,
            "ctr": one.ctr,
            "roas": one.roas,
            **one.parts,
        }
        for one in examples
    ]
