"""The seven loops as one chain: each is recorded, and the cycle goes on whatever becomes of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from geminivideo.degraded import LOOP_LOST
from geminivideo.events import (
    AccuracyDue,
    ActualsDue,
    IndexingDue,
    LoopDue,
    PatternsDue,
    PromotionDue,
    RetrainDue,
    SharingDue,
)
from geminivideo.learning_records import CycleStatus, LearningCycle, LoopRun, LoopStatus
from geminivideo.policy import LearningPolicy, Policy
from geminivideo.runtime import logs
from geminivideo.runtime.failures import LeaseLostError, Permanent, StepFailure

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.cloud.files import Files
    from geminivideo.runtime.step import Step


@dataclass(frozen=True)
class Loop:
    """One of the seven: its number, its name, and the event that wakes it."""

    number: int
    name: str
    event: type[LoopDue]


LOOPS = (
    Loop(1, "actuals", ActualsDue),
    Loop(2, "accuracy", AccuracyDue),
    Loop(3, "retrain", RetrainDue),
    Loop(4, "patterns", PatternsDue),
    Loop(5, "promote", PromotionDue),
    Loop(6, "share", SharingDue),
    Loop(7, "index", IndexingDue),
)
RETRAIN = LOOPS[2]


@dataclass(frozen=True)
class LoopResult:
    """What a loop did. ``pending``: others go on with it and will end it (the retrain job)."""

    members: dict[str, Any]
    degraded: tuple[str, ...] = ()
    pending: bool = False


@dataclass(frozen=True)
class LoopContext:
    """What a loop works with. ``deadline_at`` (epoch s): then it ends with what it has."""

    step: Step
    cycle: LearningCycle
    deadline_at: float
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def account_id(self) -> str:
        """The account that learns."""
        return self.cycle.account_id

    @property
    def documents(self) -> Documents:
        """Firestore, for reading; whole documents are written by ``step.put`` at the commit."""
        return self.step.documents

    @property
    def files(self) -> Files:
        """Cloud Storage."""
        return self.step.files

    @property
    def policy(self) -> Policy:
        """The account's policy."""
        return self.step.policy_of(self.cycle.account_id)

    @property
    def now(self) -> float:
        """Epoch seconds."""
        return self.step.clock.now()

    @property
    def late(self) -> bool:
        """Whether no new work is to be taken up."""
        return self.now >= self.deadline_at

    def result_of(self, loop: str) -> dict[str, Any]:
        """What an earlier loop of this cycle found; empty when it failed."""
        runs = (run for run in self.cycle.steps.values() if run.name == loop)
        return next((run.result for run in runs), {})


Work = Callable[[LoopContext], LoopResult]


def path_of(cycle_id: str) -> str:
    """The document path of a cycle."""
    return f"learning_cycles/{cycle_id}"


def loop_of(event: LoopDue) -> Loop:
    """The loop that an event wakes."""
    return next(one for one in LOOPS if isinstance(event, one.event))


def due(cycle: LearningCycle, loop: Loop) -> LoopDue:
    """The event that wakes a loop of a cycle."""
    return loop.event(flow_id=cycle.id, account_id=cycle.account_id)


def after(loop: Loop) -> Loop | None:
    """The next loop; None after the last."""
    return LOOPS[loop.number] if loop.number < len(LOOPS) else None


def run_loop(
    event: LoopDue, step: Step, work: Work, hand_over: Callable[[LoopContext], object] | None = None
) -> LoopDue | None:
    """Do one loop of a cycle and wake the next.

    A loop that raises is tried again as often as the policy says; then its failure is recorded,
    with its reason, and the cycle goes on. ``hand_over`` starts those who go on with a result
    that is pending.
    """
    loop = loop_of(event)
    cycle = _begun(step, loop)
    if _is_done(cycle, loop):
        following = after(loop)
        return due(cycle, following) if following else None
    limits = step.policy_of(cycle.account_id).learning
    context = LoopContext(step, cycle, step.clock.now() + limits.loop_s)
    try:
        result = work(context)
        if result.pending and hand_over is not None:
            hand_over(context)
    except LeaseLostError:
        raise
    except Exception as error:
        if not isinstance(error, Permanent) and step.attempt < limits.tries:
            raise
        return _failed(step, loop, error)
    return None if result.pending else end(step, loop, LoopStatus.COMPLETED, result)


