"""Firestore's answers as plain values, taken from protobuf directly.

The client's own way makes three Python objects of every value and copies them twice (proto-plus
beside protobuf, a snapshot with the times of its writing): most of the processor time of reading
many documents. What is read is the same for everything that ``documents.encode`` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud import firestore

LIST_IN_LIST = "@list"  # a list in a list is a map with this one member
_DOCUMENTS = "/documents/"
# For one attempt at an answer of at most a page: one that never comes is asked for again, and not
# waited for five minutes, which is the client's own limit. Measured answers of 1,000 deals: 0.3 s.
_ATTEMPT_S = 30.0


def on_one_thread() -> None:
    """Clients that open from now on read a stream on the thread that asks, which is gRPC's own
    option; else each query starts a thread, and hands over every document between two."""
    from google.cloud.firestore_v1 import base_client
    from grpc.experimental import ChannelOptions

    option = (ChannelOptions.SingleThreadedUnaryStream, 1)
    for options in (base_client._GRPC_MSG_SIZE_OPTIONS, base_client._DEFAULT_CHANNEL_OPTIONS):
        if option not in options:
            options.append(option)


def members(fields: Mapping[str, Any]) -> Any:
    """The members of a protobuf map; a wrapped list comes out as the list that it is."""
    if len(fields) == 1 and LIST_IN_LIST in fields:
        return value(fields[LIST_IN_LIST])
    return {name: value(one) for name, one in fields.items()}


def value(one: Any) -> Any:
    """A protobuf ``Value`` of a kind that ``documents.encode`` writes; times have microseconds."""
    kind = one.WhichOneof("value_type")
    made = _MADE.get(kind)
    return getattr(one, kind) if made is None else made(one)


_MADE: dict[str, Callable[[Any], Any]] = {
    "null_value": lambda one: None,
    "map_value": lambda one: members(one.map_value.fields),
    "array_value": lambda one: [value(item) for item in one.array_value.values],
    "timestamp_value": lambda one: one.timestamp_value.ToDatetime(tzinfo=UTC),
}


def path_of(name: str) -> str:
    """The path of a document of this full name."""
    return name.partition(_DOCUMENTS)[2]


def found_by(query: firestore.Query, transaction: Any, patience: Mapping[str, Any]) -> list[Any]:
    """The protobuf documents that a query finds; a stream that breaks is read anew.

    Not in a transaction, which begins anew itself.
    """
    from google.api_core import gapic_v1

    given = {"retry": gapic_v1.method.DEFAULT, "timeout": _ATTEMPT_S, **patience}

    def read() -> list[Any]:
        responses, _ = query._get_stream_iterator(transaction, **given)
        return [answer.document for answer in _plain(responses) if answer.HasField("document")]

    return read() if transaction is not None else _lasting(read, patience)


def found_at(
    client: firestore.Client,
    names: Iterable[str],
    transaction: bytes | None,
    patience: Mapping[str, Any],
) -> dict[str, Any]:
    """The protobuf documents of these full names by their names; None where there is none."""
    request = {
        "database": client._database_string,
        "documents": list(names),
        "transaction": transaction,
    }
    asked = partial(
        client._firestore_api.batch_get_documents,
        request=request,
        metadata=client._rpc_metadata,
        **{"timeout": _ATTEMPT_S, **patience},
    )

    def read() -> dict[str, Any]:
        answers = _plain(asked())
        return dict(
            (answer.found.name, answer.found) if answer.found.name else (answer.missing, None)
            for answer in answers
            if answer.WhichOneof("result")
        )

    return read() if transaction is not None else _lasting(read, patience)


def _plain(responses: Iterable[Any]) -> Iterator[Any]:
    for response in responses:
        yield type(response).pb(response)


def _lasting(read: Callable[[], Any], patience: Mapping[str, Any]) -> Any:
    """``read``, again when the store fails in the midst of its answer; else as the call says."""
    from google.api_core import exceptions
    from google.api_core.retry import Retry, if_exception_type

    passing = if_exception_type(
        exceptions.DeadlineExceeded, exceptions.InternalServerError, exceptions.ServiceUnavailable
    )
    again = patience.get("retry") or Retry(predicate=passing, initial=0.1, timeout=300.0)
    return again(read)()
