"""Campaigns over HTTP: the advertiser's brief in, what became of it out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from geminivideo.cloud.documents import AlreadyExistsError, Query
from geminivideo.records import Blueprint, Brief, Campaign, PendingChange, RenderJob
from geminivideo.runtime.http import ApiError, Call, identifier

_MAX_CHARS = 2000
_MAX_LINES = 50


@dataclass(frozen=True, kw_only=True)
class NewCampaign:
    """What the advertiser says; everything but the product may be unknown."""

    product_name: str
    offer: str | None = None
    target_avatar: str | None = None
    pain_points: list[str] | None = None
    desires: list[str] | None = None
    link_url: str | None = None
    account_id: str = "default"


@dataclass(frozen=True, kw_only=True)
class CampaignCreated:
    """The campaign to name in an upload's ``campaign`` metadata."""

    id: str
    status: str


@dataclass(frozen=True, kw_only=True)
class CampaignView:
    """A campaign with what was planned, rendered and asked of Meta for it."""

    campaign: Campaign
    blueprints: list[Blueprint]
    renders: list[RenderJob]
    changes: list[PendingChange]


def create_campaign(call: Call) -> CampaignCreated:
    """Store a brief; the same brief of the same account is the same campaign."""
    asked: NewCampaign = call.body
    _check(asked)
    brief = Brief(
        product_name=asked.product_name.strip(),
        offer=asked.offer,
        target_avatar=asked.target_avatar,
        pain_points=tuple(asked.pain_points or ()),
        desires=tuple(asked.desires or ()),
        link_url=asked.link_url,
    )
    campaign = Campaign(
        id=_id_of(asked.account_id, brief),
        flow_id=None,
        account_id=asked.account_id,
        name=brief.product_name or "",
        brief=brief,
        status="DRAFT",
        created_at=call.ports.clock.now(),
    )
    try:
        call.ports.documents.create(f"campaigns/{campaign.id}", campaign)
    except AlreadyExistsError:
        found = call.ports.documents.require(f"campaigns/{campaign.id}", Campaign)
        return CampaignCreated(id=found.id, status=found.status)
    return CampaignCreated(id=campaign.id, status=campaign.status)


def _check(asked: NewCampaign) -> None:
    """Raises 422 for an empty product, and for texts that no document could hold."""
    if not asked.product_name.strip():
        raise ApiError(422, "product_name must not be empty")
    identifier(asked.account_id, "account_id")
    for name in ("product_name", "offer", "target_avatar", "link_url"):
        if len(getattr(asked, name) or "") > _MAX_CHARS:
            raise ApiError(422, f"{name} must be at most {_MAX_CHARS} characters")
    for name in ("pain_points", "desires"):
        texts = getattr(asked, name) or ()
        if len(texts) > _MAX_LINES or any(len(text) > _MAX_CHARS for text in texts):
            raise ApiError(
                422, f"{name} must be at most {_MAX_LINES} texts of {_MAX_CHARS} characters"
            )


def show_campaign(call: Call) -> CampaignView:
    """A campaign with its blueprints, renders and changes."""
    documents = call.ports.documents
    campaign = documents.get(f"campaigns/{call.path['id']}", Campaign)
    if campaign is None:
        raise ApiError(404, f"no campaign {call.path['id']}")
    of_flow = [("flow_id", "==", campaign.flow_id or "-")]
    of_campaign = [("campaign_id", "==", campaign.id)]
    return CampaignView(
        campaign=campaign,
        blueprints=documents.query(Query("blueprints", of_flow), Blueprint),
        renders=documents.query(Query("render_jobs", of_flow), RenderJob),
        changes=documents.query(Query("pending_ad_changes", of_campaign), PendingChange),
    )


def _id_of(account_id: str, brief: Brief) -> str:
    return "ca-" + hashlib.sha256(f"{account_id}|{brief!r}".encode()).hexdigest()[:16]
