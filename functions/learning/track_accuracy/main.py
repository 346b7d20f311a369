"""Loop 2: how right the predictions were."""

from geminivideo.events import AccuracyDue, LoopDue
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services.learning_loops import LoopContext, LoopResult, run_loop


@step("track_accuracy")
def main(event: AccuracyDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, _absent)


def _absent(context: LoopContext) -> LoopResult:
    raise Permanent("this loop is not built yet")
