"""Our Pub/Sub and Firestore beside Google's own emulators, in one run; and the whole local cloud.

Both sides serve from a process of their own and are loaded by the same client, turn by turn:
``ROUNDS`` rounds of ours, Google's, ours, ... on a machine that both share, medians of the rounds
(contention, which lasts seconds by itself, once each).
A rate is better high, start-up time, memory and waiting times are better low; ``ratio`` is ours
over Google's either way. Without Google's emulators the reason is said and ours stands alone.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

from tests.contract import google

ROUNDS = 5
SERVICES = (google.PUBSUB, google.FIRESTORE)
CONTENDED_MS = 50.0  # the most that a contended commit may take at the median
CLOUD_UP_S = 3.0
CLOUD_MIB = 400.0
OURS, GOOGLES = "ours", "Google's"


@dataclass(frozen=True)
class Row:
    """One measure: ours, Google's (None: absent), and the aim in words."""

    service: str
    name: str
    unit: str
    ours: float
    googles: float | None
    more_is_better: bool = True
    most: float | None = None  # an absolute aim, instead of being ahead of Google's

    @property
    def ratio(self) -> float | None:
        """Ours over Google's; infinite where theirs got nothing done."""
        if self.googles is None:
            return None
        return self.ours / self.googles if self.googles else math.inf

    @property
    def aim(self) -> str:
        """What is aimed at, as it is shown."""
        if self.most is not None:
            return f"<= {self.most:g} {self.unit}"
        return "ratio > 1" if self.more_is_better else "ratio < 1"

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None when there is nothing to compare with."""
        if self.most is not None:
            return self.ours <= self.most
        if self.ratio is None:
            return None
        return self.ratio > 1 if self.more_is_better else self.ratio < 1


@dataclass
class Served:
    """A serving process, how long it took until it answered, and where."""

    process: psutil.Process
    host: str
    ready_s: float

    def resident_mib(self) -> float:
        """Resident memory of the process and its children, in MiB."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_info().rss for one in family) / 2**20


Samples = dict[str, list[float]]


def measure() -> tuple[list[Row], list[google.Absent]]:
    """Everything, both sides; and which of Google's emulators are missing."""
    found = {name: google.find(name) for name in SERVICES}
    rows = [row for name in SERVICES for row in _service(name, found[name])]
    absent = [one for one in found.values() if isinstance(one, google.Absent)]
    return [*rows, *_cloud()], absent


def show(rows: list[Row], absent: list[google.Absent], console: Console) -> bool:
    """Print the table; whether every aim with something to compare to is met."""
    view = Table(title="The emulators, ours beside Google's", title_justify="left")
    for heading in ("service", "measure", "unit"):
        view.add_column(heading)
    for heading in (OURS, GOOGLES, "ratio"):
        view.add_column(heading, justify="right")
    for heading in ("aim", ""):
        view.add_column(heading)
    for row in rows:
        view.add_row(*_cells(row))
    console.print(view)
    for one in absent:
        console.print(f"Google's {one.name} emulator is absent: {one.reason}")
    return all(row.met is not False for row in rows)


def _cells(row: Row) -> Iterator[str]:
    yield from (row.service, row.name, row.unit, _figure(row.ours))
    yield "absent" if row.googles is None else _figure(row.googles)
    yield "" if row.ratio is None else f"{row.ratio:.3g}"
    yield row.aim
    yield {True: "met", False: "MISSED", None: "unknown"}[row.met]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _service(name: str, theirs: google.Emulator | google.Absent) -> Iterator[Row]:
    """The rows of one service; each side is started ``ROUNDS`` times, the last ones stay up."""
    ours, googles = _sides(name, theirs)
    for measured in ours:
        yield _row(name, measured, ours[measured], googles.get(measured))


def _row(service: str, name: str, ours: list[float], googles: list[float] | None) -> Row:
    theirs = median(googles) if googles else None
    if name.startswith("commit among"):
        return Row(service, name, "ms", median(ours), theirs, False, CONTENDED_MS)
    unit = {"start-up": "s", "memory": "MiB"}.get(name)
    return Row(service, name, unit or "/s", median(ours), theirs, more_is_better=unit is None)


def _sides(name: str, theirs: google.Emulator | google.Absent) -> tuple[Samples, Samples]:
    ours: Samples = {"start-up": [], "memory": []}
    googles: Samples = {"start-up": [], "memory": []} if _is_there(theirs) else {}
    with ExitStack() as stack:
        for _ in range(ROUNDS - 1):
            with _ours(name) as served:
                ours["start-up"].append(served.ready_s)
            if isinstance(theirs, google.Emulator):
                with _googles(theirs) as served:
                    googles["start-up"].append(served.ready_s)
        sides = [(stack.enter_context(_ours(name)), ours)]
        if isinstance(theirs, google.Emulator):
            sides.append((stack.enter_context(_googles(theirs)), googles))
        for served, samples in sides:
            samples["start-up"].append(served.ready_s)
        for _ in range(ROUNDS):
            for served, samples in sides:
                _load(name, served, samples)
        for served, samples in sides:
            samples["memory"].append(served.resident_mib())
        if name == google.FIRESTORE:
            for served, samples in sides:
                _load("contention", served, samples)
    return ours, googles


def _is_there(found: google.Emulator | google.Absent) -> bool:
    return isinstance(found, google.Emulator)


def _load(name: str, served: Served, samples: Samples) -> None:
    command = [sys.executable, "-m", "bench.load", name, served.host]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise RuntimeError(f"the load on {name} at {served.host} failed:\n{said.stderr[-2000:]}")
    for measured, value in json.loads(said.stdout).items():
        samples.setdefault(measured, []).append(value)


@contextmanager
def _ours(name: str, folder: Path | None = None) -> Iterator[Served]:
    """``bench.served`` of that name, from the start of its process until it answers."""
    with ExitStack() as stack:
        state = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.served", name, str(state)],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, process)
        assert process.stdout is not None
        host = process.stdout.readline().strip()
        ready = time.perf_counter() - began
        if not host:
            raise RuntimeError(f"{name} did not start: its error is above")
        yield Served(psutil.Process(process.pid), host, ready)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def _googles(emulator: google.Emulator) -> Iterator[Served]:
    running = google.start(emulator)
    try:
        yield Served(psutil.Process(running.process.pid), running.host, running.ready_s)
    finally:
        running.stop()


def _cloud() -> Iterator[Row]:
    """The whole cloud on a fresh state directory, and again on the same one."""
    first: list[float] = []
    again: list[float] = []
    resident: list[float] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            for seconds in (first, again):
                with _ours("cloud", Path(folder)) as served:
                    seconds.append(served.ready_s)
                    resident.append(served.resident_mib())
    whole = "whole cloud"
    yield Row(whole, "start-up, fresh", "s", median(first), None, False, CLOUD_UP_S)
    yield Row(whole, "start-up, again", "s", median(again), None, False, CLOUD_UP_S)
    yield Row(whole, "memory, no functions", "MiB", median(resident), None, False, CLOUD_MIB)
