"""``geminivideo model``: which CTR models there are, which one predicts, and changing that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from emulators.commands.changes import (
    ByOption,
    GatewayOption,
    ReasonOption,
    get,
    login_name,
    post,
)
from emulators.commands.console import STATE, JsonOption, StateOption, answer, console

app = typer.Typer(help="The CTR model: its versions, and which one predicts.")
ROUTE = "/api/models/ctr"


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=500, help="The latest so many.")] = 20,
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Show the versions, the latest first, and which one is in use."""
    shown = get(f"{ROUTE}?limit={limit}", state, gateway)
    answer(shown, "", as_json) if as_json else console.print(_table(shown))


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="A version, as `model list` shows it.")],
    by: ByOption = "",
    reason: ReasonOption = "",
    expected: Annotated[
        str, typer.Option(help="Refuse when another version than this is in use.")
    ] = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Put a version in use, whatever its trial says."""
    body = {"version": version, "by": login_name(by), "reason": reason}
    if expected:
        body["expected"] = expected
    done = post(f"{ROUTE}/promote", body, state, gateway)
    answer(done, f"{done['version']} is in use, by {done['by']}", as_json)


@app.command()
def rollback(
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Put the model that was in use before in its place again."""
    body = {"by": login_name(by), "reason": reason}
    done = post(f"{ROUTE}/rollback", body, state, gateway)
    answer(done, _in_use(done), as_json)


def _in_use(done: dict[str, Any]) -> str:
    if done["version"] is None:
        return "no model is in use: scenes are ranked by the heuristic"
    return f"{done['version']} is in use again"


def _table(shown: dict[str, Any]) -> Table:
    view = Table(title=f"in use: {shown['champion'] or 'none (the heuristic ranks)'}")
    view.add_column("version", no_wrap=True)  # what `promote` is told must be there to copy
    for heading in ("state", "kind", "trained", "loss", "champion's", "base", "why"):
        view.add_column(heading, overflow="fold")
    for one in shown["versions"]:
        view.add_row(
            one["version"],
            one["state"],
            one["kind"],
            datetime.fromtimestamp(one["trained_at"], UTC).strftime("%Y-%m-%d %H:%M"),
            _number(one["challenger_score"]),
            _number(one["champion_score"]),
            _number(one["baseline_score"]),
            one["reason"],
        )
    return view


def _number(score: float | None) -> str:
    return "" if score is None else f"{score:.5f}"
