"""Documents and files in this process's memory, behind the interfaces of Firestore and Storage.

For simulations: the steps' own code runs on them thousands of times a minute. Records are encoded
and decoded as they are for Firestore, so that what is read back is what Firestore would give.
"""

from __future__ import annotations

import operator
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

import msgspec
from geminivideo.cloud.documents import AlreadyExistsError, DocumentMissingError, Query
from geminivideo.decoding import learned
from geminivideo.events import ObjectRef

T = TypeVar("T")
R = TypeVar("R")
Data = dict[str, Any]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "in": lambda have, wanted: have in wanted,
    "array_contains": lambda have, wanted: wanted in have,
}


def encode(record: Any) -> Data:
    """A record as the maps, lists and values that are read back (Firestore needs more: types that
    it can hold)."""
    return cast(Data, msgspec.msgpack.decode(msgspec.msgpack.encode(record)))


def decode(data: Data, kind: type[T]) -> T:
    """A stored map as ``kind``; raises ``msgspec.ValidationError`` naming the member."""
    return msgspec.convert(data, learned(kind), strict=False)


class QueryNotEmulatedError(NotImplementedError):
    """A filter that the memory does not know; the message names it."""


class MemoryTransaction:
    """Reads see the store, writes wait for the commit; nobody else writes in between."""

    def __init__(self, documents: MemoryDocuments) -> None:
        self._documents = documents
        self._writes: list[Callable[[], None]] = []

    def read_ahead(self, *paths: str) -> None:
        """Everything is near."""

    def get(self, path: str, kind: type[T]) -> T | None:
        """The document at ``path`` as ``kind``, or None."""
        return self._documents.get(path, kind)

    def require(self, path: str, kind: type[T]) -> T:
        """The document at ``path``; raises ``DocumentMissingError``."""
        return self._documents.require(path, kind)

    def query(self, query: Query, kind: type[T]) -> list[T]:
        """The documents a query finds."""
        return self._documents.query(query, kind)

    def create(self, path: str, record: Any) -> None:
        """Write a document that must not exist; the commit raises ``AlreadyExistsError``."""
        self._documents.refuse_existing(path)
        self._writes.append(lambda: self._documents.set(path, record))

    def set(self, path: str, record: Any) -> None:
        """Write the whole document."""
        self._writes.append(lambda: self._documents.set(path, record))

    def update(self, path: str, changes: Mapping[str, Any]) -> None:
        """Change members; keys may be dotted field paths."""
        kept = dict(changes)
        self._writes.append(lambda: self._documents.update(path, kept))

    def delete(self, path: str) -> None:
        """Remove a document."""
        self._writes.append(lambda: self._documents.delete(path))

    def commit(self) -> None:
        """Do the writes, in their order."""
        for write in self._writes:
            write()


