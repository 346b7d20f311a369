"""Dead letters: what Pub/Sub gave up on is kept with its reason, and its flow ends DEAD."""

from geminivideo.events import DeadLettered
from geminivideo.runtime.dead_letters import settle
from geminivideo.runtime.step import Step, step
from geminivideo.services import learning_rescue


@step("dead_letters")
def main(event: DeadLettered, step: Step) -> None:
    outcome = settle(step.documents, step.clock, event)
    lost = learning_rescue.dead_loop(
        step.documents, event.subscription.replace("-", "_"), event.flow_id
    )
    if lost is not None:
        learning_rescue.give_up(step.documents, step.outlet, step.clock, lost)
    step.log("dead letter settled", outcome=outcome, subscription=event.subscription)
