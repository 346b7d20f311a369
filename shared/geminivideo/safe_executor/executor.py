"""Executing one pending change: claim, saga at Meta, read back, one terminal row.

See docs/state_machine.md for the states. An execution ends in exactly one ``Outcome``; when it
waits, a successor task is enqueued and the caller answers 2xx.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec

from geminivideo.policy import Policy
from geminivideo.records import Campaign, ChangeStatus, ChangeType, PendingChange
from geminivideo.safe_executor import ledger, pausing, saga
from geminivideo.safe_executor.adjustment import BudgetChange, StatusChange
from geminivideo.safe_executor.claim import Claim, ClaimKind, ClaimLostError, claim, history_row
from geminivideo.safe_executor.classify import Reaction, backoff_s
from geminivideo.safe_executor.creation import Creation
from geminivideo.safe_executor.endings import Fails, OutcomeUnknown, Overtaken, Waits
from geminivideo.safe_executor.ports import (
    GraphLostError,
    GraphRefusedError,
    MediaUnavailableError,
    Ports,
    Time,
    Transaction,
)
from geminivideo.safe_executor.rules import HOUR_S
from geminivideo.safe_executor.saga import Step, StepState
from geminivideo.safe_executor.work import Work, step_of

CLOCK_SLACK_S = 1.0


class OutcomeKind(StrEnum):
    """How an execution ended."""

    COMPLETED = "COMPLETED"
    DEFERRED = "DEFERRED"
    UNKNOWN = "UNKNOWN"
    HELD = "HELD"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    ALREADY = "ALREADY"
    LOST = "LOST"
    MISSING = "MISSING"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the change; ``until_at`` is when its successor task is due."""

    kind: OutcomeKind
    change_id: str
    reason: str = ""
    until_at: float | None = None
    meta_id: str | None = None


def execute(change_id: str, ports: Ports, clock: Time, policy: Policy) -> Outcome:
    """Execute one change as far as it goes now.

    Two calls for one change may run at once: one holds the claim, the other defers. Raises what
    the document store or the queue raise (the caller answers 503 and is called again).
    """
    claimed = claim(ports.documents, change_id, clock.now(), policy)
    if claimed.kind is ClaimKind.CLAIMED:
        return Execution(claimed, ports, clock, policy).run()
    return _not_claimed(change_id, claimed, ports, clock)


def _not_claimed(change_id: str, claimed: Claim, ports: Ports, clock: Time) -> Outcome:
    match claimed:
        case Claim(kind=ClaimKind.MISSING):
            return Outcome(kind=OutcomeKind.MISSING, change_id=change_id, reason="no such change")
        case Claim(kind=ClaimKind.TERMINAL, change=PendingChange() as change):
            tell(change, ports, clock.now())
            return Outcome(
                kind=OutcomeKind.ALREADY,
                change_id=change_id,
                reason=str(change.status),
                meta_id=change.meta_id,
            )
        case Claim(kind=ClaimKind.BLOCKED, change=PendingChange() as change):
            return _blocked(change, claimed, ports)
    # A used name would swallow this wake-up: the task that woke us early may carry that very name.
    until_at = (claimed.until_at or 0.0) + CLOCK_SLACK_S * (claimed.kind is ClaimKind.BUSY)
    ports.tasks.enqueue(change_id, until_at, None)
    return Outcome(
        kind=OutcomeKind.DEFERRED,
        change_id=change_id,
        reason=str(claimed.kind),
        until_at=until_at,
    )


def _blocked(change: PendingChange, claimed: Claim, ports: Ports) -> Outcome:
    block = claimed.blocked_by
    if claimed.until_at is not None:
        ports.tasks.enqueue(change.id, claimed.until_at, f"{change.id}-{change.claim_epoch}")
    limited = block is not None and block.limit
    return Outcome(
        kind=OutcomeKind.DEFERRED if limited else OutcomeKind.HELD,
        change_id=change.id,
        reason=change.last_error or "",
        until_at=claimed.until_at,
    )


def tell(change: PendingChange, ports: Ports, now: float) -> None:
    """Pass a terminal change on; repeated for a redelivered task, so that no crash loses it."""
    if change.status is ChangeStatus.FAILED:
        compensate(change, ports, now)
        ports.dead_letter(change, change.last_error or "failed")
    ports.on_finished(change)


