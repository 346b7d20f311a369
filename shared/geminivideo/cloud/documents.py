"""Firestore: typed documents, conditional creation and transactions.

Paths are ``collection/id`` or ``collection/id/collection/id``. Records are frozen dataclasses;
they are stored as plain maps by msgspec and validated again when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from geminivideo.cloud import reading, writing
from geminivideo.decoding import learned

if TYPE_CHECKING:
    from google.cloud import firestore
    from google.cloud.firestore_v1.types.write import Write

T = TypeVar("T")
R = TypeVar("R")
Version = Any  # of a document: when it was written last, as a protobuf timestamp

_MAX_TRANSACTION_ATTEMPTS = 40
_OWN_TYPES = (bytes,)
_CHUNK = 400  # documents in one commit of many, or one reading of many (Firestore took 500)
_TTL_FIELD = "expire_at"


class AlreadyExistsError(RuntimeError):
    """A document that was to be created is there already; read it and go on from it."""


class DocumentMissingError(RuntimeError):
    """A document that must be there is not; the message names its path."""


def encode(record: Any) -> dict[str, Any]:
    """A record as the map that Firestore stores: a list in a list is wrapped in a map, and
    ``expire_at`` (epoch seconds) becomes the timestamp that a TTL policy needs."""
    stored = _storable(msgspec.to_builtins(record, builtin_types=_OWN_TYPES))
    if isinstance(stored.get(_TTL_FIELD), (int, float)):
        stored[_TTL_FIELD] = datetime.fromtimestamp(stored[_TTL_FIELD], UTC)
    return stored


def decode(fields: Mapping[str, Any], kind: type[T]) -> T:
    """The protobuf fields of a document as ``kind``; raises ``msgspec.ValidationError``, which
    names the member."""
    loaded = reading.members(fields)
    if isinstance(loaded.get(_TTL_FIELD), datetime):
        loaded[_TTL_FIELD] = loaded[_TTL_FIELD].timestamp()
    return msgspec.convert(loaded, learned(kind), strict=False)


def _chunks(items: Iterable[R]) -> Iterator[list[R]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _storable(value: Any, in_list: bool = False) -> Any:
    """Firestore refuses a list directly inside a list: such a list is wrapped in a map."""
    if isinstance(value, dict):
        return {str(key): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_storable(item, in_list=True) for item in value]
        return {reading.LIST_IN_LIST: items} if in_list else items
    return value


def _there(path: str, found: T | None) -> T:
    if found is None:
        raise DocumentMissingError(f"no document at {path}; the step before it writes it")
    return found


def _id_for_reading(transaction: firestore.Transaction) -> bytes | None:
    """Its id; raises the client's ``ReadAfterWriteError`` when it has written already."""
    from google.cloud.firestore_v1._helpers import get_transaction_id

    found: bytes | None = get_transaction_id(transaction)
    return found


class Transaction:
    """Reads first, then writes, as Firestore requires; every write waits for the commit."""

    def __init__(self, documents: Documents, inner: firestore.Transaction) -> None:
        self._documents = documents
        self._inner = inner
        self._ahead: dict[str, Any] = {}  # documents, or None, by path

    def read_ahead(self, *paths: str) -> None:
        """Read documents in one call; ``get`` then has them here."""
        found = self._documents.found(paths, _id_for_reading(self._inner))
        self._ahead |= {reading.path_of(name): document for name, document in found.items()}

    def get(self, path: str, kind: type[T]) -> T | None:
        """The document at ``path`` as ``kind``, or None; the commit fails if it changes."""
        if path not in self._ahead:
            return self._documents.fetched(path, kind, _id_for_reading(self._inner))
        document = self._ahead[path]
        return None if document is None else decode(document.fields, kind)

    def require(self, path: str, kind: type[T]) -> T:
        """The document at ``path``; raises ``DocumentMissingError`` when there is none."""
        return _there(path, self.get(path, kind))

    def query(self, query: Query, kind: type[T]) -> list[T]:
        """The documents a query finds, inside the transaction."""
        found = reading.found_by(query.build(self._documents), self._inner, {})
        return [decode(document.fields, kind) for document in found]

    def create(self, path: str, record: Any) -> None:
        """Write a document that must not exist yet (the commit raises when it does)."""
        self._inner._add_write_pbs([self._documents.written(path, record, exists=False)])

    def set(self, path: str, record: Any) -> None:
        """Write the whole document."""
        self._inner._add_write_pbs([self._documents.written(path, record)])

    def update(self, path: str, changes: Mapping[str, Any]) -> None:
        """Change members of a document that must exist; keys may be dotted field paths."""
        self._inner._add_write_pbs(self._documents.changed(path, changes))

    def delete(self, path: str) -> None:
        """Remove a document."""
        self._inner.delete(self._documents.reference(path))


