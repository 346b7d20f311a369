"""Live ads that nobody had to publish: for simulations and tests of budgets."""

from __future__ import annotations

import hashlib
from typing import Any

from emulators.meta.state import Graph

_TARGETING = {
    "geo_locations": {"countries": ["US"]},
    "targeting_automation": {"advantage_audience": 0},
}


def seed(
    graph: Graph, account: str, ads: int, daily_budget: int, name: str, now: float
) -> list[str]:
    """A campaign with ``ads`` ad sets of one ad each, live from ``now`` on."""
    made = now - graph.pace.review_s  # their reviews are over now

    def put(kind: str, **body: Any) -> str:
        return graph.put(account, kind, body, made)

    campaign = put(
        "campaign",
        name=name,
        objective="OUTCOME_SALES",
        special_ad_categories=[],
        is_adset_budget_sharing_enabled=False,
        status="ACTIVE",
    )
    found = []
    for number in range(1, ads + 1):
        adset = put(
            "adset",
            name=f"{name} ad set {number}",
            campaign_id=campaign,
            daily_budget=str(daily_budget),
            billing_event="IMPRESSIONS",
            optimization_goal="LINK_CLICKS",
            targeting=_TARGETING,
            status="ACTIVE",
        )
        digest = hashlib.sha256(f"{account}/{name}/{number}".encode()).hexdigest()
        video = put("advideo", title=f"{name} {number}", file_size=0, sha256=digest)
        creative = put(
            "adcreative",
            name=f"{name} creative {number}",
            object_story_spec={"page_id": "1", "video_data": {"video_id": video}},
            url_tags="utm_content={{ad.id}}",
        )
        found.append(
            put(
                "ad",
                name=f"{name} ad {number}",
                adset_id=adset,
                campaign_id=campaign,
                creative={"id": creative},
                status="ACTIVE",
            )
        )
    return found
