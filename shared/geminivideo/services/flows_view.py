"""Flows over HTTP: each step's attempts, times, outcome and degraded reasons."""

from __future__ import annotations

from dataclasses import dataclass

from geminivideo import degraded
from geminivideo.cloud.documents import Query
from geminivideo.records import Flow
from geminivideo.runtime.flows import degraded_of, path_of, runs_of
from geminivideo.runtime.http import ApiError, Call
from geminivideo.runtime.runs import StepRun


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One piece of a flow's work; ``work_s`` is the time inside the step's own function."""

    step: str
    item: str
    state: str
    attempts: int
    started_at: float
    finished_at: float | None
    work_s: float | None
    error: str | None
    degraded: list[str]


@dataclass(frozen=True, kw_only=True)
class FlowView:
    """A flow and its steps; ``explained`` gives each degraded reason its sentence."""

    flow: Flow
    steps: list[StepView]
    degraded: list[str]
    explained: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Flows:
    """Flows, newest first."""

    flows: list[Flow]


def show_flow(call: Call) -> FlowView:
    """One flow with its steps."""
    documents = call.ports.documents
    flow = documents.get(path_of(call.path["id"]), Flow)
    if flow is None:
        raise ApiError(404, f"no flow {call.path['id']}")
    runs = runs_of(documents, flow.id)
    reasons = list(degraded_of(runs))
    return FlowView(
        flow=flow,
        steps=[_step(run) for run in runs],
        degraded=reasons,
        explained={reason: degraded.sentence(reason) for reason in reasons},
    )


def list_flows(call: Call) -> Flows:
    """The newest flows of a kind (default: creative) and status."""
    where = [("status", "==", call.query["status"])] if "status" in call.query else []
    limit = call.number("limit", default=50, low=1, high=500)
    kind = call.query.get("kind", "creative")
    query = Query("flows", [("kind", "==", kind), *where], order=["-created_at"], limit=limit)
    return Flows(flows=call.ports.documents.query(query, Flow))


def _step(run: StepRun) -> StepView:
    return StepView(
        step=run.step,
        item=run.item,
        state=run.state,
        attempts=run.attempts,
        started_at=run.started_at,
        finished_at=run.finished_at,
        work_s=run.work_s,
        error=run.error,
        degraded=list(run.degraded),
    )
