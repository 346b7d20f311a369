"""One state of one document, with the order keys of its fields."""

from __future__ import annotations

from typing import Any

from emulators.firestore import fields
from emulators.firestore.names import NameKey
from emulators.firestore.values import REFERENCE, Key, order_key


class Version:
    """One state of a document at ``at`` (microseconds); ``document`` is None: deleted."""

    __slots__ = ("_keys", "at", "document", "name", "name_key")

    def __init__(self, name: str, key: NameKey, at: int, document: Any | None) -> None:
        self.name = name
        self.name_key = key
        self.at = at
        self.document = document
        self._keys: dict[fields.FieldPath, Key | None] = {}

    @property
    def live_at(self) -> int:
        """Its update time in microseconds, 0 where there is no document."""
        return self.at if self.document is not None else 0

    def key(self, path: fields.FieldPath) -> Key | None:
        """The order key of the value at ``path``; None when the field is missing."""
        try:
            return self._keys[path]
        except KeyError:
            return self._keys.setdefault(path, self._compute_key(path))

    def _compute_key(self, path: fields.FieldPath) -> Key | None:
        if path == fields.NAME:
            return (REFERENCE, self.name_key)
        value = fields.lookup(self.document.fields, path) if self.document is not None else None
        return order_key(value) if value is not None else None
