"""Loop 4: what winners have in common becomes knowledge."""

from geminivideo.events import LoopDue, PatternsDue
from geminivideo.runtime.step import Step, step
from geminivideo.services.learning_loops import run_loop
from geminivideo.services.patterns import learn


@step("learn_patterns")
def main(event: PatternsDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, learn)
