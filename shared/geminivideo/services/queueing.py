"""A change asked for over HTTP: its document, its history and its wake-up, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from geminivideo.cloud.documents import Transaction
from geminivideo.events import ChangeDue
from geminivideo.meta_publisher.changes import draw_jitter, queued_row
from geminivideo.policy import ExecutionMode
from geminivideo.records import ChangeStatus, PendingChange
from geminivideo.runtime import outbox
from geminivideo.runtime.http import Call
from geminivideo.runtime.policies import policy_of


def path_of(change_id: str) -> str:
    """The document path of a change."""
    return f"pending_ad_changes/{change_id}"


def new_change(call: Call, change_id: str, account_id: str, **members: Any) -> PendingChange:
    """A PENDING change as of now: its jitter drawn, its approval as the account's mode demands."""
    policy, now = policy_of(call.ports.documents, account_id), call.ports.clock.now()
    jitter_s = draw_jitter(change_id, policy)
    return PendingChange(
        id=change_id,
        account_id=account_id,
        status=ChangeStatus.PENDING,
        created_at=now,
        not_before_at=now + jitter_s,
        jitter_s=jitter_s,
        needs_approval=policy.executor.mode is not ExecutionMode.AUTO,
        policy_version=policy.version,
        **members,
    )


def wake_up(change: PendingChange, cause: str, now: float) -> outbox.OutboxRow:
    """The task that executes the change at its time; the same cause is the same task."""
    due = ChangeDue(
        flow_id=change.flow_id or "", change_id=change.id, not_before_at=change.not_before_at
    )
    return outbox.row_of(due, cause, 0, now)


def queue(
    call: Call,
    change: PendingChange,
    cause: str,
    more: Mapping[str, Any] | None = None,
    check: Callable[[Transaction], None] | None = None,
) -> None:
    """Create the change, its first history row, what it needs (``more``, by path) and its task.

    ``check`` reads in the same transaction what must hold, and raises when it does not. A change
    that waits for a person has no task. Raises ``AlreadyExistsError``.
    """
    waits = change.needs_approval and not change.approved_by
    rows = [] if waits else [wake_up(change, cause, change.created_at)]

    def body(transaction: Transaction) -> None:
        if check is not None:
            check(transaction)
        for path, record in (more or {}).items():
            transaction.create(path, record)
        transaction.create(path_of(change.id), change)
        first = queued_row(change)
        transaction.create(f"ad_change_history/{first.id}", first)
        for row in rows:
            transaction.create(row.path, row)

    call.ports.documents.transact(body)
    outbox.publish(call.ports.documents, call.ports, rows)
