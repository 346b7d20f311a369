"""``geminivideo clock``: look at the clock of a running cloud, move it, run it faster."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from emulators.commands.console import STATE, JsonOption, StateOption, answer, told

app = typer.Typer(help="The clock that the whole cloud follows.", no_args_is_help=True)

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw]?)")


def span(text: str) -> float:
    """A span like ``90``, ``3h`` or ``1d12h30m`` in seconds; raises what typer shows."""
    found = _PART.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise typer.BadParameter(f"{text!r} is no span: write 90, 45s, 30m, 3h, 2d or 1d12h")
    if len(found) > 1 and not all(unit for _, unit in found):
        raise typer.BadParameter(f"{text!r} lacks a unit: s, m, h, d or w")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in found)


@app.command()
def show(as_json: JsonOption = False, state: StateOption = STATE) -> None:
    """Show what time it is in the cloud, and how fast it runs."""
    _call("GET", "/clock", {}, as_json, state)


@app.command()
def advance(
    by: Annotated[str, typer.Argument(help="How far: 90, 45s, 30m, 3h, 1d12h.")],
    step: Annotated[
        str, typer.Option(help="Move in steps of this span, with a moment for work after each.")
    ] = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Move the clock ahead: everything that becomes due meanwhile is done."""
    body = {"seconds": span(by)} | ({"step": span(step)} if step else {})
    _call("POST", "/clock/advance", body, as_json, state)


@app.command()
def speed(
    factor: Annotated[float, typer.Argument(min=0.0, help="0 stands still, 1 is real time.")],
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Run the clock at another speed."""
    _call("POST", "/clock", {"speed": factor}, as_json, state)


def line(clock: dict[str, Any]) -> str:
    """A clock in words."""
    factor = clock["speed"]
    running = "stands still" if not factor else "real time" if factor == 1 else f"x{factor:g}"
    return f"{clock['time']}  ({running})"


def _call(method: str, path: str, body: dict[str, float], as_json: bool, state: Any) -> None:
    from emulators.remote import Control, RefusedError

    with told(RefusedError):
        control = Control(state)
        clock = control.get(path) if method == "GET" else control.post(path, body)
    answer(clock, line(clock), as_json)
