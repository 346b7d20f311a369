"""Pro jobs that nobody works on any more: started again, or ended with their reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geminivideo.cloud.documents import Query
from geminivideo.events import ProDue
from geminivideo.policy import Policy
from geminivideo.records import ProJob, ProStatus
from geminivideo.runtime import runs

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.runtime.sweeping import Starter

OPEN = (ProStatus.QUEUED, ProStatus.RUNNING)
STEP = "render"


def rescue(documents: Documents, starter: Starter, render_job: str, now: float) -> int:
    """Wake every Pro job that was lost (its service or execution is gone); how many there were.

    A job whose work came to its end without a result is ended: FAILED, with what the run says.
    """
    lost = lost_jobs(documents, now)
    for job in lost:
        _wake(documents, starter, render_job, job, now)
    return len(lost)


def lost_jobs(documents: Documents, now: float) -> list[ProJob]:
    """Open jobs of which nothing was heard for ``ProPolicy.abandoned_s`` and that nobody holds."""
    still = Query("pro_jobs", where=[("status", "in", list(OPEN))])
    before = now - Policy().pro.abandoned_s
    silent = [job for job in documents.query(still, ProJob) if job.updated_at < before]
    return [job for job in silent if _is_idle(_run_of(documents, job), before)]


def _run_of(documents: Documents, job: ProJob) -> runs.StepRun | None:
    key = ProDue(pro_job_id=job.id, attempt=job.attempt).key
    return documents.get(runs.path_of(runs.run_id_of(STEP, key)), runs.StepRun)


def _is_idle(run: runs.StepRun | None, before: float) -> bool:
    return run is None or run.state in runs.ENDED or run.lease_until_at < before


def _wake(documents: Documents, starter: Starter, render_job: str, job: ProJob, now: float) -> None:
    run = _run_of(documents, job)
    if run is not None and run.state in runs.ENDED:
        ended = replace(job, status=ProStatus.FAILED, reason=run.error or "its work was given up")
        _write(documents, job, replace(ended, updated_at=now))
        return
    if _write(documents, job, replace(job, status=ProStatus.QUEUED, updated_at=now)):
        execution = starter.run(render_job, {ProDue.VARIABLE: job.id}, task_count=1)
        documents.update(f"pro_jobs/{job.id}", {"execution": execution})


def _write(documents: Documents, seen: ProJob, wanted: ProJob) -> bool:
    """Write unless somebody was faster: two sweeps start one execution."""

    def body(transaction: Transaction) -> bool:
        path = f"pro_jobs/{seen.id}"
        if transaction.get(path, ProJob) != seen:
            return False
        transaction.set(path, wanted)
        return True

    return documents.transact(body)
