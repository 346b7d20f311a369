"""Firestore's answers as the product reads them, beside how Google's own client reads them."""

import threading
from concurrent import futures
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
import pytest
from geminivideo.cloud import reading
from geminivideo.cloud.documents import Documents, Query, decode
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import document, firestore
from hypothesis import given, settings
from hypothesis import strategies as st

from .plain_values import names, values

ROOT = "projects/p/databases/(default)/documents"
VALUES = values(st.floats(allow_nan=False))


def kept(name, data):
    return document.Document(name=f"{ROOT}/{name}", fields=_helpers.encode_dict(data))


def shape(value):
    """A value with the types of all that is in it: 1 is not 1.0, nor True."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    if isinstance(value, datetime):
        return value.timestamp(), value.utcoffset()
    return type(value), value


@settings(max_examples=150, deadline=None)
@given(data=st.dictionaries(names, VALUES, max_size=4))
def test_a_document_is_read_as_googles_client_reads_it(data):
    """Any plain value, nested or empty, of the same type; times to the microsecond."""
    made = kept("shapes/one", data)
    ours = reading.members(document.Document.pb(made).fields)
    assert shape(ours) == shape(_helpers.decode_dict(made.fields, None))


@dataclass(frozen=True)
class Shape:
    x: float
    grid: tuple[tuple[int, ...], ...] = ()
    expire_at: float | None = None


def test_a_document_becomes_a_record():
    """Members nobody knows are left out, wrapped lists unwrapped, an expiry is epoch seconds."""
    data = {
        "x": 3,
        "grid": [{"@list": [1]}, {"@list": []}],
        "expire_at": datetime.fromtimestamp(1.5, UTC),
        "unknown": {"deep": [1]},
    }
    fields = document.Document.pb(kept("shapes/one", data)).fields
    assert decode(fields, Shape) == Shape(x=3.0, grid=((1,), ()), expire_at=1.5)


class Broken:
    """A store whose first answers break off after one document, or never begin."""

    def __init__(self, breaks):
        self.breaks, self.calls, self.silent = breaks, 0, 0
        self.ended = threading.Event()

    def service(self, details):
        if not details.method.endswith("/RunQuery"):
            return None
        return grpc.unary_stream_rpc_method_handler(
            self.run,
            request_deserializer=firestore.RunQueryRequest.deserialize,
            response_serializer=firestore.RunQueryResponse.serialize,
        )

    def run(self, request, context):
        self.calls += 1
        if self.calls <= self.silent:
            self.ended.wait()
        yield firestore.RunQueryResponse(document=kept("shapes/1", {"x": 1.0}))
        if self.calls <= self.breaks:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone for a moment")
        yield firestore.RunQueryResponse(document=kept("shapes/2", {"x": 2.0}))


@pytest.fixture
def broken(monkeypatch):
    store = Broken(breaks=1)
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[store])
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{server.add_insecure_port('[::]:0')}")
    server.start()
    yield store
    store.ended.set()
    server.stop(None)


def test_an_answer_that_never_begins_is_asked_for_again(broken, monkeypatch):
    """After the time of one attempt, and not after the five minutes of the client's own limit."""
    broken.breaks, broken.silent = 0, 1
    monkeypatch.setattr(reading, "_ATTEMPT_S", 1.0)
    assert Documents("p").query(Query("shapes"), Shape) == [Shape(x=1.0), Shape(x=2.0)]
    assert broken.calls == 2


def test_an_answer_that_breaks_off_is_read_anew(broken):
    """Every document once, in the order of the answer that came to its end."""
    found = Documents("p").query(Query("shapes"), Shape)
    assert found == [Shape(x=1.0), Shape(x=2.0)]
    assert broken.calls == 2
