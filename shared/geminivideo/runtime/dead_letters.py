"""Dead letters: work that will not be tried again by itself, kept with its reason for a replay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from geminivideo import events
from geminivideo.records import FlowStatus
from geminivideo.runtime import flows, runs
from geminivideo.runtime.failures import Transient
from geminivideo.runtime.outbox import KEEP_S, OutboxRow
from geminivideo.topology import STEPS, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.events import DeadLettered, Event
    from geminivideo.runtime.clock import Clock


def _kinds(kind: type[Event]) -> Iterator[type[Event]]:
    """Every event that has a topic; some only share members with others."""
    for one in kind.__subclasses__():
        if hasattr(one, "TOPIC"):
            yield one
        yield from _kinds(one)


_BY_TOPIC: dict[str, type[Event]] = {kind.TOPIC: kind for kind in _kinds(events.Event)}
EVENTS_OF_STEP: dict[str, type[Event]] = {
    spec.name: _BY_TOPIC[spec.wakes_on.name]
    for spec in STEPS.values()
    if isinstance(spec.wakes_on, Topic)
}


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


class NotReplayableError(RuntimeError):
    """A dead letter that no topic carries: a malformed body, or a change of the SafeExecutor."""

    def __init__(self, letter: DeadLetter) -> None:
        super().__init__(f"{letter.id} came on no topic and cannot be sent again: {letter.reason}")


def path_of(letter_id: str) -> str:
    """The document path of a dead letter."""
    return f"dead_letters/{letter_id}"


def record(
    documents: Documents, clock: Clock, letter: DeadLetter, *, goes_on: bool = False
) -> None:
    """Keep the letter, and end the flow it belongs to as DEAD with the same reason.

    With ``goes_on`` the flow is left running: others see to it.
    """
    documents.set(path_of(letter.id), letter)
    if letter.flow_id and not goes_on:
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


def settle(documents: Documents, clock: Clock, dead: DeadLettered) -> str:
    """Decide about a message that Pub/Sub gave up on; returns what was done, in a word.

    Its work may have ended since (another delivery did it), or still be running (raises
    ``Transient``: ask again later); else the run is buried and the flow ends DEAD.
    """
    spec = next((s for s in STEPS.values() if dead.subscription == s.resource_name), None)
    event_type = EVENTS_OF_STEP.get(spec.name) if spec else None
    if spec is None or event_type is None:
        record(documents, clock, _letter(dead, dead.delivery_id, "", clock, "unknown subscription"))
        return "kept"
    event = event_type.of_delivery(dead.body.encode(), dead.attributes, dead.delivery_id)
    run_id = runs.run_id_of(spec.name, event.key)
    run = documents.get(runs.path_of(run_id), runs.StepRun)
    if run is not None and run.state in runs.ENDED:
        return "superseded"
    if run is not None and run.is_held(clock.now()):
        raise Transient(f"{run_id} is still being worked on")
    reason = (
        f"{spec.name} gave up: {run.error if run and run.error else 'no attempt came to an end'}"
    )
    letter = _letter(dead, run_id, spec.name, clock, reason)
    bury_run(documents, run_id, reason)
    record(documents, clock, replace(letter, flow_id=event.flow_id or None), goes_on=goes_on(event))
    return "dead"


def goes_on(event: Event) -> bool:
    """Whether a flow outlives the death of this work: a learning cycle goes on without a loop."""
    return isinstance(event, events.LoopDue)


def _letter(dead: DeadLettered, letter_id: str, step: str, clock: Clock, reason: str) -> DeadLetter:
    trigger = STEPS[step].wakes_on if step else None
    return DeadLetter(
        id=letter_id,
        step=step,
        topic=trigger.name if isinstance(trigger, Topic) else "",
        body=dead.body,
        reason=reason,
        at=clock.now(),
        attributes=dead.attributes,
    )


def reopen(documents: Documents, clock: Clock, letter_id: str) -> tuple[DeadLetter, OutboxRow]:
    """Open the letter's run and flow again and put its message into the outbox, all at once.

    The sweeper publishes what nobody publishes before. Raises ``DocumentMissingError`` when there
    is no such letter, ``NotReplayableError`` when it came on no topic.
    """
    letter = documents.require(path_of(letter_id), DeadLetter)
    if not letter.topic:
        raise NotReplayableError(letter)
    row = _message_of(letter, clock.now())

    def body(transaction: Transaction) -> None:
        run = transaction.get(runs.path_of(letter.id), runs.StepRun)
        if run is not None and run.state is runs.RunState.DEAD:
            transaction.set(run.path, replace(run, state=runs.RunState.FAILED))
        if letter.flow_id:
            running = {"status": FlowStatus.RUNNING, "reason": None, "finished_at": None}
            transaction.update(flows.path_of(letter.flow_id), running)
        transaction.update(path_of(letter.id), {"replayed_at": clock.now()})
        transaction.set(row.path, row)

    documents.transact(body)
    return letter, row


def _message_of(letter: DeadLetter, now: float) -> OutboxRow:
    return OutboxRow(
        id=f"replay:{letter.id.replace('/', '_')}:{int(now)}",
        topic=letter.topic,
        body=letter.body,
        flow_id=letter.flow_id or "",
        created_at=now,
        attributes=letter.attributes,
        expire_at=now + KEEP_S,
    )
