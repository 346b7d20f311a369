"""Queries (firebase.google.com/docs/firestore/query-data/queries, /order-limit-data,
/query-cursors; the order of types: firebase.google.com/docs/firestore/manage-data/data-types)."""

from __future__ import annotations

import datetime
import math

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1 import And, FieldFilter, Or, _helpers
from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.order import Order
from google.cloud.firestore_v1.types import query as query_types
from google.cloud.firestore_v1.vector import Vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOON = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC)
Structured = query_types.StructuredQuery


def ids(query):
    return [snapshot.id for snapshot in query.stream(retry=None)]


def where(collection, *filters):
    for one in filters:
        collection = collection.where(filter=FieldFilter(*one))
    return collection


@pytest.fixture
def types(client):
    """One document per kind of value, in ``v``, its id saying which; one without ``v``."""
    collection = client.collection("types")
    values = {
        "null": None,
        "false": False,
        "true": True,
        "nan": math.nan,
        "-inf": -math.inf,
        "-1": -1,
        "1": 1,
        "1.0": 1.0,
        "2.5": 2.5,
        "big": 2**53 + 1,
        "noon": NOON,
        "later": NOON + datetime.timedelta(microseconds=1),
        "a": "a",
        "aa": "aa",
        "z-bmp": "\uffff",
        "z-astral": "\U0001f600",
        "bytes": b"a",
        "ref": client.document("types/x"),
        "geo": firestore.GeoPoint(1, -2),
        "[]": [],
        "[1]": [1],
        "[1,2]": [1, 2],
        "[null]": [None],
        "[nan]": [math.nan],
        "['a']": ["a"],
        "vector1": Vector([9.0]),
        "vector2": Vector([1.0, 2.0]),
        "{}": {},
        "{a}": {"a": 1},
        "{a,b}": {"a": 1, "b": 1},
        "{b}": {"b": 0},
    }
    batch = client.batch()
    for name, one in values.items():
        batch.set(collection.document(name), {"v": one})
    batch.set(collection.document("without"), {"w": 1})
    batch.commit()
    return collection


EVERY_TYPE_IN_ORDER = [
    *("null", "false", "true", "nan", "-inf", "-1", "1", "1.0", "2.5", "big"),
    *("noon", "later", "a", "aa", "z-bmp", "z-astral", "bytes", "ref", "geo"),
    *("[]", "[null]", "[nan]", "[1]", "[1,2]", "['a']", "vector1", "vector2"),
    *("{}", "{a}", "{a,b}", "{b}"),
]


