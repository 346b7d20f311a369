"""``geminivideo sharing``: whether an account learns from others, and lets them learn from it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from emulators.commands.changes import GatewayOption
from emulators.commands.console import STATE, JsonOption, StateOption, answer, console, told

app = typer.Typer(
    help="What accounts learn from each other: off until an account says yes.",
    no_args_is_help=True,
)
AccountArgument = Annotated[str, typer.Argument(help="The account's id.")]
ByOption = Annotated[str, typer.Option(help="Who says so; by default the login name.")]


@app.command("in")
def opt_in(
    account: AccountArgument,
    by: ByOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Take part: give bounded, noise-protected sums, and use those of all."""
    shown = _post(account, "in", by, state, gateway)
    answer(shown, f"{account} takes part, by {shown['by']}", as_json)


@app.command("out")
def opt_out(
    account: AccountArgument,
    by: ByOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Leave: the contribution is deleted now; releases made with it stand."""
    shown = _post(account, "out", by, state, gateway)
    stand = f"; {shown['not_taken_back']} releases made with its data stand"
    answer(shown, f"{account} takes no part{stand if shown['not_taken_back'] else ''}", as_json)


@app.command()
def show(
    account: AccountArgument,
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """What the account gives and gets, and what that has cost of its privacy budget."""
    from emulators.gateway import Gateway, GatewayError

    with told(GatewayError):
        shown = Gateway.at(gateway, state).get(f"/api/sharing/{account}")
    answer(shown, "", as_json) if as_json else console.print(_view(shown))


def _post(account: str, word: str, by: str, state: Path, gateway: str) -> dict[str, Any]:
    from emulators.gateway import Gateway, GatewayError

    body = {"by": by or getpass.getuser()}
    with told(GatewayError):
        return Gateway.at(gateway, state).post(f"/api/sharing/{account}/{word}", body)


def _view(shown: dict[str, Any]) -> Table:
    view = Table(title=f"{shown['account_id']}  {'takes' if shown['opted_in'] else 'no'} part")
    for heading in ("", "what"):
        view.add_column(heading, overflow="fold")
    day = datetime.fromtimestamp(shown["next_release_after"], UTC).date().isoformat()
    view.add_row(
        "privacy budget",
        f"epsilon {shown['epsilon_spent']:g} of {shown['epsilon_budget']:g} spent within "
        f"{shown['budget_days']:g} days; {shown['epsilon_per_release']:g} a release",
    )
    view.add_row("next release", f"after {day}")
    for trait, ratio in (shown["contribution"] or {}).items():
        view.add_row("gives", f"{trait} x{ratio:.2f}")
    for pattern in shown["received"]:
        low, high = pattern["interval"]
        view.add_row("gets", f"{pattern['trait']} x{pattern['lift']:.2f} ({low:.2f}-{high:.2f})")
    for reason in shown["degraded"]:
        view.add_row("degraded", reason)
    return view
