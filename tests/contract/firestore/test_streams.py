"""The two-way streams as they go over the wire: Listen's targets, resume tokens, and Write
(the comments of ``google/firestore/v1/firestore.proto``)."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.firestore_v1 import FieldFilter
from google.cloud.firestore_v1.types import firestore as requests

Kind = requests.TargetChange.TargetChangeType
PATIENCE_S = 10.0


class Stream:
    """A two-way call with a request queue."""

    def __init__(self, method: Any, metadata: Any, first: dict[str, Any]) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.send(first)
        sent: Iterator[Any] = iter(self._requests.get, None)
        self.call = method(requests=sent, metadata=metadata, timeout=PATIENCE_S)

    def send(self, request: dict[str, Any]) -> None:
        self._requests.put(request)

    def next(self) -> Any:
        return next(self.call)

    def end(self) -> None:
        self._requests.put(None)
        self.call.cancel()


class Listen(Stream):
    """Reads a Listen stream snapshot by snapshot."""

    def snapshot(self) -> list[tuple[Any, ...]]:
        """What comes up to the moment at which all is consistent; its token is kept."""
        told: list[tuple[Any, ...]] = []
        while True:
            one = self.next()
            told.append(_told(one))
            change = one.target_change
            if "target_change" in one and not change.target_ids and change.read_time:
                self.token, self.read_time = change.resume_token, change.read_time
                return told[:-1]


def listening(api: Any, target: Any) -> Listen:
    """A stream with one target; the caller ends it."""
    first = {"database": api.database, "add_target": target}
    return Listen(api.raw.listen, api.client._rpc_metadata, first)


def _told(response: Any) -> tuple[Any, ...]:
    if "target_change" in response:
        change = response.target_change
        return (Kind(change.target_change_type).name, *change.target_ids)
    if "document_change" in response:
        change = response.document_change
        left = [-one for one in change.removed_target_ids]
        return (change.document.name.rsplit("/", 1)[1], *change.target_ids, *left)
    gone = response.document_delete
    return (gone.document.rsplit("/", 1)[1], None, *(-one for one in gone.removed_target_ids))


@pytest.fixture
def open_stream(api):
    streams = []

    def opened(kind, method, first):
        streams.append(kind(method, api.client._rpc_metadata, {"database": api.database} | first))
        return streams[-1]

    yield opened
    for stream in streams:
        stream.end()


@pytest.fixture
def listen(api, open_stream):
    return lambda target: open_stream(Listen, api.raw.listen, {"add_target": target})


@pytest.fixture
def write(api, open_stream):
    return lambda **first: open_stream(Stream, api.raw.write, first)


def query_target(api, identity, query, **more):
    asked = {"parent": api.root, "structured_query": query._to_protobuf()}
    return {"target_id": identity, "query": asked} | more


def documents_target(api, identity, *paths, **more):
    names = [api.name(path) for path in paths]
    return {"target_id": identity, "documents": {"documents": names}} | more


@pytest.fixture
def numbers(client):
    """c/a, c/b, c/c with n = 1, 2, 3."""
    for n, name in enumerate("abc", 1):
        client.document(f"c/{name}").set({"n": n})
    return client.collection("c")


def above(numbers, n):
    return numbers.where(filter=FieldFilter("n", ">", n))


def test_a_target_is_added_filled_current_and_consistent(api, numbers, listen):
    """ADD, the documents, CURRENT, then a change without targets: a consistent snapshot."""
    stream = listen(query_target(api, 7, above(numbers, 1)))
    assert stream.snapshot() == [("ADD", 7), ("b", 7), ("c", 7), ("CURRENT", 7)]
    assert stream.token
    assert stream.read_time


def test_a_documents_target_tells_what_is_missing(api, numbers, listen):
    """A document that does not exist is a DocumentDelete that names the target."""
    stream = listen(documents_target(api, 3, f"{numbers.id}/a", "c/none"))
    told = stream.snapshot()
    assert sorted(told[1:-1], key=str) == [("a", 3), ("none", None, -3)]


@pytest.mark.google_differs("resets the whole target at each change")
def test_only_what_changed_is_sent(api, client, numbers, listen):
    """Changes are sent one document each; a document that leaves names its former target."""
    stream = listen(query_target(api, 7, above(numbers, 1)))
    stream.snapshot()
    client.document("c/a").set({"n": 9})
    assert stream.snapshot() == [("a", 7)]
    client.document("c/b").set({"n": 0})
    assert stream.snapshot() == [("b", -7)]
    client.document("c/c").delete()
    assert stream.snapshot() == [("c", None, -7)]


@pytest.mark.google_differs("starts every target anew, whatever the token")
def test_a_resume_token_brings_only_what_was_missed(api, client, numbers, listen):
    """All changes since the token, deletions and departures included, and nothing else."""
    target = query_target(api, 7, above(numbers, 1))
    first = listen(target)
    first.snapshot()
    first.end()
    client.document("c/a").set({"n": 9})
    client.document("c/b").delete()
    again = listen(target | {"resume_token": first.token})
    assert sorted(again.snapshot(), key=str) == [
        *(("ADD", 7), ("CURRENT", 7), ("a", 7), ("b", None, -7)),
    ]


@pytest.mark.google_differs("starts every target anew, whatever the time")
def test_a_target_resumes_after_a_read_time(api, client, numbers, listen):
    """read_time: the target's documents since then."""
    then = client.document("c/c").set({"n": 4}).update_time
    client.document("c/a").set({"n": 9})
    stream = listen(query_target(api, 7, above(numbers, 1), read_time=then))
    assert stream.snapshot() == [("ADD", 7), ("a", 7), ("CURRENT", 7)]


