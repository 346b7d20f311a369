"""What Pub/Sub gave up on is settled against its run: superseded, still running, or DEAD."""

from dataclasses import replace

import pytest
from geminivideo.events import DeadLettered, SceneDetected, VideoIngested
from geminivideo.records import Flow, FlowStatus
from geminivideo.runtime import dead_letters, flows, runs
from geminivideo.runtime.dead_letters import DeadLetter, NotReplayableError
from geminivideo.runtime.failures import Transient
from geminivideo.runtime.runs import RunState


def forwarded(event, subscription="detect-scenes", delivery_id="7"):
    """The event as Pub/Sub puts it on the dead-letter topic."""
    attributes = {
        "flow_id": event.flow_id,
        "CloudPubSubDeadLetterSourceSubscription": subscription,
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
    }
    return DeadLettered.of_delivery(event.encode(), attributes, delivery_id)


def claimed(world, event, step="detect_scenes", **members):
    run = runs.claim(
        world.documents, world.clock, step=step, key=event.key, flow_id=event.flow_id, item=""
    ).run
    stored = replace(run, **members)
    world.documents.set(run.path, stored)
    return stored


def flow_of(world):
    return world.documents.require(flows.path_of("f1"), Flow)


def test_work_that_failed_for_good_is_dead_with_its_last_error(world):
    """The run and the flow are DEAD, the letter keeps the message and the reason."""
    event = world.start_flow("f1")
    run = claimed(world, event, state=RunState.FAILED, error="ValueError: odd")
    assert dead_letters.settle(world.documents, world.clock, forwarded(event)) == "dead"
    assert world.documents.require(run.path, runs.StepRun).state is RunState.DEAD
    letter = world.documents.require(dead_letters.path_of(run.id), DeadLetter)
    assert letter.reason == "detect_scenes gave up: ValueError: odd"
    assert (letter.topic, VideoIngested.decode(letter.body)) == ("video-ingested", event)
    assert (flow_of(world).status, flow_of(world).reason) == (FlowStatus.DEAD, letter.reason)


def test_a_message_whose_step_never_answered_is_dead_too(world):
    """No run at all (every delivery timed out before its claim) still ends the flow, with why."""
    event = world.start_flow("f1")
    assert dead_letters.settle(world.documents, world.clock, forwarded(event)) == "dead"
    assert "no attempt came to an end" in flow_of(world).reason


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.REJECTED, RunState.DEAD])
def test_work_that_ended_otherwise_is_not_undone(world, state):
    """A duplicate that used up its deliveries while another one did the work changes nothing."""
    event = world.start_flow("f1")
    claimed(world, event, state=state)
    assert dead_letters.settle(world.documents, world.clock, forwarded(event)) == "superseded"
    assert flow_of(world).status is FlowStatus.RUNNING


def test_work_in_somebodys_hands_is_asked_about_again_later(world):
    """While the lease lives the dead letter is refused and comes back."""
    event = world.start_flow("f1")
    claimed(world, event)
    with pytest.raises(Transient, match="still being worked on"):
        dead_letters.settle(world.documents, world.clock, forwarded(event))
    assert flow_of(world).status is FlowStatus.RUNNING


def test_a_message_of_an_unknown_subscription_is_kept(world):
    """Nothing is lost: it is stored with that reason, and no flow is touched."""
    event = world.start_flow("f1")
    dead = forwarded(event, subscription="somebody-elses")
    assert dead_letters.settle(world.documents, world.clock, dead) == "kept"
    letter = world.documents.require(dead_letters.path_of("7"), DeadLetter)
    assert letter.reason == "unknown subscription"
    assert flow_of(world).status is FlowStatus.RUNNING


def test_one_dead_item_of_a_fan_out_ends_the_flow_by_name(world):
    """The flow's reason names the step and the error of the item that died."""
    event = world.start_flow("f1")
    item = SceneDetected(flow_id="f1", video=event.video, item="f1-003")
    claimed(world, item, step="extract_features", state=RunState.FAILED, error="boom")
    dead = forwarded(item, subscription="extract-features")
    assert dead_letters.settle(world.documents, world.clock, dead) == "dead"
    assert flow_of(world).reason == "extract_features gave up: boom"


def test_a_letter_that_came_on_no_topic_cannot_be_replayed_and_says_so(world):
    """Replaying a malformed body is refused by a named error that says why it died."""
    letter = DeadLetter(
        id="x", step="detect_scenes", topic="", body="garbage", reason="malformed", at=0.0
    )
    world.documents.set(dead_letters.path_of("x"), letter)
    with pytest.raises(NotReplayableError, match="malformed"):
        dead_letters.reopen(world.documents, world.clock, "x")
