"""The retrain job: a challenger is trained and judged for one cycle, whose third loop it ends.

An execution for a training that was asked for outside a cycle does that one's work instead.
"""

import os
import sys

from geminivideo.events import LoopDue, RetrainDue, TrainingDue
from geminivideo.learning_records import LearningCycle
from geminivideo.runtime.job import run_task
from geminivideo.runtime.settings import required
from geminivideo.runtime.step import Step, door_of, step
from geminivideo.services.learning_loops import path_of, run_loop
from geminivideo.services.learning_rescue import CYCLE_ENV
from geminivideo.services.model_training import train, train_asked


@step("retrain")
def training(event: RetrainDue, step: Step) -> LoopDue | None:
    return run_loop(event, step, train)


@step("retrain")
def asked(event: TrainingDue, step: Step) -> None:
    train_asked(event, step)


def main() -> int:
    """The task's exit code: 0 when the loop, or the training that was asked for, has ended."""
    training_id = os.environ.get(TrainingDue.VARIABLE, "")
    return _asked(training_id) if training_id else _loop()


def _asked(training_id: str) -> int:
    return run_task(door_of(asked), TrainingDue(training_id=training_id))


def _loop() -> int:
    door = door_of(training)
    cycle = door.ports.documents.require(path_of(required(CYCLE_ENV)), LearningCycle)
    return run_task(door, RetrainDue(flow_id=cycle.id, account_id=cycle.account_id))


if __name__ == "__main__":
    sys.exit(main())
