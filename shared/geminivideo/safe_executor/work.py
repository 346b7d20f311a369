"""The work of one execution: its steps in the documents, taken and settled behind the claim."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from geminivideo.decoding import learned
from geminivideo.policy import Policy
from geminivideo.records import Account, Campaign, ChangeStatus, PendingChange
from geminivideo.safe_executor import ledger, saga
from geminivideo.safe_executor.claim import Claim, ClaimLostError, Held, lease_lives
from geminivideo.safe_executor.classify import Verdict, classify
from geminivideo.safe_executor.endings import Fails, Waits
from geminivideo.safe_executor.ports import GraphRefusedError, Ports, Time, Transaction
from geminivideo.safe_executor.rules import RuleResult
from geminivideo.safe_executor.saga import Move, Step, StepState


def step_of(raw: Any) -> Step:
    """A step as it is stored."""
    return msgspec.convert(raw, learned(Step), strict=False)


@dataclass(frozen=True, kw_only=True)
class Closing:
    """What is written in the transaction that ends the change as completed.

    ``write`` is given the change as it was read, and returns it with its step ended.
    """

    reads: tuple[str, ...]
    write: Callable[[Transaction, PendingChange], PendingChange]


@dataclass
class Work:
    """One claimed change while it is worked on.

    ``answer`` is Meta's last error, ``results`` are the rules that were asked after the claim;
    both end in the history row. ``lost`` is set by the heartbeat once the claim is gone.
    """

    claimed: Claim
    ports: Ports
    clock: Time
    policy: Policy
    answer: dict[str, Any] | None = None
    results: tuple[RuleResult, ...] = ()
    lost: threading.Event = field(default_factory=threading.Event)
    closing: Closing | None = None

    def __post_init__(self) -> None:
        assert self.claimed.change is not None
        assert self.claimed.account is not None
        self.change: PendingChange = self.claimed.change
        self.account: Account = self.claimed.account
        self.held = Held(
            documents=self.ports.documents,
            clock=self.clock,
            policy=self.policy,
            change_id=self.change.id,
            epoch=self.change.claim_epoch,
        )

    def holder_path(self, name: str) -> str:
        if name in saga.SHARED:
            return ledger.campaign_path(str(self.change.campaign_id))
        return ledger.change_path(self.change.id)

    def steps_of(
        self, name: str, transaction: Transaction, change: PendingChange
    ) -> dict[str, Any]:
        if name not in saga.SHARED:
            return change.steps
        campaign = transaction.get(self.holder_path(name), Campaign)
        return campaign.steps if campaign else {}

    def take(self, name: str, wanted_name: str, params: dict[str, Any]) -> tuple[Step, Move, bool]:
        """Decide about a step and, unless it is done or waited for, own it from now on.

        Also says whether an answer to a call of this change was lost (a crash is counted already).
        """
        now = self.clock.now()

        def body(transaction: Transaction) -> tuple[Step | None, saga.NextMove, bool]:
            change = self.held.fenced(transaction)
            self.still_alive(transaction, now)
            raw = self.steps_of(name, transaction, change).get(name)
            step = step_of(raw) if raw else None
            decided = saga.next_move(
                step,
                change_id=self.change.id,
                owner_lives=self._owner_lives(transaction, step, now),
                now=now,
                settle_s=self.policy.executor.settle_s,
            )
            if decided.move in (Move.USE, Move.WAIT):
                return step, decided, False
            state = StepState.INTENT if decided.move is Move.CREATE else StepState.UNKNOWN
            kept = step.name if step else wanted_name
            mine = self.own(state, kept, params, now)
            self.write_step(transaction, change, name, mine)
            unanswered = step is not None and step.state is StepState.UNKNOWN
            own = step is not None and step.owner == self.change.id
            return mine, decided, unanswered and own and not self.claimed.crashed

        step, decided, lost = self.ports.documents.transact(body)
        if decided.move is Move.WAIT or step is None:
            raise Waits(decided.until_at, f"step {name} is not settled yet")
        return step, decided.move, lost

    def still_alive(self, transaction: Transaction, now: float) -> None:
        killed = transaction.get(ledger.KILL_SWITCH, ledger.Breaker)
        if killed is not None:
            until = now + self.policy.executor.recheck_s
            raise Waits(until, f"kill switch: {killed.reason}")

    def _owner_lives(self, transaction: Transaction, step: Step | None, now: float) -> bool:
        if step is None or not step.open or step.owner == self.change.id:
            return False
        owner = transaction.get(ledger.change_path(step.owner), PendingChange)
        return owner is not None and owner.claim_epoch == step.epoch and lease_lives(owner, now)

    def own(self, state: StepState, name: str, params: dict[str, Any], at: float) -> Step:
        epoch = self.change.claim_epoch
        return Step(
            state=state, name=name, owner=self.change.id, epoch=epoch, at=at, sent=dict(params)
        )

    def take_again(self, name: str, step: Step, params: dict[str, Any], lost: bool) -> None:
        """The lookup found nothing: only now a lost call counts as a failed attempt."""

        def body(transaction: Transaction) -> int:
            change = self.held.fenced(transaction)
            counted = replace(change, attempts=change.attempts + lost)
            mine = self.own(StepState.INTENT, step.name, params, self.clock.now())
            self.write_step(transaction, counted, name, mine)
            return counted.attempts

        attempts = self.ports.documents.transact(body)
        self.change = replace(self.change, attempts=attempts)
        if attempts >= self.policy.executor.max_attempts:
            self.settle(name, StepState.REFUSED)
            raise Fails(f"step {name} got no answer {attempts} times and left no object")

    def settle(self, name: str, state: StepState, meta_id: str | None = None) -> None:
        """Write how a step of ours ended; raises ``ClaimLostError`` when it was taken over."""

        def body(transaction: Transaction) -> None:
            change = self.held.fenced(transaction)
            steps = self.steps_of(name, transaction, change)
            self.write_step(transaction, change, name, self.ended(steps, name, state, meta_id))

        self.ports.documents.transact(body)

    def ended(
        self, steps: dict[str, Any], name: str, state: StepState, meta_id: str | None = None
    ) -> Step:
        """How a step of ours ended; raises ``ClaimLostError`` when it was taken over."""
        step = step_of(steps[name])
        if (step.owner, step.epoch) != (self.change.id, self.change.claim_epoch):
            raise ClaimLostError(f"step {name} was taken over by {step.owner}")
        return replace(step, state=state, meta_id=meta_id, at=self.clock.now())

    def write_step(
        self, transaction: Transaction, change: PendingChange, name: str, step: Step
    ) -> None:
        stored, steps = msgspec.to_builtins(step), change.steps
        if name in saga.SHARED:
            transaction.update(self.holder_path(name), {f"steps.{name}": stored})
        else:
            steps = steps | {name: stored}
        running = replace(change, status=ChangeStatus.EXECUTING, steps=steps)
        transaction.set(ledger.change_path(change.id), self.held.renewed(running))

    def still_held(self) -> None:
        if self.lost.is_set():
            raise ClaimLostError(f"{self.change.id} was taken over while it worked")

    def verdict(self, error: GraphRefusedError) -> Verdict:
        """What Meta's error makes of the change."""
        usage = self.ports.graph.usage()
        return classify(
            self.policy.executor,
            code=error.code,
            subcode=error.subcode,
            http_status=error.http_status,
            transient=error.transient,
            regain_s=usage.regain_s if usage else None,
        )
