"""The seven loops as one chain: each is recorded, each wakes the next, and none stops the cycle."""

from dataclasses import replace

import pytest
from geminivideo.events import ActualsDue, LearningDue, PatternsDue, cycle_id_of
from geminivideo.learning_records import CycleStatus, LoopStatus
from geminivideo.policy import LearningPolicy, Policy
from geminivideo.records import FlowStatus
from geminivideo.runtime.failures import Permanent, Transient
from geminivideo.runtime.runs import RunState
from geminivideo.runtime.step import Step, StepDoor
from geminivideo.services.learning_loops import LOOPS, RETRAIN, LoopResult, path_of, run_loop

SHARE, INDEX = LOOPS[5], LOOPS[6]
# The job's loop and the last one are special; the others are held to it by `make stress`.
EACH = [
    pytest.param(loop, id=loop.name, marks=[] if loop in (RETRAIN, INDEX) else [pytest.mark.long])
    for loop in LOOPS
]


def fail(error):
    def work(context):
        context.step.put("notes/half", {"written": True})
        raise error

    return work


def test_a_tick_becomes_one_cycle_for_each_account(world):
    """Scheduler's empty message makes one event per account, the same ones if it comes again."""
    world.add_account("b")
    tick = LearningDue.of_delivery(b"{}", {}, "d-7")
    door = world.main("learning/start_cycle").main.door
    assert [door.work(tick).status for _ in range(2)] == [200, 200]
    asked = [LearningDue.decode(body) for body in world.messages("learning-due")]
    assert [one.account_id for one in asked] == ["a", "b"]
    assert [one.flow_id for one in asked] == [cycle_id_of(each, "d-7") for each in ("a", "b")]


@pytest.mark.parametrize(
    ("body", "tick", "account"),
    [(b"", "d", ""), (b"{}", "d", ""), (b'{"trigger":"command"}', "d", ""),
     (b'{"tick":"t","account_id":"a"}', "t", "a"), (b'{"account_id":"a"}', "d", "a")],
)  # fmt: skip
def test_who_asks_may_name_a_tick_and_an_account(body, tick, account):
    """What the message does not say is every account, and the delivery itself."""
    asked = LearningDue.of_delivery(body, {}, "d")
    assert (asked.tick, asked.account_id) == (tick, account)


def test_a_cycle_begins_once(world):
    """The cycle and its flow are recorded, the first loop is woken, a second delivery adds none."""
    cycle = world.begin()
    again = world.begin()
    assert again == cycle
    assert (cycle.status, cycle.trigger, cycle.steps) == (CycleStatus.RUNNING, "schedule", {})
    assert (world.flow(cycle.id).kind, world.flow(cycle.id).status) == (
        "learning",
        FlowStatus.RUNNING,
    )
    (body,) = world.messages("actuals-due")
    assert ActualsDue.decode(body) == ActualsDue(flow_id=cycle.id, account_id="a")


def test_an_account_learns_in_one_cycle_at_a_time(world):
    """A tick that comes while the account's cycle runs begins nothing; another account's does."""
    first = world.begin(tick="t1")
    world.messages("actuals-due")
    asked = world.due(tick="t2")
    assert world.main("learning/start_cycle").main.door.work(asked).status == 200
    assert world.messages("actuals-due") == []
    world.add_account("b")
    assert world.begin("b", "t2").id != first.id
    world.documents.update(path_of(first.id), {"status": "completed"})
    assert world.begin(tick="t3").status is CycleStatus.RUNNING


def test_an_unknown_account_has_no_cycle(world):
    """Its event is kept as a dead letter with the reason, and wakes nothing."""
    asked = world.due("nobody")
    answer = world.main("learning/start_cycle").main.door.work(asked)
    assert (answer.status, answer.outcome, answer.reason) == (200, "dead", "no account nobody")
    assert world.messages("actuals-due") == []


def test_seven_loops_make_a_cycle(world):
    """Each loop's members, status and duration are kept; the last one ends cycle and flow."""
    cycle = world.begin()
    for loop in LOOPS:
        world.works[loop.name] = lambda context, name=loop.name: LoopResult({"of": name}, ("why",))
        assert world.deliver(loop, cycle, times=2).status == 200
        if loop is not INDEX:
            following = LOOPS[loop.number]
            assert len(world.messages(following.event.TOPIC)) == 1
    ended = world.cycle(cycle.id)
    assert ended.status is CycleStatus.COMPLETED
    assert ended.duration_seconds > 0
    assert sorted(ended.steps) == [str(number) for number in range(1, 8)]
    for loop in LOOPS:
        run = ended.steps[str(loop.number)]
        assert (run.number, run.name, run.result) == (loop.number, loop.name, {"of": loop.name})
        assert run.status is LoopStatus.COMPLETED
        assert run.duration_seconds == run.finished_at - run.started_at >= 0
    assert world.done == [loop.name for loop in LOOPS]
    assert (world.flow(cycle.id).status, world.flow(cycle.id).degraded) == (
        FlowStatus.COMPLETED,
        ("why",),
    )


