"""Our rules on the graph: what neither the SDK nor Google's types can know.

A rule is a generator of findings, registered under its function's name. Limits come from Google's
documentation; the rights of each step are derived from the map a second time, so that
``infra/access.py`` is held to it.
"""

from __future__ import annotations

from emulators.topology.graph import Finding, Graph
from emulators.topology.rules import (
    compute,
    foreign,
    messaging,
    names,
    operating,
    rights,
    storing,
    whole,
)
from emulators.topology.rules.view import RULES, View, seconds

__all__ = [
    "GENERAL",
    "RULES",
    "check",
    "compute",
    "foreign",
    "messaging",
    "names",
    "operating",
    "rights",
    "seconds",
    "storing",
    "whole",
]


# What holds for any program; the other rules know the product's map and its ways.
GENERAL = ("job-code", "known-value", "python-function", "topic-by-id", "unique-name")


def check(graph: Graph) -> list[Finding]:
    """Every finding of every rule that applies, in the order of file and line."""
    view = View(graph)
    applied = RULES if graph.map is not None else {name: RULES[name] for name in GENERAL}
    return sorted(
        {
            Finding(file=r.file, line=r.line, rule=name, message=f"{r.name}: {message}")
            for name, body in applied.items()
            for r, message in body(view)
        }
    )