class MemoryDocuments:
    """The document store of one simulation; one thread uses it at a time."""

    def __init__(self) -> None:
        self._collections: dict[str, dict[str, Data]] = defaultdict(dict)
        self._decoded: dict[str, dict[type, Any]] = {}
        self._indexes: dict[tuple[str, str], _Index] = {}

    def get(self, path: str, kind: type[T]) -> T | None:
        """The document at ``path`` as ``kind``, or None when there is none."""
        collection, _, name = path.rpartition("/")
        data = self._collections[collection].get(name)
        return None if data is None else self._read(path, data, kind)

    def require(self, path: str, kind: type[T]) -> T:
        """The document at ``path``; raises ``DocumentMissingError``."""
        found = self.get(path, kind)
        if found is None:
            raise DocumentMissingError(f"no document at {path}; the step before it writes it")
        return found

    def refuse_existing(self, path: str) -> None:
        """Raises ``AlreadyExistsError`` when there is a document at ``path``."""
        collection, _, name = path.rpartition("/")
        if name in self._collections[collection]:
            raise AlreadyExistsError(f"{path} exists")

    def create(self, path: str, record: Any) -> None:
        """Write a new document; raises ``AlreadyExistsError`` when there is one."""
        self.refuse_existing(path)
        self.set(path, record)

    def set(self, path: str, record: Any) -> None:
        """Write the whole document."""
        self._put(path, encode(record))

    def update(self, path: str, changes: Mapping[str, Any]) -> None:
        """Change members of an existing document; raises ``DocumentMissingError``."""
        collection, _, name = path.rpartition("/")
        before = self._collections[collection].get(name)
        if before is None:
            raise DocumentMissingError(f"no document at {path} to update")
        self._put(path, _changed(before, encode(dict(changes))))

    def set_all(self, records: Mapping[str, Any]) -> None:
        """Write whole documents by path."""
        for path, record in records.items():
            self.set(path, record)

    def set_many(
        self, records: Iterable[tuple[str, Any]], members: Iterable[str] | None = None
    ) -> int:
        """Write any number of documents, or only these ``members`` of each; returns how many."""
        only = None if members is None else list(members)
        count = 0
        for path, record in records:
            data = encode(record)
            if only is not None:
                collection, _, name = path.rpartition("/")
                kept = self._collections[collection].get(name, {})
                data = {**kept, **{member: data[member] for member in only}}
            self._put(path, data)
            count += 1
        return count

    def update_all(self, paths: Iterable[str], changes: Mapping[str, Any]) -> None:
        """Change the same members of existing documents."""
        for path in paths:
            self.update(path, changes)

    def get_many(self, paths: Iterable[str], kind: type[T]) -> dict[str, T]:
        """The documents among ``paths`` that exist, by their path."""
        found = ((path, self.get(path, kind)) for path in paths)
        return {path: record for path, record in found if record is not None}

    def query(self, query: Query, kind: type[T]) -> list[T]:
        """The documents a query finds, in its order."""
        return [record for _, record in self._found(query, kind)]

    def named(self, query: Query, kind: type[T]) -> dict[str, T]:
        """The documents a query finds, by their ids."""
        return dict(self._found(query, kind))

    def pages(self, query: Query, kind: type[T], size: int = 1000) -> Iterator[list[T]]:
        """What a query finds, in the order of ids, a page at a time."""
        found = self.query(query, kind)
        for start in range(0, len(found), size):
            yield found[start : start + size]

    def count(self, collection: str, where: Iterable[tuple[str, str, Any]] = ()) -> int:
        """How many documents match."""
        return len(self._matching(Query(collection, where)))

    def delete(self, path: str) -> None:
        """Delete a document; one that is gone already is no error."""
        collection, _, name = path.rpartition("/")
        gone = self._collections[collection].pop(name, None)
        self._decoded.pop(path, None)
        if gone is not None:
            self._reindex(collection, name, gone, None)

    def transact(self, body: Callable[[Any], R]) -> R:
        """Run ``body`` in a transaction and commit what it wrote."""
        transaction = MemoryTransaction(self)
        result = body(transaction)
        transaction.commit()
        return result

    def _put(self, path: str, data: Data) -> None:
        collection, _, name = path.rpartition("/")
        before = self._collections[collection].get(name)
        self._collections[collection][name] = data
        self._decoded.pop(path, None)
        self._reindex(collection, name, before, data)

    def _reindex(self, collection: str, name: str, before: Data | None, after: Data | None) -> None:
        for (of, member), index in self._indexes.items():
            if of == collection:
                index.move(name, _indexed(before, member), _indexed(after, member))

    def _read(self, path: str, data: Data, kind: type[T]) -> T:
        """Decoded once for each kind: records are never changed in place."""
        by_kind = self._decoded.setdefault(path, {})
        if kind not in by_kind:
            by_kind[kind] = decode(data, kind)
        return cast(T, by_kind[kind])

    def _found(self, query: Query, kind: type[T]) -> list[tuple[str, T]]:
        rows = self._matching(query)
        for name in reversed(query.order):
            member = name.removeprefix("-")
            rows = [row for row in rows if member in row[1]]
            # As Firestore: null is before everything else.
            rows.sort(
                key=lambda row: (row[1][member] is not None, row[1][member]),
                reverse=name.startswith("-"),
            )
        limited = rows if query.limit is None else rows[: query.limit]
        return [
            (name, self._read(f"{query.collection}/{name}", data, kind)) for name, data in limited
        ]

    def _matching(self, query: Query) -> list[tuple[str, Data]]:
        """By id, as Firestore without an order."""
        for _, sign, _ in query.where:
            if sign not in _COMPARE:
                raise QueryNotEmulatedError(f"the filter {sign} is not known to the memory")
        every = self._collections[query.collection]
        names = self._candidates(query, every)
        found = [(n, every[n]) for n in names if _passes(every[n], query.where)]
        return sorted(found, key=operator.itemgetter(0))

    def _candidates(self, query: Query, every: dict[str, Data]) -> Iterable[str]:
        """The fewest documents that one member's equality leaves; without one, all."""
        found: Iterable[str] = every
        fewest = len(every)
        for member, sign, wanted in query.where:
            if sign == "==" and isinstance(wanted, str):
                same = self._index(query.collection, member).names.get(wanted, ())
                if len(same) < fewest:
                    found, fewest = same, len(same)
        return found

    def _index(self, collection: str, member: str) -> _Index:
        key = (collection, member)
        if key not in self._indexes:
            self._indexes[key] = index = _Index()
            for name, data in self._collections[collection].items():
                index.move(name, None, _indexed(data, member))
        return self._indexes[key]


