"""``geminivideo fault``: faults of a running cloud, from a script or from options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

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
    from emulators.faults.script import Script

app = typer.Typer(
    help="What goes wrong on purpose: errors, delays, cut connections.", no_args_is_help=True
)
_WHAT = ("code", "delay_s", "drop", "duplicate", "reorder", "stall_s", "quota", "kill")


@app.command()
def add(
    script: Annotated[
        Path | None, typer.Argument(help="A YAML script; without it, one rule from the options.")
    ] = None,
    service: Annotated[str, typer.Option(help="pubsub, storage, host/FUNCTION, ...")] = "",
    endpoint: Annotated[str, typer.Option(help="A glob: Publisher/Publish, 'GET *'.")] = "",
    caller: Annotated[str, typer.Option(help="A glob: a function, an account, external.")] = "",
    resource: Annotated[str, typer.Option(help="A glob: a topic, document, bucket/object.")] = "",
    code: Annotated[str, typer.Option(help="UNAVAILABLE, or an HTTP status.")] = "",
    message: Annotated[str, typer.Option(help="What the error says.")] = "",
    delay: Annotated[float, typer.Option(help="Seconds on the cloud's clock.")] = 0.0,
    drop: Annotated[str, typer.Option(help="before or after the effect.")] = "",
    duplicate: Annotated[int, typer.Option(help="How often a delivery is sent.")] = 0,
    stall: Annotated[float, typer.Option(help="Seconds that a stream is silent.")] = 0.0,
    kill: Annotated[str, typer.Option(help="before or after the function answered.")] = "",
    skip: Annotated[int, typer.Option(help="So many calls pass first.")] = 0,
    times: Annotated[str, typer.Option(help="How many are struck, or forever.")] = "",
    rule_id: Annotated[str, typer.Option("--id", help="What to call it.")] = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Add the rules of a script, or one rule."""
    from emulators.faults.errors import FaultError

    members = {
        "service": service,
        "endpoint": endpoint,
        "caller": caller,
        "resource": resource,
        "code": _number(code),
        "message": message,
        "delay_s": delay,
        "drop": drop,
        "duplicate": duplicate,
        "stall_s": stall,
        "kill": kill,
        "skip": skip,
        "times": _number(times),
        "id": rule_id,
    }
    given = {name: value for name, value in members.items() if value}
    if (script is None) == (not given):
        fail("give a script, or one rule by --service and an effect", Exit.FAILED)
    with told(FaultError):
        added = _add_script(script, state) if script else _add_rule(given, state)
    answer({"faults": added}, "added " + ", ".join(rule["id"] for rule in added), as_json)


def load(path: Path | None) -> Script | None:
    """The script that a cloud is started with; raises ``ScriptError`` before it starts."""
    from emulators.faults import script as scripts

    return scripts.load(path) if path else None


@app.command("list")
def show(as_json: JsonOption = False, state: StateOption = STATE) -> None:
    """Show the rules and how often each struck."""
    from emulators.remote import Control, RefusedError

    with told(RefusedError):
        found = Control(state).get("/faults")
    if as_json:
        answer(found, "", as_json)
    else:
        console.print(table(found["faults"]))


@app.command()
def clear(
    rule_id: Annotated[str, typer.Argument(help="A rule's id; without it, all of them.")] = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Forget one rule, or all."""
    from urllib.parse import quote

    from emulators.remote import Control, RefusedError

    path = f"/faults/{quote(rule_id, safe='')}" if rule_id else "/faults"
    with told(RefusedError):
        cleared = Control(state).delete(path)
    answer(cleared, f"cleared {cleared['cleared']}", as_json)


def table(rules: list[dict[str, Any]]) -> Table:
    """The rules for people."""
    view = Table()
    for heading in ("id", "service", "endpoint", "what", "struck", "seen", "left"):
        view.add_column(heading, overflow="fold")
    for rule in rules:
        what = ", ".join(f"{name} {rule[name]}" for name in _WHAT if name in rule)
        left = "nothing" if rule["spent"] else _left(rule)
        columns = (rule["id"], rule["service"], rule.get("endpoint", "*"), what)
        view.add_row(*columns, str(rule["struck"]), str(rule["seen"]), left)
    return view


def _left(rule: dict[str, Any]) -> str:
    times = rule["times"]
    if times == "forever":
        return "forever"
    return f"{times} each" if "count_by" in rule else str(times - rule["struck"])


def _add_script(script: Path, state: Path) -> list[dict[str, Any]]:
    from emulators.faults import script as scripts
    from emulators.faults.rules import plain
    from emulators.remote import Control, RefusedError

    loaded = scripts.load(script)
    try:
        answered = Control(state).post(
            "/faults", {"faults": [plain(rule) for rule in loaded.rules]}
        )
    except RefusedError as error:
        fail(loaded.located(str(error)), Exit.FAILED)
    return answered["faults"]


def _add_rule(members: dict[str, Any], state: Path) -> list[dict[str, Any]]:
    from emulators.faults.rules import rule_of
    from emulators.remote import Control, RefusedError

    rule_of(members)
    with told(RefusedError):
        return Control(state).post("/faults", members)["faults"]


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text
