"""Queries: a ``StructuredQuery`` read into a plan, and the plan run over document versions.

The rules are those of firebase.google.com/docs/firestore/query-data/queries and of the comments
in ``google/firestore/v1/query.proto``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from google.cloud.firestore_v1.types import query as query_types

from emulators.firestore import fields
from emulators.firestore.errors import invalid_argument, unimplemented
from emulators.firestore.fields import NAME, FieldPath
from emulators.firestore.names import (
    collection_id,
    collection_of,
    document_name,
    name_key,
    parent_name,
)
from emulators.firestore.values import (
    ARRAY,
    NAN_KEY,
    NULL_KEY,
    REFERENCE,
    Key,
    order_key,
)
from emulators.firestore.version import Version

_FIELD_OP = query_types.StructuredQuery.FieldFilter.Operator
_UNARY_OP = query_types.StructuredQuery.UnaryFilter.Operator
_AND, _OR = 1, 2
_DESCENDING = 2
_MAX_DISJUNCTIONS = 30
_MAX_NOT_IN = 10
_MAX_EXPANSION = 1000
_FEW = 8

INEQUALITIES = frozenset({"<", "<=", ">", ">=", "!=", "not-in"})
_NEGATIONS = frozenset({"!=", "not-in"})
_OPERATORS = {
    _FIELD_OP.LESS_THAN: "<",
    _FIELD_OP.LESS_THAN_OR_EQUAL: "<=",
    _FIELD_OP.GREATER_THAN: ">",
    _FIELD_OP.GREATER_THAN_OR_EQUAL: ">=",
    _FIELD_OP.EQUAL: "==",
    _FIELD_OP.NOT_EQUAL: "!=",
    _FIELD_OP.ARRAY_CONTAINS: "array-contains",
    _FIELD_OP.IN: "in",
    _FIELD_OP.ARRAY_CONTAINS_ANY: "array-contains-any",
    _FIELD_OP.NOT_IN: "not-in",
}


@dataclass(frozen=True)
class Condition:
    """One filter on one field. ``operand``: a key, or keys for the list operators."""

    path: FieldPath
    operator: str
    operand: Any
    unary: bool = False

    def holds(self, version: Version) -> bool:
        """Whether the document satisfies it; a missing field satisfies none."""
        key = version.key(self.path)
        return key is not None and _TESTS[self.operator](key, self.operand)


@dataclass(frozen=True)
class Junction:
    """AND or OR of filters."""

    any_of: bool
    parts: tuple[Condition | Junction, ...]

    def holds(self, version: Version) -> bool:
        """Whether the document satisfies it."""
        return (any if self.any_of else all)(part.holds(version) for part in self.parts)


Filter = Condition | Junction


@dataclass(frozen=True)
class Order:
    """One member of the ORDER BY."""

    path: FieldPath
    descending: bool


@dataclass(frozen=True)
class Cursor:
    """A position: a prefix of the order's keys, just before or just after what equals it."""

    keys: tuple[Key, ...]
    before: bool


