"""Pages of a listing: what comes after the last document of the page before, whatever was written
in between.

A page begins after a document's place in the order (its time, then its id), not after a number of
documents: one that is created, changed or deleted meanwhile neither repeats nor hides another.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec

from geminivideo.cloud.documents import Query

if TYPE_CHECKING:
    from google.cloud import firestore

    from geminivideo.cloud.documents import Documents


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


D = TypeVar("D", bound=_Identified)


class CursorError(ValueError):
    """A cursor that no page gave: begin without one."""


@dataclass(frozen=True)
class Place:
    """A document's place in a listing: the value of the field that orders it, and its id."""

    at: float
    id: str

    @classmethod
    def of_cursor(cls, cursor: str) -> Place:
        """The place after which a page begins; raises ``CursorError``. Its id is not looked at."""
        try:
            at, document_id = msgspec.json.decode(
                urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=tuple[float, str]
            )
        except ValueError as error:  # msgspec's and base64's errors are both
            raise CursorError(f"{cursor[:80]!r} is no cursor of this listing") from error
        if not isfinite(at):
            raise CursorError(f"{cursor[:80]!r} is no cursor of this listing")
        return cls(at, document_id)

    @property
    def cursor(self) -> str:
        """The place as a caller hands it back: opaque, and fit for an address."""
        return urlsafe_b64encode(msgspec.json.encode((self.at, self.id))).decode().rstrip("=")


class PageQuery(Query):
    """The documents of a collection by a time of theirs, oldest first, after a place.

    Every field that ``where`` holds equal needs an index with ``field`` (infra/indexes.py);
    Firestore merges those of several.
    """

    def __init__(
        self,
        collection: str,
        where: Iterable[tuple[str, str, Any]],
        field: str,
        after: Place | None,
        limit: int,
    ) -> None:
        super().__init__(collection, where, order=(field, "__name__"), limit=limit)
        self._field, self._after = field, after

    def build(self, documents: Documents) -> firestore.Query:
        """The client's own query."""
        built: Any = super().build(documents)
        if self._after is None:
            return built
        reference = documents.reference(f"{self.collection}/{self._after.id}")
        return built.start_after({self._field: self._after.at, "__name__": reference})


@dataclass(frozen=True)
class Page(Generic[D]):
    """Some of a listing, in its order; ``cursor`` begins the next page, None when there is none."""

    found: list[D]
    cursor: str | None


def page_of(
    documents: Documents,
    collection: str,
    where: Iterable[tuple[str, str, Any]],
    kind: type[D],
    field: str,
    after: Place | None,
    size: int,
) -> Page[D]:
    """At most ``size`` documents, oldest first by ``field`` (a time), after a place."""
    found = documents.query(PageQuery(collection, where, field, after, size + 1), kind)
    if len(found) <= size:
        return Page(found, None)
    last = found[size - 1]
    return Page(found[:size], Place(getattr(last, field), last.id).cursor)
