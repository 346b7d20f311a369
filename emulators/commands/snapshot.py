"""``geminivideo snapshot``: keep a cloud's state, and begin tests from it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from emulators.commands.console import STATE, JsonOption, StateOption, answer, console, told

if TYPE_CHECKING:
    from emulators.snapshots import Snapshots

app = typer.Typer(help="Keep a cloud's state and begin from it again.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The snapshot's name.")]
DirOption = Annotated[
    Path | None,
    typer.Option("--dir", help="The folder of snapshots; by default beside the cloud's."),
]


@app.command()
def save(
    name: NameArgument,
    replace: Annotated[bool, typer.Option("--replace", help="Also if it is there.")] = False,
    folder: DirOption = None,
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Keep one moment of a cloud, running or not; a running one runs on."""
    import msgspec

    from emulators.snapshots import SnapshotError

    with told(SnapshotError):
        manifest = _snapshots(state, folder).save(name, state.resolve(), replace=replace)
    while_ = "while the cloud runs" if manifest.running else "of a stopped cloud"
    line = f"saved {name} {while_}: {_size(manifest.size)}, its clock at {_time(manifest.at)}"
    answer(msgspec.to_builtins(manifest), line, as_json)


@app.command()
def load(
    name: NameArgument,
    folder: DirOption = None,
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Put a snapshot in the place of a stopped cloud's state."""
    import msgspec

    from emulators.running import StateDirError
    from emulators.snapshots import SnapshotError

    with told(SnapshotError, StateDirError):
        manifest = _snapshots(state, folder).load(name, state.resolve())
    line = f"loaded {name} into {state}: its clock stands at {_time(manifest.at)} until the start"
    answer(msgspec.to_builtins(manifest), line, as_json)


@app.command("list")
def list_all(
    folder: DirOption = None, as_json: JsonOption = False, state: StateOption = STATE
) -> None:
    """Show what there is."""
    import msgspec

    found = _snapshots(state, folder).all()
    if as_json:
        answer({"snapshots": [msgspec.to_builtins(one) for one in found]}, "", as_json)
        return
    view = Table()
    for heading in ("snapshot", "clock", "speed", "size", "saved"):
        view.add_column(heading)
    for one in found:
        view.add_row(
            one.name, _time(one.at), f"{one.speed:g}", _size(one.size), _time(one.saved_at)
        )
    console.print(view)


@app.command()
def delete(name: NameArgument, folder: DirOption = None, state: StateOption = STATE) -> None:
    """Remove a snapshot."""
    from emulators.snapshots import SnapshotError

    with told(SnapshotError):
        _snapshots(state, folder).delete(name)
    answer({}, f"deleted {name}", as_json=False)


def _snapshots(state: Path, folder: Path | None) -> Snapshots:
    from emulators.snapshots import Snapshots

    return Snapshots(folder.resolve()) if folder else Snapshots.beside(state)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
