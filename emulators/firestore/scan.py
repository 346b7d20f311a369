"""Which documents a query has to look at: single-field indexes in memory, built when first needed.

``pick`` gives a list over which ``Plan.run`` answers as over all documents. It narrows by the
filter that fewest documents meet, or walks along the order until the limit is reached, whichever
looks at less. Nothing here decides what a query finds: the plan tests every picked document.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from emulators.firestore import query
from emulators.firestore.fields import NAME, FieldPath
from emulators.firestore.names import NameKey
from emulators.firestore.query import Condition, Order, Plan
from emulators.firestore.values import ARRAY, NAN_KEY, NULL_KEY, NUMBER, Key
from emulators.firestore.version import Version

Entry = tuple[Key, NameKey, Version]
Indexes = Callable[[FieldPath, bool], "FieldIndex"]
_STEP = 64


class FieldIndex:
    """The live documents that have a field, by its value and then by name.

    ``elements``: by each distinct element of the array in the field instead.
    """

    __slots__ = ("_entries", "_keys_of")

    def __init__(self, path: FieldPath, elements: bool, versions: Iterable[Version]) -> None:
        self._keys_of = _elements_at(path) if elements else _value_at(path)
        self._entries: list[Entry] = [one for version in versions for one in self._of(version)]
        self._entries.sort()

    def __len__(self) -> int:
        return len(self._entries)

    def replace(self, old: Version | None, new: Version | None) -> None:
        """Take the entries of ``old`` out and put those of ``new`` in."""
        if old is not None:
            for entry in self._of(old):
                del self._entries[bisect_left(self._entries, entry[:2])]
        if new is not None:
            for entry in self._of(new):
                insort(self._entries, entry)

    def spans(self, condition: Condition) -> list[tuple[int, int]]:
        """The positions of what can satisfy the condition; raises KeyError for a negation."""
        operands = condition.operand if condition.operator in _LISTS else (condition.operand,)
        return [self._span(condition.operator, operand) for operand in operands]

    def versions(self, span: tuple[int, int]) -> list[Version]:
        """What is in the span, ascending."""
        return [entry[2] for entry in self._entries[slice(*span)]]

    def groups(self, span: tuple[int, int], orders: tuple[Order, ...]) -> Iterator[list[Version]]:
        """The span from the side where the order begins, never parting what the order may mix.

        Equal values stay together, unless the index itself is in the whole order.
        """
        start, end = span
        whole = all(one.path == NAME for one in orders[1:]) and len({*map(_way, orders)}) == 1
        while start < end:
            if orders[0].descending:
                cut = end - _STEP if whole else self._before(self._entries[end - 1][0])
                cut = max(start, cut)
                yield self.versions((cut, end))
                end = cut
            else:
                cut = start + _STEP if whole else self._after(self._entries[start][0])
                cut = min(end, cut)
                yield self.versions((start, cut))
                start = cut

    def bounded(self, plan: Plan) -> tuple[int, int]:
        """The span that the cursors and the ranges on this field, the first order's, leave."""
        start, end = 0, len(self._entries)
        order = plan.orders[0]
        for cursor, is_start in ((plan.start, True), (plan.end, False)):
            if cursor is None or not cursor.keys:
                continue
            if is_start != order.descending:
                start = max(start, self._before(cursor.keys[0]))
            else:
                end = min(end, self._after(cursor.keys[0]))
        for condition in query.conjunction(plan.where):
            if condition.path == order.path and condition.operator in _RANGES:
                low, high = self._span(condition.operator, condition.operand)
                start, end = max(start, low), min(end, high)
        return start, max(start, end)

    def _of(self, version: Version) -> list[Entry]:
        return [(key, version.name_key, version) for key in self._keys_of(version)]

    def _span(self, operator: str, operand: Key) -> tuple[int, int]:
        if operator == "is":
            return self._before(operand), self._after(operand)
        if operand in (NULL_KEY, NAN_KEY):
            return 0, 0
        low, high = _RANGES[operator](self, operand)
        return low, max(low, high)

    def _before(self, key: Key) -> int:
        return bisect_left(self._entries, (key,))

    def _after(self, key: Key) -> int:
        return bisect_right(self._entries, key, key=_first)

    def _first_of_type(self, key: Key) -> int:
        return self._before((NUMBER, 1) if key[0] == NUMBER else key[:1])

    def _end_of_type(self, key: Key) -> int:
        return self._before((key[0] + 1,))


