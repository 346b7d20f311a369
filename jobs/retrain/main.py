"""The retrain job: a challenger is trained and judged for one cycle, whose third loop it ends."""

import sys

from geminivideo.events import LoopDue, RetrainDue
from geminivideo.learning_records import LearningCycle
from geminivideo.runtime.job import run_task
from geminivideo.runtime.settings import required
from geminivideo.runtime.step import Step, door_of, step
from geminivideo.services.learning_loops import path_of, run_loop
from geminivideo.services.learning_rescue import CYCLE_ENV
from geminivideo.services.model_training import train


@step("retrain")
def training(event: RetrainDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, train)


def main() -> int:
    """The task's exit code: 0 when the loop has ended."""
    door = door_of(training)
    cycle = door.ports.documents.require(path_of(required(CYCLE_ENV)), LearningCycle)
    return run_task(door, RetrainDue(flow_id=cycle.id, account_id=cycle.account_id))


if __name__ == "__main__":
    sys.exit(main())
