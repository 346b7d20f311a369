"""Run the Pulumi program in a process of its own and keep its graph as canonical JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from emulators.topology.graph import Finding, Graph
from emulators.topology.program import RecordError
from emulators.topology.reads import Read

__all__ = ["PROJECT_NUMBER", "Question", "RecordError", "Recorded", "record", "recorded"]

PROJECT_NUMBER = "123456789012"
TIMEOUT_S = 600.0  # a program that hangs; a busy machine takes minutes for seconds of work
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "PYTHONDONTWRITEBYTECODE")
_PACKAGES = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a program is asked: to declare itself for this project, region and stack.

    ``config`` holds the stack's settings by name (``metaToken``, ``callers``...); secrets among
    them never reach the graph. ``root`` is the folder of Pulumi.yaml, resolved.
    """

    root: str
    project: str
    region: str
    stack: str
    number: str = PROJECT_NUMBER
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A graph, and what it follows from. ``unrepeatable`` says why that cannot be known."""

    graph: Graph
    reads: tuple[Read, ...] = ()
    unrepeatable: tuple[str, ...] = ()


def record(
    program_dir: Path,
    *,
    project: str,
    region: str,
    stack: str,
    config: Mapping[str, str],
    out: Path,
    function_urls: Mapping[str, str] | None = None,
) -> Graph:
    """Run the program of a tree (where its Pulumi.yaml is) and write the graph to ``out``.

    ``function_urls`` (resource name -> ``http://127.0.0.1:PORT``) take the place of the functions'
    cloud URLs wherever those appear. Raises ``RecordError``.
    """
    root = str(program_dir.resolve())
    question = Question(root=root, project=project, region=region, stack=stack, config=config)
    graph = recorded(question).graph.localized(function_urls or {})
    write(graph, out)
    return graph


def recorded(question: Question) -> Recorded:
    """Run the program; the graph has the cloud's own URLs. Raises ``RecordError``."""
    reply = _ask(question)
    if findings := [msgspec.convert(item, Finding) for item in reply["findings"]]:
        raise RecordError(findings)
    return msgspec.convert(
        {name: reply[name] for name in ("graph", "reads", "unrepeatable")}, Recorded
    )


def write(graph: Graph, out: Path) -> None:
    """Write a graph as canonical JSON, whole or not at all."""
    write_whole(msgspec.json.format(msgspec.json.encode(graph, order="sorted"), indent=1), out)


def write_whole(data: bytes, out: Path) -> None:
    """A reader of ``out`` sees what was there before, or all of ``data``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(out)


def environment() -> dict[str, str]:
    """Nothing of the caller's cloud reaches the program: only what a process needs to start."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "PYTHONPATH": str(_PACKAGES), "PULUMI_ERROR_OUTPUT_STRING": "1"}


def _ask(question: Question) -> dict[str, Any]:
    """One question to a fresh recorder: the SDK keeps state that a second run would meet."""
    done = subprocess.run(
        [sys.executable, "-m", "emulators.topology.recorder"],
        input=msgspec.json.encode(asdict(question)),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment(),
    )
    if done.returncode or not done.stdout:
        complaint = done.stderr.decode(errors="replace").strip()[-4000:]
        where = Finding(file="Pulumi.yaml", line=1, rule="program", message=complaint)
        raise RecordError([where])
    return msgspec.json.decode(done.stdout)
