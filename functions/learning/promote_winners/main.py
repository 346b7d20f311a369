"""Loop 5: winners get more, through the gate and the SafeExecutor."""

from geminivideo.events import LoopDue, PromotionDue
from geminivideo.runtime.step import Step, step
from geminivideo.services.learning_loops import run_loop
from geminivideo.services.promotion import promote


@step("promote_winners")
def main(event: PromotionDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, promote)
