"""Time to live and field overrides (firebase.google.com/docs/firestore/ttl,
/query-data/index-overview: single-field index exemptions)."""

from __future__ import annotations

import datetime
import queue
import time

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud.firestore_v1 import FieldFilter

from emulators.firestore import COLLECTION_GROUP, FieldOverride, Server

EXPIRING = FieldOverride("runs", "expire_at", is_time_to_live=True)


@pytest.fixture
def expiring(timed, connect):
    """A client of a server whose ``runs`` expire at ``expire_at``."""
    timed.declare_fields([EXPIRING])
    return connect(timed)


@pytest.fixture
def after(hand_clock):
    """A time so many hours after the clock's."""

    def at(hours):
        seconds = hand_clock.now() + hours * 3600
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)

    return at


@pytest.fixture
def pass_hours(timed, hand_clock):
    def passed(hours):
        hand_clock.advance(hours * 3600)
        timed.clock_moved()

    return passed


def left(client):
    return [one.reference.path for one in client.collection_group("runs").stream()]


def test_what_has_expired_is_deleted_within_a_day(expiring, after, pass_hours):
    """A document goes when its time has passed, and not before."""
    expiring.document("runs/soon").set({"expire_at": after(1)})
    expiring.document("runs/later").set({"expire_at": after(30)})
    pass_hours(0.5)
    assert left(expiring) == ["runs/later", "runs/soon"]
    pass_hours(24)
    assert left(expiring) == ["runs/later"]
    pass_hours(24)
    assert left(expiring) == []


def test_a_time_in_the_past_expires_at_once(expiring, after, pass_hours):
    """An existing document whose time has passed is deleted too."""
    expiring.document("runs/old").set({"expire_at": after(-1000)})
    pass_hours(24)
    assert left(expiring) == []


@pytest.mark.parametrize("value", [None, 0, "2020-01-01", {"at": 1}], ids=str)
def test_what_is_no_time_does_not_expire(expiring, pass_hours, value):
    """Only a date and time expires; other types and a missing field never do."""
    expiring.document("runs/a").set({"expire_at": value})
    expiring.document("runs/b").set({})
    pass_hours(100)
    assert left(expiring) == ["runs/a", "runs/b"]


def test_a_later_time_prolongs_the_life(expiring, after, pass_hours):
    """The field as it is now decides."""
    expiring.document("runs/a").set({"expire_at": after(1)})
    expiring.document("runs/a").update({"expire_at": after(100)})
    pass_hours(48)
    assert left(expiring) == ["runs/a"]


def test_it_is_about_the_collection_group_and_leaves_what_is_below(expiring, after, pass_hours):
    """Every collection of that id; subcollections of a deleted document stay; others too."""
    for path in ("runs/a", "deep/x/runs/b", "runs/a/logs/1", "other/c"):
        expiring.document(path).set({"expire_at": after(1)})
    pass_hours(24)
    assert left(expiring) == []
    assert expiring.document("runs/a/logs/1").get().exists
    assert expiring.document("other/c").get().exists


def test_a_deletion_by_expiry_is_heard_by_listeners(expiring, after, pass_hours):
    """Listeners see it as the deletion of a document."""
    expiring.document("runs/a").set({"expire_at": after(1)})
    heard: queue.SimpleQueue = queue.SimpleQueue()
    watch = expiring.collection("runs").on_snapshot(
        lambda documents, changes, _: heard.put([one.id for one in documents])
    )
    assert heard.get(timeout=10) == ["a"]
    pass_hours(24)
    assert heard.get(timeout=10) == []
    watch.unsubscribe()


def test_many_expire_together(expiring, after, pass_hours):
    """More than fit into one commit of a client."""
    for start in range(0, 800, 400):
        batch = expiring.batch()
        for n in range(start, start + 400):
            batch.set(expiring.document(f"runs/{n:04}"), {"expire_at": after(1 + n % 2 * 100)})
        batch.commit()
    pass_hours(24)
    assert len(left(expiring)) == 400