def test_an_unknown_token_resets_the_target(api, numbers, listen):
    """RESET: everything shown before is void; the documents follow."""
    stream = listen(query_target(api, 7, above(numbers, 2), resume_token=b"of another server"))
    assert stream.snapshot() == [("ADD", 7), ("RESET", 7), ("c", 7), ("CURRENT", 7)]


def test_a_token_older_than_the_history_resets_the_target(
    timed, connect, timed_api, hand_clock, open_stream
):
    """History reaches back one hour."""
    api = timed_api
    api.commit(api.update("c/a", {"n": 1}), api.update("c/b", {"n": 1}))
    target = query_target(api, 7, api.client.collection("c").limit(9))
    first = Listen(
        api.raw.listen, api.client._rpc_metadata, {"database": api.database, "add_target": target}
    )
    first.snapshot()
    first.end()
    api.commit(api.delete("c/a"))
    hand_clock.advance(4000)
    api.commit(api.update("c/b", {"n": 2}))
    target |= {"resume_token": first.token}
    again = Listen(
        api.raw.listen, api.client._rpc_metadata, {"database": api.database, "add_target": target}
    )
    assert again.snapshot() == [("ADD", 7), ("RESET", 7), ("b", 7), ("CURRENT", 7)]
    again.end()


@pytest.mark.google_differs("keeps a target that asked to be removed once it is current")
def test_a_target_that_is_wanted_once_is_removed(api, numbers, listen):
    """once: removed when it is current and consistent."""
    stream = listen(query_target(api, 7, above(numbers, 2), once=True))
    stream.snapshot()
    assert _told(stream.next()) == ("REMOVE", 7)


def test_targets_are_added_and_removed_on_one_stream(api, client, numbers, listen):
    """Each has its id; what is removed hears nothing more."""
    stream = listen(query_target(api, 1, above(numbers, 2)))
    stream.snapshot()
    stream.send({"database": api.database, "add_target": documents_target(api, 2, "c/a")})
    assert stream.snapshot() == [("ADD", 2), ("a", 2), ("CURRENT", 2)]
    stream.send({"database": api.database, "remove_target": 1})
    assert _told(stream.next()) == ("REMOVE", 1)
    client.document("c/c").set({"n": 10})
    client.document("c/a").set({"n": 0})
    assert stream.snapshot() == [("a", 2)]


@pytest.mark.google_differs("tells each target on its own")
def test_a_change_names_all_the_targets_that_it_concerns(api, client, numbers, listen):
    """One DocumentChange with the targets that match and those that no longer do."""
    stream = listen(query_target(api, 1, above(numbers, 2)))
    stream.snapshot()
    smaller = numbers.where(filter=FieldFilter("n", "<", 3))
    stream.send({"database": api.database, "add_target": query_target(api, 2, smaller)})
    stream.snapshot()
    client.document("c/c").set({"n": 0})
    assert stream.snapshot() == [("c", 2, -1)]


def test_an_id_of_zero_is_assigned(api, numbers, listen):
    """If the id is zero the server assigns one."""
    stream = listen(query_target(api, 0, above(numbers, 2)))
    (_, assigned), *_ = stream.snapshot()
    assert assigned > 0


