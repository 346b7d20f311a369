"""The render job: task N renders its variations, checks them, and reports each of them in.

The variations of a task show the same shots: the first renders those that are left in one
process, and each of the others finds its file when its turn comes. What was rendered before, by
anybody, is not rendered again. An execution for a Pro job does that job's work instead.
"""

import os
import sys

from geminivideo.events import ProDue, RenderVariation, VariationsRendered
from geminivideo.records import ProJob, RenderJob, Variation
from geminivideo.runtime.flows import Group, group_path
from geminivideo.runtime.job import run_task, task_index
from geminivideo.runtime.settings import required
from geminivideo.runtime.step import Step, Transient, door_of, step
from geminivideo.services import pro_work
from geminivideo.services.pro_registry import BY_NAME
from geminivideo.services.pro_senses import LocalSenses
from geminivideo.services.rendering import Rendering, path_of
from geminivideo.services.renditions import facts
from geminivideo.video_agent.geometry import InvalidPlanError
from geminivideo.video_agent.render import RenderFailedError


@step("render")
def variation(event: RenderVariation, step: Step) -> None:
    job = step.documents.require(f"render_jobs/{event.render_job_id}", RenderJob)
    path = path_of(job, event.variation_id)
    queued = step.documents.require(path, Variation)
    try:
        made = queued.rendered(**facts(Rendering(job, step).rendition_of(queued)))
    except (RenderFailedError, InvalidPlanError) as error:
        made = _give_up(queued, error, step)
    for reason in made.degraded:
        step.degrade(reason)
    step.put(path, made)
    done = VariationsRendered(flow_id=job.flow_id, render_job_id=job.id) if job.notify else None
    step.arrive(f"variations:{job.id}", event.variation_id, then=done)


def _give_up(queued: Variation, error: Exception, step: Step) -> Variation:
    """Tried again until the map's attempts are used up; then the flow goes on without it."""
    if isinstance(error, RenderFailedError) and step.attempt < step.max_attempts:
        raise Transient(str(error)) from error
    return queued.failed(str(error))


@step("render")
def pro(event: ProDue, step: Step) -> None:
    pro_work.work(event, step, BY_NAME, LocalSenses(step.files))


def main() -> int:
    """The task's exit code: 0 when its variation, or its Pro job, is done."""
    pro_job = os.environ.get(ProDue.VARIABLE, "")
    return _pro(pro_job) if pro_job else _variation()


def _pro(job_id: str) -> int:
    door = door_of(pro)
    job = door.ports.documents.require(pro_work.path_of(job_id), ProJob)
    return run_task(door, ProDue(pro_job_id=job_id, attempt=job.attempt))


def _variation() -> int:
    door = door_of(variation)
    documents = door.ports.documents
    job = documents.require(f"render_jobs/{required('RENDER_JOB_ID')}", RenderJob)
    codes = [
        run_task(
            door, RenderVariation(flow_id=job.flow_id, render_job_id=job.id, variation_id=each)
        )
        for each in job.groups[task_index()]
    ]
    group = documents.get(group_path(job.flow_id, f"variations:{job.id}"), Group)
    if group is not None and group.complete:
        documents.update(f"render_jobs/{job.id}", {"status": "COMPLETED"})
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