def test_all_types_have_one_order(types):
    """Null, booleans, numbers with NaN first, times, strings by UTF-8, bytes, references, points,
    lists, vectors by dimension, maps; a document without the field is not in the result."""
    assert ids(types.order_by("v")) == EVERY_TYPE_IN_ORDER
    descending = ids(types.order_by("v", direction="DESCENDING"))
    assert descending == EVERY_TYPE_IN_ORDER[::-1]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.datetimes(
        min_value=datetime.datetime(1900, 1, 1),
        max_value=datetime.datetime(2200, 1, 1),
        timezones=st.just(datetime.UTC),
    ),
    st.builds(firestore.GeoPoint, st.floats(-90, 90), st.floats(-180, 180)),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(scalars, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(left=anything, right=anything)
@settings(max_examples=300, deadline=None)
def test_the_order_of_any_two_values_is_the_clients(left, right):
    """The client library carries its own comparison of values (for listeners): ours agrees."""
    from emulators.firestore.values import order_key

    one, other = _helpers.encode_value(left), _helpers.encode_value(right)
    ours = (order_key(one._pb), order_key(other._pb))
    assert (ours[0] > ours[1]) - (ours[0] < ours[1]) == Order.compare(one, other)


@given(values=st.lists(st.integers(-5, 5) | st.sampled_from(["a", "b", None]), max_size=12))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_cursors_split_any_result_without_loss(client, values):
    """What starts after a document and what ends at it make up the whole result."""
    collection = client.collection("split")
    for old in collection.list_documents():
        old.delete()
    for number, one in enumerate(values):
        collection.document(f"{number:02}").set({"v": one})
    ordered = collection.order_by("v")
    everything = list(ordered.stream())
    for snapshot in everything:
        before = ids(ordered.end_at(snapshot))
        assert before + ids(ordered.start_after(snapshot)) == [one.id for one in everything]


@pytest.mark.parametrize(
    ("operator", "operand", "found"),
    [
        ("==", 1, ["1", "1.0"]),
        ("==", None, ["null"]),
        ("==", math.nan, ["nan"]),
        ("==", [1], ["[1]"]),
        ("==", {"a": 1}, ["{a}"]),
        ("<", 1, ["-inf", "-1"]),
        ("<=", 1, ["-inf", "-1", "1", "1.0"]),
        (">", 1, ["2.5", "big"]),
        (">=", 2**53, ["big"]),
        (">", "a", ["aa", "z-bmp", "z-astral"]),
        ("<", True, ["false"]),
        ("<", {"b": 0}, ["{}", "{a}", "{a,b}"]),
        (">=", [1], ["[1]", "[1,2]", "['a']"]),
        ("in", [1, "a"], ["1", "1.0", "a"]),
        ("in", [None, math.nan, 1], ["1", "1.0"]),
        ("in", [[1], {}], ["[1]", "{}"]),
        ("not-in", [None], []),
        ("array_contains", 1, ["[1,2]", "[1]"]),
        ("array_contains_any", [2, "a"], ["['a']", "[1,2]"]),
        ("array_contains_any", [None], []),
    ],
)
def test_operators(types, operator, operand, found):
    """Comparisons stay within the operand's type; null and NaN match only ``==``."""
    assert sorted(ids(where(types, ("v", operator, operand)))) == sorted(found)


@pytest.mark.parametrize(
    ("operator", "operand", "excluded"),
    [
        ("!=", 1, {"1", "1.0", "null"}),
        ("!=", None, {"null"}),
        ("!=", math.nan, {"nan", "null"}),
        ("not-in", [1, "a"], {"1", "1.0", "a", "null"}),
        ("not-in", [math.nan], {"null"}),
    ],
)
def test_negations_need_the_field_and_exclude_null(types, operator, operand, excluded):
    """Not-equal and not-in queries exclude documents where the field is missing or null."""
    found = ids(where(types, ("v", operator, operand)))
    assert found == [one for one in EVERY_TYPE_IN_ORDER if one not in excluded]


@pytest.fixture
def cities(client):
    """a: 0 1 2 0 1 2; b: 0 … 5; ``opt`` is missing in d4."""
    collection = client.collection("cities")
    batch = client.batch()
    for n in range(6):
        data = {"a": n % 3, "b": n, "tags": [n, n + 1], "m": {"k": n, "x.y": n}}
        batch.set(collection.document(f"d{n}"), data | ({} if n == 4 else {"opt": n}))
    batch.commit()
    return collection


def test_filters_combine_with_and(cities):
    """Several filters are combined with a logical AND."""
    assert ids(where(cities, ("a", "==", 1), ("b", ">", 1))) == ["d4"]


def test_or_joins_and_nests(cities):
    """Or queries: a document that meets any of the filters, once."""
    either = Or([FieldFilter("a", "==", 0), FieldFilter("b", ">=", 3)])
    assert ids(cities.where(filter=either)) == ["d0", "d3", "d4", "d5"]
    both = And([FieldFilter("a", "==", 1), Or([FieldFilter("b", "==", 4), either])])
    assert ids(cities.where(filter=both)) == ["d4"]


def test_an_implicit_order_excludes_what_lacks_the_field(cities):
    """An inequality in an OR orders by its field, so the field must be there for every branch."""
    either = Or([FieldFilter("opt", ">", 4), FieldFilter("b", "==", 4)])
    assert ids(cities.where(filter=either)) == ["d5"]


def test_inequalities_on_several_fields(cities):
    """Range filters on multiple fields; the implicit order is that of the field names."""
    found = where(cities, ("b", ">", 0), ("a", "<", 2))
    assert ids(found) == ["d3", "d1", "d4"]
    assert ids(found.order_by("b", direction="DESCENDING")) == ["d4", "d3", "d1"]


def test_fields_of_maps_and_quoted_fields(cities):
    """Field paths reach into maps; a name with a dot is quoted."""
    assert ids(where(cities, ("m.k", "==", 2))) == ["d2"]
    assert ids(where(cities, ("m.`x.y`", ">", 3))) == ["d4", "d5"]
    assert ids(where(cities, ("m", "==", {"k": 1, "x.y": 1}))) == ["d1"]


def test_order_by_several_fields_and_directions(cities):
    """Ties are broken by the next order, at last by the document's name in the last direction."""
    assert ids(cities.order_by("a").order_by("b", direction="DESCENDING")) == [
        *("d3", "d0", "d4", "d1", "d5", "d2"),
    ]
    assert ids(cities.order_by("a", direction="DESCENDING")) == [
        *("d5", "d2", "d4", "d1", "d3", "d0"),
    ]
    assert ids(cities.order_by("opt")) == ["d0", "d1", "d2", "d3", "d5"]


def test_cursors_take_values_prefixes_and_snapshots(cities):
    """start_at, start_after, end_before, end_at with values of a prefix of the order."""
    by_b = cities.order_by("b")
    assert ids(by_b.start_at({"b": 2}).end_at({"b": 4})) == ["d2", "d3", "d4"]
    assert ids(by_b.start_after({"b": 2}).end_before({"b": 4})) == ["d3"]
    descending = cities.order_by("b", direction="DESCENDING")
    assert ids(descending.start_at({"b": 2})) == ["d2", "d1", "d0"]
    by_a = cities.order_by("a")
    assert ids(by_a.order_by("b").start_after({"a": 0})) == ["d1", "d4", "d2", "d5"]
    assert ids(by_a.start_after(cities.document("d1").get())) == ["d4", "d2", "d5"]


def test_limit_offset_and_limit_to_last(cities):
    """Offset skips before the limit counts; limit to last takes the end of the order."""
    by_b = cities.order_by("b")
    assert ids(by_b.offset(2).limit(2)) == ["d2", "d3"]
    assert [one.id for one in by_b.limit_to_last(2).get()] == ["d4", "d5"]
    assert ids(by_b.limit(0)) == []


def test_skipped_results_and_the_end_are_told(api, cities):
    """RunQueryResponse: skipped_results once, done with the last; none found has a read time."""
    assert cities.id == "cities"
    structured = api.client.collection("cities").offset(2).limit(2)._to_protobuf()
    request = {"parent": api.root, "structured_query": structured}
    got = list(api.raw.run_query(request=request))
    assert [(one.skipped_results, one.done) for one in got] == [(2, False), (0, True)]
    request["structured_query"] = api.client.collection("none").limit(1)._to_protobuf()
    (only,) = api.raw.run_query(request=request)
    assert only.read_time
    assert not only.document.name


def test_a_projection_returns_the_selected_fields(cities):
    """select returns those fields; none of them returns only names."""
    found = [one.to_dict() for one in cities.select(["b", "m.k"]).limit(2).stream()]
    assert found == [{"b": 0, "m": {"k": 0}}, {"b": 1, "m": {"k": 1}}]
    assert [one.to_dict() for one in cities.select([]).limit(1).stream()] == [{}]


@pytest.mark.google_differs("refuses a descending order of __name__")
def test_queries_by_document_name(cities):
    """``__name__`` is compared with references: equality, in, ranges, and both directions."""
    name = FieldPath.document_id()
    assert ids(where(cities, (name, "==", cities.document("d2")))) == ["d2"]
    assert ids(where(cities, (name, ">", cities.document("d3")))) == ["d4", "d5"]
    picked = [cities.document("d2"), cities.document("d0")]
    assert ids(where(cities, (name, "in", picked))) == ["d0", "d2"]
    assert ids(cities.order_by(name, direction="DESCENDING").limit(2)) == ["d5", "d4"]


def test_a_collection_group_has_every_collection_of_that_id(client):
    """A collection group query: all collections with the id, ordered by full path."""
    for path in ("group/b", "group/a/group/x", "other/o/group/y", "other/o/groups/z"):
        client.document(path).set({"n": 1})
    found = client.collection_group("group").stream()
    assert [one.reference.path for one in found] == [
        *("group/a/group/x", "group/b", "other/o/group/y"),
    ]
    assert ids(client.collection("group")) == ["b"]
    assert ids(where(client.collection_group("group"), ("n", "==", 1))) == ["x", "b", "y"]


def test_a_recursive_query_has_everything_below(client):
    """The client's recursive() selects all descendants of a collection."""
    for path in ("tree/a", "tree/a/sub/b", "tree/z/sub/c/deep/d", "trees/no"):
        client.document(path).set({})
    found = [one.reference.path for one in client.collection("tree").recursive().stream()]
    assert found == ["tree/a", "tree/a/sub/b", "tree/z/sub/c/deep/d"]
    assert client.recursive_delete(client.collection("tree")) >= 3
    assert ids(client.collection("tree").recursive()) == []


@pytest.mark.parametrize(
    "filters",
    [
        [("a", "in", list(range(31)))],
        [("a", "in", [])],
        [("a", "not-in", list(range(11)))],
        [("a", "!=", 1), ("b", "!=", 1)],
        [("a", "!=", 1), ("b", "not-in", [1])],
        [("a", "in", [1]), ("b", "not-in", [1])],
        [("tags", "array_contains", 1), ("tags", "array_contains", 2)],
        [("tags", "array_contains", 1), ("tags", "array_contains_any", [2])],
        [("a", "in", [1, 2, 3, 4, 5, 6]), ("b", "in", [1, 2, 3, 4, 5, 6])],
    ],
)
def test_query_limitations(cities, filters):
    """30 disjunctions, 10 values of not-in, one negation, one array filter per disjunction."""
    with pytest.raises(exceptions.InvalidArgument):
        ids(where(cities, *filters))


@pytest.mark.parametrize(
    "members",
    [
        {"limit": -1},
        {"offset": -1},
        {"order_by": [{"field": {"field_path": "a"}}] * 2},
        {"where": {"composite_filter": {"op": 0, "filters": []}}},
        {"where": {"field_filter": {"field": {"field_path": "a"}, "op": 0, "value": {}}}},
        {"where": {"unary_filter": {"field": {"field_path": "a"}, "op": 0}}},
        {"start_at": {"values": [{"integer_value": 1}]}},
    ],
    ids=["limit", "offset", "order", "composite", "field", "unary", "cursor"],
)
def test_malformed_queries_are_invalid_arguments(api, members):
    """What query.proto requires is checked."""
    structured = Structured(from_=[{"collection_id": "c"}], **members)
    with pytest.raises(exceptions.InvalidArgument):
        list(api.raw.run_query(request={"parent": api.root, "structured_query": structured}))


def test_listing_has_pages_and_missing_documents(api, client):
    """list_documents shows documents that are missing but have documents below them."""
    client.document("list/only-below/sub/x").set({})
    for name in "bca":
        client.document(f"list/{name}").set({"n": 1})
    listed = client.collection("list").list_documents(page_size=2)
    assert [one.id for one in listed] == ["a", "b", "c", "only-below"]
    request = {"parent": api.root, "collection_id": "list", "order_by": "n, __name__ desc"}
    shown = api.raw.list_documents(request=request)
    assert [one.name.rsplit("/", 1)[1] for one in shown] == ["c", "b", "a"]
    with pytest.raises(exceptions.InvalidArgument):
        api.raw.list_documents(request=request | {"page_token": "zzz"})


def test_pages_go_on_while_documents_come_and_go(api, client):
    """A page begins after the last name of the one before, whether that is still there or not."""
    for name in ("b", "d", "f", "h/sub/x"):
        client.document(f"list/{name}").set({})
    request = {"parent": api.root, "collection_id": "list", "page_size": 2, "show_missing": True}
    metadata = client._rpc_metadata
    pages = api.raw.list_documents(request=request, metadata=metadata).pages
    assert [one.name[-1] for one in next(pages).documents] == ["b", "d"]
    client.document("list/d").delete()
    client.document("list/a").set({})
    client.document("list/e").set({})
    assert [one.name[-1] for one in next(pages).documents] == ["e", "f"]
    assert [one.name[-1] for one in next(pages).documents] == ["h"]


@pytest.mark.google_differs("answers UNKNOWN to the second page of an ordered listing")
@pytest.mark.parametrize("order", ["n", "n desc"])
def test_an_ordered_listing_has_pages(api, client, order):
    """order_by of ListDocuments, page by page."""
    for n, name in enumerate("abcde"):
        client.document(f"list/{name}").set({"n": n})
    request = {"parent": api.root, "collection_id": "list", "page_size": 2, "order_by": order}
    names = "".join(one.name[-1] for one in api.raw.list_documents(request=request))
    assert names == ("abcde" if order == "n" else "edcba")


def test_collections_are_listed_at_the_root_and_below_a_document(client):
    """ListCollectionIds: those with documents, also only deeper below."""
    client.document("one/a").set({})
    client.document("two/missing/sub/x").set({})
    gone = client.document("three/a")
    gone.set({})
    gone.delete()
    assert [one.id for one in client.collections()] == ["one", "two"]
    assert [one.id for one in client.document("two/missing").collections()] == ["sub"]


def test_a_query_at_a_read_time_sees_that_state(client):
    """Stale reads of queries."""
    collection = client.collection("c")
    collection.document("a").set({"n": 1})
    then = collection.document("b").set({"n": 2}).update_time
    collection.document("a").delete()
    collection.document("c").set({"n": 3})
    found = collection.order_by("n").stream(read_time=then)
    assert [one.id for one in found] == ["a", "b"]
