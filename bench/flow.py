"""The flow's wall time beside its steps' own work: what the orchestration costs.

One demo on a fresh cloud. A step's own work is the time inside its function (``step_runs.work_s``);
the wall time runs from the first claim to the end of the last step that has runs (publish_ads). The
SafeExecutor comes after it and keeps no own work: its time is shown apart, with the part of it
that is waiting on purpose (jitter by schedule time).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geminivideo.events import flow_id_of
from geminivideo.runtime.runs import StepRun
from rich.console import Console
from rich.table import Table

from emulators import demo, progress
from emulators.running import Running
from emulators.watch import Facts, Watcher


@dataclass(frozen=True)
class StepCost:
    """One step: its runs, the sum of their own work, and the span from first start to last end."""

    step: str
    runs: int
    work_s: float
    span_s: float


@dataclass(frozen=True)
class FlowCost:
    """Seconds of one flow. ``busy_s`` is the time in which at least one step had the work;
    ``execution_s`` follows ``wall_s`` and holds ``jitter_s``."""

    wall_s: float
    work_s: float
    busy_s: float
    execution_s: float
    jitter_s: float
    steps: tuple[StepCost, ...]

    @property
    def ratio(self) -> float:
        """Wall time over the sum of the steps' own work; below 1 where steps overlap."""
        return self.wall_s / self.work_s

    @property
    def idle_s(self) -> float:
        """Time in which no step had the work: the hand-over from one to the next."""
        return self.wall_s - self.busy_s


def cost_of(facts: Facts) -> FlowCost:
    """The costs of a finished flow; raises ``ValueError`` when it has not finished."""
    if facts.flow is None or facts.flow.finished_at is None:
        raise ValueError("the flow has not finished: there is nothing to measure")
    runs = [run for run in facts.runs if run.finished_at is not None]
    names = list(dict.fromkeys(run.step for run in runs))
    spans = _spans(runs)
    ended = max(end for _, end in spans)
    return FlowCost(
        wall_s=ended - min(start for start, _ in spans),
        work_s=sum(run.work_s or 0.0 for run in runs),
        busy_s=covered(spans),
        execution_s=facts.flow.finished_at - ended,
        jitter_s=covered((c.created_at, c.not_before_at) for c in facts.changes),
        steps=tuple(_of_step(name, [r for r in runs if r.step == name]) for name in names),
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _spans(runs: Iterable[StepRun]) -> list[tuple[float, float]]:
    return [(run.started_at, run.finished_at) for run in runs if run.finished_at is not None]


def _of_step(name: str, runs: list[StepRun]) -> StepCost:
    spans = _spans(runs)
    return StepCost(
        name,
        len(runs),
        sum(run.work_s or 0.0 for run in runs),
        max(end for _, end in spans) - min(start for start, _ in spans),
    )


def measure(folder: Path, console: Console) -> FlowCost:
    """Run the sample through a fresh cloud and take its costs."""
    cloud = demo.run(demo.SAMPLE, folder, 0, console)
    try:
        watcher = Watcher(Running.find(cloud.state_dir))
        watcher.seed_account()
        flow_id = flow_id_of(watcher.drop(demo.SAMPLE))
        progress.follow(watcher, flow_id, console, demo.LIMIT_S)
        return cost_of(watcher.facts(flow_id, cloud.meta_token))
    finally:
        cloud.stop()


def show(cost: FlowCost, console: Console) -> None:
    """Print the steps side by side, then the ratio."""
    view = Table(title="The flow: own work beside wall time", title_justify="left")
    for heading in ("step", "runs", "own work s", "span s"):
        view.add_column(heading, justify="left" if heading == "step" else "right")
    for step in cost.steps:
        view.add_row(step.step, str(step.runs), f"{step.work_s:.2f}", f"{step.span_s:.2f}")
    console.print(view)
    console.print(
        f"wall {cost.wall_s:.2f} s, own work {cost.work_s:.2f} s: {cost.ratio:.2f} x; "
        f"no step had the work for {cost.idle_s:.2f} s"
    )
    console.print(
        f"then the executor: {cost.execution_s:.2f} s, of which {cost.jitter_s:.2f} s jitter"
    )
