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
_EXECUTION = "execution_id"
_LABELS = "logging.googleapis.com/labels"
_TRACE = "logging.googleapis.com/trace"


@dataclass
class Wanted:
    """Which lines: of one trace, of one flow, or all.

    A line names its trace itself, or an execution whose trace an earlier line of the host gave;
    a flow takes the whole of every trace in which it was named, from that line on.
    """

    trace: str = ""
    flow: str = ""
    _executions: dict[str, str] = field(default_factory=dict)
    _traces: set[str] = field(default_factory=set)

    def takes(self, line: str) -> bool:
        """Whether the line is wanted; lines are to be shown in their order."""
        if not self.trace and not self.flow:
            return True
        record = parsed(line)
        trace = self._trace_of(record)
        if self.trace and trace != self.trace:
            return False
        return not self.flow or self._of_flow(record, trace)

    def _trace_of(self, record: dict[str, Any]) -> str:
        execution = str(record.get(_EXECUTION) or _label(record))
        trace = trace_of(record)
        if trace and execution:
            self._executions[execution] = trace
        return trace or self._executions.get(execution, "")

    def _of_flow(self, record: dict[str, Any], trace: str) -> bool:
        if record.get("flow_id") == self.flow:
            self._traces.add(trace)
            return True
        return bool(trace) and trace in self._traces


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
    """The 32 hexadecimal digits of a line's trace, "" when it names none."""
    return str(record.get(_TRACE) or record.get("trace") or "").rpartition("/")[2]


def _label(record: dict[str, Any]) -> str:
    labels = record.get(_LABELS)
    return str(labels.get(_EXECUTION, "")) if isinstance(labels, dict) else ""


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
        return list(deque(filter(wanted.takes, self.fresh()), maxlen=count))

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
