"""The product's own document port (geminivideo.cloud.documents) over the wire."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from geminivideo.cloud.documents import (
    AlreadyExistsError,
    DocumentMissingError,
    Query,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@dataclass(frozen=True)
class Point:
    x: int
    y: float


@dataclass(frozen=True)
class Shape:
    name: str
    corners: tuple[Point, ...] = ()
    grid: tuple[tuple[int, ...], ...] = ()
    cube: tuple[tuple[tuple[int, ...], ...], ...] = ()
    labels: dict[str, list[str]] | None = None
    raw: bytes = b""
    expire_at: float | None = None


@dataclass(frozen=True)
class Height:
    y: float
    x: int | None = None


shapes = st.builds(
    Shape,
    name=st.text(max_size=10),
    corners=st.lists(st.builds(Point, st.integers(-9, 9), st.floats(-1, 1)), max_size=3).map(tuple),
    grid=st.lists(st.lists(st.integers(-9, 9), max_size=3).map(tuple), max_size=3).map(tuple),
    labels=st.none() | st.dictionaries(st.text("ab.`_ ", min_size=1, max_size=3), st.just(["l"])),
    raw=st.binary(max_size=8),
)


@given(shape=shapes)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_record_comes_back_as_it_was_written(documents, shape):
    """Encoded, stored, read and decoded, a record is equal to itself."""
    documents.set("shapes/one", shape)
    assert documents.get("shapes/one", Shape) == shape


def test_lists_in_lists_survive_although_firestore_refuses_them(documents):
    """A list directly in a list is wrapped in a map with a name that may be stored."""
    shape = Shape("deep", grid=((1, 2), (), (3,)), cube=(((1,), (2, 3)), ()))
    documents.set("shapes/deep", shape)
    assert documents.get("shapes/deep", Shape) == shape


def test_expiry_times_are_stored_as_timestamps(documents):
    """A TTL policy needs a timestamp; the record has epoch seconds."""
    documents.set("shapes/a", Shape("a", expire_at=1_700_000_000.5))
    stored = documents.client.document("shapes/a").get().to_dict()
    assert stored["expire_at"].timestamp() == 1_700_000_000.5
    assert documents.get("shapes/a", Shape).expire_at == 1_700_000_000.5


def test_create_require_and_update_say_what_is_wrong(documents):
    """create of what exists and require of what does not have their own errors."""
    documents.create("shapes/a", Shape("a"))
    with pytest.raises(AlreadyExistsError, match="shapes/a"):
        documents.create("shapes/a", Shape("b"))
    with pytest.raises(DocumentMissingError, match="shapes/none"):
        documents.require("shapes/none", Shape)
    documents.update("shapes/a", {"name": "c", "labels.x": ["y"]})
    assert documents.require("shapes/a", Shape) == Shape("c", labels={"x": ["y"]})


def test_queries_as_data(documents):
    """where, order with ``-`` and limit, outside and inside a transaction."""
    for n in range(5):
        documents.set(f"points/{n}", Point(n % 2, float(n)))
    query = Query("points", where=[("x", "==", 0)], order=["-y"], limit=2)
    assert documents.query(query, Point) == [Point(0, 4.0), Point(0, 2.0)]
    assert documents.transact(lambda inner: inner.query(query, Point)) == [
        *(Point(0, 4.0), Point(0, 2.0)),
    ]


def test_pages_follow_the_order_of_a_query_and_miss_nothing_between_equals(documents):
    """Equal values, and both kinds of number, across pages; only members asked for are read."""
    given = [Point(n, (0.0, 1.5, 2)[n % 3]) for n in range(7)]
    for point in given:
        documents.set(f"points/{point.x}", point)
    query = Query("points", where=[("y", "<", 2.5)], order=["y"], members=["y"])
    pages = list(documents.pages(query, Height, size=2))
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert [one.y for page in pages for one in page] == sorted(point.y for point in given)
    assert {type(one.x) for page in pages for one in page} == {type(None)}
    every = documents.pages(Query("points"), Point, size=3)
    assert [point for page in every for point in page] == given


def test_many_documents_are_read_by_path_and_queries_name_them(documents):
    """Absent ones are left out, a path asked twice is one; ids are those of the documents."""
    for n in range(3):
        documents.set(f"points/{n}", Point(n, 0.0))
    paths = ["points/2", "points/9", "points/0", "points/2"]
    assert documents.get_many(paths, Point) == {
        "points/2": Point(2, 0.0),
        "points/0": Point(0, 0.0),
    }
    named = documents.named(Query("points", [("x", ">", 0)]), Point)
    assert named == {"1": Point(1, 0.0), "2": Point(2, 0.0)}


def test_a_query_is_read_on_the_thread_that_asks(documents, monkeypatch):
    """No thread is started for its stream, which would cost more than a small answer."""
    documents.set("points/1", Point(1, 1.0))
    started = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda one: (started.append(one), start(one)))
    assert documents.query(Query("points"), Point) == [Point(1, 1.0)]
    assert documents.get_many(["points/1"], Point) == {"points/1": Point(1, 1.0)}
    assert started == []


def test_a_transaction_reads_then_writes_together(documents):
    """get, create, set, update and delete of one transaction are one commit."""
    documents.set("points/old", Point(1, 1.0))
    documents.set("points/gone", Point(0, 0.0))

    def body(inner):
        old = inner.get("points/old", Point)
        assert inner.get("points/new", Point) is None
        inner.create("points/new", Point(old.x + 1, 0.0))
        inner.update("points/old", {"y": 9.0})
        inner.delete("points/gone")
        return old

    assert documents.transact(body) == Point(1, 1.0)
    assert documents.get("points/new", Point) == Point(2, 0.0)
    assert documents.get("points/old", Point) == Point(1, 9.0)
    assert documents.get("points/gone", Point) is None


def test_what_is_read_ahead_is_guarded_like_any_other_read(documents):
    """Documents read in one call, the absent ones too, are locked: no increment is lost."""
    documents.set("points/count", Point(0, 0.0))

    def increment(inner):
        inner.read_ahead("points/count", "points/absent")
        assert inner.get("points/absent", Point) is None
        counted = inner.get("points/count", Point)
        inner.set("points/count", Point(counted.x + 1, 0.0))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(documents.transact, increment) for _ in range(8)]:
            done.result()
    assert documents.get("points/count", Point).x == 8


def test_a_create_that_met_a_document_is_told_after_the_rollback(documents):
    """AlreadyExistsError, and none of the transaction's writes."""
    documents.set("points/a", Point(1, 1.0))

    def body(inner):
        inner.set("points/b", Point(2, 2.0))
        inner.create("points/a", Point(3, 3.0))

    with pytest.raises(AlreadyExistsError):
        documents.transact(body)
    assert documents.get("points/b", Point) is None


def test_a_body_that_raises_writes_nothing(documents):
    """The transaction is rolled back and the error goes through."""

    def body(inner):
        inner.set("points/a", Point(1, 1.0))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        documents.transact(body)
    assert documents.get("points/a", Point) is None
