"""One state of one document: what is stored and sent, and the order keys of its fields.

A document is kept as bytes, not as a message: a get answers them as they are, the file holds them,
and two states are compared by them. A message of it is made when a query or a mask needs one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from google.cloud.firestore_v1.types import document as document_types
from google.protobuf import timestamp_pb2

from emulators.firestore import fields
from emulators.firestore.names import NameKey, name_key
from emulators.firestore.values import REFERENCE, Key, order_key

Document = document_types.Document.pb()


class Version:
    """One state of a document at ``at`` (microseconds).

    ``body``: its name and fields, serialized deterministically (None: deleted); ``created``: the
    create time in microseconds.
    """

    __slots__ = ("_keys", "_name_key", "at", "body", "created", "name")

    def __init__(self, name: str, at: int, body: bytes | None, created: int = 0) -> None:
        self.name = name
        self.at = at
        self.body = body
        self.created = created
        self._name_key: NameKey | None = None
        self._keys: dict[fields.FieldPath, Key | None] | None = None

    @property
    def name_key(self) -> NameKey:
        """What its name is ordered by."""
        if self._name_key is None:
            self._name_key = name_key(self.name)
        return self._name_key

    @property
    def live_at(self) -> int:
        """Its update time in microseconds, 0 where there is no document."""
        return self.at if self.body is not None else 0

    def serialized(self) -> bytes:
        """The whole ``Document`` as it is stored and sent; empty where there is none."""
        return b"" if self.body is None else self.body + _times(self.created, self.at)

    def document(self) -> Any:
        """The whole ``Document`` as a message of the caller's own."""
        return Document.FromString(self.serialized())

    def key(self, path: fields.FieldPath) -> Key | None:
        """The order key of the value at ``path``; None when the field is missing."""
        if self._keys is None:
            self._keys = {}
        try:
            return self._keys[path]
        except KeyError:
            return self._keys.setdefault(path, self._compute_key(path))

    def _compute_key(self, path: fields.FieldPath) -> Key | None:
        if path == fields.NAME:
            return (REFERENCE, self.name_key)
        if self.body is None:
            return None
        value = fields.lookup(Document.FromString(self.body).fields, path)
        return order_key(value) if value is not None else None


def body_of(document: Any) -> bytes:
    """Name and fields of a ``Document``, serialized alike for alike ones; drops its times."""
    document.ClearField("create_time")
    document.ClearField("update_time")
    return bytes(document.SerializeToString(deterministic=True))


def to_timestamp(micros: int) -> Any:
    """Microseconds of the epoch as a protobuf timestamp."""
    return timestamp_pb2.Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def to_micros(timestamp: Any) -> int:
    """A protobuf timestamp as microseconds of the epoch."""
    return int(timestamp.seconds * 1_000_000 + timestamp.nanos // 1000)


@lru_cache(maxsize=256)
def _times(created: int, updated: int) -> bytes:
    """The rest of a serialized document: appended fields are read as fields of the message."""
    both = Document(create_time=to_timestamp(created), update_time=to_timestamp(updated))
    return bytes(both.SerializeToString())
