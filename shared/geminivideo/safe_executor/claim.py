"""Claiming a change: one transaction that checks every rule, takes the lease, counts the window.

Whoever claims raises ``claim_epoch``; every later write of that execution checks it, so a claimant
that was declared dead can no longer write.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from geminivideo.policy import Policy
from geminivideo.records import Account, ChangeStatus, HistoryRow, PendingChange
from geminivideo.safe_executor import ledger, rules
from geminivideo.safe_executor.ports import Documents, Time, Transaction
from geminivideo.safe_executor.rules import RuleResult, Situation

TERMINAL = frozenset({ChangeStatus.COMPLETED, ChangeStatus.FAILED, ChangeStatus.CANCELLED})
RUNNING = frozenset({ChangeStatus.CLAIMED, ChangeStatus.EXECUTING})
MIN_BEAT_S = 0.05  # real seconds: a very fast clock must not turn the heartbeat into a busy loop


class ClaimLostError(RuntimeError):
    """Another execution claimed the change; nothing more is written by this one."""


class ClaimKind(StrEnum):
    """What the claim found."""

    CLAIMED = "claimed"
    MISSING = "missing"
    TERMINAL = "terminal"
    BUSY = "busy"  # another execution holds a live lease
    EARLY = "early"  # its time has not come
    BLOCKED = "blocked"  # a rule holds it


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The outcome of a claim; ``change`` is as it stands after it."""

    kind: ClaimKind
    change: PendingChange | None = None
    account: Account | None = None
    results: tuple[RuleResult, ...] = ()
    until_at: float | None = None
    crashed: bool = False  # the execution before this one died; that counts as an attempt

    @property
    def blocked_by(self) -> RuleResult | None:
        """The rule that holds the change."""
        return rules.blocking(self.results)


def lease_lives(change: PendingChange, now: float) -> bool:
    """Whether an execution of this change is (as far as anybody can know) still running."""
    return change.status in RUNNING and (change.lease_until_at or 0.0) > now


def claim(documents: Documents, change_id: str, now: float, policy: Policy) -> Claim:
    """Claim a change, or say why not; a held or deferred one is written back with its reason."""

    def body(transaction: Transaction) -> Claim:
        change = transaction.get(ledger.change_path(change_id), PendingChange)
        if change is None:
            return Claim(kind=ClaimKind.MISSING)
        if change.status in TERMINAL:
            return Claim(kind=ClaimKind.TERMINAL, change=change)
        if lease_lives(change, now):
            return Claim(kind=ClaimKind.BUSY, change=change, until_at=change.lease_until_at)
        if change.not_before_at > now:
            return Claim(kind=ClaimKind.EARLY, change=change, until_at=change.not_before_at)
        situation = _situation(transaction, change, now, policy)
        return _decided(transaction, situation, policy)

    return documents.transact(body)


def _situation(
    transaction: Transaction, change: PendingChange, now: float, policy: Policy
) -> Situation:
    transaction.read_ahead(
        _window_path(change),
        ledger.account_path(change.account_id),
        ledger.KILL_SWITCH,
        ledger.TOKEN_BREAKER,
        ledger.breaker_path(change.account_id),
        ledger.pause_path(change.account_id),
        ledger.APP_PAUSE,
    )
    window = transaction.get(_window_path(change), ledger.RateWindow)
    return Situation(
        change=change,
        now=now,
        policy=policy.executor,
        account=transaction.get(ledger.account_path(change.account_id), Account),
        kill_switch=transaction.get(ledger.KILL_SWITCH, ledger.Breaker),
        token_breaker=transaction.get(ledger.TOKEN_BREAKER, ledger.Breaker),
        account_breaker=transaction.get(ledger.breaker_path(change.account_id), ledger.Breaker),
        pause=transaction.get(ledger.pause_path(change.account_id), ledger.Pause),
        app_pause=transaction.get(ledger.APP_PAUSE, ledger.Pause),
        window=window or ledger.RateWindow(),
    )


def _window_path(change: PendingChange) -> str:
    return ledger.window_path(change.campaign_id or f"none-of-{change.account_id}")


