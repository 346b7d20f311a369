"""Loop 6: what opted-in accounts may know of each other."""

from geminivideo.events import LoopDue, SharingDue
from geminivideo.runtime.step import Permanent, Step, step
from geminivideo.services.learning_loops import LoopContext, LoopResult, run_loop


@step("share_patterns")
def main(event: SharingDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, _absent)


def _absent(context: LoopContext) -> LoopResult:
    raise Permanent("this loop is not built yet")
