"""Which index a query needs, and whether automatic and declared indexes serve it.

Rules (firebase.google.com/docs/firestore/query-data/index-overview and /queries):

- every field has automatic single-field indexes (ascending, descending, array-contains) in
  collection scope; a collection group has none but those declared;
- equality filters alone are served by merging single-field indexes, and so is one inequality,
  order or array-contains alone;
- equality together with a range, an order or an array-contains needs a composite index, as do
  orders or inequalities over several fields; each disjunction of an OR needs its own;
- several indexes that end in the same order serve together what one would (index merging);
- a composite index serves the directions it was declared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from emulators.firestore import fields, query
from emulators.firestore.errors import index_required
from emulators.firestore.fields import NAME, FieldPath

COLLECTION = "COLLECTION"
COLLECTION_GROUP = "COLLECTION_GROUP"
ASCENDING = "ASCENDING"
DESCENDING = "DESCENDING"
CONTAINS = "CONTAINS"

Member = tuple[FieldPath, str]


@dataclass(frozen=True)
class IndexField:
    """A field of an index; ``mode`` is ``ASCENDING``, ``DESCENDING`` or ``CONTAINS``."""

    path: str
    mode: str = ASCENDING


@dataclass(frozen=True)
class Index:
    """A declared index: collection id, fields in order, ``COLLECTION`` or ``COLLECTION_GROUP``.

    With one field it stands for a single-field index of a collection group.
    """

    collection: str
    fields: tuple[IndexField, ...]
    scope: str = COLLECTION

    @classmethod
    def of(cls, collection: str, *paths: str, scope: str = COLLECTION) -> Index:
        """From short spellings: ``status``, ``-due`` (descending), ``tags[]`` (contains)."""
        return cls(collection, tuple(_short(path) for path in paths), scope)

    @classmethod
    def of_resource(cls, resource: Mapping[str, Any]) -> Index:
        """From the inputs of a ``gcp:firestore/index:Index`` (camel or snake case)."""
        members = resource["fields"]
        return cls(
            resource["collection"],
            tuple(_declared(member) for member in members),
            resource.get("queryScope") or resource.get("query_scope") or COLLECTION,
        )

    def members(self) -> tuple[Member, ...]:
        """Its fields, parsed; ``__name__`` only where its direction is not the implied one."""
        return _without_implied_name([(fields.parse(one.path), one.mode) for one in self.fields])


@dataclass(frozen=True)
class FieldOverride:
    """What is declared of one field: time to live, and its single-field indexes.

    ``indexes``: (scope, mode) of each, none at all for an exempted field; None leaves the
    automatic ones. The fields of a map follow the map.
    """

    collection: str
    path: str
    is_time_to_live: bool = False
    indexes: frozenset[tuple[str, str]] | None = None

    @classmethod
    def of_resource(cls, resource: Mapping[str, Any]) -> FieldOverride:
        """From the inputs of a ``gcp:firestore/field:Field`` (camel or snake case)."""
        configured = _either(resource, "indexConfig", "index_config")
        indexes = None
        if configured is not None:
            indexes = frozenset(
                (_either(one, "queryScope", "query_scope") or COLLECTION, _mode(one))
                for one in configured.get("indexes") or ()
            )
        is_time_to_live = _either(resource, "ttlConfig", "ttl_config") is not None
        return cls(resource["collection"], resource["field"], is_time_to_live, indexes)


def check(
    plan: query.Plan,
    declared: Iterable[Index],
    aggregated: set[FieldPath],
    overrides: Iterable[FieldOverride] = (),
) -> None:
    """Raise FAILED_PRECONDITION naming the index that ``plan`` lacks among ``declared``."""
    scope = COLLECTION_GROUP if plan.descendants else COLLECTION
    usable = [
        index.members()
        for index in declared
        if index.collection == plan.collection_id and index.scope == scope
    ]
    automatic = _Automatic.of(plan.collection_id, scope, overrides)
    for term in query.disjunctions(plan.where):
        need = _need(plan, term, aggregated)
        if not need.served_by(usable, automatic):
            raise index_required(plan.collection_id, scope, need.shown())


@dataclass(frozen=True)
class _Automatic:
    """The single-field indexes of a collection or collection group."""

    scope: str
    overridden: Mapping[FieldPath, frozenset[tuple[str, str]]]

    @classmethod
    def of(cls, collection: str, scope: str, overrides: Iterable[FieldOverride]) -> _Automatic:
        mine = [one for one in overrides if one.collection == collection]
        return cls(scope, {fields.parse(o.path): o.indexes for o in mine if o.indexes is not None})

    def has(self, path: FieldPath, *modes: str) -> bool:
        """Whether the field has an index in one of the modes."""
        for length in range(len(path), 0, -1):
            found = self.overridden.get(path[:length])
            if found is not None:
                return any((self.scope, mode) in found for mode in modes)
        return self.scope == COLLECTION


@dataclass(frozen=True)
class _Need:
    """What one disjunction asks of the indexes."""

    equal: frozenset[FieldPath]
    array: FieldPath | None
    ordered: tuple[Member, ...]
    extra: frozenset[FieldPath]

    def served_by(self, declared: list[tuple[Member, ...]], automatic: _Automatic) -> bool:
        if not (self.equal or self.array or self.ordered or self.extra):
            return True
        if self._is_simple() and self._is_automatic(automatic):
            return True
        return self._is_covered(self._candidates(declared, automatic))

    def shown(self) -> str:
        members = [(self.array, CONTAINS)] if self.array is not None else []
        members += [(path, ASCENDING) for path in sorted(self.equal)]
        members += [*self.ordered, *((path, ASCENDING) for path in sorted(self.extra))]
        return ", ".join(f"{fields.shown(path)} {mode}" for path, mode in members)

    def _is_simple(self) -> bool:
        """Equality alone, or one array-contains, order or aggregated field alone."""
        others = (self.array is not None) + len(self.ordered) + len(self.extra)
        by_name = any(path == NAME for path, _ in self.ordered)
        return others == 0 or (others == 1 and not self.equal and not by_name)

    def _is_automatic(self, automatic: _Automatic) -> bool:
        either = (*self.equal, *self.extra)
        return (
            all(automatic.has(path, ASCENDING, DESCENDING) for path in either)
            and all(automatic.has(path, mode) for path, mode in self.ordered)
            and (self.array is None or automatic.has(self.array, CONTAINS))
        )

    def _candidates(
        self, declared: list[tuple[Member, ...]], automatic: _Automatic
    ) -> list[frozenset[Member]]:
        """The prefixes of the indexes that end as this query is ordered."""
        prefixes = [prefix for one in declared if (prefix := self._prefix(one)) is not None]
        if not self.ordered and not self.extra:
            single = [path for path in self.equal if automatic.has(path, ASCENDING, DESCENDING)]
            prefixes += [frozenset({(path, ASCENDING)}) for path in single]
        return prefixes

    def _prefix(self, index: tuple[Member, ...]) -> frozenset[Member] | None:
        tail = len(self.extra)
        head = index[: len(index) - tail] if tail else index
        if {path for path, _ in index[len(head) :]} != self.extra:
            return None
        ordered = len(self.ordered)
        if ordered and head[-ordered:] != self.ordered:
            return None
        return frozenset(head[: len(head) - ordered] if ordered else head)

    def _is_covered(self, prefixes: list[frozenset[Member]]) -> bool:
        fitting = [prefix for prefix in prefixes if all(self._asks(member) for member in prefix)]
        if not fitting:
            return False
        covered = {(path, mode == CONTAINS) for prefix in fitting for path, mode in prefix}
        wanted = {(path, False) for path in self.equal}
        if self.array is not None:
            wanted.add((self.array, True))
        return wanted <= covered

    def _asks(self, member: Member) -> bool:
        path, mode = member
        return path == self.array if mode == CONTAINS else path in self.equal


def _need(plan: query.Plan, term: tuple[query.Condition, ...], aggregated: set[FieldPath]) -> _Need:
    arrays = [one.path for one in term if one.operator.startswith("array")]
    equal = {
        one.path
        for one in term
        if one.path != NAME and not query.is_inequality(one) and one.path not in arrays
    }
    ordered = _without_implied_name(
        [
            (order.path, DESCENDING if order.descending else ASCENDING)
            for order in plan.orders
            if order.path not in equal
        ]
    )
    if equal and not arrays and ordered == ((NAME, DESCENDING),):
        ordered = ()  # the descending single-field indexes end in it
    extra = aggregated - equal - {path for path, _ in ordered} - {NAME}
    return _Need(frozenset(equal), arrays[0] if arrays else None, ordered, frozenset(extra))


def _without_implied_name(members: list[Member]) -> tuple[Member, ...]:
    """Every index and order ends in ``__name__`` in the direction of the field before it."""
    implied = members[-2][1] if len(members) > 1 and members[-2][1] == DESCENDING else ASCENDING
    if members and members[-1] == (NAME, implied):
        members = members[:-1]
    return tuple(members)


def _short(path: str) -> IndexField:
    if path.endswith("[]"):
        return IndexField(path[:-2], CONTAINS)
    if path.startswith("-"):
        return IndexField(path[1:], DESCENDING)
    return IndexField(path)


def _path_of(member: Mapping[str, Any]) -> str:
    return str(member.get("fieldPath") or member.get("field_path"))


def _declared(member: Mapping[str, Any]) -> IndexField:
    return IndexField(_path_of(member), _mode(member))


def _mode(member: Mapping[str, Any]) -> str:
    contains = _either(member, "arrayConfig", "array_config")
    return CONTAINS if contains else str(member.get("order") or ASCENDING)


def _either(resource: Mapping[str, Any], camel: str, snake: str) -> Any:
    return resource.get(camel, resource.get(snake))