def _decided(transaction: Transaction, situation: Situation, policy: Policy) -> Claim:
    change, results = situation.change, rules.check(situation)
    epoch = change.claim_epoch + 1
    block = rules.blocking(results)
    if block is not None:
        return _held_back(transaction, situation, results, block)
    crashed = change.status in RUNNING
    claimed = replace(
        change,
        status=ChangeStatus.CLAIMED,
        claim_epoch=epoch,
        lease_until_at=situation.now + policy.executor.lease_s,
        attempts=change.attempts + crashed,
        policy_version=policy.version,
    )
    transaction.set(ledger.change_path(change.id), claimed)
    transaction.set(_window_path(change), rules.counted(situation))
    return Claim(kind=ClaimKind.CLAIMED, change=claimed, account=situation.account, results=results)


def _held_back(
    transaction: Transaction,
    situation: Situation,
    results: tuple[RuleResult, ...],
    block: RuleResult,
) -> Claim:
    change = situation.change
    held = replace(
        change,
        status=ChangeStatus.PENDING if change.status in RUNNING else change.status,
        claim_epoch=change.claim_epoch + 1,
        lease_until_at=None,
        not_before_at=block.until_at or change.not_before_at,
        # Held for a person: the sweeper must not take it for a lost one.
        needs_approval=change.needs_approval or block.until_at is None,
        last_error=f"{block.rule}: {block.reason}",
    )
    transaction.set(ledger.change_path(change.id), held)
    status = "DEFERRED" if block.limit else "HELD"
    row = history_row(held, status, situation.now, results, error=held.last_error)
    transaction.create(ledger.history_path(row.id), row)
    return Claim(kind=ClaimKind.BLOCKED, change=held, results=results, until_at=block.until_at)


def history_row(
    change: PendingChange,
    status: str,
    now: float,
    results: tuple[RuleResult, ...],
    *,
    terminal: bool = False,
    **members: Any,
) -> HistoryRow:
    """The row of one execution, or the one terminal row of the change."""
    suffix = "end" if terminal else f"{change.claim_epoch:03d}"
    return HistoryRow(
        id=f"{change.id}-{suffix}",
        change_id=change.id,
        status=status,
        at=now,
        account_id=change.account_id,
        change_type=change.change_type,
        requested_by=change.requested_by,
        reasoning=change.reasoning,
        rules=tuple(asdict(result) for result in results),
        terminal=terminal,
        **members,
    )


@dataclass(frozen=True, kw_only=True)
class Held:
    """A claim that is held: fenced reads and writes of its change."""

    documents: Documents
    clock: Time
    policy: Policy
    change_id: str
    epoch: int

    def fenced(self, transaction: Transaction) -> PendingChange:
        """The change, if this execution still holds it; else raises ``ClaimLostError``."""
        change = transaction.get(ledger.change_path(self.change_id), PendingChange)
        if change is None or change.claim_epoch != self.epoch or change.status not in RUNNING:
            raise ClaimLostError(f"{self.change_id} is no longer held in epoch {self.epoch}")
        return change

    def renewed(self, change: PendingChange) -> PendingChange:
        """The change with the lease counted from now."""
        until = self.clock.now() + self.policy.executor.lease_s
        return replace(change, lease_until_at=until)

    def renew(self) -> None:
        """Extend the lease; raises ``ClaimLostError`` when it is not ours any more."""

        def body(transaction: Transaction) -> None:
            change = self.renewed(self.fenced(transaction))
            transaction.set(ledger.change_path(self.change_id), change)

        self.documents.transact(body)

    @contextlib.contextmanager
    def beating(self) -> Iterator[threading.Event]:
        """Renew the lease in a thread while the body runs; the event is set once it is lost.

        An upload may take longer than the lease: only a process that died stops renewing.
        """
        ended, lost = threading.Event(), threading.Event()
        every = self.policy.executor.lease_s / 3

        def beat() -> None:
            while not (self.clock.wait(ended, every) or ended.wait(MIN_BEAT_S)):
                try:
                    self.renew()
                except ClaimLostError:
                    lost.set()
                    return
                except Exception:  # noqa: BLE001 - the next beat comes before the lease ends
                    continue

        thread = threading.Thread(target=beat, name=f"lease-{self.change_id}", daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            ended.set()
            thread.join()
