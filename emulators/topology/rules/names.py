"""Names and values: explicit, unique, known, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emulators.topology.graph import (
    Resource,
)
from emulators.topology.rules.view import (
    ACCOUNT,
    NAME_KEYS,
    Problem,
    View,
    rule,
    strings,
)


@rule
def explicit_name(view: View) -> Iterator[Problem]:
    """A name that Pulumi makes up differs from stack to stack, and from the local cloud's."""
    for kind, key in NAME_KEYS.items():
        for r in view.all(kind):
            if r.autonamed or not r.inputs.get(key):
                yield r, f"has no explicit {key}"


@rule
def unique_name(view: View) -> Iterator[Problem]:
    """Two resources of one type and name are one resource in the cloud."""
    for kind, key in NAME_KEYS.items():
        seen: dict[str, Resource] = {}
        for r in view.all(kind):
            name = str(r.inputs.get(key))
            twin = seen.setdefault(name, r)
            if twin is not r:
                yield r, f"{key} {name!r} is taken by {twin.name} ({twin.where})"


@rule
def known_value(view: View) -> Iterator[Problem]:
    """A value the local run cannot know, or the word None from an unset output."""
    for r in view.graph.resources:
        for path, text in strings(r.inputs):
            if "⟦unresolved" in text:
                yield r, f"{path} uses a value the local run cannot know: {text}"
            elif re.search(r"(?<![A-Za-z])None(?![A-Za-z])", text):
                yield r, f"{path} holds the word None: {text!r}"


@rule
def one_place(view: View) -> Iterator[Problem]:
    """Project and region are the same everywhere: data and code stay together."""
    for r in view.graph.resources:
        for key in ("location", "region", "locationId"):
            place = r.inputs.get(key)
            if place is not None and str(place).lower() != view.graph.region:
                yield r, f"{key} is {place!r}, the stack's region is {view.graph.region!r}"
        project = r.inputs.get("project")
        if project is not None and project != view.graph.project:
            yield r, f"project is {project!r}, the stack's is {view.graph.project!r}"


@rule
def account_name(view: View) -> Iterator[Problem]:
    """IAM's own rule for account ids."""
    for r in view.all(ACCOUNT):
        name = str(r.inputs.get("accountId"))
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", name):
            yield r, f"accountId {name!r} must be 6 to 30 of a-z, 0-9 and -"