def test_a_refused_query_removes_its_target_with_the_cause(api, numbers, listen):
    """TargetChange REMOVE carries the reason; the stream itself goes on."""
    stream = listen(
        query_target(api, 1, numbers.where(filter=FieldFilter("n", "in", list(range(31)))))
    )
    assert _told(stream.next()) == ("ADD", 1)
    told = stream.next().target_change
    assert (told.target_change_type, told.cause.code) == (Kind.REMOVE, 3)
    stream.send({"database": api.database, "add_target": query_target(api, 1, above(numbers, 2))})
    assert stream.snapshot() == [("ADD", 1), ("c", 1), ("CURRENT", 1)]


@pytest.mark.google_differs("ends with UNKNOWN")
def test_an_id_in_use_is_an_invalid_argument(api, numbers, listen):
    """Target ids are unique on a stream."""
    stream = listen(query_target(api, 1, above(numbers, 2)))
    stream.snapshot()
    stream.send({"database": api.database, "add_target": query_target(api, 1, above(numbers, 1))})
    with pytest.raises(exceptions.InvalidArgument):
        stream.snapshot()


@pytest.mark.google_differs("ends with UNKNOWN")
def test_a_listen_request_without_a_target_is_an_invalid_argument(api, open_stream):
    """A request adds or removes a target."""
    with pytest.raises(exceptions.InvalidArgument):
        open_stream(Listen, api.raw.listen, {}).next()


def test_a_projection_shows_the_selected_fields(api, client, listen):
    """A listened query with a selection sends only that."""
    client.document("c/a").set({"n": 1, "m": 2})
    stream = listen(query_target(api, 1, client.collection("c").select(["m"])))
    stream.next()
    assert list(stream.next().document_change.document.fields) == ["m"]


def test_a_write_stream_commits_request_by_request(api, client, write):
    """The opening response has an id and a token; each request with writes is one commit."""
    stream = write()
    opened = stream.next()
    assert opened.stream_id
    token = opened.stream_token
    for n in (1, 2):
        both = [api.update("c/a", {"n": n}), api.update("c/b", {"n": n})]
        stream.send({"stream_token": token, "writes": both})
        answer = stream.next()
        assert len(answer.write_results) == 2
        assert answer.commit_time == answer.write_results[0].update_time
        assert answer.stream_token != token
        token = answer.stream_token
    assert client.document("c/b").get().to_dict() == {"n": 2}


def test_a_failed_write_ends_the_stream_without_effect(api, client, write):
    """The whole request fails, and the stream with it."""
    client.document("c/a").set({"n": 1})
    stream = write()
    token = stream.next().stream_token
    unmet = api.update("c/a", {"n": 2}, current_document={"exists": False})
    stream.send({"stream_token": token, "writes": [api.update("c/b", {}), unmet]})
    with pytest.raises(exceptions.AlreadyExists):
        stream.next()
    assert not client.document("c/b").get().exists


def test_the_first_request_opens_the_stream_and_writes_nothing(api, write):
    """It names the database and has no writes."""
    with pytest.raises(exceptions.InvalidArgument):
        write(writes=[api.update("c/a", {})]).next()
    with pytest.raises(exceptions.InvalidArgument):
        write(database="").next()


@pytest.mark.google_differs("does not resume write streams")
def test_a_write_stream_is_resumed_without_losing_a_response(api, write):
    """The responses after the given token come again, then the up-to-date token."""
    stream = write()
    opened = stream.next()
    stream.send({"stream_token": opened.stream_token, "writes": [api.update("c/a", {"n": 1})]})
    missed = stream.next()
    stream.end()
    again = write(stream_id=opened.stream_id, stream_token=opened.stream_token)
    assert again.next() == missed
    assert again.next().stream_token == missed.stream_token


def test_a_stream_that_is_not_known_is_not_resumed(write):
    """INVALID_ARGUMENT: the client opens a new one."""
    with pytest.raises(exceptions.InvalidArgument):
        write(stream_id="none").next()


def test_history_lets_a_listener_resume_within_the_hour(timed_api, hand_clock):
    """A token of forty minutes ago still brings only the changes."""
    api = timed_api
    api.commit(api.update("c/a", {"n": 1}), api.update("c/b", {"n": 1}))
    target = query_target(api, 7, api.client.collection("c").limit(9))
    first = Listen(
        api.raw.listen, api.client._rpc_metadata, {"database": api.database, "add_target": target}
    )
    first.snapshot()
    first.end()
    hand_clock.advance(timedelta(minutes=40).total_seconds())
    api.commit(api.delete("c/a"))
    target |= {"resume_token": first.token}
    again = Listen(
        api.raw.listen, api.client._rpc_metadata, {"database": api.database, "add_target": target}
    )
    assert again.snapshot() == [("ADD", 7), ("a", None, -7), ("CURRENT", 7)]
    again.end()
