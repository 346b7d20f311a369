"""What a program that is not ours must hold to run here; ours has stricter rules of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emulators.topology.graph import FUNCTION, RUN_JOB, GraphError, Resource
from emulators.topology.rules.view import Problem, View, rule

PYTHON = re.compile(r"python3\d+")


def _theirs(view: View, kind: str) -> list[Resource]:
    return view.all(kind) if view.graph.map is None else []


@rule
def python_function(view: View) -> Iterator[Problem]:
    """The host runs Python functions from a bucket object of the same program."""
    for r in _theirs(view, FUNCTION):
        build = r.inputs.get("buildConfig", {})
        if not PYTHON.fullmatch(str(build.get("runtime"))):
            yield r, f"runtime is {build.get('runtime')!r}: the local cloud runs Python functions"
        source = build.get("source", {}).get("storageSource", {})
        try:
            view.graph.bundle(source.get("bucket", ""), source.get("object", ""))
        except GraphError as error:
            yield r, str(error)
        if r.inputs.get("eventTrigger"):
            yield r, "eventTrigger is not emulated: declare a push subscription with an OIDC token"


@rule
def job_code(view: View) -> Iterator[Problem]:
    """The host runs a job from the bundle that its image is built of, not from the image."""
    for r in _theirs(view, RUN_JOB):
        try:
            view.graph.bundle_of_job(r)
        except GraphError as error:
            yield r, str(error)
