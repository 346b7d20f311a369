"""``geminivideo learn``: one self-learning cycle, followed to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from rich.table import Table
from rich.text import Text

from emulators.commands.console import (
    STATE,
    Exit,
    JsonOption,
    StateOption,
    answer,
    console,
    fail,
    told,
)

if TYPE_CHECKING:
    from geminivideo.learning_records import LearningCycle
    from geminivideo.services.learning_cycle import CycleView

    from emulators.running import Running
    from emulators.watch import Watcher

_LOOK_S = 0.2
_STYLES = {"completed": "green", "running": "yellow", "failed": "red", "timed_out": "red"}


def learn(
    account: Annotated[str, typer.Option(help="Whose cycle; without it, every account's.")] = "",
    limit_s: Annotated[float, typer.Option("--limit", help="Longest wait, seconds.")] = 1200.0,
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Run the self-learning cycle's seven loops and say what each found.

    On the cloud that runs in --state; when none does, on one that is started there for it. The
    exit code is 1 when a loop failed or was lost, or when the cycle is not over in time.
    """
    from geminivideo.services.learning_cycle import view_of

    from emulators.running import StateDirError
    from emulators.serving import PortInUseError
    from emulators.topology.record import RecordError
    from emulators.watch import Watcher

    with told(StateDirError, PortInUseError, RecordError), _cloud(state) as running:
        watcher = Watcher(running)
        cycles = _asked(running, watcher, account)
        if not cycles:
            fail(f"there is no account {account}".rstrip(), Exit.FAILED)
        ended = [view_of(cycle) for cycle in _followed(watcher, cycles, limit_s)]
    _tell(ended, as_json)
    if not all(_is_whole(cycle) for cycle in ended):
        raise typer.Exit(Exit.FAILED)


@contextmanager
def _cloud(state: Path) -> Iterator[Running]:
    """The cloud that runs on the folder, or one of our own until the block ends."""
    from emulators.running import CloudNotRunningError, Running

    try:
        running = Running.find(state)
    except CloudNotRunningError:
        from emulators.cloud import LocalCloud
        from emulators.watch import Watcher

        with LocalCloud(state, port_base=0, speed=None):
            running = Running.find(state)
            Watcher(running).seed_accounts()
            yield running
    else:
        yield running


def _asked(running: Running, watcher: Watcher, account: str) -> list[LearningCycle]:
    """The cycles that are to be followed: begun here, or running already."""
    from geminivideo.cloud.documents import Query
    from geminivideo.events import LearningDue
    from geminivideo.records import Account
    from geminivideo.runtime.step import Ports
    from geminivideo.services import learning_cycle

    from emulators.environment import environment

    known = sorted(one.id for one in watcher.documents.query(Query("accounts"), Account))
    chosen = [one for one in known if account in ("", one)]
    tick = LearningDue(tick=uuid4().hex, trigger="command")
    now = watcher.clock.now()
    with environment(running.env):
        ports = Ports("learn")
        ports.log.handlers.clear()  # what is asked for is told here
        return [
            learning_cycle.ask(watcher.documents, ports, now, learning_cycle.share(tick, one))[0]
            for one in chosen
        ]


def _followed(
    watcher: Watcher, cycles: Sequence[LearningCycle], limit_s: float
) -> list[LearningCycle]:
    """The cycles as they are when all are over, or when the time is."""
    from geminivideo.learning_records import CycleStatus, LearningCycle
    from geminivideo.services.learning_loops import path_of

    end = time.monotonic() + limit_s
    while True:
        found = [watcher.documents.require(path_of(one.id), LearningCycle) for one in cycles]
        over = all(one.status is not CycleStatus.RUNNING for one in found)
        if over or time.monotonic() > end:
            return found
        time.sleep(_LOOK_S)


def _is_whole(cycle: CycleView) -> bool:
    return all(step.status == "completed" for step in cycle.steps.values())


def _tell(cycles: Sequence[CycleView], as_json: bool) -> None:
    if as_json:
        answer({"cycles": [asdict(cycle) for cycle in cycles]}, "", as_json)
        return
    for cycle in cycles:
        console.print(_table(cycle))
        for reason, words in cycle.explained.items():
            console.print(f"degraded: {reason}: {words}", highlight=False, markup=False)


def _table(cycle: CycleView) -> Table:
    spent = f", {cycle.duration_seconds:.1f} s" if cycle.duration_seconds is not None else ""
    title = f"{cycle.cycle_id} of {cycle.account_id}: {cycle.status}{spent}"
    view = Table(title=title, title_justify="left")
    for heading in ("loop", "status", "seconds", "found"):
        view.add_column(heading, overflow="fold")
    for step in cycle.steps.values():
        seconds = "-" if step.duration_seconds is None else f"{step.duration_seconds:.1f}"
        style = _STYLES.get(step.status, "dim")
        found = step.reason or ", ".join(_facts(step.result))
        view.add_row(f"{step.step} {step.name}", Text(step.status, style=style), seconds, found)
    return view


def _facts(result: dict[str, Any]) -> Iterator[str]:
    """The members of a loop's result that fit a line; lists by their length."""
    for name, value in result.items():
        if isinstance(value, (list, tuple, dict)):
            yield f"{name}: {len(value)}"
        elif isinstance(value, float):
            yield f"{name}: {value:.4g}"
        else:
            yield f"{name}: {'unknown' if value is None else value}"
