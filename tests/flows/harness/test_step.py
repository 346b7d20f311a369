"""The step contract: claimed once, committed with its outbox, published, classified."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from geminivideo.events import SceneDetected, VideoIngested
from geminivideo.records import Flow, FlowStatus
from geminivideo.runtime import dead_letters, flows, outbox, runs
from geminivideo.runtime.runs import RunState, StepRun
from geminivideo.runtime.step import Permanent, Rejected, Step, StepDoor, Transient, door_of, step
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request


@dataclass(frozen=True)
class Note:
    """A document that a test step writes."""

    text: str


def door(function, name="detect_scenes") -> StepDoor:
    return StepDoor(name, function)


def scene(event, item):
    return SceneDetected(flow_id=event.flow_id, video=event.video, item=item)


def run_of(world, door, event) -> StepRun:
    return world.documents.require(runs.path_of(runs.run_id_of(door.spec.name, event.key)), StepRun)


def flow_of(world, flow_id) -> Flow:
    return world.documents.require(flows.path_of(flow_id), Flow)


def post(door, body: bytes, headers=None):
    builder = EnvironBuilder(method="POST", data=body, headers=headers or {})
    return door(Request(builder.get_environ()))


def push(event) -> bytes:
    data = base64.b64encode(event.encode()).decode()
    return json.dumps({"message": {"messageId": "1", "data": data}}).encode()


def test_documents_result_and_messages_come_together(world):
    """One delivery writes the step's documents, its run and its message, and answers 200."""

    def main(event: VideoIngested, step: Step) -> SceneDetected:
        step.put("notes/one", Note("seen"))
        step.degrade("no-audio")
        return scene(event, "s0")

    made, event = door(main), world.start_flow("f1")
    assert post(made, push(event)) == ({"outcome": "completed", "reason": ""}, 200)
    run = run_of(world, made, event)
    assert (run.state, run.attempts, run.degraded) == (RunState.COMPLETED, 1, ("no-audio",))
    assert world.documents.get("notes/one", Note) == Note("seen")
    assert [SceneDetected.decode(b).item for b in world.messages("scene-detected")] == ["s0"]


def test_second_delivery_does_nothing_again(world):
    """Delivered again, a completed work is acknowledged; the function is not run, nothing sent."""
    calls = []

    def main(event: VideoIngested, step: Step) -> SceneDetected:
        calls.append(event)
        return scene(event, "s0")

    made, event = door(main), world.start_flow("f1")
    answers = [post(made, push(event))[1] for _ in range(3)]
    assert (answers, len(calls)) == ([200, 200, 200], 1)
    assert len(world.messages("scene-detected")) == 1


def test_eight_deliveries_at_once_are_one_work(world):
    """Of eight concurrent deliveries one works; the others are refused or told it is done."""
    calls, gate = [], threading.Barrier(8)

    def main(event: VideoIngested, step: Step) -> SceneDetected:
        calls.append(event)
        return scene(event, "s0")

    made, event = door(main), world.start_flow("f1")
    made.ports.documents  # noqa: B018 - one client for all threads

    def deliver(_):
        gate.wait()
        return made.work(event).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(deliver, range(8)))
    assert len(calls) == 1
    assert set(statuses) <= {200, 503}
    assert len(world.messages("scene-detected")) == 1


def test_what_a_crash_left_unpublished_is_published_by_the_next_delivery(world, monkeypatch):
    """Killed between commit and publish: the next delivery publishes, without working again."""
    calls = []

    def main(event: VideoIngested, step: Step) -> SceneDetected:
        calls.append(event)
        return scene(event, "s0")

    made, event = door(main), world.start_flow("f1")

    class Killed(BaseException):
        """The process ends here."""

    def die(rows):
        raise Killed

    monkeypatch.setattr(outbox, "SETTLE_S", 0.3)
    monkeypatch.setattr(made.ports, "send", die)
    with pytest.raises(Killed):
        made.work(event)
    again = door(main)
    assert world.messages("scene-detected") == []
    assert again.work(event).outcome == "publishing"
    world.clock.sleep(0.4)
    assert again.work(event).status == 200
    assert (len(calls), len(world.messages("scene-detected"))) == (1, 1)


def test_rejected_ends_the_flow_with_its_reason(world):
    """Bad input: nothing of the step is written, the flow is REJECTED, the delivery is done."""

    def main(event: VideoIngested, step: Step) -> None:
        step.put("notes/rejected", Note("no"))
        raise Rejected("The file is empty.")

    made, event = door(main), world.start_flow("f1")
    assert made.work(event).status == 200
    flow = flow_of(world, "f1")
    assert (flow.status, flow.reason) == (FlowStatus.REJECTED, "The file is empty.")
    assert world.documents.get("notes/rejected", Note) is None
    assert made.work(event).status == 200
    assert run_of(world, made, event).attempts == 1


def test_transient_comes_back_and_counts(world):
    """A transient failure is refused with 503, can be claimed at once, and counts attempts."""
    outcomes = iter([Transient("busy"), ValueError("odd"), None])

    def main(event: VideoIngested, step: Step) -> None:
        failure = next(outcomes)
        if failure:
            raise failure

    made, event = door(main), world.start_flow("f1")
    assert [made.work(event).status for _ in range(3)] == [503, 503, 200]
    run = run_of(world, made, event)
    assert (run.attempts, run.state, run.epoch) == (3, RunState.COMPLETED, 3)


