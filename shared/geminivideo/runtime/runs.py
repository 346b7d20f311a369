"""Step runs: one document per piece of work, claimed with a lease and a rising epoch.

The lease is short and renewed by a heartbeat while the work runs, so that work whose process
died is taken over within ``LEASE_S``, and work that is merely long is not.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote

from geminivideo.records import FlowStatus
from geminivideo.runtime.failures import LeaseLostError

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction, Version
    from geminivideo.runtime.clock import Clock

LEASE_S = 30.0
HEARTBEAT_S = 8.0
KEEP_S = 30 * 86400.0


class RunState(StrEnum):
    """Where one piece of work stands. FAILED waits for its next delivery."""

    RUNNING = "RUNNING"
    FAILED = "FAILED"
    COMPLETED = "COMPLETED"
    REJECTED = "REJECTED"
    DEAD = "DEAD"


ENDED = frozenset({RunState.COMPLETED, RunState.REJECTED, RunState.DEAD})


@dataclass(frozen=True, kw_only=True)
class StepRun:
    """``step_runs/{step}:{key}``: who has the work, how often it was tried, how it ended.

    ``work_s`` is the time spent inside the step's own function in its last attempt;
    ``ends_flow`` is the status in which this run ended its flow, ``error`` then its reason.
    """

    id: str
    step: str
    key: str
    flow_id: str
    item: str
    state: RunState
    epoch: int
    attempts: int
    started_at: float
    lease_until_at: float
    finished_at: float | None = None
    work_s: float | None = None
    error: str | None = None
    degraded: tuple[str, ...] = ()
    outbox_ids: tuple[str, ...] = ()
    ends_flow: FlowStatus | None = None
    expire_at: float = 0.0

    @property
    def path(self) -> str:
        """Its document path."""
        return path_of(self.id)

    def is_held(self, now: float) -> bool:
        """Whether somebody works on it: running, with a lease that has not ended."""
        return self.state is RunState.RUNNING and self.lease_until_at > now


def path_of(run_id: str) -> str:
    """The document path of a run id."""
    return f"step_runs/{run_id}"


def run_id_of(step: str, key: str) -> str:
    """``step:key`` as a document id (no slash, readable)."""
    return f"{step}:{quote(key, safe='#:')}"


@dataclass(frozen=True)
class Claim:
    """The answer to a claim: the run as it now stands, and whether it is ours to do.

    ``version`` is that of the run's document, where it is known.
    """

    run: StepRun
    ours: bool
    version: Version | None = None


def claim(
    documents: Documents, clock: Clock, *, step: str, key: str, flow_id: str, item: str
) -> Claim:
    """Take the work if nobody has it: new, failed before, or left by a holder whose lease ended.

    New work, which is nearly all of it, is taken by one write that fails where a run exists.
    """
    from geminivideo.cloud.documents import AlreadyExistsError

    run_id = run_id_of(step, key)
    first = _first(run_id, step, key, flow_id, item, clock.now())
    with contextlib.suppress(AlreadyExistsError):
        return Claim(first, ours=True, version=documents.create(first.path, first))

    def body(transaction: Transaction) -> Claim:
        found = transaction.get(path_of(run_id), StepRun)
        now = clock.now()
        if found is None:
            run = _first(run_id, step, key, flow_id, item, now)
        elif found.state in ENDED or found.is_held(now):
            return Claim(found, ours=False)
        else:
            run = _again(found, now)
        transaction.set(run.path, run)
        return Claim(run, ours=True)

    return documents.transact(body)


def _first(run_id: str, step: str, key: str, flow_id: str, item: str, now: float) -> StepRun:
    return StepRun(
        id=run_id,
        step=step,
        key=key,
        flow_id=flow_id,
        item=item,
        state=RunState.RUNNING,
        epoch=1,
        attempts=1,
        started_at=now,
        lease_until_at=now + LEASE_S,
        expire_at=now + KEEP_S,
    )


def _again(found: StepRun, now: float) -> StepRun:
    return replace(
        found,
        state=RunState.RUNNING,
        epoch=found.epoch + 1,
        attempts=found.attempts + 1,
        lease_until_at=now + LEASE_S,
        error=None,
    )


def still_ours(transaction: Transaction, run: StepRun) -> StepRun:
    """The run as stored, read in ``transaction``; raises ``LeaseLostError`` if it moved on."""
    found = transaction.get(run.path, StepRun)
    if found is None or found.epoch != run.epoch or found.state is not RunState.RUNNING:
        raise LeaseLostError(f"{run.id} was taken over after epoch {run.epoch}")
    return found


class Heartbeat:
    """Renews a run's lease from a thread for as long as the ``with`` block lasts."""

    def __init__(self, documents: Documents, clock: Clock, run: StepRun) -> None:
        self._documents = documents
        self._clock = clock
        self._run = run
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"lease-{run.id}")

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._clock.wait(self._stop, HEARTBEAT_S):
            try:
                self._documents.transact(self._renew)
            except LeaseLostError:
                return  # the commit will meet the same fact and write nothing

    def _renew(self, transaction: Transaction) -> None:
        still_ours(transaction, self._run)
        transaction.update(self._run.path, {"lease_until_at": self._clock.now() + LEASE_S})