def compensate(change: PendingChange, ports: Ports, now: float) -> None:
    """Delete what a failed change created, newest first; never anything shared or not its own.

    Nor what a replay goes on with, and nothing while the kill switch is on: that is left, and told.
    """
    for name in saga.REMOVABLE:
        raw = change.steps.get(name)
        meta_id = step_of(raw).meta_id if raw else None
        if meta_id is None:
            continue
        left = f"{change.id}: {name} {meta_id} is left"
        if ports.documents.get(ledger.KILL_SWITCH, ledger.Breaker) is not None:
            ports.alert("compensation", f"{left}: the kill switch is on")
            continue
        step = _given_up(change.id, name, ports, now)
        if step is not None:
            _remove(change.id, name, step, ports, left)


def _given_up(change_id: str, name: str, ports: Ports, now: float) -> Step | None:
    """The step whose object is to be deleted, UNKNOWN from now on: a replay that begins meanwhile
    looks for the object instead of trusting in it. ``None``: there is nothing to delete."""
    path, replayed = ledger.change_path(change_id), ledger.change_path(ledger.replay_of(change_id))

    def body(transaction: Transaction) -> Step | None:
        change = transaction.get(path, PendingChange)
        again = transaction.get(replayed, PendingChange)
        step = step_of(change.steps[name]) if change else None
        if again is not None or step is None or step.state is StepState.REMOVED:
            return None
        given_up = replace(step, state=StepState.UNKNOWN, at=now)
        transaction.update(path, {f"steps.{name}": msgspec.to_builtins(given_up)})
        return step

    return ports.documents.transact(body)


def _remove(change_id: str, name: str, step: Step, ports: Ports, left: str) -> None:
    """Delete the object; without an answer its step stays UNKNOWN."""
    state = StepState.REMOVED
    try:
        ports.graph.delete(name, str(step.meta_id))
    except GraphLostError as error:
        ports.alert("compensation", f"{left}: {error}")
        return
    except GraphRefusedError as error:
        ports.alert("compensation", f"{left}: {error}")
        state = StepState.DONE
    stored = {f"steps.{name}": msgspec.to_builtins(replace(step, state=state))}

    def body(transaction: Transaction) -> None:
        transaction.update(ledger.change_path(change_id), stored)

    ports.documents.transact(body)


