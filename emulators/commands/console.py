"""What every command shares: options, exit codes, answers, and errors that a user can mend."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

STATE = Path(".local/cloud")
# What is shown are the words of others: brackets in them are no markup.
console = Console(emoji=False, markup=False)

StateOption = Annotated[
    Path, typer.Option("--state", envvar="GEMINIVIDEO_STATE", help="The cloud's folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


class Exit(IntEnum):
    """Exit codes; 2 is typer's own for a wrong command line."""

    OK = 0
    FAILED = 1
    REJECTED = 3
    DEAD = 4
    NO_CLOUD = 5
    STOPPED = 130


@contextmanager
def told(*mendable: type[Exception]) -> Iterator[None]:
    """Turn the errors a user can mend into one line and an exit code."""
    from emulators.running import CloudNotRunningError

    try:
        yield
    except CloudNotRunningError as error:
        fail(str(error), Exit.NO_CLOUD)
    except mendable as error:
        fail(str(error), Exit.FAILED)


def fail(message: str, code: Exit) -> NoReturn:
    """One line on standard error, and the exit code."""
    complain(f"error: {message}")
    raise typer.Exit(code)


def complain(line: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{line}\n")


def answer(data: dict[str, Any], line: str, as_json: bool) -> None:
    """The result: JSON for machines, a line for people."""
    if as_json:
        sys.stdout.write(json.dumps(data, default=str) + "\n")
    else:
        console.print(line, highlight=False, markup=False)
