"""What people decide about changes: approve, reject, roll back, replay, stop everything.

Nothing here writes to Meta: each decision is a document that the SafeExecutor reads, and a wake-up.
Who decided stands in the append-only history.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from geminivideo.cloud.documents import (
    AlreadyExistsError,
    DocumentMissingError,
    Query,
    Transaction,
)
from geminivideo.records import ChangeStatus, ChangeType, HistoryRow, PendingChange
from geminivideo.runtime import dead_letters, outbox
from geminivideo.runtime.http import Api, ApiError, Call, identifier, unavailable
from geminivideo.safe_executor import ledger
from geminivideo.safe_executor.adjustment import undo_of
from geminivideo.safe_executor.endings import Fails
from geminivideo.services.queueing import new_change, path_of, queue, wake_up

BREAKERS = "breakers"
LETTER_PREFIX = "change:"
LAPSED = "has lapsed: the signals it was decided from are too old; the next cycle decides anew"
# What a person may ask for once more: it ended, and what it asked for was not done.
_UNDONE = frozenset({ChangeStatus.FAILED, ChangeStatus.CANCELLED})


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Who decides, and why. Where the edge knows the caller, that name is what counts."""

    by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A failed change, or a dead letter, to be tried again."""

    id: str
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The change after the decision; ``not_before`` is epoch seconds, jitter included."""

    id: str
    status: str
    by: str
    not_before: float | None = None
    of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What is tried again: a new change (``id``) of the failed one, or a dead letter's message."""

    id: str
    kind: str
    by: str


@dataclass(frozen=True, kw_only=True)
class OpenBreaker:
    """Something that holds changes back until a person closes it."""

    name: str
    reason: str
    opened_at: float


@dataclass(frozen=True, kw_only=True)
class Stops:
    """Whether everything is stopped, what else is, and whether the queue itself is paused.

    ``queue_paused`` is what this call did; None when it did not touch the queue.
    """

    killed: bool
    breakers: list[OpenBreaker] = field(default_factory=list)
    queue_paused: bool | None = None
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """Work that will not be tried again by itself, newest first."""

    letters: list[dead_letters.DeadLetter]


def who(call: Call, said: str) -> str:
    """The caller that the edge verified, else what the body says; raises 422 when nobody does."""
    name = call.caller or said.strip()
    if not name:
        raise ApiError(422, "by must say who decides")
    return name


# One change ----------------------------------------------------------------------------------


def approve(call: Call) -> Decided:
    """Let a waiting change out: it runs after its jitter, counted from now."""
    by, now = who(call, call.body.by), call.ports.clock.now()

    def body(transaction: Transaction) -> tuple[PendingChange, list[outbox.OutboxRow]]:
        change = _waiting(transaction, call.path["id"])
        if change.lapsed(now):
            return _cancelled(transaction, change, by, LAPSED, now), []
        if change.approved_by:
            raise ApiError(409, f"{change.id} was approved by {change.approved_by}")
        approved = replace(
            change,
            approved_by=by,
            not_before_at=now + change.jitter_s,
            enqueued=change.enqueued + 1,
        )
        row = wake_up(approved, f"approve:{change.id}:{change.claim_epoch}", now)
        transaction.set(path_of(change.id), approved)
        transaction.create(f"ad_change_history/{change.id}-approved", _row(approved, by, "", now))
        transaction.set(row.path, row)
        return approved, [row]

    change, rows = call.ports.documents.transact(body)
    if change.status is ChangeStatus.CANCELLED:
        raise ApiError(409, f"{change.id} {LAPSED}")
    outbox.publish(call.ports.documents, call.ports, rows)
    return _decided(change, by)


def reject(call: Call) -> Decided:
    """End a waiting change, approved or not, as CANCELLED, with its one terminal row."""
    by, now = who(call, call.body.by), call.ports.clock.now()

    def body(transaction: Transaction) -> PendingChange:
        change = _waiting(transaction, call.path["id"])
        said = f"rejected by {by}" + (f": {call.body.reason}" if call.body.reason else "")
        return _cancelled(transaction, change, by, said, now)

    return _decided(call.ports.documents.transact(body), by)


def _cancelled(
    transaction: Transaction, change: PendingChange, by: str, said: str, now: float
) -> PendingChange:
    """The change's end, with its one terminal row."""
    ended = replace(
        change,
        status=ChangeStatus.CANCELLED,
        claim_epoch=change.claim_epoch + 1,
        finished_at=now,
        last_error=said,
    )
    transaction.set(path_of(change.id), ended)
    row = replace(_row(ended, by, said, now), id=f"{change.id}-end", terminal=True)
    transaction.create(f"ad_change_history/{row.id}", row)
    return ended


