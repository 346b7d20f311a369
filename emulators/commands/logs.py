"""``geminivideo logs``: what a step said, of one flow or trace, as it comes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from emulators.commands.console import STATE, StateOption, told

_LOOK_S = 0.2


def logs(
    step: Annotated[str, typer.Argument(help="A step; without one, what there is.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many at most.")] = 100,
    flow: Annotated[str, typer.Option(help="Only of the traces of this flow.")] = "",
    trace: Annotated[str, typer.Option(help="Only of this trace (32 hexadecimal digits).")] = "",
    state: StateOption = STATE,
) -> None:
    """Show a step's log: of a running cloud, or of one that has stopped."""
    from emulators.step_logs import Tail, UnknownLogError, Wanted, names

    if not step:
        _write(f"{name}\n" for name in sorted(names(state)))
        return
    with told(UnknownLogError):
        wanted, tail = Wanted(trace=trace, flow=flow), Tail(state, step)
        _write(tail.last(lines, wanted))
        while follow:
            _write(line for line in tail.fresh() if wanted.takes(line))
            time.sleep(_LOOK_S)


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line)
    sys.stdout.flush()