def test_permanent_is_dead_lettered_at_once_and_can_be_replayed(world):
    """A permanent failure ends DEAD with its reason; replay sends the message, the flow runs."""
    broken = [True]

    def main(event: VideoIngested, step: Step) -> None:
        if broken:
            raise Permanent("the account is closed")

    made, event = door(main), world.start_flow("f1")
    assert made.work(event).status == 200
    run = run_of(world, made, event)
    letter = world.documents.require(dead_letters.path_of(run.id), dead_letters.DeadLetter)
    assert (letter.reason, letter.topic) == ("the account is closed", "video-ingested")
    assert flow_of(world, "f1").status is FlowStatus.DEAD
    broken.clear()
    _, row = dead_letters.reopen(world.documents, world.clock, letter.id)
    outbox.publish(world.documents, made.ports, [row])
    (body,) = world.messages("video-ingested")
    assert flow_of(world, "f1").status is FlowStatus.RUNNING
    assert made.work(VideoIngested.decode(body)).status == 200
    assert run_of(world, made, event).state is RunState.COMPLETED


@pytest.mark.parametrize("body", [b"garbage", b'{"message": {"data": "e30="}}'])
def test_malformed_is_kept_and_acknowledged(world, body):
    """What no step can read is stored with its reason and not asked for again."""

    def main(event: VideoIngested, step: Step) -> None:
        raise AssertionError("not reached")

    answer, status = post(door(main), body)
    assert (status, answer["outcome"]) == (200, "malformed")
    from geminivideo.cloud.documents import Query

    (letter,) = world.documents.query(Query("dead_letters"), dead_letters.DeadLetter)
    assert letter.reason.startswith("malformed delivery")


def test_a_dead_holder_is_replaced_when_its_lease_ends_and_cannot_finish(world, monkeypatch):
    """After the lease another delivery takes over; the old holder then writes nothing."""
    monkeypatch.setattr(runs, "LEASE_S", 0.6)
    monkeypatch.setattr(runs, "HEARTBEAT_S", 60.0)  # a process that is gone beats no more
    entered, leave = threading.Event(), threading.Event()

    def slow(event: VideoIngested, step: Step) -> SceneDetected:
        step.put("notes/who", Note("old"))
        entered.set()
        leave.wait(10)
        return scene(event, "old")

    def quick(event: VideoIngested, step: Step) -> SceneDetected:
        step.put("notes/who", Note("new"))
        return scene(event, "new")

    event, old, new = world.start_flow("f1"), door(slow), door(quick)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(old.work, event)
        entered.wait(10)
        assert new.work(event).outcome == "held"
        world.clock.sleep(0.7)
        assert new.work(event).outcome == "completed"
        leave.set()
        assert first.result().outcome == "lease-lost"
    assert world.documents.get("notes/who", Note) == Note("new")
    assert [SceneDetected.decode(b).item for b in world.messages("scene-detected")] == ["new"]
    assert run_of(world, new, event).epoch == 2


def test_a_beating_holder_keeps_its_work(world, monkeypatch):
    """Work longer than the lease is not taken over while its heart beats."""
    monkeypatch.setattr(runs, "LEASE_S", 0.6)
    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.1)
    entered, leave = threading.Event(), threading.Event()

    def slow(event: VideoIngested, step: Step) -> None:
        entered.set()
        leave.wait(10)

    event, made = world.start_flow("f1"), door(slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(made.work, event)
        entered.wait(10)
        world.clock.sleep(1.2)
        assert made.work(event).outcome == "held"
        leave.set()
        assert first.result().outcome == "completed"


def test_the_last_item_in_wakes_the_next_step_exactly_once(world):
    """Twelve items arriving from eight threads, each twice, wake the next step once."""
    from geminivideo.events import FeaturesExtracted

    items = [f"s{n}" for n in range(12)]

    def fan(event: VideoIngested, step: Step) -> list[SceneDetected]:
        step.fan_out("features", items)
        return [scene(event, item) for item in items]

    def each(event: SceneDetected, step: Step) -> None:
        step.arrive("features", event.item, then=FeaturesExtracted(flow_id=event.flow_id))

    opener, worker = door(fan), door(each, "extract_features")
    event = world.start_flow("f1")
    assert opener.work(event).status == 200
    worker.ports.documents  # noqa: B018 - one client for all threads
    bodies = world.messages("scene-detected") * 2

    def deliver(body):
        answer = worker.work(SceneDetected.decode(body))
        while answer.status != 200:
            answer = worker.work(SceneDetected.decode(body))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(deliver, bodies))
    assert len(world.messages("features-extracted")) == 1


def test_the_flow_ends_with_every_degraded_reason_once(world):
    """A flow's end collects what its steps reported, in order, without repeats."""

    def first(event: VideoIngested, step: Step) -> None:
        step.degrade("no-audio")
        step.degrade("heuristic-rank")

    def last(event: SceneDetected, step: Step) -> None:
        step.degrade("heuristic-rank")
        step.finish_flow()

    event = world.start_flow("f1")
    assert door(first).work(event).status == 200
    assert door(last, "extract_features").work(scene(event, "s0")).status == 200
    flow = flow_of(world, "f1")
    assert flow.status is FlowStatus.COMPLETED
    assert flow.degraded == ("no-audio", "heuristic-rank")


def test_the_decorator_names_the_step_of_the_map():
    """``@step`` gives the door of a step that the map knows, and refuses another."""

    def main(event: VideoIngested, step: Step) -> None:
        return None

    assert door_of(step("rank_scenes")(main)).spec.name == "rank_scenes"
    with pytest.raises(KeyError):
        step("nobody")(main)
