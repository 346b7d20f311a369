"""Loop 2: how right the predictions were."""

from geminivideo.events import AccuracyDue, LoopDue
from geminivideo.runtime.step import Step, step
from geminivideo.services.accuracy import track
from geminivideo.services.learning_loops import run_loop


@step("track_accuracy")
def main(event: AccuracyDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, track)
