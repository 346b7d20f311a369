"""The step harness: ``@step("detect_scenes")`` makes a function of one event into a door.

A door decodes its delivery, claims the work, runs the function, commits its documents, its result
and its outbox in one transaction, publishes, and answers as the failure's kind demands.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_type_hints

import msgspec

from geminivideo.deadline import Deadline
from geminivideo.events import Event
from geminivideo.policy import Policy
from geminivideo.records import FlowStatus
from geminivideo.runtime import dead_letters, flows, logs, outbox, runs
from geminivideo.runtime.clock import Clock
from geminivideo.runtime.delivery import Delivery, MalformedDeliveryError, decode
from geminivideo.runtime.failures import (
    LeaseLostError,
    Permanent,
    Rejected,
    StepFailure,
    Transient,
)
from geminivideo.runtime.policies import policy_of
from geminivideo.runtime.settings import Settings
from geminivideo.topology import STEPS, StepSpec, Topic

if TYPE_CHECKING:
    import flask

    from geminivideo.cloud.bus import Bus
    from geminivideo.cloud.documents import Documents, Transaction, Version
    from geminivideo.cloud.files import Files
    from geminivideo.cloud.tasks import Tasks
    from geminivideo.events import ObjectRef

E = TypeVar("E", bound=Event)
Emitted = Event | Iterable[Event] | None


class Ports:
    """The clients of one process, opened on first use and shared by its requests."""

    def __init__(self, step_name: str) -> None:
        self.log = logs.setup(step_name)
        self.clock = Clock.from_env()

    @cached_property
    def settings(self) -> Settings:
        """Where this process runs."""
        return Settings.from_env()

    @cached_property
    def documents(self) -> Documents:
        """Firestore."""
        from geminivideo.cloud.documents import Documents

        return Documents(self.settings.project)

    @cached_property
    def bus(self) -> Bus:
        """Pub/Sub."""
        from geminivideo.cloud.bus import Bus

        return Bus(self.settings.project)

    @cached_property
    def files(self) -> Files:
        """Cloud Storage."""
        from geminivideo.cloud.files import Files

        return Files()

    @cached_property
    def tasks(self) -> Tasks:
        """Cloud Tasks."""
        from geminivideo.cloud.tasks import Tasks

        return Tasks()

    def send(self, rows: Sequence[outbox.OutboxRow]) -> None:
        """Send outbox rows where they go: topics through Pub/Sub, changes through Cloud Tasks."""
        messages = [row for row in rows if not row.queue]
        if messages:
            self.bus.publish_all([(r.topic, r.body.encode(), r.attributes) for r in messages])
        for row in rows:
            if row.queue:
                self._enqueue(row)

    def _enqueue(self, row: outbox.OutboxRow) -> None:
        self.tasks.enqueue(
            queue=self.settings.changes_queue,
            url=self.settings.executor_url,
            body=row.body.encode(),
            at=row.not_before_at or None,
            name=hashlib.sha256(row.id.encode()).hexdigest()[:32],
            invoker=self.settings.executor_invoker,
        )


class Step:
    """What a step's function is given: its ports, and the writes it asks to be committed."""

    def __init__(self, ports: Ports, run: runs.StepRun, version: Version | None = None) -> None:
        self._ports = ports
        self.run = run
        self.version = version  # of the run's document, as it was claimed
        self.flow_id = run.flow_id
        self.attempt = run.attempts
        self.max_attempts = STEPS[run.step].max_attempts
        self.clock = ports.clock
        self.deadline = Deadline.after(STEPS[run.step].work_s)
        self.writes: list[tuple[str, str, Any]] = []
        self.decisions: list[Callable[[Transaction], Iterable[tuple[str, Any]]]] = []
        self.degraded: dict[str, None] = {}
        self.arrivals: list[tuple[str, str, str, Event | None]] = []
        self.ending: tuple[FlowStatus, str | None] | None = None
        self._policies: dict[str, Policy] = {}

    @property
    def only_sets(self) -> bool:
        """Whether its commit writes whole documents and reads none but its own run's."""
        plain = all(kind == "set" for kind, *_ in self.writes)
        return self.version is not None and plain and not (self.arrivals or self.decisions)

    @property
    def settings(self) -> Settings:
        """Project, region, buckets."""
        return self._ports.settings

    @property
    def documents(self) -> Documents:
        """Firestore, for reading; writes go through ``put`` and ``update``."""
        return self._ports.documents

    @property
    def files(self) -> Files:
        """Cloud Storage."""
        return self._ports.files

    @property
    def logger(self) -> logging.Logger:
        """This process's log, for what writes lines of its own."""
        return self._ports.log

    @property
    def outlet(self) -> outbox.Outlet:
        """Where messages and tasks go at once; what a commit promises goes by itself."""
        return self._ports

    @cached_property
    def policy(self) -> Policy:
        """The policy in force for this flow's account."""
        return self.policy_of(self._account_id())

    def policy_of(self, account_id: str) -> Policy:
        """The policy of an account: its document, or the defaults; the same for the whole step."""
        if account_id not in self._policies:
            self._policies[account_id] = policy_of(self.documents, account_id)
        return self._policies[account_id]

    def _account_id(self) -> str:
        from geminivideo.records import Flow

        flow = self.documents.get(flows.path_of(self.flow_id), Flow)
        return flow.account_id if flow else ""

    @cached_property
    def workdir(self) -> Path:
        """A temporary folder that is deleted after the step."""
        return Path(tempfile.mkdtemp(prefix=f"{self.run.step}-"))

    def log(self, message: str, **members: Any) -> None:
        """One structured log line."""
        self._ports.log.info(message, extra=members)

    def start_flow(self, kind: str, account_id: str, video: ObjectRef | None = None) -> None:
        """Record the flow at once, so that it can be watched while its first step works."""
        flows.start(
            self.documents,
            self.clock,
            flow_id=self.flow_id,
            kind=kind,
            video=video,
            account_id=account_id,
        )

    def ensure(self, path: str, record: Any) -> None:
        """Create a document now, for others to read before this step commits; kept if it exists."""
        from geminivideo.cloud.documents import AlreadyExistsError

        with contextlib.suppress(AlreadyExistsError):
            self.documents.create(path, record)

    def put(self, path: str, record: Any) -> None:
        """Write a whole document when the step commits."""
        self.writes.append(("set", path, record))

    def update(self, path: str, changes: Mapping[str, Any]) -> None:
        """Change members of an existing document when the step commits."""
        self.writes.append(("update", path, dict(changes)))

    def decide(self, body: Callable[[Transaction], Iterable[tuple[str, Any]]]) -> None:
        """Read in the committing transaction, and write what follows: whole documents by path.

        ``body`` may run more than once, and has no effect of its own.
        """
        self.decisions.append(body)

    def degrade(self, reason: str) -> None:
        """Carry a degraded reason to the end of the flow."""
        self.degraded[reason] = None

    def fan_out(self, group: str, items: Iterable[str]) -> None:
        """Declare the items whose last arrival will wake the next step."""
        expected = flows.Group(expected=tuple(items))
        self.put(flows.group_path(self.flow_id, group), expected)

    def arrive(self, group: str, item: str, then: Event | None = None) -> None:
        """Report an item as done; the last one in emits ``then``, exactly once."""
        self.arrivals.append((self.flow_id, group, item, then))

    def finish_flow(
        self, status: FlowStatus = FlowStatus.COMPLETED, reason: str | None = None
    ) -> None:
        """End the flow when the step commits."""
        self.ending = (status, reason)

    def forget(self) -> None:
        """Drop the writes of work that did not come to its end."""
        self.writes.clear()
        self.decisions.clear()
        self.arrivals.clear()

    def close(self) -> None:
        """Delete the temporary folder if there is one."""
        if "workdir" in self.__dict__:
            shutil.rmtree(self.workdir, ignore_errors=True)


