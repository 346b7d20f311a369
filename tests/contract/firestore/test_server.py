"""The server itself: loopback, its port, and what it says of methods it does not have."""

from __future__ import annotations

import socket

import grpc
import pytest
from geminivideo.runtime.clock import Clock
from google.api_core import exceptions

from emulators.firestore import Server
from emulators.serving import PortInUseError


@pytest.mark.google_differs("answers UNKNOWN without the method's name")
@pytest.mark.parametrize("method", ["ExecutePipeline"])
def test_what_is_not_emulated_says_so_by_name(server, method):
    """UNIMPLEMENTED naming the method, never a silent success."""
    with grpc.insecure_channel(server.host) as channel:
        call = channel.stream_stream(f"/google.firestore.v1.Firestore/{method}")
        with pytest.raises(grpc.RpcError) as refused:
            list(call(iter([b""])))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert f"Firestore/{method}" in refused.value.details()


def test_other_services_are_not_emulated_either(server):
    """The admin API is not there; the answer names what was asked for."""
    with grpc.insecure_channel(server.host) as channel:
        call = channel.unary_unary("/google.firestore.admin.v1.FirestoreAdmin/CreateIndex")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "FirestoreAdmin/CreateIndex" in refused.value.details()


def test_a_get_in_a_transaction_is_answered_as_one_without(server):
    """GetDocument names the document that is missing, wherever it reads; waiting is allowed."""
    from google.cloud.firestore_v1.types import firestore as requests

    database = "projects/p/databases/(default)"
    service = "/google.firestore.v1.Firestore/"
    begin = requests.BeginTransactionRequest.pb()(database=database)
    asked = requests.GetDocumentRequest.pb()(name=f"{database}/documents/c/missing")
    with grpc.insecure_channel(server.host) as channel:
        begun = channel.unary_unary(f"{service}BeginTransaction")(begin.SerializeToString())
        response = requests.BeginTransactionResponse.pb().FromString(begun)
        for identity in (b"", response.transaction):
            asked.transaction = identity
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(f"{service}GetDocument")(asked.SerializeToString())
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            assert asked.name in refused.value.details()


@pytest.mark.ours_only("gRPC's own servers differ in the code")
@pytest.mark.parametrize("method", ["Commit", "GetDocument", "ListDocuments"])
def test_what_is_no_request_is_refused(server, method):
    """Bytes that are no message are answered with a status, on every way a call can take."""
    with grpc.insecure_channel(server.host) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(f"/google.firestore.v1.Firestore/{method}")(b"\xff", timeout=30)
    assert refused.value.code() is grpc.StatusCode.INTERNAL


@pytest.mark.google_differs("has vector search")
def test_vector_search_and_explain_are_refused_by_name(client):
    """Options that would change the answer are not ignored."""
    from google.cloud.firestore_v1.base_vector_query import DistanceMeasure
    from google.cloud.firestore_v1.query_profile import ExplainOptions
    from google.cloud.firestore_v1.vector import Vector

    nearest = client.collection("c").find_nearest(
        "v", Vector([1.0]), distance_measure=DistanceMeasure.COSINE, limit=1
    )
    with pytest.raises(exceptions.MethodNotImplemented, match="find_nearest"):
        list(nearest.stream())
    explained = client.collection("c").limit(1).stream(explain_options=ExplainOptions())
    with pytest.raises(exceptions.MethodNotImplemented, match="explain_options"):
        list(explained)


@pytest.mark.ours_only("starts our server")
def test_a_port_in_use_is_named(server, tmp_path):
    """Starting on a port that is taken raises the error that names it."""
    with pytest.raises(PortInUseError, match=str(server.port)):
        Server(state_dir=tmp_path, clock=Clock(), port=server.port)


@pytest.mark.ours_only("looks at our server's port")
def test_it_listens_on_loopback_only(server):
    """No other interface of the machine answers on its port."""
    assert server.host.startswith("127.0.0.1:")
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.2", server.port))


def test_two_servers_stand_side_by_side(server, tmp_path, connect):
    """Each has its own port and its own documents."""
    other = Server(state_dir=tmp_path, clock=Clock())
    other.start()
    try:
        client, second = connect(server, project="same"), connect(other, project="same")
        client.document("c/a").set({})
        assert not second.document("c/a").get().exists
    finally:
        other.stop()
