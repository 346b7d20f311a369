"""Pending changes and their history over HTTP; nothing here writes to Meta."""

from __future__ import annotations

from dataclasses import dataclass

from geminivideo.cloud.documents import Query
from geminivideo.records import HistoryRow, PendingChange
from geminivideo.runtime.http import ApiError, Call, identifier

FILTERS = ("campaign_id", "status", "flow_id")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Pending changes, oldest first."""

    changes: list[PendingChange]


@dataclass(frozen=True, kw_only=True)
class ChangeHistory:
    """One change: where it stands now, and every row of its append-only history."""

    id: str
    status: str
    meta_id: str | None
    rows: list[HistoryRow]


def list_changes(call: Call) -> Changes:
    """Pending changes of a campaign, a flow, a render job, or with a status."""
    where = [(name, "==", call.query[name]) for name in FILTERS if name in call.query]
    if "render_job_id" in call.query:
        where.append(("flow_id", "==", _flow_of(call, call.query["render_job_id"])))
    found = call.ports.documents.query(Query("pending_ad_changes", where), PendingChange)
    return Changes(changes=sorted(found, key=lambda change: (change.created_at, change.id)))


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
        meta_id=change.meta_id,
        rows=sorted(rows, key=lambda row: row.id),
    )


def _flow_of(call: Call, job_id: str) -> str:
    from geminivideo.records import RenderJob

    path = f"render_jobs/{identifier(job_id, 'render_job_id')}"
    job = call.ports.documents.get(path, RenderJob)
    if job is None:
        raise ApiError(404, f"no render job {job_id}")
    return job.flow_id
