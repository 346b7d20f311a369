"""Composite indexes (firebase.google.com/docs/firestore/query-data/index-overview): single-field
indexes are automatic and merged for equality; the rest must be declared."""

from __future__ import annotations

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud.firestore_v1 import FieldFilter, Or

from emulators.firestore import COLLECTION_GROUP, Index, IndexField, Server


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory):
    served = Server(state_dir=tmp_path_factory.mktemp("indexed"), clock=Clock(), indexes=[])
    served.start()
    yield served
    served.stop()


@pytest.fixture
def ask(indexed: Server, connect):
    """Declare indexes and run a query (filters, orders with ``-`` for descending)."""
    client = connect(indexed)

    def asked(filters=(), orders=(), declared=(), group=False):
        indexed.declare_indexes(declared)
        query = client.collection_group("c") if group else client.collection("c")
        for one in filters:
            query = query.where(filter=one if isinstance(one, Or) else FieldFilter(*one))
        for name in orders:
            direction = "DESCENDING" if name.startswith("-") else "ASCENDING"
            query = query.order_by(name.removeprefix("-"), direction=direction)
        return [one.id for one in query.stream(retry=None)]

    return asked


EQUAL_A, EQUAL_B = ("a", "==", 1), ("b", "==", 2)
OVER_B = ("b", ">", 2)
TAGGED = ("tags", "array_contains", "x")


@pytest.mark.parametrize(
    ("filters", "orders"),
    [
        ([], []),
        ([EQUAL_A], []),
        ([EQUAL_A, EQUAL_B, ("c", "==", 3)], []),
        ([("a", "in", [1, 2]), EQUAL_B], []),
        ([OVER_B], []),
        ([OVER_B, ("b", "<", 9)], ["-b"]),
        ([], ["-b"]),
        ([EQUAL_A], ["a"]),
        ([EQUAL_A], ["-__name__"]),
        ([], ["-a", "-__name__"]),
        ([TAGGED], []),
        ([("a", "==", None)], []),
        ([("a", "!=", 1)], []),
        ([Or([FieldFilter("a", "==", 1), FieldFilter("b", ">", 1)])], ["b"]),
    ],
)
def test_what_single_field_indexes_serve(ask, filters, orders):
    """Equality on any fields, or one range, order or array-contains alone, needs no declaration."""
    if filters and isinstance(filters[0], Or):
        with pytest.raises(exceptions.FailedPrecondition):
            ask(filters, orders)
        return
    assert ask(filters, orders) == []


@pytest.mark.parametrize(
    ("filters", "orders", "index", "named"),
    [
        ([EQUAL_A, OVER_B], [], Index.of("c", "a", "b"), "a ASCENDING, b ASCENDING"),
        ([EQUAL_A], ["-b"], Index.of("c", "a", "-b"), "a ASCENDING, b DESCENDING"),
        ([], ["a", "-b"], Index.of("c", "a", "-b"), "a ASCENDING, b DESCENDING"),
        ([("a", "<", 1), OVER_B], [], Index.of("c", "a", "b"), "a ASCENDING, b ASCENDING"),
        ([TAGGED, EQUAL_A], [], Index.of("c", "tags[]", "a"), "tags CONTAINS, a ASCENDING"),
        ([TAGGED], ["-b"], Index.of("c", "tags[]", "-b"), "tags CONTAINS, b DESCENDING"),
        ([("a", "in", [1, 2])], ["b"], Index.of("c", "a", "b"), "a ASCENDING, b ASCENDING"),
        ([], ["a", "-__name__"], Index.of("c", "a", "-__name__"), "__name__ DESCENDING"),
        ([], ["-__name__"], Index("c", (IndexField("__name__", "DESCENDING"),)), "__name__"),
    ],
)
def test_what_needs_a_composite_index_is_refused_without_it(ask, filters, orders, index, named):
    """FAILED_PRECONDITION "The query requires an index", naming the collection and the fields."""
    with pytest.raises(exceptions.FailedPrecondition) as refused:
        ask(filters, orders)
    assert refused.value.message.startswith("The query requires an index.")
    assert "'c'" in refused.value.message
    assert named in refused.value.message
    assert ask(filters, orders, [index]) == []


