"""A cycle always comes to its end: what is lost is recorded as lost, and the next loop is woken."""

from dataclasses import replace

import pytest
from geminivideo.cloud.documents import Query
from geminivideo.events import DeadLettered, ObjectRef, VideoIngested
from geminivideo.learning_records import CycleStatus, LearningCycle, LoopRun, LoopStatus
from geminivideo.policy import LearningPolicy
from geminivideo.records import FlowStatus
from geminivideo.runtime import flows, runs
from geminivideo.runtime.runs import RunState
from geminivideo.services import learning_rescue
from geminivideo.services.learning_loops import (
    LOOPS,
    RETRAIN,
    LoopResult,
    ended,
    path_of,
)
from hypothesis import given
from hypothesis import strategies as st

LIMITS = LearningPolicy()
FIRST, LAST = LOOPS[0], LOOPS[-1]
# The job's loop and the last one are special; the others are held to it by `make stress`.
EACH = [
    pytest.param(loop, id=loop.name, marks=[] if loop in (RETRAIN, LAST) else [pytest.mark.long])
    for loop in LOOPS
]


def rescue(world):
    """What a sweep does for learning cycles."""
    return learning_rescue.rescue(
        world.documents, world.ports, world.clock, world.starter, "jobs/retrain"
    )


def running_since(world, loop, cycle, age_s):
    """A loop that began ``age_s`` ago and whose process is gone."""
    at = world.clock.now() - age_s
    for number in range(1, loop.number):
        done = LoopRun(
            number=number, name=LOOPS[number - 1].name, status=LoopStatus.COMPLETED,
            started_at=at, lost_at=at, finished_at=at, duration_seconds=0.0,
        )  # fmt: skip
        cycle = replace(cycle, steps={**cycle.steps, str(number): done})
    limit = LIMITS.lost_retrain_s if loop is RETRAIN else LIMITS.lost_after_s
    run = LoopRun(
        number=loop.number, name=loop.name, status=LoopStatus.RUNNING,
        started_at=at, lost_at=at + limit,
    )  # fmt: skip
    cycle = replace(cycle, steps={**cycle.steps, str(loop.number): run})
    world.documents.set(path_of(cycle.id), cycle)
    return cycle


@pytest.mark.parametrize("loop", EACH)
def test_a_lost_loop_is_timed_out_and_the_next_is_woken_once(world, loop):
    """Past its time it is recorded with its duration; a second sweep finds nothing more to do."""
    cycle = running_since(world, loop, world.begin(), 6000.0)
    assert [rescue(world), rescue(world)] == [1, 0]
    run = world.cycle(cycle.id).steps[str(loop.number)]
    assert (run.status, run.reason) == (LoopStatus.TIMED_OUT, learning_rescue.TIMED_OUT)
    assert run.duration_seconds >= 6000.0
    if loop is LAST:
        assert world.cycle(cycle.id).status is CycleStatus.COMPLETED
        flow = world.flow(cycle.id)
        assert flow.status is FlowStatus.COMPLETED
        assert flow.degraded == ("learning-loop-lost:index timed out",)
    else:
        following = LOOPS[loop.number]
        (body,) = world.messages(following.event.TOPIC)
        assert following.event.decode(body).flow_id == cycle.id


def test_a_loop_within_its_time_is_left_alone(world):
    """Neither a loop that runs nor one that has only just been woken is given up."""
    running_since(world, FIRST, world.begin(), LIMITS.lost_after_s - 30)
    assert rescue(world) == 0
    world.add_account("b")
    cycle = world.begin("b")
    assert rescue(world) == 0
    assert world.cycle(cycle.id).status is CycleStatus.RUNNING


def test_a_loop_that_never_began_is_given_up_too(world):
    """Its function cannot even start: after the same time the cycle goes on without it."""
    cycle = world.begin()
    old = replace(cycle, started_at=cycle.started_at - LIMITS.lost_after_s - 1)
    world.documents.set(path_of(cycle.id), old)
    assert rescue(world) == 1
    run = world.cycle(cycle.id).steps["1"]
    assert (run.status, run.reason) == (LoopStatus.TIMED_OUT, learning_rescue.NEVER_BEGAN)
    assert len(world.messages("accuracy-due")) == 1


