"""Run the Pulumi program in a process of its own and keep its graph as canonical JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from emulators.topology.graph import Finding, Graph

PROJECT_NUMBER = "123456789012"
TIMEOUT_S = 120.0
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "PYTHONDONTWRITEBYTECODE")


class RecordError(RuntimeError):
    """The program did not run to its end; ``findings`` say where and why."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = tuple(findings)


def record(
    program_dir: Path,
    *,
    project: str,
    region: str,
    stack: str,
    config: dict[str, str],
    function_urls: dict[str, str],
    out: Path,
) -> Graph:
    """Run the program of a tree (where its Pulumi.yaml is) and write the graph to ``out``.

    ``config`` holds the stack's settings by name (``metaToken``, ``callers``...); secrets among
    them never reach the graph. ``function_urls`` (resource name -> ``http://127.0.0.1:PORT``)
    take the place of the functions' cloud URLs wherever those appear. Raises ``RecordError``.
    """
    request = {
        "root": str(program_dir.resolve()),
        "project": project,
        "number": PROJECT_NUMBER,
        "region": region,
        "stack": stack,
        "config": config,
        "function_urls": function_urls,
    }
    reply = _ask(request)
    findings = [msgspec.convert(item, Finding) for item in reply["findings"]]
    if findings:
        raise RecordError(findings)
    data = msgspec.json.format(msgspec.json.encode(reply["graph"], order="sorted"), indent=1)
    graph = msgspec.json.decode(data, type=Graph)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(out)
    return graph


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    """One question to a fresh recorder: the SDK keeps state that a second run would meet."""
    done = subprocess.run(
        [sys.executable, "-m", "emulators.topology.recorder"],
        input=msgspec.json.encode(request),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env=_environment(),
    )
    if done.returncode or not done.stdout:
        complaint = done.stderr.decode(errors="replace").strip()[-4000:]
        where = Finding(file="infra/__main__.py", line=1, rule="program", message=complaint)
        raise RecordError([where])
    return msgspec.json.decode(done.stdout)


def _environment() -> dict[str, str]:
    """Nothing of the caller's cloud reaches the program: only what a process needs to start."""
    root = Path(__file__).resolve().parent.parent.parent
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "PYTHONPATH": str(root), "PULUMI_ERROR_OUTPUT_STRING": "1"}
