"""Parts of responses that several methods share."""

from __future__ import annotations

from typing import Any

from google.cloud.firestore_v1.types import write as write_types

from emulators.firestore import fields
from emulators.firestore.state import Committed
from emulators.firestore.version import Version
from emulators.firestore.writes import Document, to_timestamp

WriteResult = write_types.WriteResult.pb()


def shown(version: Version, paths: tuple[fields.FieldPath, ...] | None) -> Any:
    """The document with all its fields, or with those at ``paths``."""
    stored: Any = version.document
    if paths is None:
        return stored
    shown = Document(
        name=stored.name, create_time=stored.create_time, update_time=stored.update_time
    )
    fields.project(stored.fields, shown.fields, paths)
    return shown


def write_results(committed: Committed) -> list[Any]:
    """A ``WriteResult`` per write."""
    results = []
    for at, transform_results in committed.results:
        result = WriteResult(transform_results=transform_results)
        if at is not None:
            result.update_time.CopyFrom(to_timestamp(at))
        results.append(result)
    return results