def test_a_late_result_is_kept_and_wakes_nobody_twice(world):
    """A loop that was given up and ends after all replaces its record; the next loop's second
    event is the same work."""
    cycle = running_since(world, FIRST, world.begin(), 6000.0)
    rescue(world)
    world.deliver(LOOPS[1], cycle)
    assert world.deliver(FIRST, cycle).status == 200
    run = world.cycle(cycle.id).steps["1"]
    assert (run.status, run.result) == (LoopStatus.COMPLETED, {"seen": 1})
    assert world.cycle(cycle.id).steps["2"].status is LoopStatus.COMPLETED
    for body in world.messages("accuracy-due"):
        assert LOOPS[1].event.decode(body).key == cycle.id
    assert world.deliver(LOOPS[1], cycle).outcome == "completed"
    assert world.done == ["accuracy", "actuals"]


def test_a_message_that_dies_before_it_is_published_is_published_by_the_sweep(world, monkeypatch):
    """The record of a lost loop and the next one's message are one commit."""
    cycle = running_since(world, FIRST, world.begin(), 6000.0)

    class Down:
        def send(self, rows):
            raise RuntimeError("no bus")

    with pytest.raises(RuntimeError):
        learning_rescue.rescue(world.documents, Down(), world.clock, world.starter, "j")
    assert world.cycle(cycle.id).steps["1"].status is LoopStatus.TIMED_OUT
    waiting = [row for row in world.waiting(cycle) if not row.published]
    assert [row.topic for row in waiting] == ["accuracy-due"]


def forwarded(event, subscription):
    attributes = {
        "flow_id": event.flow_id,
        "CloudPubSubDeadLetterSourceSubscription": subscription,
    }
    return DeadLettered.of_delivery(event.encode(), attributes, f"dl-{subscription}")


def test_a_loop_whose_message_died_is_failed_and_the_next_is_woken(world):
    """Its process died at every try: the letter is kept, the flow lives, the cycle goes on."""
    cycle = running_since(world, LOOPS[3], world.begin(), 60.0)
    event = LOOPS[3].event(flow_id=cycle.id, account_id="a")
    door = world.main("executor/dead_letters").main.door
    letter = forwarded(event, "learn-patterns")
    assert [door.work(letter).status for _ in range(2)] == [200, 200]
    run = world.cycle(cycle.id).steps["4"]
    assert run.status is LoopStatus.FAILED
    assert "no attempt came to an end" in run.reason
    assert len(world.messages("promotion-due")) == 1
    assert world.flow(cycle.id).status is FlowStatus.RUNNING
    assert len(world.documents.query(Query("dead_letters"), dict)) == 1


def test_other_dead_letters_still_end_their_flow(world):
    """A video's flow whose message died is DEAD, as ever."""
    video = ObjectRef(bucket="u", name="a.mp4", generation=1)
    flows.start(
        world.documents, world.clock, flow_id="cf-1", kind="creative", account_id="a", video=video
    )
    event = VideoIngested(flow_id="cf-1", video=video)
    door = world.main("executor/dead_letters").main.door
    assert door.work(forwarded(event, "detect-scenes")).status == 200
    assert world.flow("cf-1").status is FlowStatus.DEAD


def handed_over(world, age_s, attempts=0, held=False, state=RunState.RUNNING):
    """A cycle whose training was handed to the job ``age_s`` ago."""
    cycle = running_since(world, RETRAIN, world.begin(), age_s)
    now = world.clock.now()
    ports = {"clock": world.clock, "key": cycle.id, "flow_id": cycle.id, "item": ""}
    function = runs.claim(world.documents, step="retrain_model", **ports).run
    done = replace(function, state=RunState.COMPLETED, finished_at=now - age_s)
    world.documents.set(done.path, done)
    if attempts:
        run = runs.claim(world.documents, step="retrain", **ports).run
        until = now + 20 if held else now - age_s
        run = replace(run, attempts=attempts, lease_until_at=until, state=state, error="oom")
        world.documents.set(run.path, run)
    return cycle


def test_a_lost_training_is_started_again(world):
    """The function handed over and no task holds the work: the job is started once more."""
    cycle = handed_over(world, 600.0, attempts=1)
    assert rescue(world) == 1
    assert world.starter.asked == [("jobs/retrain", {"CYCLE_ID": cycle.id})]
    assert world.cycle(cycle.id).steps["3"].status is LoopStatus.RUNNING


