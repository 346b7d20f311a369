"""Loop 1: what became of the ads, beside what was predicted of them."""

from geminivideo.events import ActualsDue, LoopDue
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services.learning_loops import LoopContext, LoopResult, run_loop


@step("fetch_actuals")
def main(event: ActualsDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, _absent)


def _absent(context: LoopContext) -> LoopResult:
    raise Permanent("this loop is not built yet")
