"""Queries over large collections: what an index answers is what looking at every document would
(firebase.google.com/docs/firestore/query-data/queries), through any sequence of writes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from geminivideo.runtime.clock import Clock
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.base_query import _enum_from_op_string
from google.cloud.firestore_v1.types import query as query_types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulators.firestore import query, store
from emulators.firestore.errors import ApiError
from emulators.firestore.state import Consistency, State
from emulators.firestore.version import Document, Version, body_of

ROOT = "projects/p/databases/(default)/documents"
Structured = query_types.StructuredQuery

scalars = st.sampled_from([None, False, True, float("nan"), -1, 0, 1, 1.5, 2, "a", "b", b"a"])
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.just("k"), scalars)
names = st.sampled_from([f"{parent}/g/{n}" for parent in ("c/x", "c/y", "c/x/g/1") for n in "1234"])
documents = st.dictionaries(st.sampled_from("abt"), values)
histories = st.lists(st.tuples(names, st.none() | documents), max_size=12)
fields = st.sampled_from(["a", "b", "t", "a.k"])


def encoded(value):
    return _helpers.encode_value(value)


def filter_of(path, operator, operand):
    made = {"field": {"field_path": path}, "op": operator, "value": encoded(operand)}
    return {"field_filter": made}


conditions = st.one_of(
    st.builds(
        filter_of,
        fields,
        st.sampled_from(["<", "<=", "==", ">", ">=", "array_contains"]).map(_enum_from_op_string),
        values,
    ),
    st.builds(
        filter_of,
        fields,
        st.sampled_from(["in", "array_contains_any"]).map(_enum_from_op_string),
        st.lists(scalars, min_size=1, max_size=3),
    ),
    st.builds(
        lambda path, op: {"unary_filter": {"field": {"field_path": path}, "op": op}},
        fields,
        st.sampled_from([2, 3]),
    ),
)
junctions = st.builds(
    lambda op, filters: {"composite_filter": {"op": op, "filters": filters}},
    st.sampled_from([1, 2]),
    st.lists(conditions, min_size=1, max_size=3),
)
orders = st.lists(
    st.tuples(st.sampled_from(["a", "b", "t", "__name__"]), st.sampled_from([1, 2])),
    max_size=2,
    unique_by=lambda one: one[0],
)
cursors = st.none() | st.tuples(st.lists(scalars, max_size=1), st.booleans())


@st.composite
def queries(draw):
    made = Structured(from_=[{"collection_id": "g", "all_descendants": draw(st.booleans())}])
    if draw(st.booleans()):
        made.where = draw(conditions | junctions)
    for path, direction in draw(orders):
        made.order_by.append({"field": {"field_path": path}, "direction": direction})
    for member in ("start_at", "end_at"):
        cursor = draw(cursors)
        if cursor is not None and made.order_by and made.order_by[0].field.field_path in "abt":
            setattr(made, member, {"values": map(encoded, cursor[0]), "before": cursor[1]})
    made.offset = draw(st.integers(0, 2))
    if draw(st.booleans()):
        made.limit = draw(st.integers(0, 5))
    return made


@pytest.fixture
def kept(tmp_path: Path):
    """A store that makes an index for a single document already."""
    made = store.Store(tmp_path / "firestore.sqlite")
    yield made
    made.close()


def plan_of(structured, parent=ROOT):
    try:
        return query.plan(parent, structured._pb)
    except ApiError:
        return None


@given(
    history=histories,
    asked=st.lists(queries(), min_size=1, max_size=3),
    parent=st.sampled_from([ROOT, f"{ROOT}/c/x", f"{ROOT}/c/x/g/1"]),
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_an_index_finds_what_looking_at_everything_finds(kept, monkeypatch, history, asked, parent):
    """Any filter, order, cursor, offset and limit, before and after any writes and deletions."""
    monkeypatch.setattr(store, "_WORTH_AN_INDEX", 0)
    kept.clear(kept.last_commit + 1)
    plans = [plan for one in asked if (plan := plan_of(one, parent)) is not None]
    for name, data in [*history, (None, None)]:
        for plan in plans:
            everything = kept.in_collections(kept.collections_of(plan), None)
            picked = kept.pick(plan, None)
            assert shown(plan.run(picked)) == shown(plan.run(everything))
        if name is not None:
            full = f"{ROOT}/{name}"
            body = None
            if data is not None:
                document = Document(name=full)
                for path, value in _helpers.encode_dict(data).items():
                    document.fields[path].CopyFrom(value._pb)
                body = body_of(document)
            at = kept.last_commit + 1
            kept.write([Version(full, at, body, at)], at, kept.last_commit)


def shown(answer):
    found, skipped = answer
    return [(one.name, one.at) for one in found], skipped


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory):
    """20,000 ads of 200 campaigns."""
    path = tmp_path_factory.mktemp("large") / "firestore.sqlite"
    state = State(path, Clock(), None, 4, 0.0)
    filled = []
    for number in range(20_000):
        document = Document(name=f"{ROOT}/ads/{number:05}")
        document.fields["campaign"].integer_value = number % 200
        document.fields["spend"].double_value = (number * 7919) % 20_000
        filled.append(Version(document.name, 1, body_of(document), 1))
    state._store.write(filled, 1, 1)
    yield state
    state.close()


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"where": filter_of("campaign", 5, 7)}, 100),
        ({"order_by": [{"field": {"field_path": "spend"}, "direction": 2}], "limit": 20}, 20),
        ({"where": filter_of("spend", 3, 19_990)}, 9),
        ({"limit": 20}, 20),
    ],
    ids=["equal", "order and limit", "range", "first page"],
)
def test_a_large_collection_is_not_looked_through(large, members, found):
    """The result set, not the data set, decides how many documents a query looks at."""
    plan = query.plan(ROOT, Structured(from_=[{"collection_id": "ads"}], **members)._pb)
    assert len(large._store.pick(plan, None)) <= 100
    assert len(large.run(plan, Consistency())[0]) == found


def test_a_write_to_an_indexed_collection_stays_quick(large):
    """The indexes follow each write: 200 writes take far less than building an index anew."""
    plan = query.plan(
        ROOT,
        Structured(from_=[{"collection_id": "ads"}], where=filter_of("campaign", 5, 7))._pb,
    )
    large.run(plan, Consistency())
    began = time.perf_counter()
    for number in range(200):
        document = Document(name=f"{ROOT}/ads/{number * 100:05}")
        document.fields["campaign"].integer_value = 7
        at = 2 + number
        large._store.write([Version(document.name, at, body_of(document), 1)], at, 1)
    took = time.perf_counter() - began
    assert took < 2
    assert len(large.run(plan, Consistency())[0]) == 300
