"""Loop 4: what winners have in common becomes knowledge."""

from geminivideo.events import LoopDue, PatternsDue
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services.learning_loops import LoopContext, LoopResult, run_loop


@step("learn_patterns")
def main(event: PatternsDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, _absent)


def _absent(context: LoopContext) -> LoopResult:
    raise Permanent("this loop is not built yet")
