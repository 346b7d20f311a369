"""Learning cycles: begun by the clock, a caller or a command, one at a time for each account."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from geminivideo.cloud.documents import Query
from geminivideo.degraded import sentence
from geminivideo.events import ActualsDue, Event, LearningDue, cycle_id_of
from geminivideo.learning_records import CycleStatus, LearningCycle, LoopRun
from geminivideo.records import Account
from geminivideo.runtime import outbox
from geminivideo.runtime.failures import Permanent
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.services.learning_loops import LOOPS, Loop, path_of

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.runtime.step import Step

PATH = "/api/ml/self-learning-cycle"
INSUFFICIENT = "insufficient"
WAITING = "waiting"
MOST = 200  # cycles of one request: more accounts are the schedule's


# The step ------------------------------------------------------------------------------------


def shares(tick: LearningDue, documents: Documents) -> list[Event]:
    """One cycle per account: the same tick makes the same cycles."""
    accounts = documents.query(Query("accounts"), Account)
    return [share(tick, account.id) for account in sorted(accounts, key=lambda one: one.id)]


def share(tick: LearningDue, account_id: str) -> LearningDue:
    """An account's part of a tick."""
    return replace(tick, flow_id=cycle_id_of(account_id, tick.tick), account_id=account_id)


def begin(asked: LearningDue, step: Step) -> ActualsDue | None:
    """Record the account's cycle and wake its first loop; None while another cycle runs.

    Raises ``Permanent`` for an account that is not known.
    """
    if step.documents.get(f"accounts/{asked.account_id}", Account) is None:
        raise Permanent(f"no account {asked.account_id}")
    now = step.clock.now()
    cycle = step.documents.transact(lambda transaction: _opened(transaction, asked, now))
    if cycle.id != asked.flow_id:
        step.log("a learning cycle of this account runs already", cycle=cycle.id)
        return None
    step.start_flow("learning", cycle.account_id)
    return ActualsDue(flow_id=cycle.id, account_id=cycle.account_id)


def _opened(transaction: Transaction, asked: LearningDue, now: float) -> LearningCycle:
    """The cycle that was asked for, or the one of the account that still runs."""
    found = transaction.get(path_of(asked.flow_id), LearningCycle)
    if found is not None:
        return found
    running = transaction.query(_running(asked.account_id), LearningCycle)
    if running:
        return min(running, key=lambda cycle: cycle.started_at)
    cycle = LearningCycle(
        id=asked.flow_id,
        account_id=asked.account_id,
        trigger=asked.trigger,
        status=CycleStatus.RUNNING,
        started_at=now,
        trigger_retrain=asked.trigger_retrain,
        accuracy_threshold=asked.accuracy_threshold,
    )
    transaction.create(path_of(cycle.id), cycle)
    return cycle


def _running(account_id: str) -> Query:
    where = [("account_id", "==", account_id), ("status", "==", CycleStatus.RUNNING.value)]
    return Query("learning_cycles", where)


def ask(
    documents: Documents, outlet: outbox.Outlet, now: float, asked: LearningDue
) -> tuple[LearningCycle, bool]:
    """Begin an account's cycle from outside: the cycle, and whether it is a new one.

    The record and the message that starts it are one commit: what dies before it is published is
    published by the sweeper.
    """
    row = outbox.row_of(asked, f"learning-cycle:{asked.flow_id}", 0, now)

    def body(transaction: Transaction) -> LearningCycle:
        cycle = _opened(transaction, asked, now)
        if cycle.id == asked.flow_id:
            transaction.set(row.path, row)
        return cycle

    cycle = documents.transact(body)
    if cycle.id != asked.flow_id:
        return cycle, False
    outbox.publish(documents, outlet, [row])
    return cycle, True


# The routes ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CycleRequest:
    """Whose cycle (every account's without ``account_id``), and how it is to judge its model.

    ``accuracy_threshold`` is a fraction (default: the account's policy).
    """

    account_id: str | None = None
    trigger_retrain: bool = True
    accuracy_threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class CycleOf:
    """A cycle and its account."""

    cycle_id: str
    account_id: str