def test_a_loop_sees_what_earlier_ones_found(world):
    """The accuracy that loop 2 found is there for loop 3; a loop that failed found nothing."""
    cycle, seen = world.begin(), {}
    world.works["actuals"] = fail(Permanent("no"))
    world.works["accuracy"] = lambda context: LoopResult({"accuracy": 0.5})
    world.works["retrain"] = lambda context: (
        seen.update(accuracy=context.result_of("accuracy"), actuals=context.result_of("actuals"))
        or LoopResult({})
    )
    for loop in LOOPS[:3]:
        world.deliver(loop, cycle)
    assert seen == {"accuracy": {"accuracy": 0.5}, "actuals": {}}


@pytest.mark.parametrize("loop", EACH)
def test_a_loop_that_raises_is_recorded_and_the_next_is_woken(world, loop):
    """It is tried as often as the policy says, leaves nothing half written, and tells why."""
    cycle = world.begin()
    world.works[loop.name] = fail(RuntimeError("token=abc is odd"))
    answers = [world.deliver(loop, cycle) for _ in range(LearningPolicy().tries)]
    assert [one.status for one in answers] == [503] * (LearningPolicy().tries - 1) + [200]
    run = world.cycle(cycle.id).steps[str(loop.number)]
    assert (run.status, run.result) == (LoopStatus.FAILED, {})
    assert "RuntimeError" in run.reason
    assert "abc" not in run.reason
    assert run.degraded == (f"learning-loop-lost:{loop.name} failed",)
    assert world.documents.get("notes/half", dict) is None
    if loop is INDEX:
        assert world.cycle(cycle.id).status is CycleStatus.COMPLETED
        assert world.flow(cycle.id).status is FlowStatus.COMPLETED
    else:
        assert len(world.messages(LOOPS[loop.number].event.TOPIC)) == 1


def test_what_cannot_be_mended_is_not_tried_again(world):
    """A ``Permanent`` failure is recorded at the first try; the account's own number of tries
    holds for all others."""
    cycle = world.begin()
    world.works["share"] = fail(Permanent("opted out"))
    assert world.deliver(SHARE, cycle).status == 200
    assert world.cycle(cycle.id).steps["6"].reason == "opted out"
    once = replace(Policy(), learning=replace(LearningPolicy(), tries=1))
    world.documents.set("policies/a", once)
    world.works["index"] = fail(Transient("busy"))
    assert world.deliver(INDEX, cycle).status == 200
    assert world.cycle(cycle.id).steps["7"].reason == "busy"


def test_a_loop_knows_when_to_take_up_no_more_work(world):
    """The context is late as soon as the policy's seconds are over, and not before."""
    cycle, seen = world.begin(), []
    world.works["actuals"] = lambda context: seen.append(context.late) or LoopResult({})
    world.deliver(LOOPS[0], cycle)
    world.documents.set(
        "policies/a", replace(Policy(), learning=replace(LearningPolicy(), loop_s=0.0))
    )
    world.works["accuracy"] = lambda context: seen.append(context.late) or LoopResult({})
    world.deliver(LOOPS[1], cycle)
    assert seen == [False, True]


def test_training_that_goes_on_elsewhere_leaves_the_loop_open(world):
    """A pending result hands over once and wakes nobody; the job ends the loop, and the function's
    event, delivered again, only wakes the next loop."""
    cycle, handed = world.begin(), []
    world.works["retrain"] = lambda context: LoopResult({}, pending=True)

    def main(event: RETRAIN.event, step: Step) -> PatternsDue | None:
        return run_loop(event, step, world.works["retrain"], lambda context: handed.append(1))

    event = RETRAIN.event(flow_id=cycle.id, account_id="a")
    function = StepDoor("retrain_model", main)
    assert [function.work(event).status for _ in range(2)] == [200, 200]
    assert (handed, world.messages("patterns-due")) == ([1], [])
    assert world.cycle(cycle.id).steps["3"].status is LoopStatus.RUNNING

    world.works["retrain"] = lambda context: LoopResult({"new_model_version": "v2"})
    job = world.door(RETRAIN, "retrain")
    assert [job.work(event).status for _ in range(2)] == [200, 200]
    assert len(world.messages("patterns-due")) == 1
    assert world.cycle(cycle.id).steps["3"].result == {"new_model_version": "v2"}

    run = world.run_of("retrain_model", cycle.id)
    world.documents.set(run.path, replace(run, state=RunState.FAILED))
    world.works["retrain"] = fail(AssertionError("considered again"))
    assert function.work(event).status == 200
    assert len(world.messages("patterns-due")) == 1
    assert world.cycle(cycle.id).steps["3"].status is LoopStatus.COMPLETED


def test_a_start_of_the_job_that_fails_is_tried_again(world):
    """Handing over belongs to the work: when the job cannot be started, the loop is not lost."""
    cycle = world.begin()

    def refuse(context):
        raise Transient("no room")

    def main(event: RETRAIN.event, step: Step) -> PatternsDue | None:
        return run_loop(event, step, lambda context: LoopResult({}, pending=True), refuse)

    door, event = StepDoor("retrain_model", main), RETRAIN.event(flow_id=cycle.id, account_id="a")
    assert [door.work(event).status for _ in range(3)] == [503, 503, 200]
    assert world.cycle(cycle.id).steps["3"].status is LoopStatus.FAILED
    assert len(world.messages("patterns-due")) == 1
