"""Reading log files: the last lines, what is added, and which lines belong to a trace or a flow."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulators import addresses

# JOB-EXECUTION-TASK-ATTEMPT, where the execution's own name begins with the job's
_OF_JOB = re.compile(r"(.+)-\1-[^-]+-\d+-\d+\.log")
_LABELS = "logging.googleapis.com/labels"
_TRACE = "logging.googleapis.com/trace"


@dataclass
class Wanted:
    """Which lines: of one trace, of one flow, or all.

    A flow is every trace in which it was named: in a line that is shown, or one learnt before.
    """

    trace: str = ""
    flow: str = ""
    _traces: set[str] = field(default_factory=set)

    def learn(self, line: str) -> None:
        """Take note of a line that may only later be asked for."""
        if self.flow and self.flow in line:
            record = parsed(line)
            if record.get("flow_id") == self.flow:
                self._traces.add(trace_of(record))

    def takes(self, line: str) -> bool:
        """Whether the line is wanted."""
        if not self.trace and not self.flow:
            return True
        self.learn(line)
        record = parsed(line)
        trace = trace_of(record)
        if self.trace and trace != self.trace:
            return False
        return not self.flow or record.get("flow_id") == self.flow or trace in self._traces - {""}


class UnknownLogError(LookupError):
    """No step of that name has logs here."""

    def __init__(self, step: str, known: set[str]) -> None:
        super().__init__(f"no step {step!r} here; there are: {', '.join(sorted(known)) or 'none'}")


def names(state_dir: Path) -> set[str]:
    """The functions of a cloud, and the jobs that have run in it."""
    return set(addresses.read(state_dir).urls) | {
        found[1] for path in _logs(state_dir) if (found := _OF_JOB.fullmatch(path.name))
    }


def files_of(state_dir: Path, step: str) -> list[Path]:
    """A step's log files, oldest first: one of a function, one of each attempt of a job's task.

    ``step`` is a step's or a function's name. Raises ``UnknownLogError``.
    """
    known = names(state_dir)
    name = next((n for n in (step, step.replace("_", "-")) if n in known), None)
    if name is None:
        raise UnknownLogError(step, known)
    attempts = [
        path
        for path in _logs(state_dir)
        if (found := _OF_JOB.fullmatch(path.name)) and found[1] == name
    ]
    return attempts or [state_dir / "logs" / f"{name}.log"]


def _logs(state_dir: Path) -> list[Path]:
    found = (state_dir / "logs").glob("*.log")
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))


def parsed(line: str) -> dict[str, Any]:
    """The JSON object on a line; {} for any other text."""
    if not line.startswith("{"):
        return {}
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def trace_of(record: dict[str, Any]) -> str:
    """The 32 hexadecimal digits of a line's trace, "" when it names none.

    A structured line names it as Cloud Logging has it; what a function merely prints is labelled
    with its execution, which the host calls after the trace.
    """
    labels = record.get(_LABELS)
    execution = labels.get("execution_id") if isinstance(labels, dict) else ""
    return str(record.get(_TRACE) or record.get("trace") or execution or "").rpartition("/")[2]


class Tail:
    """A step's log files read from their beginning on, also those that come later."""

    def __init__(self, state_dir: Path, step: str) -> None:
        """Raises ``UnknownLogError``."""
        self._state_dir = state_dir
        self._step = step
        self._read: dict[Path, int] = {}
        files_of(state_dir, step)

    def last(self, count: int, wanted: Wanted) -> list[str]:
        """The last ``count`` wanted lines of what has not been read yet."""
        lines = list(self.fresh())
        for line in lines:
            wanted.learn(line)
        return list(deque(filter(wanted.takes, lines), maxlen=count))

    def fresh(self) -> Iterator[str]:
        """The lines that have come since the last call, each with its end.

        What a process is still writing, or died over, comes with its end or not at all.
        """
        for path in files_of(self._state_dir, self._step):
            if path.exists():
                yield from self._of(path)

    def _of(self, path: Path) -> Iterator[str]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                self._read[path] = self._read.get(path, 0) + len(raw)
                yield raw.decode("utf-8", "replace")