def test_without_a_declaration_nothing_expires(timed, connect, after, pass_hours):
    """A time in a field that no policy names is only a time; a withdrawn policy expires nothing."""
    client = connect(timed)
    client.document("runs/a").set({"expire_at": after(1)})
    pass_hours(48)
    timed.declare_fields([EXPIRING])
    timed.declare_fields([])
    pass_hours(48)
    assert left(client) == ["runs/a"]


def test_a_clock_that_moves_by_seconds_expires_once_a_minute(expiring, timed, hand_clock, after):
    """Moved from one second's work to the next, it deletes nothing; a minute's moves do."""
    timed.clock_moved()
    expiring.document("runs/soon").set({"expire_at": after(5 / 3600)})
    for _ in range(5):
        hand_clock.advance(10)
        timed.clock_moved()
    assert left(expiring) == ["runs/soon"]
    hand_clock.advance(10)
    timed.clock_moved()
    assert left(expiring) == []


def test_a_running_clock_expires_by_itself(tmp_path, connect):
    """Nobody has to move the clock: on a fast one a day passes in a second."""
    server = Server(state_dir=tmp_path, clock=Clock.starting_now(speed=86_400))
    server.declare_fields([EXPIRING])
    server.start()
    try:
        client = connect(server)
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        client.document("runs/a").set({"expire_at": soon})
        until = time.monotonic() + 10
        while left(client):
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        server.stop()


def where(client, path, operator, value):
    return client.collection("runs").where(filter=FieldFilter(path, operator, value))


def test_an_exempted_field_cannot_be_queried(timed, connect):
    """Without its single-field indexes a filter or order on the field is refused."""
    timed.declare_indexes([])
    timed.declare_fields([FieldOverride("runs", "m", indexes=frozenset())])
    client = connect(timed)
    for query in (
        where(client, "m", "==", 1),
        where(client, "m.inner", ">", 1),
        where(client, "m", "array_contains", 1),
        client.collection("runs").order_by("m"),
    ):
        with pytest.raises(exceptions.FailedPrecondition, match="requires an index"):
            list(query.stream())
    assert list(where(client, "n", "==", 1).stream()) == []
    assert list(client.collection("others").order_by("m").stream()) == []


def test_overridden_indexes_serve_their_modes_and_scopes(timed, connect):
    """Only what is declared: here ascending in the collection, contains in the group."""
    timed.declare_indexes([])
    modes = frozenset({("COLLECTION", "ASCENDING"), (COLLECTION_GROUP, "CONTAINS")})
    timed.declare_fields([FieldOverride("runs", "m", indexes=modes)])
    client = connect(timed)
    assert list(client.collection("runs").order_by("m").stream()) == []
    assert list(where(client, "m", "==", 1).stream()) == []
    contains = FieldFilter("m", "array_contains", 1)
    assert list(client.collection_group("runs").where(filter=contains).stream()) == []
    for query in (
        client.collection("runs").order_by("m", direction="DESCENDING"),
        client.collection("runs").where(filter=contains),
        client.collection_group("runs").order_by("m"),
    ):
        with pytest.raises(exceptions.FailedPrecondition):
            list(query.stream())


def test_overrides_are_read_from_declared_resources():
    """The inputs of a gcp:firestore/field:Field, in camel and in snake case."""
    plain = FieldOverride.of_resource({"collection": "c", "field": "f", "ttlConfig": {}})
    assert plain == FieldOverride("c", "f", is_time_to_live=True)
    exempt = {"collection": "c", "field": "f", "ttl_config": {}, "index_config": {}}
    assert FieldOverride.of_resource(exempt) == FieldOverride("c", "f", True, frozenset())
    modes = {"indexes": [{"order": "DESCENDING"}, {"arrayConfig": "CONTAINS", "queryScope": "X"}]}
    found = FieldOverride.of_resource({"collection": "c", "field": "f", "indexConfig": modes})
    assert found.indexes == {("COLLECTION", "DESCENDING"), ("X", "CONTAINS")}
    assert not found.is_time_to_live