@pytest.mark.parametrize(
    "left",
    [
        {"age_s": 30.0},
        {"age_s": 600.0, "attempts": 1, "held": True},
        {"age_s": 180.0, "attempts": 2},
        {"age_s": 600.0, "attempts": 1, "state": RunState.COMPLETED},
    ],
    ids=["just handed over", "held", "just lost", "ended"],
)
def test_a_training_in_somebodys_hands_is_left_alone(world, left):
    """No second execution while the first may still come, works, or is to be tried by Cloud Run."""
    handed_over(world, **left)
    assert rescue(world) == 0
    assert world.starter.asked == []


def test_a_training_whose_execution_never_came_is_started(world):
    """The start was promised and no task ever claimed the work."""
    handed_over(world, 600.0)
    assert rescue(world) == 1
    assert len(world.starter.asked) == 1


def test_a_training_that_kills_its_process_is_given_up(world):
    """After the map's attempts the loop is failed with the last reason, and loop 4 is woken."""
    cycle = handed_over(world, 600.0, attempts=3)
    assert rescue(world) == 1
    run = world.cycle(cycle.id).steps["3"]
    assert (run.status, run.reason) == (LoopStatus.FAILED, "oom")
    assert world.starter.asked == []
    assert len(world.messages("patterns-due")) == 1


def test_a_job_that_cannot_even_begin_is_not_started_for_ever(world):
    """Its executions end before they take up the work: each is given its time, and three restarts
    are all; then the loop is failed and loop 4 is woken."""
    cycle = handed_over(world, 600.0)
    for restarts in range(1, learning_rescue.MOST_RESTARTS + 1):
        assert [rescue(world), rescue(world)] == [1, 0]
        run = world.cycle(cycle.id).steps["3"]
        assert (run.restarts, len(world.starter.asked)) == (restarts, restarts)
        long_ago = replace(run, restarted_at=run.restarted_at - learning_rescue.IDLE_S - 1)
        found = world.cycle(cycle.id)
        world.documents.set(path_of(cycle.id), replace(found, steps={**found.steps, "3": long_ago}))
    assert rescue(world) == 1
    run = world.cycle(cycle.id).steps["3"]
    assert run.status is LoopStatus.FAILED
    assert run.reason == "the job was started 4 times and took up its work 0"
    assert len(world.messages("patterns-due")) == 1
    assert len(world.starter.asked) == learning_rescue.MOST_RESTARTS


def test_the_sweep_step_rescues_cycles(world):
    """The true sweeper's door moves a lost cycle on."""
    from geminivideo.events import SweepDue

    cycle = running_since(world, FIRST, world.begin(), 6000.0)
    assert world.main("executor/sweep").main.door.work(SweepDue(tick="m1")).status == 200
    assert world.cycle(cycle.id).steps["1"].status is LoopStatus.TIMED_OUT


EMPTY = LearningCycle(
    id="lc", account_id="a", trigger="schedule", status=CycleStatus.RUNNING, started_at=0.0
)
ENDS = st.lists(
    st.tuples(st.sampled_from(LOOPS), st.sampled_from(list(LoopStatus)[1:])), max_size=30
)


@given(ENDS)
def test_whatever_order_loops_end_in_the_record_holds(ends):
    """A cycle is over exactly when its last loop ended; ``current`` is the first open loop; each
    loop's record is its last end."""
    cycle, now = EMPTY, 0.0
    for loop, status in ends:
        now += 1.0
        cycle = ended(cycle, loop, status, LoopResult({"at": now}), None, now)
    last = {loop.name: (status, number) for number, (loop, status) in enumerate(ends, 1)}
    assert (cycle.status is CycleStatus.COMPLETED) == (LAST.name in last)
    for run in cycle.steps.values():
        status, number = last[run.name]
        assert (run.status, run.result) == (status, {"at": float(number)})
    open_loops = [loop for loop in LOOPS if loop.name not in last]
    assert learning_rescue.current(cycle) is (open_loops[0] if open_loops else None)


@given(st.integers(0, 6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_every_loop_has_a_last_moment(number, begun, waited):
    """Begun or not, there is a time after which a loop is given up, later than it was woken."""
    cycle = replace(EMPTY, started_at=begun)
    for loop in LOOPS[:number]:
        cycle = ended(cycle, loop, LoopStatus.COMPLETED, LoopResult({}), None, begun + waited)
    loop = LOOPS[number]
    assert learning_rescue.lost_at(cycle, loop, LIMITS) > begun
