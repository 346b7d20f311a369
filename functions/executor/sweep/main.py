"""The sweeper: publishes what a crash left behind, and wakes work that nobody holds any more."""

from geminivideo.cloud.run_jobs import RunJobs
from geminivideo.events import SweepDue
from geminivideo.runtime import outbox
from geminivideo.runtime.step import Step, step
from geminivideo.runtime.sweeping import lost_changes, lost_renders, wake_change, wake_render
from geminivideo.services import learning_rescue, pro_rescue, training_rescue

OUTBOX_AGE_S = 30.0
BATCH = 200


@step("sweep")
def main(event: SweepDue, step: Step) -> None:
    published = outbox.sweep(step.documents, step.outlet, step.clock, OUTBOX_AGE_S, BATCH)
    changes = lost_changes(step.documents, step.clock.now())
    for change in changes:
        wake_change(step.outlet, change, step.clock.now())
    renders = lost_renders(step.documents, step.clock.now())
    for job in renders:
        wake_render(step.documents, RunJobs(), step.settings.render_job, job)
    pro = pro_rescue.rescue(step.documents, RunJobs(), step.settings.render_job, step.clock.now())
    cycles = learning_rescue.rescue(
        step.documents, step.outlet, step.clock, RunJobs(), step.settings.retrain_job
    )
    trainings = training_rescue.rescue(
        step.documents, RunJobs(), step.settings.retrain_job, step.clock.now()
    )
    step.log(
        "swept",
        published=published,
        changes=len(changes),
        renders=len(renders),
        pro_jobs=pro,
        cycles=cycles,
        trainings=trainings,
    )