@dataclass(frozen=True)
class Answer:
    """What the caller is told: an HTTP status, and a body for whoever reads the log."""

    status: int
    outcome: str
    reason: str = ""

    def response(self) -> tuple[dict[str, str], int]:
        """As flask wants it."""
        return {"outcome": self.outcome, "reason": self.reason}, self.status


class StepDoor(Generic[E]):
    """A step's function behind its door; call it with a flask request, or ``work`` an event."""

    def __init__(self, name: str, function: Callable[[E, Step], Emitted]) -> None:
        self.spec: StepSpec = STEPS[name]
        self.function = function
        self.event_type: type[E] = next(iter(get_type_hints(function).values()))
        self.__name__ = name

    @cached_property
    def ports(self) -> Ports:
        """This process's clients."""
        return Ports(self.spec.name)

    def __call__(self, request: flask.Request) -> tuple[dict[str, str], int]:
        body = request.get_data()
        try:
            delivery = decode(dict(request.headers), body)
            event = self.event_type.of_delivery(delivery.body, delivery.attributes, delivery.id)
        except (MalformedDeliveryError, msgspec.DecodeError, KeyError, ValueError) as error:
            return self._malformed(body, error).response()
        return self.deliver(event, delivery).response()

    def deliver(self, event: E, delivery: Delivery) -> Answer:
        """Do the work of a delivered event and say how it went."""
        return self.work(event, delivery.trace)

    def work(self, event: E, trace: str = "") -> Answer:
        """Claim the event's work, run it, commit, publish; failures become answers."""
        logs.CONTEXT.set(_context(trace, event, self.ports))
        claim = runs.claim(
            self.ports.documents,
            self.ports.clock,
            step=self.spec.name,
            key=event.key,
            flow_id=event.flow_id,
            item=event.item,
        )
        if not claim.ours:
            return self._not_ours(claim.run)
        step = Step(self.ports, claim.run, claim.version)
        try:
            return self._run(event, step)
        finally:
            step.close()

    def _not_ours(self, run: runs.StepRun) -> Answer:
        if run.state in runs.ENDED:
            return self._done_before(run)
        return Answer(503, "held", "another delivery of the same work is running")

    def _done_before(self, run: runs.StepRun) -> Answer:
        """Publish what a crash left behind; its own delivery may still be publishing: wait."""
        left = outbox.unpublished(self.ports.documents, run.outbox_ids)
        ended_s = self.ports.clock.now() - (run.finished_at or 0.0)
        if left and ended_s < outbox.SETTLE_S:
            return Answer(503, "publishing", "its messages are being published")
        outbox.publish(self.ports.documents, self.ports, left)
        self._end_flow(run)
        return Answer(200, run.state.lower(), "done before")

    def _run(self, event: E, step: Step) -> Answer:
        started = time.monotonic()
        try:
            with runs.Heartbeat(step.documents, step.clock, step.run):
                emitted = _listed(self.function(event, step))
            return self._complete(step, emitted, time.monotonic() - started)
        except LeaseLostError as error:
            return Answer(503, "lease-lost", str(error))
        except Rejected as error:
            return self._end(step, runs.RunState.REJECTED, error.reason, FlowStatus.REJECTED)
        except Permanent as error:
            return self._dead(event, step, error.reason)
        except Exception as error:  # noqa: BLE001 - the door's last line: recorded, then redelivered
            return self._failed(step, error)

    def _complete(self, step: Step, emitted: list[Event], work_s: float) -> Answer:
        done = replace(
            step.run,
            state=runs.RunState.COMPLETED,
            finished_at=step.clock.now(),
            work_s=work_s,
            degraded=tuple(step.degraded),
            ends_flow=step.ending[0] if step.ending else None,
            error=step.ending[1] if step.ending else None,
        )
        rows = self._commit(step, done, emitted)
        outbox.publish(step.documents, self.ports, rows)
        self._end_flow(done)
        self.ports.log.info("step completed", extra={"work_s": round(work_s, 3)})
        return Answer(200, "completed")

    def _commit(
        self, step: Step, done: runs.StepRun, emitted: list[Event]
    ) -> list[outbox.OutboxRow]:
        if step.only_sets and (rows := self._at_once(step, done, emitted)) is not None:
            return rows
        return self._transacted(step, done, emitted)

    def _at_once(
        self, step: Step, done: runs.StepRun, emitted: list[Event]
    ) -> list[outbox.OutboxRow] | None:
        """One commit, while the run is as it was claimed; None when something has written it.

        That is another holder, or our own heartbeat: the transaction tells them apart.
        """
        now = step.clock.now()
        rows = [outbox.row_of(event, done.id, index, now) for index, event in enumerate(emitted)]
        records = {path: value for _, path, value in step.writes} | {row.path: row for row in rows}
        ended = replace(done, outbox_ids=tuple(row.id for row in rows))
        written = step.documents.set_all_since(
            step.version, done.path, {**records, done.path: ended}
        )
        return rows if written else None

    def _transacted(
        self, step: Step, done: runs.StepRun, emitted: list[Event]
    ) -> list[outbox.OutboxRow]:
        def body(transaction: Transaction) -> list[outbox.OutboxRow]:
            runs.still_ours(transaction, step.run)
            arrived = [
                (flow_id, group, flows.arrive(transaction, flow_id, group, item), then)
                for flow_id, group, item, then in step.arrivals
            ]
            decided = [write for decision in step.decisions for write in decision(transaction)]
            woken = [then for *_, (_, last), then in arrived if last and then is not None]
            rows = [
                outbox.row_of(event, done.id, index, step.clock.now())
                for index, event in enumerate([*emitted, *woken])
            ]
            for flow_id, group, (grown, _), _ in arrived:
                transaction.set(flows.group_path(flow_id, group), grown)
            _write(transaction, step.writes)
            for path, record in decided:
                transaction.set(path, record)
            for row in rows:
                transaction.set(row.path, row)
            transaction.set(done.path, replace(done, outbox_ids=tuple(row.id for row in rows)))
            return rows

        return step.documents.transact(body)

    def _end(self, step: Step, state: runs.RunState, reason: str, status: FlowStatus) -> Answer:
        ended = replace(
            step.run,
            state=state,
            error=reason,
            finished_at=step.clock.now(),
            degraded=tuple(step.degraded),
            ends_flow=status,
        )
        step.forget()
        self._commit(step, ended, [])
        self._end_flow(ended)
        self.ports.log.warning("step ended %s: %s", state.lower(), reason)
        return Answer(200, state.lower(), reason)

    def _end_flow(self, run: runs.StepRun) -> None:
        """End the flow as the committed run says; again when a crash came in between.

        Work that belongs to no flow ends by itself.
        """
        if run.ends_flow is not None and run.flow_id:
            documents, clock = self.ports.documents, self.ports.clock
            flows.finish(documents, clock, run.flow_id, run.ends_flow, run.error)

    def _dead(self, event: E, step: Step, reason: str) -> Answer:
        letter = dead_letters.DeadLetter(
            id=step.run.id,
            step=self.spec.name,
            topic=event.TOPIC,
            body=event.encode().decode(),
            reason=reason,
            at=step.clock.now(),
            flow_id=step.flow_id or None,
        )
        dead_letters.record(step.documents, step.clock, letter)
        return self._end(step, runs.RunState.DEAD, reason, FlowStatus.DEAD)

    def _failed(self, step: Step, error: Exception) -> Answer:
        reason = (
            error.reason if isinstance(error, StepFailure) else f"{type(error).__name__}: {error}"
        )
        reason = logs.redact(reason)
        if not isinstance(error, Transient):
            self.ports.log.error("step failed", exc_info=error)

        def release(transaction: Transaction) -> None:
            found = runs.still_ours(transaction, step.run)
            now = step.clock.now()
            failed = replace(found, state=runs.RunState.FAILED, error=reason, lease_until_at=now)
            transaction.set(found.path, failed)

        try:
            step.documents.transact(release)
        except LeaseLostError:
            return Answer(503, "lease-lost", reason)
        return Answer(503, "failed", reason)

    def _malformed(self, body: bytes, error: Exception) -> Answer:
        """Keep what no step can read, and acknowledge it: coming again would not mend it."""
        reason = f"malformed delivery: {error}"
        letter = dead_letters.DeadLetter(
            id=f"{self.spec.name}:malformed:{hashlib.sha256(body).hexdigest()[:24]}",
            step=self.spec.name,
            topic=self.spec.wakes_on.name if isinstance(self.spec.wakes_on, Topic) else "",
            body=body[:65536].decode("utf-8", "replace"),
            reason=reason,
            at=self.ports.clock.now(),
        )
        dead_letters.record(self.ports.documents, self.ports.clock, letter)
        self.ports.log.error(reason)
        return Answer(200, "malformed", reason)


