"""Dead letters: work that will not be tried again by itself, kept with its reason for a replay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from geminivideo.records import FlowStatus
from geminivideo.runtime import flows, runs

if TYPE_CHECKING:
    from geminivideo.cloud.bus import Bus
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.runtime.clock import Clock


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """``dead_letters/{id}``: the message as it came, the step it was for, why it died."""

    id: str
    step: str
    topic: str
    body: str
    reason: str
    at: float
    flow_id: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    replayed_at: float | None = None


def path_of(letter_id: str) -> str:
    """The document path of a dead letter."""
    return f"dead_letters/{letter_id}"


def record(documents: Documents, clock: Clock, letter: DeadLetter) -> None:
    """Keep the letter, and end the flow it belongs to as DEAD with the same reason."""
    documents.set(path_of(letter.id), letter)
    if letter.flow_id:
        flows.finish(documents, clock, letter.flow_id, FlowStatus.DEAD, letter.reason)


def bury_run(documents: Documents, run_id: str, reason: str) -> bool:
    """Mark a run DEAD unless it ended otherwise or is being worked on; True when it is DEAD now."""

    def body(transaction: Transaction) -> bool:
        run = transaction.get(runs.path_of(run_id), runs.StepRun)
        if run is None or run.state in (runs.RunState.COMPLETED, runs.RunState.REJECTED):
            return False
        transaction.set(run.path, replace(run, state=runs.RunState.DEAD, error=reason))
        return True

    return documents.transact(body)


def replay(documents: Documents, bus: Bus, clock: Clock, letter_id: str) -> DeadLetter:
    """Send a dead letter's message again, its run open and its flow running again.

    Raises ``DocumentMissingError`` when there is no such letter.
    """
    letter = documents.require(path_of(letter_id), DeadLetter)

    def reopen(transaction: Transaction) -> None:
        run = transaction.get(runs.path_of(letter.id), runs.StepRun)
        if run is not None and run.state is runs.RunState.DEAD:
            transaction.set(run.path, replace(run, state=runs.RunState.FAILED))
        if letter.flow_id:
            running = {"status": FlowStatus.RUNNING, "reason": None, "finished_at": None}
            transaction.update(flows.path_of(letter.flow_id), running)
        transaction.update(path_of(letter.id), {"replayed_at": clock.now()})

    documents.transact(reopen)
    bus.publish(letter.topic, letter.body.encode(), letter.attributes)
    return letter
