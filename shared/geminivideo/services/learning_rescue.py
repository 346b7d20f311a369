"""Cycles that nobody moves on: a loop that was lost is recorded as such, and the next is woken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from geminivideo.cloud.documents import Query
from geminivideo.learning_records import CycleStatus, LearningCycle, LoopStatus
from geminivideo.policy import LearningPolicy
from geminivideo.records import FlowStatus
from geminivideo.runtime import dead_letters, flows, outbox, runs
from geminivideo.runtime.policies import policy_of
from geminivideo.services.learning_loops import (
    LOOPS,
    RETRAIN,
    Loop,
    LoopResult,
    after,
    due,
    ended,
    loss_of,
    lost_after_s,
    path_of,
)
from geminivideo.topology import STEPS, Topic

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.runtime.clock import Clock
    from geminivideo.runtime.sweeping import Starter

IDLE_S = 240.0  # training that nobody took up, or held, for so long was lost
MOST_RESTARTS = 3
TRAINING = "retrain"  # the job's step
CYCLE_ENV = "CYCLE_ID"
NEVER_BEGAN = "it never began"
TIMED_OUT = "it did not end in its time"


@dataclass(frozen=True)
class Lost:
    """A loop that is given up, and why."""

    cycle: LearningCycle
    loop: Loop
    status: LoopStatus
    reason: str


def step_of(loop: Loop) -> str:
    """The step of the map that a loop's event wakes."""
    topic = Topic(loop.event.TOPIC)
    return next(spec.name for spec in STEPS.values() if spec.wakes_on == topic)


def running(documents: Documents) -> list[LearningCycle]:
    """Every cycle that is not over."""
    query = Query("learning_cycles", [("status", "==", CycleStatus.RUNNING.value)])
    return documents.query(query, LearningCycle)


def current(cycle: LearningCycle) -> Loop | None:
    """The first loop of a cycle that has not ended."""
    for loop in LOOPS:
        run = cycle.steps.get(str(loop.number))
        if run is None or run.status is LoopStatus.RUNNING:
            return loop
    return None


def lost_loops(documents: Documents, now: float) -> Iterator[Lost]:
    """Loops past their time: the cycle goes on without them."""
    for cycle in running(documents):
        loop = current(cycle)
        limits = policy_of(documents, cycle.account_id).learning
        if loop is not None and now > lost_at(cycle, loop, limits):
            begun = str(loop.number) in cycle.steps
            reason = TIMED_OUT if begun else NEVER_BEGAN
            yield Lost(cycle, loop, LoopStatus.TIMED_OUT, reason)


def lost_at(cycle: LearningCycle, loop: Loop, limits: LearningPolicy) -> float:
    """Until when (epoch s) a loop is waited for, whether it has begun or not."""
    run = cycle.steps.get(str(loop.number))
    if run is not None:
        return run.lost_at
    before = cycle.steps.get(str(loop.number - 1))
    since = before.finished_at if before and before.finished_at else cycle.started_at
    return since + lost_after_s(loop, limits)


def give_up(documents: Documents, outlet: outbox.Outlet, clock: Clock, lost: Lost) -> bool:
    """Record that a loop was lost and wake the next; False when it has ended meanwhile.

    The record and the message are one commit; the message of a loop that ends late after all is
    the same work again.
    """
    if after(lost.loop) is None:  # first: what dies before the record is written comes back here
        why = [loss_of(lost.loop, lost.status)]
        flows.finish(documents, clock, lost.cycle.id, FlowStatus.COMPLETED, degraded=why)
    rows = documents.transact(lambda transaction: _given_up(transaction, lost, clock.now()))
    if rows is None:
        return False
    outbox.publish(documents, outlet, rows)
    return True


def _given_up(transaction: Transaction, lost: Lost, now: float) -> list[outbox.OutboxRow] | None:
    cycle = transaction.get(path_of(lost.cycle.id), LearningCycle)
    if cycle is None or current(cycle) is not lost.loop:
        return None
    result = LoopResult({}, degraded=(loss_of(lost.loop, lost.status),))
    grown = ended(cycle, lost.loop, lost.status, result, lost.reason, now)
    following = after(lost.loop)
    waking = [due(cycle, following)] if following else []
    lost_id = f"lost-loop:{cycle.id}:{lost.loop.number}"
    rows = [outbox.row_of(event, lost_id, index, now) for index, event in enumerate(waking)]
    transaction.set(path_of(cycle.id), grown)
    for row in rows:
        transaction.set(row.path, row)
    return rows


