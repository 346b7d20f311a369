"""The door of the queue: one due change in, 2xx once its next resting place is written down.

The executor keeps its own claim, attempts and history in the change's document; this door only
decodes the task, gives it its ports, and ends the flow when the last of its changes has ended.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from geminivideo.events import ChangeDue, ObjectRef
from geminivideo.policy import Policy
from geminivideo.records import ChangeStatus, FlowStatus, PendingChange
from geminivideo.runtime import dead_letters, flows, logs
from geminivideo.runtime.policies import policy_of
from geminivideo.runtime.step import Ports

if TYPE_CHECKING:
    import flask

GROUP = "changes"


class Ended(Protocol):
    """What an execution tells the door: how it ended, and why."""

    kind: Any
    reason: str


@dataclass(frozen=True)
class ChangeDoor:
    """What the door of one delivery lends to the executor."""

    ports: Ports
    due: ChangeDue
    workdir: Path

    @property
    def policy(self) -> Policy:
        """The policy in force for the change's account."""
        change = self.ports.documents.get(_path(self.due.change_id), PendingChange)
        return policy_of(self.ports.documents, change.account_id) if change else Policy()

    def enqueue(self, change_id: str, at: float, name: str | None) -> None:
        """Wake the executor for the change at ``at``; the name is hashed, as Google advises."""
        settings = self.ports.settings
        self.ports.tasks.enqueue(
            queue=settings.changes_queue,
            url=settings.executor_url,
            body=ChangeDue(
                flow_id=self.due.flow_id, change_id=change_id, not_before_at=at
            ).encode(),
            at=at,
            name=hashlib.sha256(name.encode()).hexdigest()[:32] if name else None,
            invoker=settings.executor_invoker,
        )

    def fetch(self, ref: ObjectRef, to: Path) -> Path:
        """A media object as a file in ``to``."""
        return self.ports.files.download(ref, to / Path(ref.name).name)

    def dead_letter(self, change: PendingChange, reason: str) -> None:
        """Keep the failed change, replayable; its flow ends with the last of its changes."""
        letter = dead_letters.DeadLetter(
            id=f"change:{change.id}",
            step="execute_change",
            topic="",
            body=ChangeDue(flow_id=change.flow_id or "", change_id=change.id).encode().decode(),
            reason=reason,
            at=self.ports.clock.now(),
        )
        dead_letters.record(self.ports.documents, self.ports.clock, letter)

    def alert(self, kind: str, text: str) -> None:
        """Tell a person: an error line that the alert policy counts by ``alert``."""
        self.ports.log.error(text, extra={"alert": kind, "change_id": self.due.change_id})

    def on_finished(self, change: PendingChange) -> None:
        """Arrive in the flow; the last change in ends it (asked again, it ends it again)."""
        if not change.flow_id:
            return
        documents = self.ports.documents
        flows.arrive_alone(documents, change.flow_id, GROUP, change.id)
        group = documents.get(flows.group_path(change.flow_id, GROUP), flows.Group)
        if group is not None and group.complete:
            self._end_flow(change.flow_id, group.expected)

    def _end_flow(self, flow_id: str, change_ids: tuple[str, ...]) -> None:
        documents = self.ports.documents
        changes = [documents.require(_path(each), PendingChange) for each in change_ids]
        failed = [c for c in changes if c.status is not ChangeStatus.COMPLETED]
        reasons = [f"change-{c.status.lower()}: {c.id}: {c.last_error}" for c in failed]
        none_done = len(failed) == len(changes)
        # A wish that was withdrawn or overtaken by events is no failure of ours.
        dead = none_done and any(c.status is ChangeStatus.FAILED for c in failed)
        status = FlowStatus.DEAD if dead else FlowStatus.COMPLETED
        reason = reasons[0] if none_done else None
        flows.finish(documents, self.ports.clock, flow_id, status, reason, reasons)


Door = Callable[["flask.Request"], tuple[str, int]]


def tasks_door(step_name: str) -> Callable[[Callable[[ChangeDue, ChangeDoor], Ended]], Door]:
    """``@tasks_door("execute_change")`` around ``main(due, door) -> Outcome``.

    Answers 200 when the execution came to a resting place (done, deferred, held, failed) or the
    body is not understood (logged; another delivery would not help), 503 when Google's services
    failed us: then the task comes back with backoff.
    """
    ports = Ports(step_name)

    def around(main: Callable[[ChangeDue, ChangeDoor], Ended]) -> Door:
        def answer(request: flask.Request) -> tuple[str, int]:
            parent = logs.parent_of(dict(request.headers))
            logs.CONTEXT.set(logs.trace_members(parent, ports.settings.project))
            try:
                due = ChangeDue.decode(request.get_data())
            except msgspec.MsgspecError as error:
                ports.log.error("not a change", extra={"alert": "malformed", "why": str(error)})
                return "malformed", 200
            return _run(main, ports, due)

        return answer

    return around


def _run(
    main: Callable[[ChangeDue, ChangeDoor], Ended], ports: Ports, due: ChangeDue
) -> tuple[str, int]:
    from google.api_core.exceptions import GoogleAPIError

    members = {"flow_id": due.flow_id, "change_id": due.change_id}
    token = logs.CONTEXT.set({**(logs.CONTEXT.get() or {}), **members})
    try:
        with tempfile.TemporaryDirectory(prefix="change-") as folder:
            outcome = main(due, ChangeDoor(ports, due, Path(folder)))
        said = {"outcome": str(outcome.kind), "why": outcome.reason}
        ports.log.info("change executed", extra=said)
    except GoogleAPIError as error:
        ports.log.warning("change comes back", extra={"why": f"{type(error).__name__}: {error}"})
        return "transient", 503
    finally:
        logs.CONTEXT.reset(token)
    return str(outcome.kind), 200


def _path(change_id: str) -> str:
    return f"pending_ad_changes/{change_id}"