@pytest.mark.parametrize(
    "declared",
    [
        [Index.of("c", "a", "b")],
        [Index.of("c", "-b", "a")],
        [Index.of("d", "a", "-b")],
        [Index.of("c", "a", "-b", scope=COLLECTION_GROUP)],
        [Index.of("c", "a", "x", "-b")],
    ],
    ids=["direction", "order of fields", "collection", "scope", "a field too many"],
)
def test_an_index_that_does_not_fit_does_not_help(ask, declared):
    """Direction, order, collection and scope must be those of the query."""
    with pytest.raises(exceptions.FailedPrecondition):
        ask([EQUAL_A], ["-b"], declared)


def test_equal_fields_stand_in_any_order_and_indexes_merge(ask):
    """Indexes that end in the same order serve together what one would."""
    filters = [EQUAL_A, ("x", "==", 1)]
    assert ask(filters, ["-b"], [Index.of("c", "x", "a", "-b")]) == []
    assert ask(filters, ["-b"], [Index.of("c", "x", "-b"), Index.of("c", "a", "-b")]) == []
    with pytest.raises(exceptions.FailedPrecondition):
        ask(filters, ["-b"], [Index.of("c", "x", "-b"), Index.of("c", "a", "b")])


def test_each_disjunction_needs_its_index(ask):
    """An OR query is as many queries as it has disjunctions."""
    either = Or([FieldFilter("a", "==", 1), FieldFilter("x", "==", 1)])
    half = [Index.of("c", "a", "b")]
    with pytest.raises(exceptions.FailedPrecondition, match="x ASCENDING"):
        ask([either], ["b"], half)
    assert ask([either], ["b"], [*half, Index.of("c", "x", "b")]) == []


def test_collection_groups_have_no_automatic_indexes(ask):
    """Single-field indexes of collection group scope must be declared."""
    assert ask(group=True) == []
    with pytest.raises(exceptions.FailedPrecondition, match="COLLECTION_GROUP"):
        ask([EQUAL_A], group=True)
    assert ask([EQUAL_A], declared=[Index.of("c", "a", scope=COLLECTION_GROUP)], group=True) == []


def test_sums_need_their_field_in_the_index(indexed, connect):
    """sum and average of a filtered query need an index with the aggregated field."""
    client = connect(indexed)
    indexed.declare_indexes([])
    assert client.collection("c").sum("n").get()[0][0].value == 0
    filtered = client.collection("c").where(filter=FieldFilter("a", "==", 1))
    assert filtered.count().get()[0][0].value == 0
    with pytest.raises(exceptions.FailedPrecondition, match="n ASCENDING"):
        filtered.sum("n").get()
    indexed.declare_indexes([Index.of("c", "a", "n")])
    assert filtered.sum("n").get()[0][0].value == 0


def test_indexes_are_read_from_declared_resources():
    """The inputs of a gcp:firestore/index:Index, in camel and in snake case."""
    camel = {
        "collection": "c",
        "queryScope": "COLLECTION_GROUP",
        "fields": [
            {"fieldPath": "tags", "arrayConfig": "CONTAINS"},
            {"fieldPath": "b", "order": "DESCENDING"},
            {"fieldPath": "__name__", "order": "DESCENDING"},
        ],
    }
    short = Index.of("c", "tags[]", "-b", scope=COLLECTION_GROUP)
    assert Index.of_resource(camel).members() == short.members()
    assert Index.of_resource(camel).scope == COLLECTION_GROUP
    snake = {"collection": "c", "fields": [{"field_path": "a", "order": "ASCENDING"}]}
    assert Index.of_resource(snake) == Index.of("c", "a")


def test_without_a_list_no_index_is_demanded(client):
    """indexes=None: queries run without declared indexes."""
    query = client.collection("c").where(filter=FieldFilter("a", "==", 1)).order_by("b")
    assert list(query.stream()) == []
