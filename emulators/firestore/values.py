"""Values: the order of all types, the documented storage size, and what may be stored.

Order across types (firebase.google.com/docs/firestore/manage-data/data-types): null, booleans,
numbers, timestamps, strings, bytes, references, geo points, arrays, vectors, maps.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

from emulators.firestore.errors import invalid_argument
from emulators.firestore.fields import RESERVED
from emulators.firestore.names import name_key

Key = tuple[Any, ...]

NULL: Final = 0
BOOLEAN: Final = 1
NUMBER: Final = 2
TIMESTAMP: Final = 3
STRING: Final = 4
BYTES: Final = 5
REFERENCE: Final = 6
GEO_POINT: Final = 7
ARRAY: Final = 8
VECTOR: Final = 9
MAP: Final = 10

NULL_KEY: Final[Key] = (NULL,)
NAN_KEY: Final[Key] = (NUMBER, 0)

MAX_DOCUMENT_BYTES = 1_048_576
_MAX_VALUE_BYTES = MAX_DOCUMENT_BYTES - 89
_MAX_DEPTH = 20
_MAX_FIELD_NAME_BYTES = 1500
_DOCUMENT_OVERHEAD = 32
_NAME_OVERHEAD = 16


def order_key(value: Any) -> Key:
    """A tuple that compares as Firestore compares the ``Value`` (its first item: the type)."""
    key: Key = _KEYS[value.WhichOneof("value_type") or "null_value"](value)
    return key


def check_storable(fields: Any, depth: int = 0) -> None:
    """Raise INVALID_ARGUMENT for what no document may hold, whatever its size.

    Reserved names, a list in a list, more than 20 levels. Truncates timestamps to microseconds in
    place, as storing does. ``depth``: the levels above ``fields``.
    """
    in_vector = depth > 0 and _is_vector(fields)
    for name in fields:
        _check_field_name(name, in_vector)
        value = fields[name]
        kind = value.WhichOneof("value_type")
        if kind not in _PLAIN:
            _check_value(name, value, kind, depth)


def check_size(document: Any, serialized: int) -> None:
    """Raise INVALID_ARGUMENT for a storable document over 1 MiB, or a value nearly as long.

    Sizes are those of firebase.google.com/docs/firestore/storage-size. ``serialized``: the bytes
    of its body; no value takes more than four times those (a geo point of zeros: 16 for 4), so
    that most documents need not be measured.
    """
    if 4 * serialized + _DOCUMENT_OVERHEAD + _NAME_OVERHEAD <= _MAX_VALUE_BYTES:
        return
    size = _name_size(document.name) + _DOCUMENT_OVERHEAD + _map_size(document.fields)
    if size > MAX_DOCUMENT_BYTES:
        raise invalid_argument(
            f"Document '{document.name}' cannot be written because its size ({size:,} bytes) "
            f"exceeds the maximum allowed size of {MAX_DOCUMENT_BYTES:,} bytes."
        )


def is_number(value: Any) -> bool:
    """Whether the ``Value`` is an integer or a double."""
    return value.WhichOneof("value_type") in ("integer_value", "double_value")


def number(value: Any) -> int | float:
    """The number in a numeric ``Value``."""
    found: int | float = (
        value.integer_value if value.HasField("integer_value") else value.double_value
    )
    return found


def _number_key(value: float) -> Key:
    return NAN_KEY if math.isnan(value) else (NUMBER, 1, value)


def _map_key(value: Any) -> Key:
    fields = value.map_value.fields
    if _is_vector(fields):
        elements = tuple(order_key(item) for item in fields["value"].array_value.values)
        return (VECTOR, len(elements), elements)
    return (MAP, tuple((name, order_key(fields[name])) for name in sorted(fields)))


def _is_vector(fields: Any) -> bool:
    return "__type__" in fields and fields["__type__"].string_value == "__vector__"


_KEYS: dict[str, Any] = {
    "null_value": lambda _: NULL_KEY,
    "boolean_value": lambda v: (BOOLEAN, v.boolean_value),
    "integer_value": lambda v: (NUMBER, 1, v.integer_value),
    "double_value": lambda v: _number_key(v.double_value),
    "timestamp_value": lambda v: (TIMESTAMP, v.timestamp_value.seconds, v.timestamp_value.nanos),
    "string_value": lambda v: (STRING, v.string_value),
    "bytes_value": lambda v: (BYTES, v.bytes_value),
    "reference_value": lambda v: (REFERENCE, name_key(v.reference_value)),
    "geo_point_value": lambda v: (
        GEO_POINT,
        v.geo_point_value.latitude,
        v.geo_point_value.longitude,
    ),
    "array_value": lambda v: (ARRAY, tuple(order_key(item) for item in v.array_value.values)),
    "map_value": _map_key,
}


def _name_size(name: str) -> int:
    return _NAME_OVERHEAD + sum(len(part.encode()) + 1 for part in name.split("/")[5:])


@lru_cache(maxsize=4096)
def _check_field_name(name: str, in_vector: bool) -> None:
    if not name:
        raise invalid_argument("The property.name is the empty string.")
    if RESERVED.fullmatch(name) and not (in_vector and name == "__type__"):
        raise invalid_argument(f"field name '{name}' is reserved.")
    if len(name.encode()) > _MAX_FIELD_NAME_BYTES:
        raise invalid_argument("The property name is longer than 1500 bytes.")


def _check_value(name: str, value: Any, kind: str | None, depth: int) -> None:
    """As ``check_storable`` for one value that is not plain."""
    if kind == "timestamp_value":
        value.timestamp_value.nanos -= value.timestamp_value.nanos % 1000
    elif kind not in ("map_value", "array_value"):
        raise invalid_argument(f"Property {name} has no value that can be stored ({kind}).")
    elif depth >= _MAX_DEPTH:
        raise invalid_argument(f"Property {name} contains an invalid nested entity.")
    elif kind == "map_value":
        check_storable(value.map_value.fields, depth + 1)
    else:
        _check_items(name, value.array_value.values, depth + 1)


def _check_items(name: str, items: Any, depth: int) -> None:
    for item in items:
        kind = item.WhichOneof("value_type")
        if kind == "array_value":
            raise invalid_argument("Cannot convert an array value in an array value.")
        if kind not in _PLAIN:
            _check_value(name, item, kind, depth)


def _map_size(fields: Any) -> int:
    size = 0
    for name in fields:
        size += len(name.encode()) + 1 + _value_size(name, fields[name])
    return size


def _value_size(name: str, value: Any) -> int:
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        return _map_size(value.map_value.fields)
    if kind == "array_value":
        return sum(_value_size(name, item) for item in value.array_value.values)
    size = int(_SIZES[kind](value))
    if size > _MAX_VALUE_BYTES + 1:
        raise invalid_argument(
            f'The value of property "{name}" is longer than {_MAX_VALUE_BYTES} bytes.'
        )
    return size


_SIZES: dict[str, Any] = {
    "null_value": lambda _: 1,
    "boolean_value": lambda _: 1,
    "integer_value": lambda _: 8,
    "double_value": lambda _: 8,
    "timestamp_value": lambda _: 8,
    "geo_point_value": lambda _: 16,
    "string_value": lambda v: len(v.string_value.encode()) + 1,
    "bytes_value": lambda v: len(v.bytes_value),
    "reference_value": lambda v: _name_size(v.reference_value),
}
_PLAIN = _SIZES.keys() - {"timestamp_value"}
