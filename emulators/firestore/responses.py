"""Parts of responses that several methods share."""

from __future__ import annotations

from typing import Any

from google.cloud.firestore_v1.types import write as write_types

from emulators.firestore import fields
from emulators.firestore.state import Committed
from emulators.firestore.version import Document, Version, to_timestamp

WriteResult = write_types.WriteResult.pb()


def show(version: Version, paths: tuple[fields.FieldPath, ...] | None, target: Any) -> None:
    """Fill the empty ``Document`` with all of the stored one's fields, or those at ``paths``."""
    if paths is None:
        target.MergeFromString(version.serialized())
        return
    stored = version.document()
    target.name = stored.name
    target.create_time.CopyFrom(stored.create_time)
    target.update_time.CopyFrom(stored.update_time)
    fields.project(stored.fields, target.fields, paths)


def answered(version: Version, paths: tuple[fields.FieldPath, ...] | None) -> Any:
    """The document as a response of its own, serialized already where nothing is left out."""
    if paths is None:
        return version.serialized()
    target = Document()
    show(version, paths, target)
    return target


def write_results(committed: Committed) -> list[Any]:
    """A ``WriteResult`` per write."""
    plain = WriteResult(update_time=to_timestamp(committed.at))
    return [
        plain if at == committed.at and not results else _write_result(at, results)
        for at, results in committed.results
    ]


def _write_result(at: int | None, results: list[Any]) -> Any:
    result = WriteResult(transform_results=results)
    if at is not None:
        result.update_time.CopyFrom(to_timestamp(at))
    return result
