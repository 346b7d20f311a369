"""One pending change per rendered variation, with its jitter drawn once."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from geminivideo.meta_publisher.creative import call_to_action_type, creative_params
from geminivideo.meta_publisher.plan import CampaignPlan
from geminivideo.policy import ExecutionMode, Policy
from geminivideo.records import (
    Account,
    Blueprint,
    Brief,
    ChangeStatus,
    ChangeType,
    HistoryRow,
    PendingChange,
    Variation,
    VariationStatus,
)


def change_id_of(flow_id: str, variation_id: str) -> str:
    """The change of one variation: planning the flow again names the same change."""
    return "ch-" + hashlib.sha256(f"{flow_id}/{variation_id}".encode()).hexdigest()[:20]


def draw_jitter(change_id: str, policy: Policy) -> float:
    """U(min, max) seconds seeded by the change's id: the same at every planning."""
    bounds = policy.executor
    return random.Random(change_id).uniform(bounds.jitter_min_s, bounds.jitter_max_s)


def plan_changes(
    flow_id: str,
    plan: CampaignPlan,
    account: Account,
    brief: Brief,
    blueprints: Mapping[str, Blueprint],
    variations: Iterable[Variation],
    policy: Policy,
    *,
    now: float,
    requested_by: str,
) -> list[PendingChange]:
    """One PENDING ``CREATE_AD`` per RENDERED variation that has its media, in their order.

    ``blueprints`` is by id and must hold every variation's. The plan's daily budget is shared
    equally; when it cannot give each ad ``min_daily_budget``, the first ones get it and the rest
    is left out. Outside mode ``auto`` each change needs approval.
    """
    budget, least = plan.adset["daily_budget"], policy.allocation.min_daily_budget
    ready = [v for v in variations if v.status is VariationStatus.RENDERED and v.media is not None]
    afforded = ready[: max(budget // least, 1)]
    share = budget // max(len(afforded), 1)

    def change(blueprint: Blueprint, variation: Variation) -> PendingChange:
        change_id = change_id_of(flow_id, variation.id)
        jitter_s = draw_jitter(change_id, policy)
        return PendingChange(
            id=change_id,
            change_type=ChangeType.CREATE_AD,
            status=ChangeStatus.PENDING,
            account_id=account.id,
            campaign_id=plan.campaign_id,
            ad_id=None,
            payload=_payload(change_id, flow_id, account, brief, blueprint, variation)
            | {"adset": _adset(plan, blueprint, change_id, share)},
            requested_by=requested_by,
            reasoning=_reasoning(blueprint),
            created_at=now,
            not_before_at=now + jitter_s,
            jitter_s=jitter_s,
            flow_id=flow_id,
            variation_id=variation.id,
            needs_approval=policy.executor.mode is not ExecutionMode.AUTO,
            policy_version=policy.version,
        )

    return [change(blueprints[variation.blueprint_id], variation) for variation in afforded]


def queued_row(change: PendingChange) -> HistoryRow:
    """The first history row of a change, written in the transaction that creates the change."""
    return HistoryRow(
        id=f"{change.id}-000",
        change_id=change.id,
        status=ChangeStatus.PENDING,
        at=change.created_at,
        account_id=change.account_id,
        change_type=change.change_type,
        requested_by=change.requested_by,
        reasoning=change.reasoning,
    )


def _payload(
    change_id: str,
    flow_id: str,
    account: Account,
    brief: Brief,
    blueprint: Blueprint,
    variation: Variation,
) -> dict[str, Any]:
    tags = {"gv_flow": flow_id, "gv_variation": variation.id, "gv_change": change_id}
    return {
        "media": msgspec.to_builtins(variation.media),
        "poster": msgspec.to_builtins(variation.poster),
        "video": {"name": f"{blueprint.title[:60]} [{change_id}-v]"},
        "creative": creative_params(
            f"{blueprint.title[:60]} [{change_id}-cr]", account, brief, blueprint, tags
        ),
        "ad": {"name": f"{blueprint.title[:60]} [{change_id}]", "status": "PAUSED"},
    }


def _adset(
    plan: CampaignPlan, blueprint: Blueprint, change_id: str, daily_budget: int
) -> dict[str, Any]:
    name = f"{blueprint.title[:60]} [{change_id}-as]"
    return plan.adset | {"name": name, "daily_budget": daily_budget}


def _reasoning(blueprint: Blueprint) -> str:
    score = "no score" if blueprint.council_score is None else f"{blueprint.council_score:.1f}"
    button = call_to_action_type(blueprint.cta_type)
    shown = "" if button == blueprint.cta_type else f"; {blueprint.cta_type} is shown as {button}"
    return f"blueprint {blueprint.id} was approved by the Council ({score}) and rendered{shown}"
