"""Pending changes and their history over HTTP; nothing here writes to Meta."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from geminivideo.cloud.documents import Query
from geminivideo.cloud.paging import CursorError, Place, page_of
from geminivideo.records import (
    AdState,
    Campaign,
    ChangeStatus,
    ChangeType,
    HistoryRow,
    PendingChange,
)
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.services.queueing import new_change, queue

FILTERS = ("campaign_id", "status", "flow_id", "ad_id", "account_id", "change_type")
MOST_CHANGES = 1000  # of one answer
BUDGETS = (ChangeType.BUDGET_INCREASE, ChangeType.BUDGET_DECREASE)
STATUSES = ("ACTIVE", "PAUSED", "ARCHIVED")
MOST = 10**12  # minor units a day: no budget is larger
MOST_PRIORITY = 1000


@dataclass(frozen=True, kw_only=True)
class NewChange:
    """A wish about an ad at Meta: a budget in minor units, or a status, and why."""

    ad_id: str
    change_type: ChangeType
    reasoning: str
    new_budget: int | None = None
    new_status: str | None = None
    priority: int = 0
    account_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeQueued:
    """The change as it is queued; ``not_before`` is epoch seconds, jitter included."""

    id: str
    status: str
    not_before: float
    needs_approval: bool


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Pending changes, oldest first; ``next_cursor`` (for ``?cursor=``) when there are more."""

    changes: list[PendingChange]
    next_cursor: str | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeHistory:
    """One change: where it stands now, and every row of its append-only history.

    ``executed_at`` (epoch seconds) is when it was completed, null before and otherwise.
    """

    id: str
    status: str
    change_type: str
    ad_id: str | None
    meta_id: str | None
    executed_at: float | None
    reason: str | None
    rows: list[HistoryRow]


def queue_change(call: Call) -> ChangeQueued:
    """Queue a budget or status change for the SafeExecutor; nothing is written to Meta here."""
    asked: NewChange = call.body
    payload = _payload(asked)
    change = _change(call, asked, payload)
    queue(call, change, f"api:{change.id}")
    return ChangeQueued(
        id=change.id,
        status=change.status,
        not_before=change.not_before_at,
        needs_approval=change.needs_approval,
    )


def _payload(asked: NewChange) -> dict[str, Any]:
    """What is to be changed; raises 422 naming the member that does not fit the type."""
    if not asked.reasoning.strip():
        raise ApiError(422, "reasoning must say why")
    if abs(asked.priority) > MOST_PRIORITY:
        raise ApiError(422, f"priority must be from -{MOST_PRIORITY} to {MOST_PRIORITY}")
    if asked.change_type in BUDGETS:
        if asked.new_budget is None or not 0 < asked.new_budget <= MOST:
            raise ApiError(
                422, f"new_budget must be from 1 to {MOST} minor units for {asked.change_type}"
            )
        return {"new_budget": asked.new_budget}
    if asked.change_type is ChangeType.STATUS_CHANGE:
        if asked.new_status not in STATUSES:
            raise ApiError(422, f"new_status must be one of {', '.join(STATUSES)}")
        return {"new_status": asked.new_status}
    raise ApiError(422, f"change_type {asked.change_type} is made by the creative flow alone")


def _change(call: Call, asked: NewChange, payload: dict[str, Any]) -> PendingChange:
    ad_id = identifier(asked.ad_id, "ad_id")
    account_id, campaign_id, adset_id = _whereabouts(call, ad_id)
    return new_change(
        call,
        f"ch-{uuid.uuid4().hex[:20]}",
        account_id or identifier(asked.account_id or "default", "account_id"),
        change_type=asked.change_type,
        campaign_id=campaign_id,
        ad_id=ad_id,
        payload=payload | ({"adset_id": adset_id} if adset_id else {}),
        requested_by="api",
        reasoning=asked.reasoning,
        priority=asked.priority,
    )


