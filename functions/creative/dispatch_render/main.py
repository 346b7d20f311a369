"""Rendering starts: one execution of the render job, one task for each set of shots."""

from geminivideo.cloud.run_jobs import RunJobs
from geminivideo.events import BlueprintsApproved
from geminivideo.records import Blueprint, Video
from geminivideo.runtime.flows import Group, group_path
from geminivideo.runtime.step import Step, step
from geminivideo.video_agent.dispatch import job_for, variations_of


@step("dispatch_render")
def main(event: BlueprintsApproved, step: Step) -> None:
    video = step.documents.require(f"videos/{event.flow_id}", Video)
    plans = [step.documents.require(f"blueprints/{one}", Blueprint) for one in event.blueprint_ids]
    most = step.policy.render.outputs_per_task
    job = job_for(event, video, plans, most, step.clock.now())
    # The tasks read these, so they are written before the execution and not with the result.
    step.ensure(f"render_jobs/{job.id}", job)
    for variation in variations_of(job):
        step.ensure(f"render_jobs/{job.id}/variations/{variation.id}", variation)
    step.ensure(
        group_path(event.flow_id, f"variations:{job.id}"), Group(expected=job.variation_ids)
    )
    execution = RunJobs().run(
        step.settings.render_job, {"RENDER_JOB_ID": job.id}, task_count=len(job.groups)
    )
    step.update(f"render_jobs/{job.id}", {"execution": execution})
    step.log("render started", execution=execution, variations=len(job.variation_ids))
