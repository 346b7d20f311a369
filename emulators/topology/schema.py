"""The provider's own schema, from the installed SDK: names, types, and the enums its docs list.

The SDK checks none of this itself. Runs where the SDK is loaded already: in the recorder.
"""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pulumi import _types

from emulators.topology.graph import Finding

_ENUM = re.compile(r"[Pp]ossible values are:\s*((?:`\"?[\w./-]+\"?`[,.\s]*(?:(?:and|or)\s+)?)+)")
_SCALARS = {str: str, int: int, float: (int, float), bool: bool}


def check(nodes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Findings for every recorded input that the provider's schema does not allow."""
    return sorted(
        Finding(
            file=node["file"],
            line=node["line"],
            rule="schema",
            message=f"{node['type']} {node['name']}: {problem}",
        )
        for node in nodes
        if node["type"].startswith("gcp:")
        for problem in _object(_args_class(node["type"]), node["inputs"], "")
    )


def string_outputs(kind: str) -> tuple[str, ...]:
    """The wire names of the string properties that a resource of this type has."""
    return _string_outputs(kind)


@lru_cache(maxsize=256)
def _string_outputs(kind: str) -> tuple[str, ...]:
    types = _types.resource_types(_class(kind))
    return tuple(name for name, type_ in types.items() if _types.unwrap_type(type_) is str)


def _class(kind: str, suffix: str = "") -> type:
    """``gcp:pubsub/topic:Topic`` -> ``pulumi_gcp.pubsub.Topic`` (or its ``TopicArgs``)."""
    _, module, name = kind.split(":")
    package = importlib.import_module("pulumi_gcp." + module.partition("/")[0])
    return getattr(package, name + suffix)


@lru_cache(maxsize=256)
def _args_class(kind: str) -> type:
    return _class(kind, "Args")


@lru_cache(maxsize=1024)
def _types_of(args: type) -> dict[str, Any]:
    return {k: _types.unwrap_type(v) for k, v in _types.input_type_types(args).items()}


@lru_cache(maxsize=1024)
def _enums_of(args: type) -> dict[str, tuple[str, ...]]:
    wire = _types.input_type_py_to_pulumi_names(args)
    found = {}
    for name, attribute in vars(args).items():
        doc = attribute.fget.__doc__ if isinstance(attribute, property) else None
        match = _ENUM.search(doc or "")
        if match:
            found[wire.get(name, name)] = tuple(re.findall(r"[\w./-]+", match[1].replace("`", " ")))
    return found


def _object(args: type, value: Mapping[str, Any], path: str) -> Iterator[str]:
    types, enums = _types_of(args), _enums_of(args)
    for key, item in value.items():
        place = f"{path}.{key}".lstrip(".")
        if key not in types:
            yield f"{place} is no property of {args.__name__}"
            continue
        yield from _value(types[key], item, place)
        allowed = enums.get(key)
        if allowed and isinstance(item, str) and item not in allowed and "⟦" not in item:
            yield f"{place} is {item!r}, not one of {', '.join(allowed)}"
    for key in _required(args) - set(value):
        yield f"{f'{path}.{key}'.lstrip('.')} is required by {args.__name__}"


@lru_cache(maxsize=1024)
def _required(args: type) -> frozenset[str]:
    wire = _types.input_type_py_to_pulumi_names(args)
    parameters = inspect.signature(args.__init__).parameters.values()
    return frozenset(
        wire.get(parameter.name, parameter.name)
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.name not in ("__self__", "self")
    )


def _value(type_: Any, value: Any, path: str) -> Iterator[str]:
    origin = typing.get_origin(type_)
    if type_ in _SCALARS:
        expected = _SCALARS[type_]
        wrong_bool = isinstance(value, bool) and type_ is not bool
        if wrong_bool or not isinstance(value, expected):
            yield f"{path} is {value!r}, not {type_.__name__}"
    elif isinstance(type_, type) and _types.is_input_type(type_):
        yield from _nested(type_, value, path)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from _mapping(type_, value, path)
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        yield from _sequence(type_, value, path)


def _nested(type_: type, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from _object(type_, value, path)
    else:
        yield f"{path} is {value!r}, not {type_.__name__}"


def _mapping(type_: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path} is {value!r}, not a mapping"
        return
    element = _types.unwrap_type(typing.get_args(type_)[1])
    for key, item in value.items():
        yield from _value(element, item, f"{path}[{key}]")


def _sequence(type_: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        yield f"{path} is {value!r}, not a list"
        return
    element = _types.unwrap_type(typing.get_args(type_)[0])
    for number, item in enumerate(value):
        yield from _value(element, item, f"{path}[{number}]")
