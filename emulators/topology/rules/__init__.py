"""Our rules on the graph: what neither the SDK nor Google's types can know.

A rule is a generator of findings, registered under its function's name. Limits come from Google's
documentation; the rights of each step are derived from the map a second time, so that
``infra/access.py`` is held to it.
"""

from __future__ import annotations

from emulators.topology.graph import Finding, Graph
from emulators.topology.rules import (
    compute,
    messaging,
    names,
    operating,
    rights,
    storing,
    whole,
)
from emulators.topology.rules.view import RULES, View, seconds

__all__ = [
    "RULES",
    "check",
    "compute",
    "messaging",
    "names",
    "operating",
    "rights",
    "seconds",
    "storing",
    "whole",
]


def check(graph: Graph) -> list[Finding]:
    """Every finding of every rule, in the order of file and line."""
    view = View(graph)
    return sorted(
        {
            Finding(file=r.file, line=r.line, rule=name, message=f"{r.name}: {message}")
            for name, body in RULES.items()
            for r, message in body(view)
        }
    )