def step(name: str) -> Callable[[Callable[[E, Step], Emitted]], Callable[[flask.Request], Any]]:
    """Make a function of ``(event, step)`` into the entry point of the step ``name`` of the map.

    functions-framework takes functions only; the door itself is the function's ``door``.
    """

    def wrap(function: Callable[[E, Step], Emitted]) -> Callable[[flask.Request], Any]:
        door = StepDoor(name, function)

        def entry(request: flask.Request) -> tuple[dict[str, str], int]:
            return door(request)

        entry.door = door  # type: ignore[attr-defined]
        return entry

    return wrap


def door_of(entry: Callable[..., Any]) -> StepDoor[Any]:
    """The door behind an entry point, for a job's ``main``."""
    return entry.door  # type: ignore[attr-defined]


def _listed(emitted: Emitted) -> list[Event]:
    if emitted is None:
        return []
    return [emitted] if isinstance(emitted, Event) else list(emitted)


def _write(transaction: Transaction, writes: list[tuple[str, str, Any]]) -> None:
    for kind, path, value in writes:
        if kind == "set":
            transaction.set(path, value)
        else:
            transaction.update(path, value)


def _context(parent: str, event: Event, ports: Ports) -> dict[str, str]:
    trace = logs.trace_members(parent, ports.settings.project)
    return {"flow_id": event.flow_id, "key": event.key, **trace}


__all__ = ["Answer", "Permanent", "Ports", "Rejected", "Step", "StepDoor", "Transient", "step"]
