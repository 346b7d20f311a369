"""Loop 1: what became of the ads, beside what was predicted of them."""

from geminivideo.events import ActualsDue, LoopDue
from geminivideo.runtime.step import Step, step
from geminivideo.services.actuals import link
from geminivideo.services.learning_loops import run_loop


@step("fetch_actuals")
def main(event: ActualsDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, link)
