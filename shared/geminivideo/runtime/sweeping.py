"""What the sweeper looks for: due changes and render jobs that nobody is working on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from geminivideo.events import ChangeDue
from geminivideo.records import (
    KILL_SWITCH,
    ChangeStatus,
    PendingChange,
    RenderJob,
    Variation,
    VariationStatus,
)
from geminivideo.runtime import runs
from geminivideo.runtime.outbox import OutboxRow, Outlet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geminivideo.cloud.documents import Documents

LOST_AFTER_S = 120.0
WAKE_EVERY_S = 600.0
RENDER_STEP = "render"
_OPEN = (
    ChangeStatus.PENDING,
    ChangeStatus.CLAIMED,
    ChangeStatus.EXECUTING,
    ChangeStatus.UNKNOWN,
)


class Starter(Protocol):
    """Starts executions of a Cloud Run job."""

    def run(self, job: str, env: Mapping[str, str], task_count: int = 1) -> str:
        """Start one and return its name."""
        ...


def lost_changes(documents: Documents, now: float) -> list[PendingChange]:
    """Changes long due that wait for nobody's approval and whose lease, if any, has ended.

    None while everything is stopped: their tasks wait in the paused queue, and each one more would
    have to be worked off before anything else goes on.
    """
    from geminivideo.cloud.documents import Query

    if documents.get(KILL_SWITCH, dict) is not None:
        return []
    due = Query(
        "pending_ad_changes",
        where=[("status", "in", list(_OPEN)), ("not_before_at", "<", now - LOST_AFTER_S)],
        order=["not_before_at"],
    )
    return [c for c in documents.query(due, PendingChange) if _is_lost(c, now)]


def _is_lost(change: PendingChange, now: float) -> bool:
    if change.needs_approval and not change.approved_by:
        return False
    return change.lease_until_at is None or change.lease_until_at < now


def wake_change(outlet: Outlet, change: PendingChange, now: float) -> None:
    """Send a new task for a change, one in ten minutes however often it is found: a queue that is
    merely behind must not get a task more with every sweep."""
    late_s = max(0.0, now - change.not_before_at - LOST_AFTER_S)
    event = ChangeDue(flow_id=change.flow_id or "", change_id=change.id)
    row = OutboxRow(
        id=f"sweep:{change.id}:{int(change.not_before_at)}:{int(late_s // WAKE_EVERY_S)}",
        topic="",
        queue=ChangeDue.QUEUE,
        body=event.encode().decode(),
        flow_id=event.flow_id,
        created_at=now,
    )
    outlet.send([row])


def lost_renders(documents: Documents, now: float) -> list[RenderJob]:
    """Render jobs that run, have variations left, and none of them in anybody's hands."""
    from geminivideo.cloud.documents import Query

    running = Query("render_jobs", where=[("status", "==", "RUNNING")])
    old = [j for j in documents.query(running, RenderJob) if j.created_at < now - LOST_AFTER_S]
    return [job for job in old if _is_idle(documents, job, now)]


def _is_idle(documents: Documents, job: RenderJob, now: float) -> bool:
    found = [documents.get(_run_path(job, each), runs.StepRun) for each in job.variation_ids]
    last = max((run.lease_until_at for run in found if run), default=job.created_at)
    held = any(run.is_held(now) for run in found if run)
    ended = all(run is not None and run.state in runs.ENDED for run in found)
    return not held and not ended and last < now - LOST_AFTER_S


def _run_path(job: RenderJob, variation_id: str) -> str:
    return runs.path_of(runs.run_id_of(RENDER_STEP, f"{job.id}/{variation_id}"))


def wake_render(
    documents: Documents, starter: Starter, job_name: str, job: RenderJob
) -> str | None:
    """Start the job again: tasks whose variation is done end at once. None if all are done."""
    from geminivideo.cloud.documents import Query

    rows = documents.query(Query(f"render_jobs/{job.id}/variations"), Variation)
    if all(row.status is not VariationStatus.QUEUED for row in rows):
        return None
    return starter.run(job_name, {"RENDER_JOB_ID": job.id}, task_count=len(job.groups))
