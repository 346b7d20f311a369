"""``geminivideo promote``: what people decide about promotions, over a gateway."""

from __future__ import annotations

from pathlib import Path
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

app = typer.Typer(help="Winners get more: exclude ads, force them, pause, confirm variations.")
AccountOption = Annotated[str, typer.Option(help="The ad account (accounts/ID).")]
AdArgument = Annotated[str, typer.Argument(help="An ad's id at Meta.")]
RequestArgument = Annotated[str, typer.Argument(help="A request's id, as `promote list` shows it.")]


@app.command("list")
def list_(
    account: AccountOption = "demo",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Show what stands: ads that people decided about, and requests for variations."""
    shown = get(f"/api/promotion/{account}", state, gateway)
    answer(shown, "", as_json) if as_json else console.print(_table(shown))


@app.command()
def exclude(
    ad: AdArgument,
    account: AccountOption = "demo",
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Never promote this ad."""
    _say(account, "exclude", {"ad_id": ad, "reason": reason}, by, as_json, state, gateway)


@app.command()
def include(
    ad: AdArgument,
    account: AccountOption = "demo",
    by: ByOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Take back what was said of an ad: it is promoted when it wins."""
    _say(account, "include", {"ad_id": ad}, by, as_json, state, gateway)


@app.command()
def force(
    ad: AdArgument,
    account: AccountOption = "demo",
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Promote this ad in the next cycle, once, within every limit."""
    _say(account, "force", {"ad_id": ad, "reason": reason}, by, as_json, state, gateway)


@app.command()
def pause(
    account: AccountOption = "demo",
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Promote nothing of this account."""
    _say(account, "pause", {"reason": reason}, by, as_json, state, gateway)


@app.command()
def resume(
    account: AccountOption = "demo",
    by: ByOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Promote again."""
    _say(account, "resume", {}, by, as_json, state, gateway)


@app.command()
def approve(
    request: RequestArgument,
    by: ByOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Let a request for variations of a winner start."""
    _decide(request, "approve", by, as_json, state, gateway)


@app.command()
def reject(
    request: RequestArgument,
    by: ByOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """End a request for variations: nothing is made."""
    _decide(request, "reject", by, as_json, state, gateway)


def _say(
    account: str,
    what: str,
    body: dict[str, Any],
    by: str,
    as_json: bool,
    state: Path,
    gateway: str,
) -> None:
    said = {"by": login_name(by), **body}
    shown = post(f"/api/promotion/{account}/{what}", said, state, gateway)
    answer(shown, "", as_json) if as_json else console.print(_table(shown))


def _decide(request: str, what: str, by: str, as_json: bool, state: Path, gateway: str) -> None:
    path = f"/api/variation-requests/{request}/{what}"
    done = post(path, {"by": login_name(by)}, state, gateway)
    answer(done, f"{done['id']} is {done['status']}, by {done['decided_by']}", as_json)


def _table(shown: dict[str, Any]) -> Table:
    view = Table(title=f"promotion of {shown['account_id']}", title_justify="left")
    for heading in ("what", "of", "by", "why"):
        view.add_column(heading, overflow="fold")
    if shown["paused"]:
        view.add_row("paused", "every ad", shown["paused"]["by"], shown["paused"]["reason"])
    for what in ("excluded", "forced"):
        for ad, said in sorted(shown[what].items()):
            view.add_row(what, ad, said["by"], said["reason"])
    for one in shown["variations"]:
        what = f"variations {one['status']}"
        view.add_row(what, f"{one['id']} of {one['ad_id']}", one["decided_by"] or "", one["reason"])
    return view
