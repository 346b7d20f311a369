"""The two-way streams of the API: ``Listen`` (listeners) and ``Write`` (a stream of commits)."""

from __future__ import annotations

import queue as queues
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import grpc
from google.cloud.firestore_v1.types import firestore as requests
from google.cloud.firestore_v1.types import write as write_types
from google.rpc import status_pb2

from emulators.firestore import errors
from emulators.firestore.errors import ApiError
from emulators.firestore.listening import (
    CHANGED,
    STOPPED,
    Change,
    Listener,
    Snapshot,
    Target,
    read_target,
    token,
    token_time,
)
from emulators.firestore.names import DATABASE
from emulators.firestore.responses import show, write_results
from emulators.firestore.state import State
from emulators.firestore.version import to_micros, to_timestamp

_HEARTBEAT_SECONDS = 30.0  # of the machine: an idle client hears that nothing has changed
_FIRST_FREE_ID = 1 << 30
_REMEMBERED_RESPONSES = 100
_REMEMBERED_STREAMS = 1000

ListenResponse = requests.ListenResponse.pb()
TargetChange = requests.TargetChange.pb()
WriteResponse = requests.WriteResponse.pb()
DocumentDelete = write_types.DocumentDelete.pb()


class Listening:
    """One ``Listen`` stream: requests come in on a thread of their own, responses go out here."""

    def __init__(
        self, state: State, incoming: Iterator[Any], context: grpc.ServicerContext
    ) -> None:
        self._state = state
        self._listener = Listener()
        self._next_id = _FIRST_FREE_ID
        if not context.add_callback(self._end):
            self._end()
        threading.Thread(target=self._receive, args=(incoming,), daemon=True).start()

    def responses(self) -> Iterator[Any]:
        """What the client is told, until it goes or the server stops."""
        self._state.attend(self._listener)
        try:
            while (event := self._next_event()) is not STOPPED:
                yield from self._answer(event)
        finally:
            self._state.dismiss(self._listener)
        if self._state.stopping:
            raise ApiError(grpc.StatusCode.UNAVAILABLE, "The server is stopping.")

    def _receive(self, incoming: Iterator[Any]) -> None:
        try:
            for request in incoming:
                self._listener.events.put(request)
        except grpc.RpcError:
            pass  # the call was cancelled; its callback ends the stream
        finally:
            self._end()

    def _end(self) -> None:
        self._listener.events.put(STOPPED)

    def _next_event(self) -> Any:
        try:
            return self._listener.events.get(timeout=_HEARTBEAT_SECONDS)
        except queues.Empty:
            return CHANGED

    def _answer(self, event: Any) -> Iterator[Any]:
        if event is CHANGED:
            if self._listener.targets:
                snapshot = self._state.snapshot(self._listener)
                yield from _changes(snapshot)
                yield _consistent(snapshot)
        elif event.WhichOneof("target_change") == "add_target":
            yield from self._add(event)
        elif event.WhichOneof("target_change") == "remove_target":
            if self._state.remove_target(self._listener, event.remove_target):
                yield _target_change(TargetChange.REMOVE, event.remove_target)
        else:
            raise errors.invalid_argument("A listen request must add or remove a target.")

    def _add(self, request: Any) -> Iterator[Any]:
        raw = request.add_target
        identity = raw.target_id or self._free_id()
        if identity in self._listener.targets:
            raise errors.invalid_argument(f"Target ID {identity} is in use on this stream.")
        yield _target_change(TargetChange.ADD, identity)
        try:
            target = read_target(raw, request.database, identity)
            snapshot = self._state.add_target(self._listener, target, _resume_of(raw))
        except ApiError as error:
            yield _refused(identity, error)
            return
        yield from self._first_snapshot(target, snapshot)

    def _first_snapshot(self, target: Target, snapshot: Snapshot) -> Iterator[Any]:
        if target.is_reset:
            yield _target_change(TargetChange.RESET, target.id)
        yield from _changes(snapshot)
        yield _target_change(TargetChange.CURRENT, target.id, snapshot)
        yield _consistent(snapshot)
        if target.once and self._state.remove_target(self._listener, target.id):
            yield _target_change(TargetChange.REMOVE, target.id)

    def _free_id(self) -> int:
        self._next_id += 1
        return self._next_id