def dead_loop(documents: Documents, step_name: str, cycle_id: str) -> Lost | None:
    """The loop whose message ended as a dead letter; None for other work."""
    loop = next((one for one in LOOPS if step_of(one) == step_name), None)
    if loop is None:
        return None
    run_id = runs.run_id_of(step_name, cycle_id)
    letter = documents.get(dead_letters.path_of(run_id), dead_letters.DeadLetter)
    cycle = documents.get(path_of(cycle_id), LearningCycle)
    if cycle is None or letter is None:
        return None
    return Lost(cycle, loop, LoopStatus.FAILED, letter.reason)


def start_training(starter: Starter, job: str, cycle_id: str) -> str:
    """Start the job that trains for a cycle; twice is no harm, its work is claimed."""
    return starter.run(job, {CYCLE_ENV: cycle_id})


def lost_trainings(documents: Documents, now: float) -> list[LearningCycle]:
    """Cycles whose training was handed to the job, and is in nobody's hands any more."""
    return [cycle for cycle in running(documents) if _is_idle(documents, cycle, now)]


def _is_idle(documents: Documents, cycle: LearningCycle, now: float) -> bool:
    handed = _run(documents, step_of(RETRAIN), cycle)
    if current(cycle) is not RETRAIN or handed is None:
        return False
    if handed.state is not runs.RunState.COMPLETED:
        return False
    trained = _run(documents, TRAINING, cycle)
    if trained is not None and (trained.state in runs.ENDED or trained.is_held(now)):
        return False
    asked_at = cycle.steps[str(RETRAIN.number)].restarted_at or handed.finished_at or now
    return is_idle(trained, asked_at, now)


def is_idle(trained: runs.StepRun | None, asked_at: float, now: float) -> bool:
    """Whether nobody took up the job's work, or has held it, for ``IDLE_S``."""
    held_until = trained.lease_until_at if trained else 0.0
    return max(asked_at, held_until) < now - IDLE_S


def exhausted(documents: Documents, cycle: LearningCycle) -> Lost | None:
    """The training of a cycle as lost, when the job was tried as often as is allowed."""
    trained = _run(documents, TRAINING, cycle)
    restarts = cycle.steps[str(RETRAIN.number)].restarts
    if not is_worn_out(trained, restarts):
        return None
    return Lost(cycle, RETRAIN, LoopStatus.FAILED, failure_of(trained, restarts))


def is_worn_out(trained: runs.StepRun | None, restarts: int) -> bool:
    """Whether the job was tried as often as is allowed.

    The map allows so many attempts of the work; executions that end before they take it up are
    started ``MOST_RESTARTS`` times again.
    """
    attempts = trained.attempts if trained else 0
    return attempts >= STEPS[TRAINING].max_attempts or restarts >= MOST_RESTARTS


def failure_of(trained: runs.StepRun | None, restarts: int) -> str:
    """Why a training failed: what its work said, else how often it was tried."""
    attempts = trained.attempts if trained else 0
    said = trained.error if trained else None
    return said or f"the job was started {restarts + 1} times and took up its work {attempts}"


def restart(
    documents: Documents, starter: Starter, job: str, cycle: LearningCycle, now: float
) -> None:
    """Start the job once more for a cycle; counted first, so that it is never done without end."""

    def body(transaction: Transaction) -> bool:
        found = transaction.require(path_of(cycle.id), LearningCycle)
        run = found.steps[str(RETRAIN.number)]
        if run.status is not LoopStatus.RUNNING:
            return False
        counted = replace(run, restarts=run.restarts + 1, restarted_at=now)
        steps = {**found.steps, str(RETRAIN.number): counted}
        transaction.set(path_of(cycle.id), replace(found, steps=steps))
        return True

    if documents.transact(body):
        start_training(starter, job, cycle.id)


def _run(documents: Documents, step_name: str, cycle: LearningCycle) -> runs.StepRun | None:
    return documents.get(runs.path_of(runs.run_id_of(step_name, cycle.id)), runs.StepRun)


def rescue(
    documents: Documents, outlet: outbox.Outlet, clock: Clock, starter: Starter, job: str
) -> int:
    """Move on what nobody moves any more; returns how many cycles that were."""
    moved = 0
    for lost in lost_loops(documents, clock.now()):
        moved += give_up(documents, outlet, clock, lost)
    for cycle in lost_trainings(documents, clock.now()):
        worn = exhausted(documents, cycle)
        if worn is not None:
            moved += give_up(documents, outlet, clock, worn)
        else:
            restart(documents, starter, job, cycle, clock.now())
            moved += 1
    return moved