def _waiting(transaction: Transaction, change_id: str) -> PendingChange:
    change = transaction.get(path_of(change_id), PendingChange)
    if change is None:
        raise ApiError(404, f"no change {change_id}")
    if change.status is not ChangeStatus.PENDING:
        raise ApiError(409, f"{change_id} is {change.status}: only a PENDING change can be decided")
    return change


def roll_back(call: Call) -> Decided:
    """Queue the change that takes an executed one back, through the same limits and approval."""
    by = who(call, call.body.by)
    done = _known(call, call.path["id"])
    try:
        undo = undo_of(done)
    except Fails as error:
        raise ApiError(409, str(error)) from error
    reason = f"rollback of {done.id} by {by}" + (
        f": {call.body.reason}" if call.body.reason else ""
    )
    # A person asked for it: that is the approval.
    return _queued(call, done, _way_back(call, done), by, reasoning=reason, approved_by=by, **undo)


def _way_back(call: Call, done: PendingChange) -> str:
    """The id of the change back: the one there is, or the next when that one came to nothing."""
    known, number = f"{done.id}-back", 1
    while (back := call.ports.documents.get(path_of(known), PendingChange)) is not None:
        if back.status not in _UNDONE:
            break
        number += 1
        known = f"{done.id}-back-{number}"
    return known


def replay(call: Call) -> Replayed:
    """Try a failed change again as a new one, or send a dead letter's message again."""
    by = who(call, call.body.by)
    asked = identifier(call.body.id, "id").removeprefix(LETTER_PREFIX)
    failed = call.ports.documents.get(path_of(asked), PendingChange)
    if failed is not None:
        return _replayed_change(call, failed, by)
    try:
        letter, _ = dead_letters.reopen(call.ports.documents, call.ports.clock, asked)
    except dead_letters.NotReplayableError as error:
        raise ApiError(409, str(error)) from error
    except DocumentMissingError as error:
        raise ApiError(404, f"no change and no dead letter {asked}") from error
    return Replayed(id=letter.id, kind="dead-letter", by=by)


def _replayed_change(call: Call, asked: PendingChange, by: str) -> Replayed:
    """A FAILED change as a new one; of one that was replayed already, its latest replay counts."""
    failed, again = asked, ledger.replay_of(asked.id)
    if failed.status is not ChangeStatus.FAILED:
        raise ApiError(409, f"{failed.id} is {failed.status}: only a FAILED change is replayed")
    while (known := call.ports.documents.get(path_of(again), PendingChange)) is not None:
        if known.status is ChangeStatus.COMPLETED:
            raise ApiError(409, f"{asked.id} was replayed as {again}, which is COMPLETED")
        if known.status not in _UNDONE:
            break
        failed, again = known, ledger.replay_of(again)

    def check(transaction: Transaction) -> None:
        if transaction.require(path_of(failed.id), PendingChange).steps != failed.steps:
            raise ApiError(409, f"what {failed.id} left at Meta is being removed: try again")

    decided = _queued(
        call,
        failed,
        again,
        by,
        check,
        change_type=failed.change_type,
        payload=failed.payload,
        reasoning=f"replay of {failed.id} by {by}: {failed.reasoning}",
        steps=failed.steps,
        approved_by=failed.approved_by,
    )
    return Replayed(id=decided.id, kind="change", by=by)


def _queued(
    call: Call,
    of: PendingChange,
    change_id: str,
    by: str,
    check: Callable[[Transaction], None] | None = None,
    **members: Any,
) -> Decided:
    """A new change made of another one; asked for twice, it is the same one."""
    change = new_change(
        call,
        change_id,
        of.account_id,
        campaign_id=of.campaign_id,
        ad_id=_ad_of(of),
        requested_by=by,
        variation_id=of.variation_id,
        priority=of.priority,
        **members,
    )
    try:
        queue(call, change, f"of:{change_id}", check=check)
    except AlreadyExistsError:
        change = _known(call, change_id)
    return _decided(change, by, of.id)


def _ad_of(change: PendingChange) -> str | None:
    """The ad that it was about, or made; a budget that several share is no ad's."""
    made = change.meta_id if change.change_type is ChangeType.CREATE_AD else None
    return change.ad_id or made


# Everything ----------------------------------------------------------------------------------


def kill(call: Call) -> Stops:
    """Stop every write to Meta: the flag first, which each execution reads, then the queue."""
    by, now = who(call, call.body.by), call.ports.clock.now()
    reason = f"{call.body.reason or 'no reason given'} ({by})"
    call.ports.documents.set(ledger.KILL_SWITCH, ledger.Breaker(reason=reason, opened_at=now))
    _audit(call, "KILLED", by, reason)
    return _with_queue(call, lambda: call.ports.tasks.pause(_queue(call)), paused=True)


