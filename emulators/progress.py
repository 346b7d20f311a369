"""A flow's progress for people: one line per step, live on a terminal, line by line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from geminivideo.records import ChangeStatus, Flow, FlowStatus, PendingChange
from geminivideo.runtime.runs import ENDED, RunState, StepRun
from geminivideo.topology import CREATIVE, EXECUTOR, JOBS, Queue
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from emulators.watch import Watcher

LOOK_S = 0.5
FIRST_SIGN_S = 60.0
_ORDER = [
    *(step.name for step in CREATIVE[:-1]),
    *(step.name for step in JOBS),
    CREATIVE[-1].name,
]
EXECUTE = next(step.name for step in EXECUTOR if isinstance(step.wakes_on, Queue))
_CHANGE_ENDED = {
    ChangeStatus.COMPLETED: RunState.COMPLETED,
    ChangeStatus.FAILED: RunState.DEAD,
    ChangeStatus.CANCELLED: RunState.REJECTED,
}
_STYLES = {
    RunState.COMPLETED: "green",
    RunState.RUNNING: "yellow",
    RunState.FAILED: "red",
    RunState.REJECTED: "magenta",
    RunState.DEAD: "bold red",
}


class FlowStuckError(RuntimeError):
    """The flow did not come to its end in time; the message says where it stands."""


@dataclass(frozen=True)
class StepProgress:
    """One step of a flow: how many of its items are done, of how many, and how it stands."""

    step: str
    state: RunState
    done: int
    begun: int
    attempts: int
    seconds: float
    degraded: tuple[str, ...]
    error: str | None


Show = Callable[[list[StepProgress]], None]


def summarize(
    runs: Iterable[StepRun],
    changes: Iterable[PendingChange],
    now: float,
    expected: Mapping[str, int] | None = None,
) -> list[StepProgress]:
    """Runs grouped by step, in the order of the flow; the changes are the executor's line.

    ``expected`` says how many items a fanned-out step has in all; those not begun yet count too.
    """
    executed = _executed(list(changes), now)
    begun = [_of_all(step, (expected or {}).get(step.step, 0)) for step in _summarized(runs, now)]
    return [*begun, *([executed] if executed else [])]


def _of_all(step: StepProgress, expected: int) -> StepProgress:
    """A step whose begun items are done is still running while others have not begun."""
    waiting = step.begun < expected and step.state is RunState.COMPLETED
    state = RunState.RUNNING if waiting else step.state
    return replace(step, begun=max(step.begun, expected), state=state)


def _executed(changes: list[PendingChange], now: float) -> StepProgress | None:
    """The SafeExecutor keeps its own state in each change instead of a step run."""
    if not changes:
        return None
    ended = [change for change in changes if change.status in _CHANGE_ENDED]
    last = max((c.finished_at or now for c in changes), default=now)
    return StepProgress(
        step=EXECUTE,
        state=_worst(_CHANGE_ENDED.get(change.status, RunState.RUNNING) for change in changes),
        done=len(ended),
        begun=len(changes),
        attempts=max(change.attempts for change in changes),
        seconds=max(0.0, last - min(change.not_before_at for change in changes)),
        degraded=(),
        error=next((change.last_error for change in changes if change.last_error), None),
    )


def _summarized(runs: Iterable[StepRun], now: float) -> list[StepProgress]:
    by_step: dict[str, list[StepRun]] = {}
    for run in runs:
        by_step.setdefault(run.step, []).append(run)
    known = [name for name in _ORDER if name in by_step]
    return [_of_step(name, by_step[name], now) for name in dict.fromkeys([*known, *by_step])]


def _of_step(name: str, runs: list[StepRun], now: float) -> StepProgress:
    ended = max((run.finished_at or now) for run in runs)
    return StepProgress(
        step=name,
        state=_worst(run.state for run in runs),
        done=sum(run.state in ENDED for run in runs),
        begun=len(runs),
        attempts=max(run.attempts for run in runs),
        seconds=ended - min(run.started_at for run in runs),
        degraded=tuple(dict.fromkeys(reason for run in runs for reason in run.degraded)),
        error=next((run.error for run in runs if run.error), None),
    )


def _worst(states: Iterable[RunState]) -> RunState:
    order = [
        RunState.DEAD,
        RunState.FAILED,
        RunState.RUNNING,
        RunState.REJECTED,
        RunState.COMPLETED,
    ]
    return min(states, key=order.index)


def table(steps: Iterable[StepProgress], title: str) -> Table:
    """The steps as a table."""
    view = Table(title=title, title_justify="left")
    for heading in ("step", "state", "items", "attempts", "seconds", "degraded / error"):
        view.add_column(heading, justify="right" if heading in ("items", "seconds") else "left")
    for step in steps:
        view.add_row(
            step.step,
            Text(step.state, style=_STYLES[step.state]),
            f"{step.done}/{step.begun}",
            str(step.attempts),
            f"{step.seconds:.1f}",
            step.error or ", ".join(step.degraded),
        )
    return view


def follow(watcher: Watcher, flow_id: str, console: Console, limit_s: float) -> Flow:
    """Show a flow until it ends; raises ``FlowStuckError`` after ``limit_s`` machine seconds."""
    show = _live if console.is_terminal else _by_line
    return show(watcher, flow_id, console, limit_s)


def wait(watcher: Watcher, flow_id: str, limit_s: float) -> Flow:
    """The same without showing anything."""
    return _until_ended(watcher, flow_id, limit_s, lambda _: None)


def _live(watcher: Watcher, flow_id: str, console: Console, limit_s: float) -> Flow:
    with Live(console=console, refresh_per_second=4) as live:
        return _until_ended(
            watcher, flow_id, limit_s, lambda steps: live.update(table(steps, f"flow {flow_id}"))
        )


def _by_line(watcher: Watcher, flow_id: str, console: Console, limit_s: float) -> Flow:
    shown: dict[str, tuple[RunState, int, int]] = {}
    begun = time.monotonic()

    def say(steps: list[StepProgress]) -> None:
        for step in steps:
            state = (step.state, step.done, step.attempts)
            if shown.get(step.step) != state:
                shown[step.step] = state
                console.print(_line(step, time.monotonic() - begun), highlight=False)

    return _until_ended(watcher, flow_id, limit_s, say)


def _line(step: StepProgress, at: float) -> str:
    rest = step.error or ", ".join(step.degraded)
    again = f" attempt {step.attempts}" if step.attempts > 1 else ""
    return f"{at:7.1f} s  {step.step:<17} {step.state:<9} {step.done}/{step.begun}{again}  {rest}"


def _until_ended(watcher: Watcher, flow_id: str, limit_s: float, show: Show) -> Flow:
    begun = time.monotonic()
    while True:
        flow = watcher.flow(flow_id)
        steps = summarize(
            watcher.runs(flow_id),
            watcher.changes(flow_id),
            watcher.clock.now(),
            watcher.expected(flow_id),
        )
        show(steps)
        if flow is not None and flow.status is not FlowStatus.RUNNING:
            return flow
        waited = time.monotonic() - begun
        if flow is None and waited > FIRST_SIGN_S:
            raise FlowStuckError(
                f"nothing has taken up flow {flow_id} in {FIRST_SIGN_S:.0f} s: "
                "see logs/ingest-video.log in the cloud's folder"
            )
        if waited > limit_s:
            at = ", ".join(s.step for s in steps if s.state is not RunState.COMPLETED) or "nowhere"
            raise FlowStuckError(f"flow {flow_id} has not ended in {limit_s:.0f} s; it is at {at}")
        time.sleep(LOOK_S)
