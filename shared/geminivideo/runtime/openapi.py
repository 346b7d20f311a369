"""The parameters of a route as OpenAPI writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_SEGMENT = re.compile(r"{(\w+)}")


def parameters(path: str, query: Iterable[str]) -> list[dict[str, Any]]:
    """The ``{name}`` segments of a path, then its query members; all strings on the wire."""
    in_path = [_parameter(name, "path", required=True) for name in _SEGMENT.findall(path)]
    return in_path + [_parameter(name, "query", required=False) for name in query]


def _parameter(name: str, place: str, required: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": "string"}}
