"""Who is a winner: one definition for patterns, promotion and the index."""

from __future__ import annotations

from dataclasses import dataclass

from geminivideo.learning_records import Actual
from geminivideo.policy import WinnerPolicy

HOUR_S = 3600.0


@dataclass(frozen=True)
class Standing:
    """Whether an ad is a winner, ``None`` while that cannot be told yet, and why."""

    is_winner: bool | None
    reason: str


def standing(actual: Actual, policy: WinnerPolicy) -> Standing:
    """CTR or pipeline ROAS at the bar, with enough impressions, age (hours) and spend.

    Money is compared in the account's minor units (``policy.min_spend``).
    """
    lacking = _lacking(actual, policy)
    if lacking:
        return Standing(None, f"too early to tell: {lacking}")
    ctr = actual.clicks / actual.impressions
    roas = actual.pipeline_value / actual.spend
    if ctr >= policy.min_ctr:
        return Standing(True, f"CTR {ctr:.4f} is at least {policy.min_ctr}")
    if roas >= policy.min_roas:
        return Standing(True, f"pipeline ROAS {roas:.2f} is at least {policy.min_roas}")
    return Standing(False, f"CTR {ctr:.4f} and pipeline ROAS {roas:.2f} are below the bar")


def _lacking(actual: Actual, policy: WinnerPolicy) -> str:
    age_hours = (actual.until_at - actual.first_shown_at) / HOUR_S
    if actual.impressions < policy.min_impressions:
        return f"{actual.impressions} of {policy.min_impressions} impressions"
    if age_hours < policy.min_age_hours:
        return f"{age_hours:.0f} of {policy.min_age_hours:.0f} hours"
    if actual.spend < policy.min_spend:
        return f"spend {actual.spend} of {policy.min_spend} (minor units)"
    return ""