@dataclass(frozen=True)
class Plan:
    """A validated query. ``orders`` is complete: inequality fields and ``__name__`` appended."""

    parent: str
    collection_id: str
    descendants: bool
    where: Filter | None
    orders: tuple[Order, ...]
    start: Cursor | None
    end: Cursor | None
    offset: int
    limit: int | None
    select: tuple[FieldPath, ...] | None

    @property
    def is_by_name(self) -> bool:
        """Whether names alone order the result, ascending."""
        return self.orders == (Order(NAME, descending=False),)

    def page(self, after: str, size: int) -> Plan:
        """The plan, which is by name, from behind ``after`` on, to one beyond a page."""
        start = Cursor(((REFERENCE, name_key(after)),), before=False) if after else None
        return replace(self, start=start, limit=size + 1)

    @property
    def is_partitionable(self) -> bool:
        """Whether PartitionQuery takes it."""
        whole = not (self.where or self.start or self.end or self.offset)
        return self.descendants and whole and self.is_by_name and self.limit is None

    def run(self, versions: Iterable[Version]) -> tuple[list[Version], int]:
        """The documents found, in order, and how many the offset skipped."""
        found = self._sorted(self.matching(versions))
        skipped = min(self.offset, len(found))
        return found[self.offset : self.last], skipped

    def run_unordered(self, versions: Iterable[Version]) -> list[Version]:
        """The documents found; in order only where that decides which they are."""
        if self.limit is None and not self.offset:
            return self.matching(versions)
        return self.run(versions)[0]

    def matching(self, versions: Iterable[Version]) -> list[Version]:
        """Those that the query finds, but for its limit and offset, in no order."""
        found = versions
        if self._is_below_a_document:
            found = (version for version in found if self.selects(version.name))
        if self.where is not None:
            found = filter(self.where.holds, found)
        for order in self.orders:
            if order.path != NAME:
                found = filter(_has(order.path), found)
        return self._between_cursors(list(found))

    def selects(self, name: str) -> bool:
        """Whether the document is in a collection that the query is about."""
        collection = collection_of(name)
        if not self.descendants and self.collection_id:
            return collection == f"{self.parent}/{self.collection_id}"
        above, _, last = collection.rpartition("/")
        if self.collection_id and last != self.collection_id:
            return False
        return above == self.parent or (self.descendants and above.startswith(self.parent + "/"))

    @property
    def _is_below_a_document(self) -> bool:
        """Whether a collection group holds more than the query is about."""
        return self.descendants and not self.parent.endswith("/documents")

    @property
    def last(self) -> int | None:
        """How many documents of the order decide the result; None without a limit."""
        return None if self.limit is None else self.offset + self.limit

    def _sorted(self, found: list[Version]) -> list[Version]:
        """In order; with a limit, as many as are asked for suffice."""
        if len({order.descending for order in self.orders}) == 1:
            return self._sorted_one_way(found)
        for order in reversed(self.orders):
            found = sorted(found, key=_keyed_by(order.path), reverse=order.descending)
        return found

    def _sorted_one_way(self, found: list[Version]) -> list[Version]:
        paths = [order.path for order in self.orders]
        descending = self.orders[0].descending

        def key(version: Version) -> list[Any]:
            return [version.key(path) for path in paths]

        if self.last is not None and self.last < len(found) // _FEW:
            pick = heapq.nlargest if descending else heapq.nsmallest
            return pick(self.last, found, key=key)
        return sorted(found, key=key, reverse=descending)

    def _between_cursors(self, found: list[Version]) -> list[Version]:
        if self.start is not None:
            least = 0 if self.start.before else 1
            found = [v for v in found if self._compare(v, self.start) >= least]
        if self.end is not None:
            most = -1 if self.end.before else 0
            found = [v for v in found if self._compare(v, self.end) <= most]
        return found

    def _compare(self, version: Version, cursor: Cursor) -> int:
        for order, wanted in zip(self.orders, cursor.keys, strict=False):
            key: Any = version.key(order.path)
            if key != wanted:
                return 1 if (key > wanted) != order.descending else -1
        return 0


def conditions(where: Filter | None) -> list[Condition]:
    """Every condition in a filter, in its order."""
    if where is None:
        return []
    if isinstance(where, Condition):
        return [where]
    return [one for part in where.parts for one in conditions(part)]


def conjunction(where: Filter | None) -> list[Condition]:
    """The conditions that every document found must meet."""
    if where is None:
        return []
    if isinstance(where, Condition):
        return [where]
    if where.any_of:
        return []
    return [one for part in where.parts for one in conjunction(part)]


def disjunctions(where: Filter | None) -> list[tuple[Condition, ...]]:
    """The filter in disjunctive normal form; the list operators are not expanded."""
    if where is None:
        return [()]
    if isinstance(where, Condition):
        return [(where,)]
    if where.any_of:
        return [term for part in where.parts for term in disjunctions(part)]
    terms: list[tuple[Condition, ...]] = [()]
    for part in where.parts:
        terms = [left + right for left in terms for right in disjunctions(part)]
        if len(terms) > _MAX_EXPANSION:
            raise invalid_argument("Too many disjunctions after normalization.")
    return terms


def plan(parent: str, query: Any) -> Plan:
    """Read a raw ``StructuredQuery``; raises INVALID_ARGUMENT, or UNIMPLEMENTED for a vector."""
    if query.HasField("find_nearest"):
        raise unimplemented("StructuredQuery.find_nearest")
    if len(query.from_) > 1:
        raise invalid_argument("a query may select from one collection only")
    selected, descendants = _collection(query)
    parent = parent_name(parent)
    where = _filter(query.where, parent) if query.HasField("where") else None
    _check_filters(where)
    explicit = _explicit_orders(query)
    orders = _complete(explicit, where)
    return Plan(
        parent=parent,
        collection_id=selected,
        descendants=descendants,
        where=where,
        orders=orders,
        start=_cursor(query, "start_at", orders, len(explicit)),
        end=_cursor(query, "end_at", orders, len(explicit)),
        offset=_not_negative(query.offset, "offset"),
        limit=_not_negative(query.limit.value, "limit") if query.HasField("limit") else None,
        select=_projection(query),
    )