class _Index:
    """The names of a collection's documents by the text of one member."""

    def __init__(self) -> None:
        self.names: dict[str, set[str]] = defaultdict(set)

    def move(self, name: str, before: str | None, after: str | None) -> None:
        if before == after:
            return
        if before is not None:
            self.names[before].discard(name)
        if after is not None:
            self.names[after].add(name)


def _indexed(data: Data | None, member: str) -> str | None:
    have = None if data is None else _member(data, member)
    return have if isinstance(have, str) else None


class MemoryFiles:
    """The objects of one simulation, by bucket and name; every write is a new generation."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, str, int], bytes] = {}
        self._newest: dict[tuple[str, str], ObjectRef] = {}

    def write(self, body: bytes, bucket: str, name: str, content_type: str) -> ObjectRef:
        """Write an object that is named by its content; the same again is the same."""
        kept = self._newest.get((bucket, name))
        if kept is not None:
            return kept
        ref = ObjectRef(bucket=bucket, name=name, generation=1 + zlib.crc32(name.encode()))
        self._newest[bucket, name] = ref
        self._bodies[bucket, name, ref.generation] = body
        return ref

    def find(self, bucket: str, name: str) -> ObjectRef | None:
        """The newest generation of an object, or None when there is none."""
        return self._newest.get((bucket, name))

    def older(self, bucket: str, prefix: str, before: float) -> list[ObjectRef]:
        """None: a simulation's objects are not dated, and nothing of them is swept away."""
        return []

    def read(self, ref: ObjectRef) -> bytes:
        """The bytes of one generation; raises ``KeyError``."""
        return self._bodies[ref.bucket, ref.name, ref.generation]


def _changed(data: Data, changes: Mapping[str, Any]) -> Data:
    result = dict(data)
    for dotted, value in changes.items():
        holder, *rest = dotted.split(".")
        if not rest:
            result[holder] = value
            continue
        inner = result.get(holder)
        result[holder] = _changed(inner if isinstance(inner, dict) else {}, {".".join(rest): value})
    return result


def _member(data: Data, name: str) -> Any:
    if "." not in name:
        return data.get(name)
    have: Any = data
    for part in name.split("."):
        have = have.get(part) if isinstance(have, dict) else None
    return have


def _passes(data: Data, where: Iterable[tuple[str, str, Any]]) -> bool:
    """As Firestore: a document without the member, or with another type, is not found."""
    for name, sign, wanted in where:
        have = _member(data, name)
        if have is None and wanted is not None:
            return False
        try:
            if not _COMPARE[sign](have, wanted):
                return False
        except TypeError:
            return False
    return True
