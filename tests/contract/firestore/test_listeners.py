"""Listeners through the client's ``on_snapshot``
(firebase.google.com/docs/firestore/query-data/listen)."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions
from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.watch import ChangeType

from emulators.firestore import Index, Server

PATIENCE_S = 10.0
ADDED, REMOVED, MODIFIED = ChangeType.ADDED, ChangeType.REMOVED, ChangeType.MODIFIED


@dataclass
class Seen:
    """The snapshots that a listener's callback got."""

    got: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def __call__(self, documents, changes, read_time) -> None:
        self.got.put((documents, changes, read_time))

    def next(self) -> tuple[dict[str, Any], list[tuple[str, ChangeType]]]:
        """The next snapshot: its documents by id, in order, and its changes."""
        documents, changes, _ = self.got.get(timeout=PATIENCE_S)
        return (
            {one.id: one.to_dict() for one in documents},
            [(one.document.id, one.type) for one in changes],
        )

    def until(self, wanted: Any) -> None:
        """Read on until the documents are as wanted."""
        while self.next()[0] != wanted:
            pass


@pytest.fixture
def listen():
    """Listen to a query or document; what it sees. Ends with the test."""
    watches = []

    def listened(target) -> Seen:
        seen = Seen()
        watches.append(target.on_snapshot(seen))
        return seen

    yield listened
    for watch in watches:
        watch.unsubscribe()


