"""Dead letters: what Pub/Sub gave up on is kept with its reason, and its flow ends DEAD."""

from geminivideo.events import DeadLettered
from geminivideo.runtime.dead_letters import settle
from geminivideo.runtime.step import Step, step


@step("dead_letters")
def main(event: DeadLettered, step: Step) -> None:
    outcome = settle(step.documents, step.clock, event)
    step.log("dead letter settled", outcome=outcome, subscription=event.subscription)
