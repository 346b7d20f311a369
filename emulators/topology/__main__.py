"""``python -m emulators.topology check``: run the program and every check; exit 1 on a finding.

``record OUT`` writes the graph as JSON, for reading or for a comparison in a review.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from emulators.topology.check import check
from emulators.topology.graph import Finding, Graph
from emulators.topology.record import RecordError, record

ROOT = Path(__file__).resolve().parent.parent.parent


def findings_of(root: Path, out: Path) -> tuple[list[Finding], Graph | None]:
    """Record the tree ``root`` and check it: the findings, and the graph when there is one."""
    try:
        graph = record(
            root,
            project="geminivideo-check",
            region="us-central1",
            stack="check",
            config={"metaToken": "not-a-token", "callers": "group:callers@example.com"},
            function_urls={},
            out=out,
        )
    except RecordError as error:
        return list(error.findings), None
    return check(graph), graph


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m emulators.topology", description=__doc__)
    parser.add_argument("command", choices=("check", "record"))
    parser.add_argument("out", nargs="?", type=Path, help="where `record` writes the graph")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree with Pulumi.yaml")
    asked = parser.parse_args(arguments)
    if asked.command == "record" and asked.out is None:
        parser.error("record needs OUT")
    with tempfile.TemporaryDirectory() as scratch:
        out = asked.out if asked.command == "record" else Path(scratch, "graph.json")
        findings, graph = findings_of(asked.root, out)
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    if graph is not None and not findings:
        sys.stdout.write(f"{len(graph.resources)} resources, no findings\n")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
