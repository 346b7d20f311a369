"""Loop 3: whether a challenger is to be trained; the job trains it, and ends the loop."""

from geminivideo.cloud.run_jobs import RunJobs
from geminivideo.events import LoopDue, RetrainDue
from geminivideo.runtime.step import Step, step
from geminivideo.services.learning_loops import LoopContext, run_loop
from geminivideo.services.learning_rescue import start_training
from geminivideo.services.retraining import consider


@step("retrain_model")
def main(event: RetrainDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, consider, _hand_over)


def _hand_over(context: LoopContext) -> None:
    execution = start_training(RunJobs(), context.step.settings.retrain_job, context.cycle.id)
    context.step.log("training started", execution=execution)
