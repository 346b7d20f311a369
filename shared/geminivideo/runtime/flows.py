"""Flows: start, fan-out and fan-in, end. What a flow did is read from its step runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geminivideo.records import Flow, FlowStatus
from geminivideo.runtime.runs import StepRun

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction
    from geminivideo.events import ObjectRef
    from geminivideo.runtime.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Group:
    """``flows/{flow}/groups/{name}``: the items of a fan-out and those that are done."""

    expected: tuple[str, ...]
    arrived: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every expected item has arrived."""
        return set(self.expected) <= set(self.arrived)


def path_of(flow_id: str) -> str:
    """The document path of a flow."""
    return f"flows/{flow_id}"


def group_path(flow_id: str, name: str) -> str:
    """The document path of one of a flow's groups."""
    return f"flows/{flow_id}/groups/{name}"


def start(
    documents: Documents,
    clock: Clock,
    *,
    flow_id: str,
    kind: str,
    account_id: str,
    video: ObjectRef | None = None,
) -> None:
    """Record that a flow runs; a flow that is recorded already stays as it is."""
    from geminivideo.cloud.documents import AlreadyExistsError

    now = clock.now()
    flow = Flow(
        id=flow_id,
        kind=kind,
        status=FlowStatus.RUNNING,
        video=video,
        account_id=account_id,
        created_at=now,
        updated_at=now,
    )
    try:
        documents.create(path_of(flow_id), flow)
    except AlreadyExistsError:
        return


def arrive(transaction: Transaction, flow_id: str, name: str, item: str) -> tuple[Group, bool]:
    """Read a group and add ``item``: the group to write, and whether this was the last one in."""
    group = transaction.get(group_path(flow_id, name), Group) or Group(expected=(item,))
    if item in group.arrived:
        return group, False
    grown = Group(expected=group.expected, arrived=(*group.arrived, item))
    return grown, grown.complete and not group.complete


def arrive_alone(documents: Documents, flow_id: str, name: str, item: str) -> bool:
    """``arrive`` in a transaction of its own; True for the last one in."""

    def body(transaction: Transaction) -> bool:
        group, last = arrive(transaction, flow_id, name, item)
        transaction.set(group_path(flow_id, name), group)
        return last

    return documents.transact(body)


def runs_of(documents: Documents, flow_id: str) -> list[StepRun]:
    """Every step run of a flow, oldest first."""
    from geminivideo.cloud.documents import Query

    runs = documents.query(Query("step_runs", where=[("flow_id", "==", flow_id)]), StepRun)
    return sorted(runs, key=lambda run: run.started_at)


def degraded_of(runs: Iterable[StepRun]) -> tuple[str, ...]:
    """Every degraded reason of a flow, once, in the order in which they came."""
    return tuple(dict.fromkeys(reason for run in runs for reason in run.degraded))


def finish(
    documents: Documents,
    clock: Clock,
    flow_id: str,
    status: FlowStatus,
    reason: str | None = None,
    degraded: Iterable[str] = (),
) -> bool:
    """End a running flow with what its steps reported; False when it had ended before."""
    reported = degraded_of(runs_of(documents, flow_id))
    every = tuple(dict.fromkeys([*reported, *degraded]))

    def body(transaction: Transaction) -> bool:
        flow = transaction.get(path_of(flow_id), Flow)
        if flow is None or flow.status is not FlowStatus.RUNNING:
            return False
        now = clock.now()
        changes = {
            "status": status,
            "reason": reason,
            "degraded": every,
            "updated_at": now,
            "finished_at": now,
        }
        transaction.update(path_of(flow_id), changes)
        return True

    return documents.transact(body)
