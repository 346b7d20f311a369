"""count, sum and avg over a query's documents (``StructuredAggregationQuery`` in query.proto)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from google.cloud.firestore_v1.types import document as document_types

from emulators.firestore import fields
from emulators.firestore.errors import invalid_argument
from emulators.firestore.fields import FieldPath
from emulators.firestore.values import NAN_KEY, NUMBER
from emulators.firestore.version import Version

Value = document_types.Value.pb()

_INT64 = 2**63
_MAX_AGGREGATIONS = 5


@dataclass(frozen=True)
class Aggregation:
    """One asked result. ``path`` is None for a count; ``up_to`` bounds a count."""

    alias: str
    kind: str
    path: FieldPath | None
    up_to: int | None


def read(query: Any) -> tuple[Aggregation, ...]:
    """The aggregations of a raw ``StructuredAggregationQuery``; raises INVALID_ARGUMENT."""
    if not 1 <= len(query.aggregations) <= _MAX_AGGREGATIONS:
        raise invalid_argument("A query must have between 1 and 5 aggregations.")
    found: list[Aggregation] = []
    unnamed = 0
    for raw in query.aggregations:
        unnamed += not raw.alias
        found.append(_aggregation(raw, raw.alias or f"field_{unnamed}"))
    aliases = [one.alias for one in found]
    for alias in aliases:
        if aliases.count(alias) > 1:
            raise invalid_argument(f"Aggregation aliases contain duplicate alias: {alias}.")
    return tuple(found)


def compute(aggregations: tuple[Aggregation, ...], found: list[Version]) -> dict[str, Any]:
    """Each alias with its ``Value``; only documents that have every aggregated field count."""
    paths = {one.path for one in aggregations if one.path is not None}
    counted = [v for v in found if all(v.key(path) is not None for path in paths)]
    return {one.alias: _result(one, counted) for one in aggregations}


def _aggregation(raw: Any, alias: str) -> Aggregation:
    kind = raw.WhichOneof("operator")
    if kind is None:
        raise invalid_argument(f"The aggregation {alias} has no operator.")
    if kind == "count":
        up_to = raw.count.up_to.value if raw.count.HasField("up_to") else None
        if up_to is not None and up_to <= 0:
            raise invalid_argument("COUNT_UP_TO must be greater than zero.")
        return Aggregation(alias, kind, None, up_to)
    return Aggregation(alias, kind, fields.parse(getattr(raw, kind).field.field_path), None)


def _result(aggregation: Aggregation, counted: list[Version]) -> Any:
    if aggregation.path is None:
        up_to = aggregation.up_to
        return Value(integer_value=len(counted) if up_to is None else min(up_to, len(counted)))
    keys = [version.key(aggregation.path) for version in counted]
    numbers = [
        math.nan if key == NAN_KEY else key[2]
        for key in keys
        if key is not None and key[0] == NUMBER
    ]
    if aggregation.kind == "avg":
        return Value(double_value=sum(numbers) / len(numbers)) if numbers else Value(null_value=0)
    total = sum(numbers)
    if isinstance(total, int) and -_INT64 <= total < _INT64:
        return Value(integer_value=total)
    return Value(double_value=float(total))
