"""Cold start per function, beside a bare functions-framework function in the same rounds.

What is measured is what an instance does before its first request: a fresh interpreter, the
framework, and the bundle's main.py with all it imports at the top. What a function imports inside
itself is paid by its first request and is not in these figures. Each round starts every
function once, one after the other, so that a busy moment meets them all; the least of the rounds
counts. Bytecode is compiled before the first round, as it is in the image.
"""

from __future__ import annotations

import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import psutil
from geminivideo.topology import FUNCTIONS
from rich.console import Console
from rich.table import Table

from infra.bundle import build

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
BARE = "bare function"
AIM, AIM_WITH_MODEL = 2.0, 3.0
PROBE = """
import json, sys, time
sys.path[:] = [p for p in sys.path if p.startswith((sys.prefix, sys.base_prefix))]
sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in getattr(f, "__module__", "")]
from functions_framework import create_app
create_app("main", sys.argv[1])
told = {"seconds": time.time() - float(sys.argv[2]), "cpu_seconds": time.process_time()}
print(json.dumps(told), flush=True)
sys.stdin.read()
"""


class LoadError(RuntimeError):
    """A bundle's main.py cannot be loaded; the message ends with its traceback."""


@dataclass(frozen=True)
class Start:
    """One cold start, launch to loaded app: wall and processor seconds, resident bytes after it."""

    seconds: float
    cpu_seconds: float
    resident_bytes: int

    @classmethod
    def best(cls, starts: list[Start]) -> Start:
        """The least of each over several starts."""
        return cls(
            min(start.seconds for start in starts),
            min(start.cpu_seconds for start in starts),
            min(start.resident_bytes for start in starts),
        )


@dataclass(frozen=True)
class Row:
    """A function's best start, and its ratios to the bare function's."""

    name: str
    best: Start
    seconds_ratio: float
    cpu_ratio: float
    memory_ratio: float
    aim: float

    @property
    def met(self) -> bool:
        """Whether wall time and memory are within the aim (processor time is shown beside them:
        it says whether a miss is the function's or the busy machine's)."""
        return max(self.seconds_ratio, self.memory_ratio) <= self.aim


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Best of ``rounds`` for every function of the map; the bare function first."""
    with tempfile.TemporaryDirectory() as scratch:
        sources = _sources(Path(scratch))
        starts: dict[str, list[Start]] = {name: [] for name in sources}
        for _ in range(rounds):
            for name, source in sources.items():
                starts[name].append(_start(source))
    best = {name: Start.best(found) for name, found in starts.items()}
    aims = {step.name: AIM_WITH_MODEL if step.has_model else AIM for step in FUNCTIONS}
    bare = best[BARE]
    return [
        Row(
            name,
            start,
            start.seconds / bare.seconds,
            start.cpu_seconds / bare.cpu_seconds,
            start.resident_bytes / bare.resident_bytes,
            aims.get(name, 1.0),
        )
        for name, start in best.items()
    ]


def _sources(scratch: Path) -> dict[str, Path]:
    bare = scratch / "bare"
    bare.mkdir()
    (bare / "main.py").write_text("def main(request):\n    return 'ok'\n")
    sources = {BARE: bare / "main.py"}
    for step in FUNCTIONS:
        bundle = build(ROOT, step, scratch / "zips")
        folder = scratch / step.name
        with zipfile.ZipFile(bundle.path) as archive:
            archive.extractall(folder)
        sources[step.name] = folder / "main.py"
    for source in sources.values():
        compileall.compile_dir(source.parent, quiet=2)
    return sources


def _start(source: Path) -> Start:
    """Start once; the process waits, loaded, until its memory has been read."""
    with subprocess.Popen(
        [sys.executable, "-P", "-s", "-c", PROBE, str(source), repr(time.time())],
        env={"PATH": os.environ["PATH"], "HOME": str(Path.home())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        resident = psutil.Process(process.pid).memory_info().rss if line else 0
        _, complaint = process.communicate(timeout=60)
    if not line:
        raise LoadError(f"{source} does not load:\n{complaint.decode()[-2000:]}")
    told = json.loads(line)
    return Start(told["seconds"], told["cpu_seconds"], resident)


def show(rows: list[Row], console: Console) -> bool:
    """Print the table; whether every aim is met."""
    view = Table(title="Cold start, best of several rounds side by side", title_justify="left")
    for heading in ("function", "wall s", "x", "CPU s", "x", "MiB", "x", "aim", ""):
        view.add_column(heading, justify="left" if heading in ("function", "") else "right")
    for row in rows:
        bare = row.name == BARE
        view.add_row(
            row.name,
            f"{row.best.seconds:.3f}",
            f"{row.seconds_ratio:.2f}",
            f"{row.best.cpu_seconds:.3f}",
            f"{row.cpu_ratio:.2f}",
            f"{row.best.resident_bytes / 2**20:.0f}",
            f"{row.memory_ratio:.2f}",
            "" if bare else f"{row.aim:.0f} x",
            "" if bare else "ok" if row.met else "MISSED",
        )
    console.print(view)
    return all(row.met for row in rows)