class Query:
    """A query as data: collection path, ``(field, operator, value)`` filters, order and limit.

    Order fields take a leading ``-`` for descending; with ``members`` only these are read of each
    document. Every combination of filters and orders that needs a composite index must be declared
    in infra.
    """

    def __init__(
        self,
        collection: str,
        where: Iterable[tuple[str, str, Any]] = (),
        order: Iterable[str] = (),
        limit: int | None = None,
        members: Iterable[str] = (),
    ) -> None:
        self.collection = collection
        self.members = tuple(members)
        self.where = tuple(where)
        self.order = tuple(order)
        self.limit = limit

    def build(self, documents: Documents) -> firestore.Query:
        """The client's own query."""
        from google.cloud import firestore

        query: Any = firestore.Query(documents.client.collection(self.collection))
        if self.members:
            query = query.select(self.members)
        for name, operator, value in self.where:
            query = query.where(filter=firestore.FieldFilter(name, operator, value))
        for name in self.order:
            direction = "DESCENDING" if name.startswith("-") else "ASCENDING"
            query = query.order_by(name.removeprefix("-"), direction=direction)
        return query.limit(self.limit) if self.limit is not None else query


class Documents:
    """The document store; ``FIRESTORE_EMULATOR_HOST`` is honoured by the client itself."""

    def __init__(self, project: str | None = None, patience_s: float | None = None) -> None:
        """``patience_s`` bounds each call to a store that does not answer (default: minutes)."""
        self._project = project
        self._patience_s = patience_s

    @cached_property
    def _patience(self) -> dict[str, Any]:
        if self._patience_s is None:
            return {}
        from google.api_core import exceptions
        from google.api_core.retry import Retry, if_exception_type

        passing = if_exception_type(exceptions.ServiceUnavailable, exceptions.ResourceExhausted)
        retry = Retry(predicate=passing, initial=0.1, maximum=2.0, timeout=self._patience_s)
        return {"retry": retry, "timeout": self._patience_s}

    @cached_property
    def client(self) -> firestore.Client:
        """The real client, opened on first use."""
        from google.cloud import firestore

        reading.on_one_thread()
        return firestore.Client(project=self._project)

    def reference(self, path: str) -> firestore.DocumentReference:
        """The client's reference of a document path."""
        return self.client.document(path)

    def get(self, path: str, kind: type[T]) -> T | None:
        """The document at ``path`` as ``kind``, or None when there is none."""
        return self.fetched(path, kind)

    def fetched(self, path: str, kind: type[T], transaction: bytes | None = None) -> T | None:
        """The document as it is in the transaction of this id, or now, by ``GetDocument``.

        The client's own ``get`` opens a stream for one document, with a thread to read it.
        """
        from google.api_core.exceptions import NotFound

        name = self.reference(path)._document_path
        try:
            found = self.client._firestore_api.get_document(
                request={"name": name, "transaction": transaction},
                metadata=self.client._rpc_metadata,
                **self._patience,
            )
        except NotFound as error:
            if "/documents/" not in str(error.message):  # the database itself is missing
                raise
            return None
        return decode(type(found).pb(found).fields, kind)

    def require(self, path: str, kind: type[T]) -> T:
        """The document at ``path``; raises ``DocumentMissingError`` when there is none."""
        return _there(path, self.get(path, kind))

    def create(self, path: str, record: Any) -> Version:
        """Write a new document and return its version for ``set_all_since``.

        Raises ``AlreadyExistsError`` when there is one.
        """
        from google.api_core.exceptions import AlreadyExists

        try:
            (result,) = self._commit([self.written(path, record, exists=False)])
        except AlreadyExists as error:
            raise AlreadyExistsError(f"{path} exists") from error
        return type(result).pb(result).update_time

    def set(self, path: str, record: Any) -> None:
        """Write the whole document."""
        self._commit([self.written(path, record)])

    def update(self, path: str, changes: Mapping[str, Any]) -> None:
        """Change members of an existing document; keys may be dotted field paths."""
        self._commit(self.changed(path, changes))

    def set_all(self, records: Mapping[str, Any]) -> None:
        """Write whole documents by path, all in one commit."""
        self._commit(self.written(path, record) for path, record in records.items())

    def set_all_since(self, version: Version, path: str, records: Mapping[str, Any]) -> bool:
        """Write whole documents, all in one commit, if the one at ``path`` has this version still.

        False when it has another one, or is gone: then nothing was written. ``path`` is one of
        those that are written.
        """
        from google.api_core.exceptions import FailedPrecondition, NotFound

        writes = {each: self.written(each, record) for each, record in records.items()}
        found = writes[path]
        type(found).pb(found).current_document.update_time.CopyFrom(version)
        try:
            self._commit(writes.values())
        except (FailedPrecondition, NotFound):
            return False
        return True

    def set_many(
        self, records: Iterable[tuple[str, Any]], members: Iterable[str] | None = None
    ) -> int:
        """Write any number of documents in commits of a few hundred; returns how many.

        With ``members`` only these are written: a document that exists keeps its others, one
        that does not is created with them. Not atomic: what is written must be the same again.
        """
        only = None if members is None else list(members)
        written = 0
        for chunk in _chunks(records):
            if only is None:
                self.set_all(dict(chunk))
            else:
                self._commit(self._merged(path, record, only) for path, record in chunk)
            written += len(chunk)
        return written

    def _merged(self, path: str, record: Any, only: list[str]) -> Write:
        data = encode(record)
        name = self.reference(path)._document_path
        return writing.merge(name, {member: data[member] for member in only})

    def get_many(self, paths: Iterable[str], kind: type[T]) -> dict[str, T]:
        """The documents among ``paths`` that exist, by their path."""
        by_path: dict[str, T] = {}
        for chunk in _chunks(paths):
            asked = {self.reference(path)._document_path: path for path in chunk}
            by_path |= {
                asked[name]: decode(document.fields, kind)
                for name, document in self.found(chunk).items()
                if document is not None
            }
        return by_path

    def found(self, paths: Iterable[str], transaction: bytes | None = None) -> dict[str, Any]:
        """The protobuf documents at ``paths`` by their full names; None where there is none."""
        names = [self.reference(path)._document_path for path in paths]
        return reading.found_at(self.client, names, transaction, self._patience)

    def pages(self, query: Query, kind: type[T], size: int = 1000) -> Iterator[list[T]]:
        """What a query finds, a page at a time: by its order, whose fields are read, then by ids.

        Each page is a call of its own: no call lasts as long as a large collection.
        """
        built: Any = query.build(self).order_by("__name__").limit(size)
        asked = built
        while True:
            documents = reading.found_by(asked, None, self._patience)
            if documents:
                yield [decode(document.fields, kind) for document in documents]
            if len(documents) < size:
                return
            asked = built.start_after(self._place(documents[-1], query))

    def _place(self, document: Any, query: Query) -> list[Any]:
        """Of a document in the order of a query's pages."""
        fields = (document.fields[name.removeprefix("-")] for name in query.order)
        return [*map(reading.value, fields), self.reference(reading.path_of(document.name))]

    def update_all(self, paths: Iterable[str], changes: Mapping[str, Any]) -> None:
        """Change the same members of existing documents, all in one commit."""
        self._commit(write for path in paths for write in self.changed(path, changes))

    def written(self, path: str, record: Any, exists: bool | None = None) -> Write:
        """The write that makes a document of a record."""
        return writing.set_to(self.reference(path)._document_path, encode(record), exists)

    def changed(self, path: str, changes: Mapping[str, Any]) -> list[Write]:
        """The write that changes members of a document."""
        return writing.change(self.reference(path)._document_path, encode(dict(changes)))

    def _commit(self, writes: Iterable[Write]) -> list[Any]:
        batch = self.client.batch()
        batch._add_write_pbs(list(writes))
        return list(batch.commit(**self._patience))

    def query(self, query: Query, kind: type[T]) -> list[T]:
        """The documents a query finds, in its order."""
        found = reading.found_by(query.build(self), None, self._patience)
        return [decode(document.fields, kind) for document in found]

    def named(self, query: Query, kind: type[T]) -> dict[str, T]:
        """The documents a query finds, by their ids."""
        found = reading.found_by(query.build(self), None, self._patience)
        return {one.name.rpartition("/")[2]: decode(one.fields, kind) for one in found}

    def delete(self, path: str) -> None:
        """Delete a document; one that is gone already is no error."""
        self.reference(path).delete(**self._patience)

    def count(self, collection: str, where: Iterable[tuple[str, str, Any]] = ()) -> int:
        """How many documents match, counted by the store."""
        counted: Any = Query(collection, where).build(self).count(alias="n").get(**self._patience)
        return int(counted[0][0].value)

    def transact(self, body: Callable[[Transaction], R]) -> R:
        """Run ``body`` in a transaction, again from its start when another writer was faster.

        ``body`` must have no effect but its writes. Raises ``AlreadyExistsError`` when a
        ``create`` met a document.
        """
        from google.api_core.exceptions import AlreadyExists
        from google.cloud import firestore

        @firestore.transactional
        def attempt(inner: firestore.Transaction) -> R:
            return body(Transaction(self, inner))

        try:
            return attempt(self.client.transaction(max_attempts=_MAX_TRANSACTION_ATTEMPTS))
        except AlreadyExists as error:
            raise AlreadyExistsError(str(error.message)) from error