class Servers:
    """Servers on one state; those that still run at the end of a test are stopped."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._running: list[Server] = []

    def start(self, **options: Any) -> Server:
        server = Server(state_dir=self._state_dir, clock=Clock(), **options)
        server.start()
        self._running.append(server)
        return server

    def stop(self, server: Server) -> None:
        self._running.remove(server)
        server.stop()

    def stop_all(self) -> None:
        for server in list(self._running):
            self.stop(server)


@pytest.fixture
def servers(tmp_path):
    """Named before ``listen``, so that they stop after the listeners have ended.

    The client reaches for a server that is gone in a loop without a pause, and a listener that is
    ended in the middle of that goes on for good.
    """
    servers = Servers(tmp_path)
    yield servers
    servers.stop_all()


@pytest.fixture
def jobs(client):
    """Three jobs of which two are open."""
    collection = client.collection("jobs")
    for name, state in (("a", "open"), ("b", "done"), ("c", "open")):
        collection.document(name).set({"state": state, "n": ord(name)})
    return collection


def opened(collection):
    return collection.where(filter=FieldFilter("state", "==", "open"))


def test_a_document_listener_gets_the_document_at_once_and_then_each_change(client, listen):
    """The first snapshot is the current contents; each change makes another."""
    reference = client.document("c/a")
    reference.set({"n": 1})
    seen = listen(reference)
    assert seen.next() == ({"a": {"n": 1}}, [("a", ADDED)])
    reference.set({"n": 2})
    assert seen.next() == ({"a": {"n": 2}}, [("a", MODIFIED)])
    reference.delete()
    assert seen.next() == ({}, [("a", REMOVED)])
    reference.set({"n": 3})
    assert seen.next() == ({"a": {"n": 3}}, [("a", ADDED)])


def test_a_listener_of_a_missing_document_hears_that_and_of_its_creation(client, listen):
    """A document that does not exist makes an empty snapshot."""
    reference = client.document("c/none")
    seen = listen(reference)
    assert seen.next() == ({}, [])
    reference.create({"n": 1})
    assert seen.next() == ({"none": {"n": 1}}, [("none", ADDED)])


def test_a_query_listener_sees_documents_enter_change_and_leave(jobs, listen):
    """Added, modified and removed relative to the query, whether deleted or merely changed."""
    seen = listen(opened(jobs))
    assert seen.next()[0].keys() == {"a", "c"}
    jobs.document("b").update({"state": "open"})
    assert seen.next()[1] == [("b", ADDED)]
    jobs.document("c").update({"n": 0})
    assert seen.next()[1] == [("c", MODIFIED)]
    jobs.document("a").update({"state": "done"})
    assert seen.next()[1] == [("a", REMOVED)]
    jobs.document("c").delete()
    assert seen.next() == ({"b": {"state": "open", "n": 98}}, [("c", REMOVED)])


def test_a_change_that_does_not_concern_the_query_makes_no_snapshot(jobs, listen):
    """Other documents, other collections, and writes that change nothing."""
    seen = listen(opened(jobs))
    seen.next()
    jobs.document("b").update({"n": 5})
    jobs.document("a").update({"state": "open"})
    jobs.document("a/jobs/x").set({"state": "open"})
    jobs.document("z").set({"state": "open"})
    assert seen.next()[1] == [("z", ADDED)]


def test_a_batch_is_one_snapshot(client, jobs, listen):
    """The writes of one commit are seen together or not at all."""
    seen = listen(opened(jobs))
    seen.next()
    batch = client.batch()
    batch.update(jobs.document("b"), {"state": "open"})
    batch.update(jobs.document("a"), {"n": -1})
    batch.delete(jobs.document("c"))
    batch.commit()
    documents, changes = seen.next()
    assert documents.keys() == {"a", "b"}
    assert sorted(changes) == [("a", MODIFIED), ("b", ADDED), ("c", REMOVED)]


def test_snapshots_are_in_the_order_of_the_query(jobs, listen):
    """Documents come sorted as the query asks, also after a change moves one."""
    seen = listen(jobs.order_by("n"))
    assert list(seen.next()[0]) == ["a", "b", "c"]
    jobs.document("a").update({"n": 1000})
    assert list(seen.next()[0]) == ["b", "c", "a"]


def test_a_limited_query_is_refilled(jobs, listen):
    """When one of the first two leaves, the third enters in the same snapshot."""
    seen = listen(jobs.order_by("n").limit(2))
    assert list(seen.next()[0]) == ["a", "b"]
    jobs.document("a").delete()
    documents, changes = seen.next()
    assert list(documents) == ["b", "c"]
    assert sorted(changes) == [("a", REMOVED), ("c", ADDED)]
    jobs.document("0").set({"n": 0})
    assert list(seen.next()[0]) == ["0", "b"]


def test_a_listener_of_a_collection_group(client, listen):
    """Documents of every collection with the id."""
    client.document("x/1/parts/a").set({"n": 1})
    seen = listen(client.collection_group("parts"))
    assert seen.next()[0].keys() == {"a"}
    client.document("x/2/y/3/parts/b").set({"n": 2})
    assert seen.next()[1] == [("b", ADDED)]


def test_every_listener_sees_every_commit_in_order(client, listen):
    """Counters only rise, and the last value is seen, however many commits pile up."""
    reference = client.document("c/counter")
    seen = [listen(reference) for _ in range(3)]
    for one in seen:
        assert one.next()[0] == {}
    for n in range(30):
        reference.set({"n": n})
    for one in seen:
        values = []
        while values[-1:] != [29]:
            values.append(one.next()[0]["counter"]["n"])
        assert values == sorted(set(values))


def test_a_listener_that_was_ended_hears_nothing_more(client):
    """unsubscribe stops the callbacks; the server forgets the listener."""
    reference = client.document("c/a")
    seen = Seen()
    watch = reference.on_snapshot(seen)
    seen.next()
    watch.unsubscribe()
    reference.set({"n": 1})
    other = Seen()
    again = reference.on_snapshot(other)
    assert other.next()[0] == {"a": {"n": 1}}
    again.unsubscribe()
    assert seen.got.empty()


def test_a_listener_goes_on_over_a_restart(servers, connect, listen):
    """The client resumes with its token: what changed is told, what did not is not told again."""
    server = servers.start()
    client = connect(server, project="kept")
    kept, gone = client.document("c/kept"), client.document("c/gone")
    kept.set({"n": 1})
    gone.set({"n": 1})
    seen = listen(client.collection("c"))
    assert seen.next()[0].keys() == {"kept", "gone"}
    servers.stop(server)
    servers.start(port=server.port)
    client.document("c/new").set({"n": 2})
    assert seen.next()[1] == [("new", ADDED)]
    gone.delete()
    assert seen.next()[1] == [("gone", REMOVED)]


def test_a_listener_that_slept_through_a_restart_begins_anew(servers, connect, listen):
    """Commits of an earlier run cannot be told apart any more: the target is reset, not lost."""
    server = servers.start()
    client = connect(server, project="kept")
    client.document("c/gone").set({"n": 1})
    seen = listen(client.collection("c"))
    assert seen.next()[0].keys() == {"gone"}
    servers.stop(server)
    elsewhere = servers.start()
    other = connect(elsewhere, project="kept")
    other.document("c/gone").delete()
    other.document("c/new").set({"n": 2})
    servers.stop(elsewhere)
    servers.start(port=server.port)
    seen.until({"new": {"n": 2}})


def test_a_listener_needs_the_index_that_its_query_needs(servers, connect, listen):
    """The target is removed with FAILED_PRECONDITION as its cause; the listener ends."""
    client = connect(servers.start(indexes=[Index.of("d", "a", "b")]))
    refused = Seen()
    query = client.collection("c").where(filter=FieldFilter("a", "==", 1)).order_by("b")
    watch = query.on_snapshot(refused)
    watch._consumer._thread.join(timeout=PATIENCE_S)
    assert not watch.is_active
    assert refused.got.empty()
    served = client.collection("d").where(filter=FieldFilter("a", "==", 1)).order_by("b")
    assert listen(served).next() == ({}, [])


@pytest.mark.ours_only("clears the database through our server")
def test_clear_empties_every_listener(server, connect, listen):
    """Deleting everything is seen like any other deletion."""
    client = connect(server)
    client.document("c/a").set({"n": 1})
    seen = listen(client.collection("c"))
    assert seen.next()[0].keys() == {"a"}
    server.clear()
    assert seen.next()[0] == {}


def test_a_stopping_server_does_not_wait_for_listeners(servers, connect):
    """An open stream ends with UNAVAILABLE, at which clients connect again."""
    server = servers.start()
    client = connect(server)
    name = f"{client._database_string}/documents/c/a"
    target = {"documents": {"documents": [name]}, "target_id": 1}
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asked.put({"database": client._database_string, "add_target": target})
    stream = client._firestore_api.listen(
        requests=iter(asked.get, None), metadata=client._rpc_metadata, timeout=PATIENCE_S
    )
    next(stream)
    began = Clock().now()
    servers.stop(server)
    assert Clock().now() - began < 1.0
    with pytest.raises(exceptions.ServiceUnavailable):
        list(stream)
    asked.put(None)
