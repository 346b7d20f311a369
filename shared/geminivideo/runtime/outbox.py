"""The outbox: what a commit promised to publish, kept until it is published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geminivideo.cloud.documents import Documents
    from geminivideo.events import Event
    from geminivideo.runtime.clock import Clock

KEEP_S = 7 * 86400.0
SETTLE_S = 5.0  # how long a delivery is given to publish what it has committed


@dataclass(frozen=True, kw_only=True)
class OutboxRow:
    """``outbox/{id}``: one message, written in the transaction of the work that causes it.

    It goes to ``topic``, or as a task to ``queue``, not before ``not_before_at`` (epoch seconds).
    """

    id: str
    topic: str
    body: str
    flow_id: str
    created_at: float
    published: bool = False
    queue: str = ""
    not_before_at: float = 0.0
    attributes: dict[str, str] = field(default_factory=dict)
    expire_at: float = 0.0

    @property
    def path(self) -> str:
        """Its document path."""
        return path_of(self.id)


def path_of(row_id: str) -> str:
    """The document path of a row id."""
    return f"outbox/{row_id}"


def row_of(event: Event, run_id: str, index: int, now: float) -> OutboxRow:
    """The row of an event: same run, same index, same row, however often it is written."""
    return OutboxRow(
        id=f"{run_id}:{index}",
        topic=event.TOPIC,
        body=event.encode().decode(),
        flow_id=event.flow_id,
        created_at=now,
        queue=event.QUEUE,
        not_before_at=getattr(event, "not_before_at", 0.0),
        attributes={"outbox_id": f"{run_id}:{index}", "flow_id": event.flow_id},
        expire_at=now + KEEP_S,
    )


class Outlet(Protocol):
    """Where rows go: all of them are stored by the receiver when this returns."""

    def send(self, rows: Sequence[OutboxRow]) -> None:
        """Publish or enqueue the rows; raises what the receiver answered."""
        ...


def publish(documents: Documents, outlet: Outlet, rows: Iterable[OutboxRow]) -> int:
    """Publish what is not published yet and mark it; returns how many went out.

    A crash between publishing and marking publishes twice: receivers claim by business key.
    """
    waiting = [row for row in rows if not row.published]
    outlet.send(waiting)
    if waiting:
        documents.update_all([row.path for row in waiting], {"published": True})
    return len(waiting)


def unpublished(documents: Documents, row_ids: Iterable[str]) -> list[OutboxRow]:
    """The rows of a completed run that are not marked as published."""
    found = (documents.get(path_of(row_id), OutboxRow) for row_id in row_ids)
    return [row for row in found if row is not None and not row.published]


def sweep(
    documents: Documents, outlet: Outlet, clock: Clock, older_than_s: float, limit: int
) -> int:
    """Publish rows that have waited longer than ``older_than_s``; returns how many went out."""
    from geminivideo.cloud.documents import Query

    query = Query(
        "outbox",
        where=[("published", "==", False), ("created_at", "<", clock.now() - older_than_s)],
        order=["created_at"],
        limit=limit,
    )
    return publish(documents, outlet, documents.query(query, OutboxRow))