def pick(plan: Plan, indexes: Indexes, total: int) -> list[Version] | None:
    """Enough of the documents to run the plan on; None: all of them have to be looked at."""
    narrowed = _narrowest(plan, indexes)
    most = narrowed.size if narrowed is not None else total
    if plan.last is not None and plan.last < most:
        walked = _walk(plan, indexes, None if narrowed is None else 2 * most)
        if walked is not None:
            return walked
    return narrowed.versions() if narrowed is not None else None


@dataclass(frozen=True)
class _Narrowed:
    """Spans of indexes that together have every document the filter can accept."""

    parts: tuple[tuple[FieldIndex, tuple[int, int]], ...]

    @property
    def size(self) -> int:
        return sum(end - start for _, (start, end) in self.parts)

    def versions(self) -> list[Version]:
        if len(self.parts) == 1:
            ((index, span),) = self.parts
            return index.versions(span)
        found = (one for index, span in self.parts for one in index.versions(span))
        return list({one.name: one for one in found}.values())


def _narrowest(plan: Plan, indexes: Indexes) -> _Narrowed | None:
    """The least selection for each disjunction, joined; None when one cannot be narrowed."""
    parts: list[tuple[FieldIndex, tuple[int, int]]] = []
    for term in query.disjunctions(plan.where):
        choices = [_selection(one, indexes) for one in term if one.operator in _USABLE]
        if not choices:
            return None
        parts += min(choices, key=lambda choice: choice.size).parts
    return _Narrowed(tuple(parts))


def _selection(condition: Condition, indexes: Indexes) -> _Narrowed:
    index = indexes(condition.path, condition.operator.startswith("array"))
    return _Narrowed(tuple((index, span) for span in index.spans(condition)))


def _walk(plan: Plan, indexes: Indexes, budget: int | None) -> list[Version] | None:
    """The first that match in the order, as many as are asked for; None beyond the budget."""
    index = indexes(plan.orders[0].path, False)
    picked: list[Version] = []
    seen = 0
    for group in index.groups(index.bounded(plan), plan.orders):
        seen += len(group)
        if budget is not None and seen > budget:
            return None
        picked += plan.matching(group)
        if plan.last is not None and len(picked) >= plan.last:
            break
    return picked


def _value_at(path: FieldPath) -> Callable[[Version], Iterable[Key]]:
    def keys(version: Version) -> Iterable[Key]:
        key = version.key(path)
        return () if key is None else (key,)

    return keys


def _elements_at(path: FieldPath) -> Callable[[Version], Iterable[Key]]:
    def keys(version: Version) -> Iterable[Key]:
        key = version.key(path)
        return set(key[1]) if key is not None and key[0] == ARRAY else ()

    return keys


def _way(order: Order) -> bool:
    return order.descending


def _first(entry: Entry) -> Key:
    return entry[0]


def _equal(index: FieldIndex, key: Key) -> tuple[int, int]:
    return index._before(key), index._after(key)


_LISTS = frozenset({"in", "array-contains-any"})
_RANGES: dict[str, Callable[[FieldIndex, Key], tuple[int, int]]] = {
    "==": _equal,
    "in": _equal,
    "array-contains": _equal,
    "array-contains-any": _equal,
    "<": lambda index, key: (index._first_of_type(key), index._before(key)),
    "<=": lambda index, key: (index._first_of_type(key), index._after(key)),
    ">": lambda index, key: (index._after(key), index._end_of_type(key)),
    ">=": lambda index, key: (index._before(key), index._end_of_type(key)),
}
_USABLE = frozenset(_RANGES) | {"is"}