@dataclass(frozen=True, kw_only=True)
class CycleStarted:
    """``cycle_id`` is the (first) account's cycle; ``status`` running, or insufficient: no account.

    ``already_running``: a cycle of the account was not over, and is the one that is named.
    """

    cycle_id: str | None
    status: str
    already_running: bool = False
    cycles: list[CycleOf] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoopView:
    """One loop: ``status`` waiting, running, completed, failed or timed_out.

    ``result`` has the members of the loop's own route; times are epoch seconds.
    """

    step: int
    name: str
    status: str
    started_at: float | None = None
    finished_at: float | None = None
    duration_seconds: float | None = None
    result: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class CycleView:
    """A cycle with its seven steps, keyed "1" to "7"; ``explained``: each degraded reason."""

    cycle_id: str
    account_id: str
    trigger: str
    status: str
    started_at: float
    finished_at: float | None
    duration_seconds: float | None
    steps: dict[str, LoopView]
    degraded: list[str]
    explained: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """Cycles of one account, newest first."""

    cycles: list[CycleView]


def start(call: Call) -> CycleStarted:
    """Start the self-learning cycle of an account, or of every account."""
    asked: CycleRequest = call.body
    _check(asked)
    accounts = _accounts(call, asked)
    if not accounts:
        whose = f"account {asked.account_id}" if asked.account_id else "account"
        return CycleStarted(cycle_id=None, status=INSUFFICIENT, reason=f"there is no {whose}")
    tick = LearningDue(
        tick=uuid4().hex,
        trigger="http",
        trigger_retrain=asked.trigger_retrain,
        accuracy_threshold=asked.accuracy_threshold,
    )
    documents, now = call.ports.documents, call.ports.clock.now()
    opened = [ask(documents, call.ports, now, share(tick, each)) for each in accounts]
    return CycleStarted(
        cycle_id=opened[0][0].id,
        status=opened[0][0].status,
        already_running=not opened[0][1],
        cycles=[CycleOf(cycle_id=each.id, account_id=each.account_id) for each, _ in opened],
    )


def _check(asked: CycleRequest) -> None:
    threshold = asked.accuracy_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise ApiError(422, f"accuracy_threshold is a fraction from 0 to 1, not {threshold}")


def _accounts(call: Call, asked: CycleRequest) -> list[str]:
    documents = call.ports.documents
    if asked.account_id is None:
        found = documents.query(Query("accounts", limit=MOST + 1), Account)
        if len(found) > MOST:
            raise ApiError(422, f"there are more than {MOST} accounts: name an account_id")
        return sorted(account.id for account in found)
    account_id = identifier(asked.account_id, "account_id")
    return [account_id] if documents.get(f"accounts/{account_id}", Account) else []


def show(call: Call) -> CycleView:
    """One cycle with its seven steps, as far as they have come."""
    cycle = call.ports.documents.get(path_of(call.path["id"]), LearningCycle)
    if cycle is None:
        raise ApiError(404, f"no learning cycle {call.path['id']}")
    return view_of(cycle)


def latest(call: Call) -> Cycles:
    """The newest cycles of an account (``account_id``)."""
    account_id = identifier(call.query.get("account_id", ""), "account_id")
    query = Query(
        "learning_cycles",
        where=[("account_id", "==", account_id)],
        order=["-started_at"],
        limit=call.number("limit", default=10, low=1, high=100),
    )
    return Cycles(cycles=[view_of(c) for c in call.ports.documents.query(query, LearningCycle)])


def view_of(cycle: LearningCycle) -> CycleView:
    """A cycle as it is shown: all seven steps, those that have not begun as waiting."""
    steps = {str(loop.number): _step(loop, cycle.steps.get(str(loop.number))) for loop in LOOPS}
    reasons = list(dict.fromkeys(reason for step in steps.values() for reason in step.degraded))
    return CycleView(
        cycle_id=cycle.id,
        account_id=cycle.account_id,
        trigger=cycle.trigger,
        status=cycle.status,
        started_at=cycle.started_at,
        finished_at=cycle.finished_at,
        duration_seconds=cycle.duration_seconds,
        steps=steps,
        degraded=reasons,
        explained={reason: sentence(reason) for reason in reasons},
    )


def _step(loop: Loop, run: LoopRun | None) -> LoopView:
    if run is None:
        return LoopView(step=loop.number, name=loop.name, status=WAITING)
    return LoopView(
        step=loop.number,
        name=loop.name,
        status=run.status,
        started_at=run.started_at,
        finished_at=run.finished_at,
        duration_seconds=run.duration_seconds,
        result=run.result,
        reason=run.reason,
        degraded=list(run.degraded),
    )


def serve(api: Api) -> None:
    """The routes of ml_service and of meta_publisher."""
    api.post(PATH, body=CycleRequest, answer=CycleStarted)(start)
    api.get(PATH, answer=Cycles, query=("account_id", "limit"))(latest)
    api.get(PATH + "/{id}", answer=CycleView)(show)
