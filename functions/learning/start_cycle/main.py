"""A learning cycle begins: each account's on the clock's tick, or one account's when asked for."""

from geminivideo.events import Event, LearningDue
from geminivideo.runtime.step import Step, step
from geminivideo.services import learning_cycle


@step("start_cycle")
def main(event: LearningDue, step: Step) -> list[Event]:
    if not event.account_id:
        return learning_cycle.shares(event, step.documents)
    first = learning_cycle.begin(event, step)
    return [first] if first else []
