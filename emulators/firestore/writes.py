"""One ``Write`` applied to one document: precondition, update with its mask, transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.cloud.firestore_v1.types import document as document_types
from google.cloud.firestore_v1.types import write as write_types

from emulators.firestore import errors, fields
from emulators.firestore.names import document_name
from emulators.firestore.values import (
    NAN_KEY,
    check_size,
    check_storable,
    is_number,
    number,
    order_key,
)
from emulators.firestore.version import Document, Version, body_of, to_micros, to_timestamp

Value = document_types.Value.pb()
Write = write_types.Write.pb()

_MAX_TRANSFORMS = 500
_INT64 = 2**63
_REQUEST_TIME = 1


@dataclass(frozen=True)
class Outcome:
    """What a write makes of a document: its new body (None: deleted) and transform results."""

    body: bytes | None
    results: list[Any]


def target_of(write: Any) -> str:
    """The validated document name that ``write`` is about; raises INVALID_ARGUMENT."""
    operation = write.WhichOneof("operation")
    if operation == "update":
        return document_name(write.update.name)
    if operation == "delete":
        return document_name(write.delete)
    if operation == "transform":
        return document_name(write.transform.document)
    raise errors.invalid_argument("empty write operation")


def apply(write: Any, current: Version | None, micros: int) -> Outcome:
    """The outcome of ``write`` on the live version ``current`` at commit time ``micros``.

    Raises ALREADY_EXISTS, NOT_FOUND or FAILED_PRECONDITION for a precondition that is not met and
    INVALID_ARGUMENT for what may not be stored. Of ``write``, timestamps are cut to microseconds.
    """
    if write.HasField("current_document"):
        _check_precondition(write, current)
    operation = write.WhichOneof("operation")
    if operation == "delete":
        return Outcome(None, [])
    is_whole = operation == "update" and not write.HasField("update_mask")
    if is_whole and not write.update_transforms:
        return Outcome(_stored_body(write.update), [])
    changed = Document(name=target_of(write))
    _start_from(changed, current, write)
    transforms = _transforms_of(write)
    results = [_transform(changed.fields, one, micros) for one in transforms]
    return Outcome(_stored_body(changed), results)


def _stored_body(document: Any) -> bytes:
    check_storable(document.fields)
    body = body_of(document)
    check_size(document, len(body))
    return body


def _check_precondition(write: Any, current: Version | None) -> None:
    condition = write.current_document.WhichOneof("condition_type")
    if condition == "exists":
        if write.current_document.exists and current is None:
            verb = "delete" if write.WhichOneof("operation") == "delete" else "update"
            raise errors.document_missing(target_of(write), verb)
        if not write.current_document.exists and current is not None:
            raise errors.document_exists(target_of(write))
    elif condition == "update_time":
        stored = current.at if current is not None else 0
        required = to_micros(write.current_document.update_time)
        if stored != required:
            raise errors.version_mismatch(stored, required)


def _start_from(changed: Any, current: Version | None, write: Any) -> None:
    """Lay the update over the current fields, as the mask says."""
    masked = write.HasField("update_mask") or write.WhichOneof("operation") == "transform"
    if masked and current is not None:
        changed.fields.MergeFrom(current.document().fields)
    if not masked:
        changed.fields.MergeFrom(write.update.fields)
    for path in sorted({fields.parse_writable(one) for one in write.update_mask.field_paths}):
        value = fields.lookup(write.update.fields, path)
        if value is None:
            fields.remove(changed.fields, path)
        else:
            fields.put(changed.fields, path, value)


def _transforms_of(write: Any) -> list[Any]:
    if write.WhichOneof("operation") == "transform":
        transforms = list(write.transform.field_transforms)
        if not transforms:
            raise errors.invalid_argument("The list of FieldTransform must not be empty.")
    else:
        transforms = list(write.update_transforms)
    if len(transforms) > _MAX_TRANSFORMS:
        raise errors.invalid_argument(
            f"Cannot apply more than {_MAX_TRANSFORMS} field transforms to a document "
            f"({len(transforms)} given)."
        )
    return transforms


def _transform(document_fields: Any, transform: Any, micros: int) -> Any:
    """Apply one field transform; its ``transform_result``."""
    path = fields.parse_writable(transform.field_path)
    stored = fields.lookup(document_fields, path)
    kind = transform.WhichOneof("transform_type")
    if kind is None:
        raise errors.invalid_argument(f"The transform of {transform.field_path} has no type.")
    value = _TRANSFORMS[kind](stored, getattr(transform, kind), micros)
    fields.put(document_fields, path, value)
    return Value(null_value=0) if value.HasField("array_value") else value


def _server_value(_: Any, server_value: int, micros: int) -> Any:
    if server_value != _REQUEST_TIME:
        raise errors.invalid_argument("set_to_server_value must be REQUEST_TIME.")
    return Value(timestamp_value=to_timestamp(micros - micros % 1000))


def _increment(stored: Any | None, operand: Any, _: int) -> Any:
    _check_number(operand)
    if stored is None or not is_number(stored):
        return operand
    total = number(stored) + number(operand)
    if isinstance(total, int):
        return Value(integer_value=max(-_INT64, min(_INT64 - 1, total)))
    return Value(double_value=total)


def _maximum(stored: Any | None, operand: Any, _: int) -> Any:
    return _extreme(stored, operand, 1)


def _minimum(stored: Any | None, operand: Any, _: int) -> Any:
    return _extreme(stored, operand, -1)


def _extreme(stored: Any | None, operand: Any, sign: int) -> Any:
    _check_number(operand)
    if stored is None or not is_number(stored):
        return operand
    if NAN_KEY in (order_key(stored), order_key(operand)):
        return Value(double_value=float("nan"))
    exceeds = sign * number(operand) > sign * number(stored)
    return operand if exceeds else _copy(stored)


def _copy(value: Any) -> Any:
    copied = Value()
    copied.CopyFrom(value)
    return copied


def _append_missing(stored: Any | None, operand: Any, _: int) -> Any:
    result = Value()
    result.array_value.SetInParent()
    if stored is not None and stored.HasField("array_value"):
        result.CopyFrom(stored)
    seen = {order_key(item) for item in result.array_value.values}
    for item in operand.values:
        if order_key(item) not in seen:
            seen.add(order_key(item))
            result.array_value.values.append(item)
    return result


def _remove_all(stored: Any | None, operand: Any, _: int) -> Any:
    result = Value()
    result.array_value.SetInParent()
    if stored is not None and stored.HasField("array_value"):
        unwanted = {order_key(item) for item in operand.values}
        kept = [item for item in stored.array_value.values if order_key(item) not in unwanted]
        result.array_value.values.extend(kept)
    return result


def _check_number(operand: Any) -> None:
    if not is_number(operand):
        raise errors.invalid_argument("Input must be int64 or double.")


_TRANSFORMS: dict[str, Any] = {
    "set_to_server_value": _server_value,
    "increment": _increment,
    "maximum": _maximum,
    "minimum": _minimum,
    "append_missing_elements": _append_missing,
    "remove_all_from_array": _remove_all,
}
