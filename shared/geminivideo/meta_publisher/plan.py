"""The campaign that a flow's ads share and the ad set of each, as Graph parameters.

Meta's daily budgets sit on ad sets: an ad set per ad gives each ad a budget of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from geminivideo.records import Account, Brief, Campaign

DEFAULT_OBJECTIVE = "OUTCOME_TRAFFIC"
OBJECTIVES = (
    "OUTCOME_APP_PROMOTION",
    "OUTCOME_AWARENESS",
    "OUTCOME_ENGAGEMENT",
    "OUTCOME_LEADS",
    "OUTCOME_SALES",
    "OUTCOME_TRAFFIC",
)
# Meta's own table of the objectives that were replaced by the outcome-driven ones.
LEGACY_OBJECTIVES = {
    "APP_INSTALLS": "OUTCOME_APP_PROMOTION",
    "BRAND_AWARENESS": "OUTCOME_AWARENESS",
    "REACH": "OUTCOME_AWARENESS",
    "STORE_VISITS": "OUTCOME_AWARENESS",
    "EVENT_RESPONSES": "OUTCOME_ENGAGEMENT",
    "MESSAGES": "OUTCOME_ENGAGEMENT",
    "PAGE_LIKES": "OUTCOME_ENGAGEMENT",
    "POST_ENGAGEMENT": "OUTCOME_ENGAGEMENT",
    "VIDEO_VIEWS": "OUTCOME_ENGAGEMENT",
    "LEAD_GENERATION": "OUTCOME_LEADS",
    "CONVERSIONS": "OUTCOME_SALES",
    "PRODUCT_CATALOG_SALES": "OUTCOME_SALES",
    "LINK_CLICKS": "OUTCOME_TRAFFIC",
    "TRAFFIC": "OUTCOME_TRAFFIC",
}
EU_WEST = {"AT", "BE", "DE", "DK", "ES", "FI", "FR", "GR", "IE", "IT", "LU", "NL", "PT", "SE"}
EU_EAST = {"BG", "CY", "CZ", "EE", "HR", "HU", "LT", "LV", "MT", "PL", "RO", "SI", "SK"}
EU_COUNTRIES = EU_WEST | EU_EAST
MAX_TITLE = 60


class PlanError(ValueError):
    """The plan would be refused by Meta; the message says what to set on the account."""


@dataclass(frozen=True, kw_only=True)
class CampaignPlan:
    """What ``Campaign.plan`` holds: the campaign, and the pattern of its ads' ad sets; all PAUSED.

    ``campaign`` goes to ``act_.../campaigns``; ``adset`` with a name and a share of the daily
    budget to ``act_.../adsets`` once Meta's ``campaign_id`` is known. Names end with our id, so
    that an object can be found by its name.
    """

    campaign_id: str
    campaign: dict[str, Any]
    adset: dict[str, Any]

    @property
    def name(self) -> str:
        """The campaign's name at Meta."""
        return self.campaign["name"]

    def as_plan(self) -> dict[str, Any]:
        """The map to store in ``Campaign.plan``."""
        return {"campaign": self.campaign, "adset": self.adset}

    def record(self, flow_id: str, account: Account, brief: Brief, now: float) -> Campaign:
        """A new ``campaigns/{campaign_id}`` of this plan."""
        return Campaign(
            id=self.campaign_id,
            flow_id=flow_id,
            account_id=account.id,
            name=self.name,
            brief=brief,
            status="PLANNED",
            created_at=now,
            plan=self.as_plan(),
        )


def campaign_id_of(flow_id: str) -> str:
    """The campaign of a flow that was started without one: same flow, same campaign."""
    return "ca-" + hashlib.sha256(flow_id.encode()).hexdigest()[:16]


def graph_objective(asked: str | None) -> str:
    """The OUTCOME_* objective of a current or legacy name; raises ``PlanError`` for another."""
    name = (asked or DEFAULT_OBJECTIVE).strip().upper()
    objective = LEGACY_OBJECTIVES.get(name, name)
    if objective not in OBJECTIVES:
        raise PlanError(f"objective {asked!r} is not known to Meta; use one of {OBJECTIVES}")
    return objective


def plan_campaign(
    flow_id: str,
    account: Account,
    brief: Brief,
    *,
    title: str,
    campaign_id: str | None = None,
    objective: str | None = None,
    daily_budget: int | None = None,
) -> CampaignPlan:
    """Plan the tree of one flow: one campaign and the pattern of its ad sets, PAUSED.

    ``title`` names the campaign when the brief has no product; ``daily_budget``, in minor units
    of the account's currency, is what all ads share. Raises ``PlanError`` when the account cannot
    carry the plan.
    """
    ours = campaign_id or campaign_id_of(flow_id)
    subject = (brief.product_name or title or "video").strip()[:MAX_TITLE]
    return CampaignPlan(
        campaign_id=ours,
        campaign={
            "name": f"{subject} [{ours}]",
            "objective": graph_objective(objective),
            "status": "PAUSED",
            "special_ad_categories": list(account.special_ad_categories),
            "is_adset_budget_sharing_enabled": False,
        },
        adset=_adset(account, daily_budget or account.daily_budget),
    )


def _adset(account: Account, daily_budget: int) -> dict[str, Any]:
    if daily_budget <= 0:
        raise PlanError(f"account {account.id}: daily_budget must be above 0 minor units")
    if not account.countries:
        raise PlanError(f"account {account.id}: set countries, the audience needs a place")
    return {
        "status": "PAUSED",
        "daily_budget": daily_budget,
        "billing_event": "IMPRESSIONS",
        "optimization_goal": "LINK_CLICKS",
        "bid_strategy": "LOWEST_COST_WITHOUT_CAP",
        "targeting": {
            "geo_locations": {"countries": list(account.countries)},
            "targeting_automation": {"advantage_audience": 0},
        },
        **_transparency(account),
    }


def _transparency(account: Account) -> dict[str, str]:
    if account.dsa_beneficiary and account.dsa_payor:
        return {"dsa_beneficiary": account.dsa_beneficiary, "dsa_payor": account.dsa_payor}
    if EU_COUNTRIES & set(account.countries):
        raise PlanError(
            f"account {account.id}: EU audiences need dsa_beneficiary and dsa_payor (who profits "
            "from the ads and who pays); set both on the account"
        )
    return {}