def resume(call: Call) -> Stops:
    """Take the kill switch back and let the queue dispatch again."""
    by = who(call, call.body.by)
    call.ports.documents.delete(ledger.KILL_SWITCH)
    _audit(call, "RESUMED", by, call.body.reason)
    return _with_queue(call, lambda: call.ports.tasks.resume(_queue(call)), paused=False)


def close_breaker(call: Call) -> Stops:
    """Close the breaker of the token or of one account, after somebody looked."""
    by, name = who(call, call.body.by), call.path["name"]
    path = f"{BREAKERS}/{name}"
    if path == ledger.KILL_SWITCH:
        raise ApiError(409, "the kill switch is taken back by POST /api/kill-switch/release")
    if call.ports.documents.get(path, ledger.Breaker) is None:
        raise ApiError(404, f"no breaker {name} is open")
    call.ports.documents.delete(path)
    _audit(call, "CLOSED", by, f"{name}: {call.body.reason}")
    return show_stops(call)


def show_stops(call: Call) -> Stops:
    """What holds changes back now."""
    found = call.ports.documents.named(Query(BREAKERS), ledger.Breaker)
    switch = ledger.KILL_SWITCH.rpartition("/")[2]
    shown = [
        OpenBreaker(name=name, reason=breaker.reason, opened_at=breaker.opened_at)
        for name, breaker in sorted(found.items())
    ]
    return Stops(killed=switch in found, breakers=shown)


def list_dead_letters(call: Call) -> DeadLetters:
    """The latest dead letters; ``?limit=``."""
    limit = call.number("limit", 100, 1, 1000)
    query = Query("dead_letters", order=["-at"], limit=limit)
    return DeadLetters(letters=call.ports.documents.query(query, dead_letters.DeadLetter))


def _with_queue(call: Call, act: Callable[[], None], *, paused: bool) -> Stops:
    """The flag decides; a queue that could not be reached is said, not hidden."""
    stops = show_stops(call)
    try:
        act()
    except Exception as error:
        if unavailable(error) is None:
            raise
        return replace(stops, degraded=["queue-unreached"])
    return replace(stops, queue_paused=paused)


def _queue(call: Call) -> str:
    return call.ports.settings.changes_queue


def _audit(call: Call, status: str, by: str, reason: str) -> None:
    """A row of its own kind in the append-only history: it belongs to no change."""
    now = call.ports.clock.now()
    row = HistoryRow(
        id=f"stops-{uuid.uuid4().hex}",
        change_id="stops",
        status=status,
        at=now,
        account_id="",
        change_type="STOPS",
        requested_by=by,
        reasoning=reason,
    )
    call.ports.documents.create(f"ad_change_history/{row.id}", row)
    call.ports.log.warning("stops changed", extra={"alert": "stops", "status": status, "by": by})


# Small parts ---------------------------------------------------------------------------------


def _known(call: Call, change_id: str) -> PendingChange:
    change = call.ports.documents.get(path_of(change_id), PendingChange)
    if change is None:
        raise ApiError(404, f"no change {change_id}")
    return change


def _row(change: PendingChange, by: str, reason: str, now: float) -> HistoryRow:
    waits = change.status is ChangeStatus.PENDING
    status = "APPROVED" if waits and change.approved_by else str(change.status)
    return HistoryRow(
        id=f"{change.id}-approved",
        change_id=change.id,
        status=status,
        at=now,
        account_id=change.account_id,
        change_type=change.change_type,
        requested_by=by,
        reasoning=change.reasoning,
        error=reason or None,
    )


def _decided(change: PendingChange, by: str, of: str | None = None) -> Decided:
    pending = change.status is ChangeStatus.PENDING
    return Decided(
        id=change.id,
        status=str(change.status),
        by=by,
        not_before=change.not_before_at if pending else None,
        of=of,
    )


def serve(api: Api) -> None:
    """The routes of the gateway."""
    changes = "/api/pending-ad-changes/{id}"
    api.post(f"{changes}/approve", body=Decision, answer=Decided)(approve)
    api.post(f"{changes}/reject", body=Decision, answer=Decided)(reject)
    api.post(f"{changes}/rollback", body=Decision, answer=Decided)(roll_back)
    api.post("/api/replay", body=Replay, answer=Replayed)(replay)
    api.get("/api/dead-letters", answer=DeadLetters, query=("limit",))(list_dead_letters)
    api.get("/api/kill-switch", answer=Stops)(show_stops)
    api.post("/api/kill-switch", body=Decision, answer=Stops)(kill)
    api.post("/api/kill-switch/release", body=Decision, answer=Stops)(resume)
    api.post("/api/breakers/{name}/close", body=Decision, answer=Stops)(close_breaker)
