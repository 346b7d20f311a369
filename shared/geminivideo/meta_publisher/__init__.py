"""Meta publisher: what shall exist at Meta, planned as data. Nothing here calls Meta."""

from geminivideo.meta_publisher.changes import plan_changes, queued_row
from geminivideo.meta_publisher.plan import (
    CampaignPlan,
    PlanError,
    campaign_id_of,
    graph_objective,
    plan_campaign,
)

__all__ = [
    "CampaignPlan",
    "PlanError",
    "campaign_id_of",
    "graph_objective",
    "plan_campaign",
    "plan_changes",
    "queued_row",
]
