"""Who is a winner: one definition for patterns, promotion and the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from geminivideo.learning_records import Actual
from geminivideo.policy import Policy, WinnerPolicy

HOUR_S = 3600.0


class Valued(Protocol):
    """What has brought pipeline value and cash (minor units)."""

    @property
    def pipeline_value(self) -> int:
        """Credited deals."""

    @property
    def cash_revenue(self) -> int:
        """The purchases that Meta reports."""


@dataclass(frozen=True)
class Standing:
    """Whether an ad is a winner, ``None`` while that cannot be told yet, and why."""

    is_winner: bool | None
    reason: str


def standing(actual: Actual, policy: Policy) -> Standing:
    """CTR or ROAS at the bar, with enough impressions, age (hours) and spend.

    The ROAS is that of the account's mode: cash in ``direct``, else pipeline. Money is compared in
    the account's minor units (``policy.winner.min_spend``).
    """
    bar = policy.winner
    lacking = _lacking(actual, bar)
    if lacking:
        return Standing(None, f"too early to tell: {lacking}")
    ctr = actual.clicks / actual.impressions
    kind, value = value_of(actual, policy.sampler.mode)
    roas = value / actual.spend if actual.spend else 0.0
    if ctr >= bar.min_ctr:
        return Standing(True, f"CTR {ctr:.4f} is at least {bar.min_ctr}")
    if roas >= bar.min_roas:
        return Standing(True, f"{kind} ROAS {roas:.2f} is at least {bar.min_roas}")
    return Standing(False, f"CTR {ctr:.4f} and {kind} ROAS {roas:.2f} are below the bar")


def value_of(seen: Valued, mode: str) -> tuple[str, int]:
    """(cash or pipeline, what the ad brought of it in minor units): what counts in the mode.

    The two are never added up: the sale that Meta reports and the deal that HubSpot tells of may
    be one.
    """
    return ("cash", seen.cash_revenue) if mode == "direct" else ("pipeline", seen.pipeline_value)


def _lacking(actual: Actual, policy: WinnerPolicy) -> str:
    age_hours = (actual.until_at - actual.first_shown_at) / HOUR_S
    if actual.impressions < policy.min_impressions:
        return f"{actual.impressions} of {policy.min_impressions} impressions"
    if age_hours < policy.min_age_hours:
        return f"{age_hours:.0f} of {policy.min_age_hours:.0f} hours"
    if actual.spend < policy.min_spend:
        return f"spend {actual.spend} of {policy.min_spend} (minor units)"
    return ""
