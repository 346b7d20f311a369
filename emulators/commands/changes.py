"""``geminivideo changes`` and what people decide about them, over a local or deployed gateway."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer
from rich.table import Table

from emulators.commands.console import STATE, JsonOption, StateOption, answer, console, told

GatewayOption = Annotated[
    str,
    typer.Option(
        "--gateway",
        envvar="GEMINIVIDEO_GATEWAY",
        help="A deployed gateway's URL (its token in GEMINIVIDEO_TOKEN); else the local cloud's.",
    ),
]
ByOption = Annotated[str, typer.Option(help="Who decides; by default the login name.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it stands in the history.")]
ChangeArgument = Annotated[str, typer.Argument(help="The id of a change.")]


def changes(
    change: Annotated[str, typer.Argument(help="A change's id; without it, a list.")] = "",
    status: Annotated[str, typer.Option(help="PENDING, COMPLETED, FAILED, ...")] = "",
    account: Annotated[str, typer.Option(help="Only this account's.")] = "",
    campaign: Annotated[str, typer.Option(help="Only this campaign's.")] = "",
    kind: Annotated[str, typer.Option("--type", help="BUDGET_INCREASE, CREATE_AD, ...")] = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """List changes, or show one with its history."""
    if change:
        shown = get(f"/api/ad-change-history?{urlencode({'change_id': change})}", state, gateway)
        answer(shown, "", as_json) if as_json else console.print(_history(shown))
        return
    wanted = {
        "status": status.upper(),
        "account_id": account,
        "campaign_id": campaign,
        "change_type": kind.upper(),
    }
    found = _listed({name: value for name, value in wanted.items() if value}, state, gateway)
    answer({"changes": found}, "", as_json) if as_json else console.print(_table(found))


def approve(
    change: ChangeArgument,
    by: ByOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Let a waiting change out."""
    _decide(change, "approve", by, "", as_json, state, gateway)


def reject(
    change: ChangeArgument,
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """End a waiting change: nothing is written to Meta."""
    _decide(change, "reject", by, reason, as_json, state, gateway)


def rollback(
    change: ChangeArgument,
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Take an executed change back, through the same limits."""
    _decide(change, "rollback", by, reason, as_json, state, gateway)


def replay(
    failed: Annotated[str, typer.Argument(help="A FAILED change or a dead letter, by its id.")],
    by: ByOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Try again what was given up."""
    body = {"id": failed, "by": login_name(by)}
    done = post("/api/replay", body, state, gateway)
    answer(done, f"{done['kind']} {done['id']} is tried again", as_json)


def kill(
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Stop every write to Meta, now."""
    body = {"by": login_name(by), "reason": reason}
    stops = post("/api/kill-switch", body, state, gateway)
    answer(stops, _stops(stops), as_json)


def resume(
    breaker: Annotated[
        str, typer.Option(help="Close this breaker instead (`meta-token`, `meta-account-ID`).")
    ] = "",
    by: ByOption = "",
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
    gateway: GatewayOption = "",
) -> None:
    """Take the kill switch back, or close a breaker that somebody has looked at."""
    path = f"/api/breakers/{quote(breaker, '')}/close" if breaker else "/api/kill-switch/release"
    stops = post(path, {"by": login_name(by), "reason": reason}, state, gateway)
    answer(stops, _stops(stops), as_json)


COMMANDS = (changes, approve, reject, rollback, replay, kill, resume)


def _decide(
    change: str, what: str, by: str, reason: str, as_json: bool, state: Path, gateway: str
) -> None:
    body = {"by": login_name(by), "reason": reason}
    done = post(f"/api/pending-ad-changes/{quote(change, '')}/{what}", body, state, gateway)
    of = f" (of {done['of']})" if done.get("of") else ""
    answer(done, f"{done['id']}{of} is {done['status']}, by {done['by']}", as_json)


def login_name(by: str) -> str:
    """Who decides: as said, or who is logged in."""
    return by or getpass.getuser()


def get(path: str, state: Path, gateway: str) -> dict[str, Any]:
    """The gateway's answer; its errors are one line."""
    from emulators.gateway import Gateway, GatewayError

    with told(GatewayError):
        return Gateway.at(gateway, state).get(path)


def post(path: str, body: dict[str, Any], state: Path, gateway: str) -> dict[str, Any]:
    """The gateway's answer; its errors are one line."""
    from emulators.gateway import Gateway, GatewayError

    with told(GatewayError):
        return Gateway.at(gateway, state).post(path, body)


def _listed(wanted: dict[str, str], state: Path, gateway: str) -> list[dict[str, Any]]:
    """All that the filters let through, oldest first, however many pages it takes."""
    found: list[dict[str, Any]] = []
    asked = wanted
    while True:
        shown = get(f"/api/pending-ad-changes?{urlencode(asked)}", state, gateway)
        found += shown["changes"]
        if shown.get("next_cursor") is None:  # a gateway of before there were pages has none
            return found
        asked = {**wanted, "cursor": shown["next_cursor"]}


def _table(found: list[dict[str, Any]]) -> Table:
    view = Table()
    for heading in ("change", "type", "ad", "status", "asked by", "why"):
        view.add_column(heading, overflow="fold")
    for change in found:
        waits = change["needs_approval"] and not change["approved_by"]
        status = change["status"] + (" (waits for approval)" if waits else "")
        why = change["last_error"] or change["reasoning"]
        view.add_row(
            change["id"],
            change["change_type"],
            change["ad_id"] or "",
            status,
            change["requested_by"],
            why,
        )
    return view


def _history(shown: dict[str, Any]) -> Table:
    view = Table(title=f"{shown['id']}  {shown['change_type']}  {shown['status']}")
    for heading in ("row", "status", "by", "rules", "reason"):
        view.add_column(heading, overflow="fold")
    for row in shown["rows"]:
        rules = "\n".join(f"{r['rule']} {r['result']}: {r['reason']}" for r in row["rules"])
        name = row["id"].removeprefix(shown["id"]).lstrip("-")
        reason = row["error"] or row["reasoning"]
        view.add_row(name, row["status"], row["requested_by"], rules, reason)
    return view


def _stops(stops: dict[str, Any]) -> str:
    lines = ["everything is stopped" if stops["killed"] else "changes go out"]
    lines += [f"{b['name']}: {b['reason']}" for b in stops["breakers"]]
    lines += [f"degraded: {reason}" for reason in stops["degraded"]]
    return "\n".join(lines)