def orders_of_text(text: str) -> tuple[Order, ...]:
    """``ListDocuments.order_by`` ("a desc, b") completed to a full order."""
    explicit = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        path, _, direction = part.partition(" ")
        if direction.strip().lower() not in ("", "asc", "desc"):
            raise invalid_argument(f'Invalid order by clause "{part}".')
        explicit.append(Order(fields.parse(path), direction.strip().lower() == "desc"))
    return _complete(explicit, None)


def _collection(query: Any) -> tuple[str, bool]:
    if not query.from_:
        return "", True
    selector = query.from_[0]
    if selector.collection_id:
        collection_id(selector.collection_id)
    return selector.collection_id, selector.all_descendants


def _filter(raw: Any, parent: str) -> Filter:
    kind = raw.WhichOneof("filter_type")
    if kind == "composite_filter":
        return _junction(raw.composite_filter, parent)
    if kind == "unary_filter":
        return _unary(raw.unary_filter)
    if kind == "field_filter":
        return _condition(raw.field_filter)
    raise invalid_argument("A filter must be a composite, field or unary filter.")


def _junction(raw: Any, parent: str) -> Junction:
    if raw.op not in (_AND, _OR):
        raise invalid_argument("Unknown CompositeFilter operator.")
    if not raw.filters:
        raise invalid_argument("A composite filter must have at least one sub-filter.")
    return Junction(raw.op == _OR, tuple(_filter(one, parent) for one in raw.filters))


def _unary(raw: Any) -> Condition:
    path = fields.parse(raw.field.field_path)
    if raw.op == _UNARY_OP.IS_NULL:
        return Condition(path, "is", NULL_KEY, unary=True)
    if raw.op == _UNARY_OP.IS_NAN:
        return Condition(path, "is", NAN_KEY, unary=True)
    if raw.op == _UNARY_OP.IS_NOT_NULL:
        return Condition(path, "is-not", NULL_KEY, unary=True)
    if raw.op == _UNARY_OP.IS_NOT_NAN:
        return Condition(path, "is-not", NAN_KEY, unary=True)
    raise invalid_argument("Unknown UnaryFilter operator.")


def _condition(raw: Any) -> Condition:
    operator = _OPERATORS.get(raw.op)
    if operator is None:
        raise invalid_argument("Unknown FieldFilter operator.")
    path = fields.parse(raw.field.field_path)
    if operator not in _LISTS:
        return Condition(path, operator, _operand(path, operator, raw.value))
    if not raw.value.HasField("array_value") or not raw.value.array_value.values:
        raise invalid_argument(f"'{_shown(operator)}' requires an non-empty ArrayValue.")
    items = raw.value.array_value.values
    most = _MAX_NOT_IN if operator == "not-in" else _MAX_DISJUNCTIONS
    if len(items) > most:
        raise invalid_argument(f"'{_shown(operator)}' supports up to {most} comparison values.")
    return Condition(path, operator, tuple(_operand(path, operator, item) for item in items))


def _operand(path: FieldPath, operator: str, value: Any) -> Key:
    if path == NAME:
        if "array" in operator:
            raise invalid_argument(f"'{_shown(operator)}' cannot filter by document name.")
        if not value.HasField("reference_value"):
            raise invalid_argument("__key__ filter value must be a Key")
        return (REFERENCE, name_key(document_name(value.reference_value)))
    return order_key(value)


def _check_filters(where: Filter | None) -> None:
    every = conditions(where)
    negations = [one for one in every if one.operator in _NEGATIONS or one.operator == "is-not"]
    if len(negations) > 1:
        raise invalid_argument(
            "Only a single 'NOT_EQUAL', 'NOT_IN', 'IS_NOT_NAN', or 'IS_NOT_NULL' filter allowed "
            "per query."
        )
    terms = disjunctions(where)
    listed = any(one.operator in ("in", "array-contains-any") for one in every)
    if any(one.operator == "not-in" for one in every) and (listed or len(terms) > 1):
        raise invalid_argument(
            "'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'."
        )
    if any(sum(one.operator.startswith("array") for one in term) > 1 for term in terms):
        raise invalid_argument("A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction.")
    _check_disjunctions(terms)