class Execution:
    """One execution of one claimed change; everything it learns ends in one history row."""

    def __init__(self, claimed: Claim, ports: Ports, clock: Time, policy: Policy) -> None:
        self.work = Work(claimed=claimed, ports=ports, clock=clock, policy=policy)
        self.claimed = claimed
        self.ports = ports
        self.clock = clock
        self.policy = policy

    @property
    def change(self) -> PendingChange:
        """The change as it was claimed, attempts counted since."""
        return self.work.change

    def run(self) -> Outcome:
        """Run the change to its next resting place and write that down."""
        try:
            with self.work.held.beating() as self.work.lost:
                ending = self._ending()
            self._mind_usage()
            return ending()
        except ClaimLostError as error:
            return self._outcome(OutcomeKind.LOST, str(error))

    def _ending(self) -> Callable[[], Outcome]:
        """Do the work; gives what is to be written once the heartbeat has stopped."""
        if self.change.attempts >= self.policy.executor.max_attempts:
            reason = f"gave up after {self.change.attempts} attempts that did not end"
            return lambda: self._finish(ChangeStatus.FAILED, reason=reason)
        try:
            meta_id, read_back = self._done()
        except Waits as waits:
            until, reason = waits.until_at, waits.reason
            return lambda: self._release(until, reason)
        except OutcomeUnknown as unknown:
            step, why = unknown.step, unknown.reason
            return lambda: self._release_unknown(step, why)
        except GraphRefusedError as error:
            refused = error
            return lambda: self._react(refused)
        except (GraphLostError, MediaUnavailableError) as error:
            cause = str(error)
            return lambda: self._retry(cause)
        except Overtaken as error:
            why_not = str(error)
            return lambda: self._finish(ChangeStatus.CANCELLED, reason=why_not)
        except Fails as error:
            failure = str(error)
            return lambda: self._finish(ChangeStatus.FAILED, reason=failure)
        return lambda: self._finish(ChangeStatus.COMPLETED, meta_id=meta_id, read_back=read_back)

    def _done(self) -> tuple[str, dict[str, Any]]:
        """Bring the change about; its object's id and what Meta then shows of it."""
        self._still_valid()
        match self.change.change_type:
            case ChangeType.CREATE_CAMPAIGN:
                return Creation(self.work).campaign()
            case ChangeType.CREATE_ADSET:
                return Creation(self.work).adset()
            case ChangeType.CREATE_AD:
                return Creation(self.work).ad()
            case ChangeType.STATUS_CHANGE:
                return StatusChange(self.work).apply()
            case _:
                return BudgetChange(self.work).apply()

    def _still_valid(self) -> None:
        """Raises ``Overtaken`` for what was decided too long ago, unless it may be half done."""
        change, now = self.change, self.clock.now()
        if change.lapsed(now) and not any(step_of(raw).open for raw in change.steps.values()):
            hours = (now - change.created_at) / HOUR_S
            raise Overtaken(f"lapsed: decided {hours:.0f} h ago, on signals that are too old now")

    # Endings -------------------------------------------------------------------------------

    def _react(self, error: GraphRefusedError) -> Outcome:
        verdict, now = self.work.verdict(error), self.clock.now()
        self.work.answer = error.as_answer()
        reason = f"{verdict.reason}: {error}"
        match verdict.reaction:
            case Reaction.RETRY:
                return self._retry(reason)
            case Reaction.DEFER:
                return self._release(now + verdict.wait_s, reason)
            case Reaction.PAUSE_ACCOUNT:
                self._pause(now + verdict.wait_s, reason, self._own_pause)
                return self._release(now + verdict.wait_s + self.change.jitter_s, reason)
            case Reaction.PAUSE_APP:
                self._pause(now + verdict.wait_s, reason, ledger.APP_PAUSE)
                return self._release(now + verdict.wait_s + self.change.jitter_s, reason)
            case Reaction.OPEN_BREAKER:
                return self._stop(ledger.breaker_path(self.work.account.id), reason)
            case Reaction.STOP_TOKEN:
                return self._stop(ledger.TOKEN_BREAKER, reason)
            case Reaction.FORBIDDEN:
                self.ports.alert("permission", f"{self.change.id}: {reason}")
        return self._finish(ChangeStatus.FAILED, reason=reason)

    def _stop(self, breaker: str, reason: str) -> Outcome:
        opened = ledger.Breaker(reason=reason, opened_at=self.clock.now())
        self._set(breaker, opened)
        self.ports.alert("breaker", f"{breaker} is open: {reason}")
        until = self.clock.now() + self.policy.executor.recheck_s
        return self._release(until, reason, kind=OutcomeKind.HELD)

    @property
    def _own_pause(self) -> str:
        return ledger.pause_path(self.work.account.id)

    def _pause(self, until_at: float, reason: str, path: str) -> None:
        pausing.keep(self.ports.documents, path, ledger.Pause(until_at=until_at, reason=reason))

    def _set(self, path: str, record: Any) -> None:
        self.ports.documents.transact(lambda transaction: transaction.set(path, record))

    def _retry(self, reason: str) -> Outcome:
        attempts = self.change.attempts + 1
        if attempts >= self.policy.executor.max_attempts:
            reason = f"failed {attempts} times; the last: {reason}"
            return self._finish(ChangeStatus.FAILED, reason=reason, attempts=attempts)
        until = self.clock.now() + backoff_s(self.policy.executor, attempts)
        return self._release(until, reason, attempts=attempts)

    def _release_unknown(self, step: str, reason: str) -> Outcome:
        rules = self.policy.executor
        until = self.clock.now() + max(rules.settle_s, backoff_s(rules, self.change.attempts))
        why = f"step {step} may or may not have had its effect: {reason}"
        return self._release(until, why, kind=OutcomeKind.UNKNOWN, status=ChangeStatus.UNKNOWN)

    def _release(
        self,
        until_at: float,
        reason: str,
        *,
        kind: OutcomeKind = OutcomeKind.DEFERRED,
        status: ChangeStatus = ChangeStatus.PENDING,
        attempts: int | None = None,
    ) -> Outcome:
        """Give the change back with a later time and wake a successor then."""

        def body(transaction: Transaction) -> None:
            change = self.work.held.fenced(transaction)
            released = replace(
                change,
                status=status,
                lease_until_at=None,
                not_before_at=until_at,
                enqueued=change.enqueued + 1,
                attempts=change.attempts if attempts is None else attempts,
                last_error=reason,
            )
            transaction.set(ledger.change_path(change.id), released)
            row = history_row(
                released,
                str(kind),
                self.clock.now(),
                (*self.claimed.results, *self.work.results),
                answer=self.work.answer,
                error=reason,
            )
            transaction.create(ledger.history_path(row.id), row)

        self.ports.documents.transact(body)
        name = f"{self.change.id}-{self.change.claim_epoch}"
        self.ports.tasks.enqueue(self.change.id, until_at, name)
        return self._outcome(kind, reason, until_at=until_at)

    def _finish(
        self,
        status: ChangeStatus,
        *,
        reason: str | None = None,
        meta_id: str | None = None,
        read_back: dict[str, Any] | None = None,
        attempts: int | None = None,
    ) -> Outcome:
        """Write the terminal state and the one terminal row together, then tell everybody."""

        campaign = ledger.campaign_path(str(self.change.campaign_id))
        closing = self.work.closing
        also = closing.reads if closing else ()

        def body(transaction: Transaction) -> PendingChange:
            transaction.read_ahead(ledger.change_path(self.change.id), campaign, *also)
            change = self.work.held.fenced(transaction)
            shared = transaction.get(campaign, Campaign)
            change = closing.write(transaction, change) if closing else change
            said = "; ".join(filter(None, [reason, *_left_open(change)])) or None
            finished = replace(
                change,
                status=status,
                lease_until_at=None,
                finished_at=self.clock.now(),
                meta_id=meta_id,
                ad_id=meta_id if change.change_type is ChangeType.CREATE_AD else change.ad_id,
                last_error=said,
                attempts=change.attempts if attempts is None else attempts,
            )
            transaction.set(ledger.change_path(change.id), finished)
            row = history_row(
                finished,
                str(status),
                self.clock.now(),
                (*self.claimed.results, *self.work.results),
                terminal=True,
                sent=_sent(finished, shared),
                answer=self.work.answer,
                read_back=read_back,
                meta_id=meta_id,
                error=said,
            )
            transaction.create(ledger.history_path(row.id), row)
            return finished

        finished = self.ports.documents.transact(body)
        tell(finished, self.ports, self.clock.now())
        return self._outcome(OutcomeKind(str(status)), reason or "", meta_id=meta_id)

    def _mind_usage(self) -> None:
        """Pause the account before Meta does, when its usage header says we are close."""
        usage, rules = self.ports.graph.usage(), self.policy.executor
        if usage and usage.percent >= rules.usage_pause_percent:
            wait = usage.regain_s or rules.limited_wait_s
            reason = f"{usage.percent:.0f} % of Meta's limit is used"
            self._pause(self.clock.now() + wait, reason, self._own_pause)

    def _outcome(self, kind: OutcomeKind, reason: str = "", **members: Any) -> Outcome:
        return Outcome(kind=kind, change_id=self.change.id, reason=reason, **members)


def _left_open(change: PendingChange) -> list[str]:
    """What may have happened at Meta although nobody was told: a person has to look."""
    steps = {name: step_of(raw) for name, raw in change.steps.items() if name != "image"}
    left = [f"{name} {step.name!r}" for name, step in steps.items() if step.open]
    return [f"{each} may have had its effect at Meta" for each in left]


def _sent(change: PendingChange, campaign: Campaign | None) -> tuple[dict[str, Any], ...]:
    shared = campaign.steps if campaign else {}
    holders = [
        {name: step_of(raw) for name, raw in steps.items()} for steps in (shared, change.steps)
    ]
    return saga.sent_by(change.id, *holders)