def _is_done(cycle: LearningCycle, loop: Loop) -> bool:
    """Whether others have ended the loop meanwhile; one that was given up may still be done."""
    run = cycle.steps.get(str(loop.number))
    return run is not None and run.status in (LoopStatus.COMPLETED, LoopStatus.FAILED)


def _failed(step: Step, loop: Loop, error: Exception) -> LoopDue | None:
    step.forget()
    reason = error.reason if isinstance(error, StepFailure) else f"{type(error).__name__}: {error}"
    reason = logs.redact(reason)
    step.logger.error(
        "learning loop failed: %s", reason, extra={"alert": "learning-loop-failed"}, exc_info=error
    )
    nothing = LoopResult({}, degraded=(loss_of(loop, LoopStatus.FAILED),))
    return end(step, loop, LoopStatus.FAILED, nothing, reason)


def _begun(step: Step, loop: Loop) -> LearningCycle:
    """Write at once that the loop runs, so that it can be watched and, if it is lost, missed."""
    now = step.clock.now()

    def body(transaction: Transaction) -> LearningCycle:
        cycle = transaction.require(path_of(step.flow_id), LearningCycle)
        limits = step.policy_of(cycle.account_id).learning
        run = LoopRun(
            number=loop.number,
            name=loop.name,
            status=LoopStatus.RUNNING,
            started_at=now,
            lost_at=now + lost_after_s(loop, limits),
        )
        found = cycle.steps.get(str(loop.number))
        if found is not None and found.status is not LoopStatus.RUNNING:
            return cycle
        grown = _with(cycle, replace(found, lost_at=run.lost_at) if found else run)
        transaction.set(path_of(cycle.id), grown)
        return grown

    return step.documents.transact(body)


def lost_after_s(loop: Loop, limits: LearningPolicy) -> float:
    """Seconds after which a loop that has not ended is given up."""
    return limits.lost_retrain_s if loop is RETRAIN else limits.lost_after_s


def end(
    step: Step, loop: Loop, status: LoopStatus, result: LoopResult, reason: str | None = None
) -> LoopDue | None:
    """Record the end of a loop when the step commits; returns the event of the next loop.

    A loop that was recorded as ended meanwhile (timed out) gets its late result all the same. The
    same event twice is the same work, so waking the next loop again does nothing.
    """
    now = step.clock.now()
    for why in result.degraded:
        step.degrade(why)
    cycle = step.documents.require(path_of(step.flow_id), LearningCycle)

    def decision(transaction: Transaction) -> Iterable[tuple[str, Any]]:
        found = transaction.require(path_of(cycle.id), LearningCycle)
        return [(path_of(cycle.id), ended(found, loop, status, result, reason, now))]

    step.decide(decision)
    following = after(loop)
    if following is None:
        step.finish_flow()
        return None
    return due(cycle, following)


def loss_of(loop: Loop, status: LoopStatus) -> str:
    """The degraded reason of a cycle that went on without a loop."""
    return f"{LOOP_LOST}:{loop.name} {status.value.replace('_', ' ')}"


def ended(
    cycle: LearningCycle,
    loop: Loop,
    status: LoopStatus,
    result: LoopResult,
    reason: str | None,
    now: float,
) -> LearningCycle:
    """The cycle with a loop's end in it; the last one's end is the cycle's."""
    begun = cycle.steps.get(str(loop.number))
    started_at = begun.started_at if begun else now
    run = LoopRun(
        number=loop.number,
        name=loop.name,
        status=status,
        started_at=started_at,
        lost_at=now,
        finished_at=now,
        duration_seconds=now - started_at,
        result=result.members,
        reason=reason,
        degraded=result.degraded,
    )
    grown = _with(cycle, run)
    if after(loop) is not None:
        return grown
    return replace(
        grown,
        status=CycleStatus.COMPLETED,
        finished_at=now,
        duration_seconds=now - cycle.started_at,
    )


def _with(cycle: LearningCycle, run: LoopRun) -> LearningCycle:
    return replace(cycle, steps={**cycle.steps, str(run.number): run})
