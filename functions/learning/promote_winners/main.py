"""Loop 5: winners get more, through the gate and the SafeExecutor."""

from geminivideo.events import LoopDue, PromotionDue
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services.learning_loops import LoopContext, LoopResult, run_loop


@step("promote_winners")
def main(event: PromotionDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, _absent)


def _absent(context: LoopContext) -> LoopResult:
    raise Permanent("this loop is not built yet")
