"""A model on trial: what it says of new ads is recorded beside what the champion says, and nobody
acts on it. What becomes of those ads judges it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from geminivideo.ml.judging import Comparison, Row, compare
from geminivideo.policy import TrainingPolicy


class State(StrEnum):
    """What a version is: in use, on trial, or neither any more."""

    CHAMPION = "champion"
    SHADOW = "shadow"
    RETIRED = "retired"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a shadow stands: its new state (``SHADOW``: it waits on), and why."""

    state: State
    reason: str
    comparison: Comparison | None = None


def on_trial(
    champion: Sequence[float],
    shadow: Sequence[float],
    rows: Sequence[Row],
    age_days: float,
    likeness: float,
    policy: TrainingPolicy,
) -> Trial:
    """Judge a shadow by new ads of which both had spoken before they were shown."""
    if len(rows) < policy.min_shadow_ads:
        said = f"{len(rows)} of {policy.min_shadow_ads} new ads have shown how right it is"
        return _waiting(said, None, age_days, policy)
    found = compare(champion, shadow, rows, likeness, policy)
    said = (
        f"on {found.ads} new ads (gain {found.gain:.2g}; in {1 - found.p_value:.0%} of resamples "
        "it is better)"
    )
    if found.p_value <= 1 - policy.shadow_level:
        return Trial(state=State.CHAMPION, reason=f"also better {said}", comparison=found)
    if found.p_value >= policy.shadow_level:
        return Trial(state=State.REJECTED, reason=f"not better {said}", comparison=found)
    return _waiting(f"undecided {said}", found, age_days, policy)


def _waiting(said: str, found: Comparison | None, age_days: float, policy: TrainingPolicy) -> Trial:
    if age_days > policy.max_shadow_days:
        late = f"{said}, after {age_days:.0f} days on trial"
        return Trial(state=State.REJECTED, reason=late, comparison=found)
    return Trial(state=State.SHADOW, reason=said, comparison=found)
