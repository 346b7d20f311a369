"""Loop 3: whether a challenger is to be trained; the job trains it, and ends the loop."""

from geminivideo.events import LoopDue, RetrainDue
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services.learning_loops import LoopContext, LoopResult, run_loop


@step("retrain_model")
def main(event: RetrainDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, _absent)


def _absent(context: LoopContext) -> LoopResult:
    raise Permanent("this loop is not built yet")