def _whereabouts(call: Call, ad_id: str) -> tuple[str | None, str | None, str | None]:
    """The account, campaign (ours, where it was made here) and ad set of an ad that was made here
    or was seen at Meta."""
    made = _maker_of(call, ad_id)
    seen = call.ports.documents.get(f"ad_states/{ad_id}", AdState)
    adset_id = seen.adset_id if seen else None
    if made is not None:
        return made.account_id, made.campaign_id, adset_id
    if seen is None:
        return None, None, None
    return seen.account_id, _campaign_of(call, seen.campaign_id), adset_id


def _campaign_of(call: Call, meta_id: str | None) -> str | None:
    """Our id of a campaign of Meta's that was made here, else Meta's."""
    query = Query("campaigns", [("steps.campaign.meta_id", "==", meta_id)], limit=1)
    made = call.ports.documents.query(query, Campaign) if meta_id else []
    return made[0].id if made else meta_id


def _maker_of(call: Call, ad_id: str) -> PendingChange | None:
    """The change that made the ad, if it was made here: it knows the account and the campaign."""
    query = Query("pending_ad_changes", [("meta_id", "==", ad_id)])
    found = call.ports.documents.query(query, PendingChange)
    return next((c for c in found if c.change_type is ChangeType.CREATE_AD), None)


def list_changes(call: Call) -> Changes:
    """Pending changes by campaign, flow, render job, ad, account, type or status, page by page."""
    where = [(name, "==", call.query[name]) for name in FILTERS if name in call.query]
    _check_one_of(call, "status", ChangeStatus)
    _check_one_of(call, "change_type", ChangeType)
    if "render_job_id" in call.query:
        where.append(("flow_id", "==", _flow_of(call, call.query["render_job_id"])))
    size = call.number("limit", default=MOST_CHANGES, low=1, high=MOST_CHANGES)
    page = page_of(
        call.ports.documents,
        "pending_ad_changes",
        where,
        PendingChange,
        "created_at",
        _after(call),
        size,
    )
    return Changes(changes=page.found, next_cursor=page.cursor)


def _after(call: Call) -> Place | None:
    cursor = call.query.get("cursor")
    if not cursor:
        return None
    try:
        place = Place.of_cursor(cursor)
    except CursorError as error:
        raise ApiError(422, f"cursor: {error}") from error
    identifier(place.id, "cursor")
    return place


def _check_one_of(call: Call, name: str, known: type[StrEnum]) -> None:
    asked = call.query.get(name)
    if asked is not None and asked not in tuple(known):
        raise ApiError(422, f"{name} must be one of {', '.join(known)}, not {asked[:40]!r}")


def show_history(call: Call) -> ChangeHistory:
    """The history of one change, present from the moment it is queued."""
    if "change_id" not in call.query:
        raise ApiError(422, "change_id is missing: give ?change_id=")
    change_id = identifier(call.query["change_id"], "change_id")
    documents = call.ports.documents
    change = documents.get(f"pending_ad_changes/{change_id}", PendingChange)
    if change is None:
        raise ApiError(404, f"no change {change_id}")
    rows = documents.query(Query("ad_change_history", [("change_id", "==", change_id)]), HistoryRow)
    return ChangeHistory(
        id=change.id,
        status=change.status,
        change_type=change.change_type,
        ad_id=change.ad_id,
        meta_id=change.meta_id,
        executed_at=change.finished_at if change.status is ChangeStatus.COMPLETED else None,
        reason=change.last_error,
        rows=sorted(rows, key=lambda row: (row.terminal, row.at, row.id)),
    )


def _flow_of(call: Call, job_id: str) -> str:
    from geminivideo.records import RenderJob

    path = f"render_jobs/{identifier(job_id, 'render_job_id')}"
    job = call.ports.documents.get(path, RenderJob)
    if job is None:
        raise ApiError(404, f"no render job {job_id}")
    return job.flow_id


def serve_lists(api: Api) -> None:
    """What is to be changed and what became of it: of the gateway and of meta_publisher."""
    query = ("render_job_id", *FILTERS, "limit", "cursor")
    api.get("/api/pending-ad-changes", answer=Changes, query=query)(list_changes)
    api.get("/api/ad-change-history", answer=ChangeHistory, query=("change_id",))(show_history)
