"""The render job: task N renders the Nth variation, checks it, and reports it in.

An execution for a Pro job does that job's work instead.
"""

import os
import sys
from hashlib import sha256

from geminivideo.cloud.documents import Query
from geminivideo.events import ProDue, RenderVariation, VariationsRendered
from geminivideo.records import (
    Blueprint,
    ProJob,
    RenderJob,
    Scene,
    Transcript,
    Variation,
    Video,
)
from geminivideo.runtime.flows import Group, group_path
from geminivideo.runtime.job import run_task, task_index
from geminivideo.runtime.settings import required
from geminivideo.runtime.step import Step, Transient, door_of, step
from geminivideo.services import pro_jobs
from geminivideo.services.pro_registry import BY_NAME
from geminivideo.services.pro_senses import LocalSenses
from geminivideo.video_agent.checks import check
from geminivideo.video_agent.plan import InvalidPlanError, RenderRequest, request_for
from geminivideo.video_agent.render import RenderedFile, RenderFailedError, render


@step("render")
def variation(event: RenderVariation, step: Step) -> None:
    job = step.documents.require(f"render_jobs/{event.render_job_id}", RenderJob)
    path = f"render_jobs/{job.id}/variations/{event.variation_id}"
    queued = step.documents.require(path, Variation)
    try:
        made = _render(queued, job, step)
    except (RenderFailedError, InvalidPlanError) as error:
        made = _give_up(queued, error, step)
    for reason in made.degraded:
        step.degrade(reason)
    step.put(path, made)
    done = VariationsRendered(flow_id=job.flow_id, render_job_id=job.id) if job.notify else None
    step.arrive(f"variations:{job.id}", event.variation_id, then=done)


def _render(queued: Variation, job: RenderJob, step: Step) -> Variation:
    source = step.files.download(job.video, step.workdir / "source")
    made = render(_request(queued, job, step), source, step.workdir)
    checks = check(made.path, made.expected, step.policy.render)
    failed = [c for c in checks if not c.passed]
    if failed:
        found = "; ".join(f"{c.name}: {c.measured}, wanted {c.wanted}" for c in failed)
        raise RenderFailedError(f"the rendered file fails its checks: {found}")
    return _stored(queued, made, checks, step)


def _request(queued: Variation, job: RenderJob, step: Step) -> RenderRequest:
    flow = job.flow_id
    return request_for(
        step.documents.require(f"blueprints/{queued.blueprint_id}", Blueprint),
        step.documents.query(Query("scenes", where=[("flow_id", "==", flow)]), Scene),
        step.documents.get(f"transcripts/{flow}", Transcript),
        step.documents.require(f"videos/{flow}", Video),
        queued.aspect or job.aspect,
        step.policy.render.at(job.quality),
    )


def _stored(queued: Variation, made: RenderedFile, checks: tuple, step: Step) -> Variation:
    bucket, folder = step.settings.media_bucket, f"renders/{queued.flow_id}"
    poster = sha256(made.poster.read_bytes()).hexdigest()
    return queued.rendered(
        media=step.files.upload(made.path, bucket, f"{folder}/{made.sha256}.mp4", "video/mp4"),
        poster=step.files.upload(made.poster, bucket, f"{folder}/{poster}.jpg", "image/jpeg"),
        sha256=made.sha256,
        width=made.width,
        height=made.height,
        duration_s=made.duration_s,
        checks=checks,
        degraded=made.degraded,
    )


def _give_up(queued: Variation, error: Exception, step: Step) -> Variation:
    """Tried again until the map's attempts are used up; then the flow goes on without it."""
    if isinstance(error, RenderFailedError) and step.attempt < step.max_attempts:
        raise Transient(str(error)) from error
    return queued.failed(str(error))


@step("render")
def pro(event: ProDue, step: Step) -> None:
    pro_jobs.work(event, step, BY_NAME, LocalSenses())


def main() -> int:
    """The task's exit code: 0 when its variation, or its Pro job, is done."""
    pro_job = os.environ.get(pro_jobs.JOB_ENV, "")
    return _pro(pro_job) if pro_job else _variation()


def _pro(job_id: str) -> int:
    door = door_of(pro)
    job = door.ports.documents.require(pro_jobs.path_of(job_id), ProJob)
    return run_task(door, ProDue(pro_job_id=job_id, attempt=job.attempt))


def _variation() -> int:
    door = door_of(variation)
    documents = door.ports.documents
    job = documents.require(f"render_jobs/{required('RENDER_JOB_ID')}", RenderJob)
    event = RenderVariation(
        flow_id=job.flow_id,
        render_job_id=job.id,
        variation_id=job.variation_ids[task_index()],
    )
    code = run_task(door, event)
    group = documents.get(group_path(job.flow_id, f"variations:{job.id}"), Group)
    if group is not None and group.complete:
        documents.update(f"render_jobs/{job.id}", {"status": "COMPLETED"})
    return code


if __name__ == "__main__":
    sys.exit(main())
