"""Loop 6: what opted-in accounts may know of each other."""

from geminivideo.events import LoopDue, SharingDue
from geminivideo.runtime.step import Step, step
from geminivideo.services.learning_loops import run_loop
from geminivideo.services.sharing import share


@step("share_patterns")
def main(event: SharingDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, share)