def _check_disjunctions(terms: list[tuple[Condition, ...]]) -> None:
    total = 0
    for term in terms:
        count = 1
        for one in term:
            if one.operator in ("in", "array-contains-any"):
                count *= len(one.operand)
        total += count
    if total > _MAX_DISJUNCTIONS:
        raise invalid_argument(
            f"Too many disjunctions after normalization. Result had {total} disjunctions which is "
            f"more than the maximum of {_MAX_DISJUNCTIONS}"
        )


def _explicit_orders(query: Any) -> list[Order]:
    explicit = [
        Order(fields.parse(one.field.field_path), one.direction == _DESCENDING)
        for one in query.order_by
    ]
    paths = [order.path for order in explicit]
    for path in paths:
        if paths.count(path) > 1:
            raise invalid_argument(
                f"order by clause cannot contain duplicate fields {fields.shown(path)}"
            )
    return explicit


def _complete(explicit: list[Order], where: Filter | None) -> tuple[Order, ...]:
    """Append the inequality fields in lexicographic order and ``__name__``, as documented."""
    orders = list(explicit)
    present = {order.path for order in explicit}
    unequal = {one.path for one in conditions(where) if is_inequality(one)}
    descending = orders[-1].descending if orders else False
    for path in [*sorted(unequal - {NAME}), NAME]:
        if path not in present:
            orders.append(Order(path, descending))
    return tuple(orders)


def is_inequality(condition: Condition) -> bool:
    """Whether the condition orders the result by its field."""
    return condition.operator in INEQUALITIES or condition.operator == "is-not"


def _cursor(query: Any, member: str, orders: tuple[Order, ...], most: int) -> Cursor | None:
    if not query.HasField(member):
        return None
    raw = getattr(query, member)
    if len(raw.values) > most:
        raise invalid_argument("Cursor has too many values.")
    keys = tuple(
        _operand(order.path, "cursor", value)
        for order, value in zip(orders, raw.values, strict=False)
    )
    return Cursor(keys, raw.before)


def _projection(query: Any) -> tuple[FieldPath, ...] | None:
    if not query.HasField("select") or not query.select.fields:
        return None
    return tuple(fields.parse(one.field_path) for one in query.select.fields)


def _not_negative(value: int, what: str) -> int:
    if value < 0:
        raise invalid_argument(f"{what} is negative")
    return value


def _keyed_by(path: FieldPath) -> Callable[[Version], Any]:
    return lambda version: version.key(path)


def _has(path: FieldPath) -> Callable[[Version], bool]:
    return lambda version: version.key(path) is not None


def _shown(operator: str) -> str:
    return operator.replace("-", "_").upper()


def _comparable(key: Key, operand: Key) -> bool:
    """Ranges stay within one type; null and NaN are in none."""
    return key[0] == operand[0] and operand != NULL_KEY and NAN_KEY not in (key, operand)


def _equals(key: Key, operand: Key) -> bool:
    return key == operand and key not in (NULL_KEY, NAN_KEY)


def _differs(key: Key, operand: Key) -> bool:
    return NULL_KEY not in (key, operand) and (key != operand or operand == NAN_KEY)


def _contains(key: Key, operand: Key) -> bool:
    return key[0] == ARRAY and operand not in (NULL_KEY, NAN_KEY) and operand in key[1]


_LISTS = frozenset({"in", "not-in", "array-contains-any"})
_TESTS: dict[str, Callable[[Key, Any], bool]] = {
    "is": lambda key, operand: key == operand,
    "is-not": lambda key, operand: key not in (operand, NULL_KEY),
    "==": _equals,
    "!=": _differs,
    "<": lambda key, operand: _comparable(key, operand) and key < operand,
    "<=": lambda key, operand: _comparable(key, operand) and key <= operand,
    ">": lambda key, operand: _comparable(key, operand) and key > operand,
    ">=": lambda key, operand: _comparable(key, operand) and key >= operand,
    "in": lambda key, operands: any(_equals(key, one) for one in operands),
    "not-in": lambda key, operands: all(_differs(key, one) for one in operands),
    "array-contains": _contains,
    "array-contains-any": lambda key, operands: any(_contains(key, one) for one in operands),
}
