"""Every check on a graph, in the order in which a later one may rely on an earlier one."""

from __future__ import annotations

from emulators.topology import messages, rules
from emulators.topology.graph import Finding, Graph


def check(graph: Graph) -> list[Finding]:
    """Findings by file and line: the provider's schema, Google's API types, then our rules.

    A wrong type would make the later checks stumble, so they wait until the schema is clean.
    """
    return list(graph.schema_findings) or _messages(graph) or rules.check(graph)


def _messages(graph: Graph) -> list[Finding]:
    findings = []
    for resource in graph.resources:
        try:
            messages.parse(resource)
        except messages.MessageError as error:
            where = {"file": resource.file, "line": resource.line}
            findings.append(Finding(rule="api", message=f"{resource.name}: {error}", **where))
    return sorted(findings)