class Writing:
    """The ``Write`` streams: each request is one atomic commit, answered in order.

    A stream is resumed by its id and the token of the last response that the client has; the
    responses after it are sent again (the last 100 of the last 1,000 streams, until a restart).
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._streams: dict[str, deque[Any]] = {}

    def responses(self, incoming: Iterator[Any]) -> Iterator[Any]:
        """One response to the opening request, then one to each request with writes."""
        opening = next(incoming, None)
        if opening is None:
            return
        if DATABASE.fullmatch(opening.database) is None:
            raise errors.invalid_argument("The first request must name the database.")
        if opening.writes:
            raise errors.invalid_argument("The first request must not have writes.")
        identity = opening.stream_id or secrets.token_hex(8)
        sent = self._opened(identity, is_new=not opening.stream_id)
        yield from _after(sent, opening.stream_token)
        yield WriteResponse(stream_id=identity, stream_token=_last_token(sent))
        for request in incoming:
            yield self._committed(opening.database, sent, request)

    def _opened(self, identity: str, *, is_new: bool) -> deque[Any]:
        if is_new:
            while len(self._streams) >= _REMEMBERED_STREAMS:
                del self._streams[next(iter(self._streams))]
            self._streams[identity] = deque(maxlen=_REMEMBERED_RESPONSES)
        sent = self._streams.get(identity)
        if sent is None:
            raise errors.invalid_argument(f"There is no write stream {identity} to resume.")
        return sent

    def _committed(self, database: str, sent: deque[Any], request: Any) -> Any:
        response = WriteResponse()
        if request.writes:
            committed = self._state.commit(database, request.writes)
            response.write_results.extend(write_results(committed))
            response.commit_time.CopyFrom(to_timestamp(committed.at))
        response.stream_token = b"%d" % (int(_last_token(sent)) + 1)
        sent.append(response)
        return response


def _last_token(sent: deque[Any]) -> bytes:
    return bytes(sent[-1].stream_token) if sent else b"0"


def _after(sent: deque[Any], stream_token: bytes) -> list[Any]:
    """The responses that the client has not seen."""
    known = int(stream_token) if stream_token.isdigit() else 0
    return [one for one in sent if int(one.stream_token) > known]


def _resume_of(raw: Any) -> int | None:
    """The moment to resume at; None: begin anew, -1: a token that nobody gave out."""
    kind = raw.WhichOneof("resume_type")
    if kind == "read_time":
        return to_micros(raw.read_time)
    if kind is None or not raw.resume_token:
        return None
    at = token_time(raw.resume_token)
    return -1 if at is None else at


def _changes(snapshot: Snapshot) -> Iterator[Any]:
    for change in snapshot.changes:
        yield _change(change, snapshot)


def _change(change: Change, snapshot: Snapshot) -> Any:
    if change.version is None:
        gone = DocumentDelete(
            document=change.name,
            removed_target_ids=change.left,
            read_time=to_timestamp(snapshot.read_at),
        )
        return ListenResponse(document_delete=gone)
    response = ListenResponse()
    seen = response.document_change
    show(change.version, change.projection, seen.document)
    seen.target_ids.extend(change.entered)
    seen.removed_target_ids.extend(change.left)
    return response


def _consistent(snapshot: Snapshot) -> Any:
    """Tells that all that was sent is the state at one moment."""
    change = TargetChange(
        read_time=to_timestamp(snapshot.read_at), resume_token=token(snapshot.token_at)
    )
    return ListenResponse(target_change=change)


def _target_change(kind: int, identity: int, snapshot: Snapshot | None = None) -> Any:
    change = TargetChange(target_change_type=kind, target_ids=[identity])
    if snapshot is not None:
        change.read_time.CopyFrom(to_timestamp(snapshot.read_at))
        change.resume_token = token(snapshot.token_at)
    return ListenResponse(target_change=change)


def _refused(identity: int, error: ApiError) -> Any:
    cause = status_pb2.Status(code=error.code.value[0], message=error.message)
    change = TargetChange(
        target_change_type=TargetChange.REMOVE, target_ids=[identity], cause=cause
    )
    return ListenResponse(target_change=change)
