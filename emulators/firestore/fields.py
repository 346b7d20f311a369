"""Field paths (``a.b``, with back-quoted segments) and reading and writing values along them.

``fields`` is the ``fields`` map of a raw ``Document`` or ``MapValue`` message throughout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from emulators.firestore.errors import invalid_argument

FieldPath = tuple[str, ...]

NAME: FieldPath = ("__name__",)
RESERVED = re.compile(r"__.*__", re.DOTALL)
_SIMPLE = re.compile(r"[a-zA-Z_][a-zA-Z_0-9]*")
_QUOTED = re.compile(r"`((?:[^`\\]|\\.)+)`", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@lru_cache(maxsize=16384)
def parse(path: str) -> FieldPath:
    """The segments of ``path``; raises INVALID_ARGUMENT when it is not a field path."""
    segments: list[str] = []
    at = 0
    while True:
        quoted = _QUOTED.match(path, at)
        found = quoted or _SIMPLE.match(path, at)
        if found is None:
            raise _malformed(path)
        segments.append(_ESCAPE.sub(r"\1", quoted.group(1)) if quoted else found.group())
        at = found.end()
        if at == len(path):
            return tuple(segments)
        if path[at] != ".":
            raise _malformed(path)
        at += 1


def parse_writable(path: str) -> FieldPath:
    """As ``parse``; a reserved segment is refused too."""
    segments = parse(path)
    for segment in segments:
        if RESERVED.fullmatch(segment):
            raise invalid_argument(f"Invalid reserved name in field path {path}")
    return segments


def shown(path: FieldPath) -> str:
    """The path as it is written in a request."""
    return ".".join(
        segment
        if _SIMPLE.fullmatch(segment)
        else "`" + segment.replace("\\", "\\\\").replace("`", "\\`") + "`"
        for segment in path
    )


def lookup(fields: Any, path: FieldPath) -> Any | None:
    """The ``Value`` at ``path``, or None when a segment is missing or is not a map."""
    for segment in path[:-1]:
        if segment not in fields or not fields[segment].HasField("map_value"):
            return None
        fields = fields[segment].map_value.fields
    last = path[-1]
    return fields[last] if last in fields else None  # noqa: SIM401 (get() of a message map adds)


def put(fields: Any, path: FieldPath, value: Any) -> None:
    """Set ``path`` to a copy of ``value``; what is not a map on the way becomes one."""
    for segment in path[:-1]:
        holder = fields[segment]
        holder.map_value.SetInParent()
        fields = holder.map_value.fields
    fields[path[-1]].CopyFrom(value)


def remove(fields: Any, path: FieldPath) -> None:
    """Take the value at ``path`` away, if it is there."""
    for segment in path[:-1]:
        if segment not in fields or not fields[segment].HasField("map_value"):
            return
        fields = fields[segment].map_value.fields
    if path[-1] in fields:
        del fields[path[-1]]


def project(source: Any, target: Any, paths: Iterable[FieldPath]) -> None:
    """Copy what ``source`` has at ``paths`` into ``target``."""
    for path in paths:
        value = lookup(source, path)
        if value is not None and path != NAME:
            put(target, path, value)


def _malformed(path: str) -> Exception:
    return invalid_argument(
        f'Invalid property path "{path}". Unquoted property paths must match regex '
        "([a-zA-Z_][a-zA-Z_0-9]*), and quoted property paths must match regex "
        "(`(?:[^`\\\\]|(?:\\\\.))+`)"
    )
