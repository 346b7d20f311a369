"""google.firestore.v1.Firestore over gRPC, with the client's own raw message classes."""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from google.cloud.firestore_v1.types import firestore as requests
from google.cloud.firestore_v1.types import query as query_types
from google.cloud.firestore_v1.types import write as write_types
from google.protobuf import empty_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from emulators.faults.engine import Faults
from emulators.faults.rpc_hook import methods_of
from emulators.firestore import aggregates, errors, fields, query
from emulators.firestore.errors import ApiError
from emulators.firestore.names import collection_id, database_of, document_name, parent_name
from emulators.firestore.responses import answered, show, write_results
from emulators.firestore.state import Consistency, State
from emulators.firestore.streams import Listening, Writing
from emulators.firestore.version import Document, to_micros, to_timestamp
from emulators.firestore.writes import Value, Write
from emulators.quick_calls import QuickMethod, from_bytes, once

SERVICE = "google.firestore.v1.Firestore"
_MAX_REQUEST_BYTES = 10 * 1024 * 1024
_PAGE_SIZE = 300
_QUICK = ("BeginTransaction", "Commit", "GetDocument", "Rollback")
_LONG = ("RunQuery", "RunAggregationQuery")  # however many documents they look at
_TAKING_TURNS = ("GetDocument", "BatchGetDocuments", *_LONG)
_TRANSACTIONS = ("transaction", "new_transaction")
_TOO_LONG = object()
_AUTO_ID = string.ascii_letters + string.digits

Cursor = query_types.Cursor.pb()
PartitionQueryResponse = requests.PartitionQueryResponse.pb()
WriteResult = write_types.WriteResult.pb()
BatchGetDocumentsResponse = requests.BatchGetDocumentsResponse.pb()
BatchWriteResponse = requests.BatchWriteResponse.pb()
BeginTransactionResponse = requests.BeginTransactionResponse.pb()
CommitResponse = requests.CommitResponse.pb()
ListCollectionIdsResponse = requests.ListCollectionIdsResponse.pb()
ListDocumentsResponse = requests.ListDocumentsResponse.pb()
RunAggregationQueryResponse = requests.RunAggregationQueryResponse.pb()
RunQueryResponse = requests.RunQueryResponse.pb()


class Firestore:
    """The service's methods; each takes a raw request and returns or yields raw responses."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._writing = Writing(state)

    def get_document(self, request: Any) -> Any:
        """GetDocument."""
        found, _ = self._state.read([request.name], _consistency(request))
        version = found[0][1]
        if version is None:
            raise errors.document_not_found(request.name)
        return answered(version, _mask(request))

    def batch_get_documents(self, request: Any) -> Iterator[Any]:
        """BatchGetDocuments: found and missing, each once."""
        for name in request.documents:
            if database_of(name) != request.database:
                raise errors.invalid_argument(f"{name} is not in {request.database}.")
        how, begun = self._begin_with(request)
        if begun:
            yield BatchGetDocumentsResponse(transaction=begun)
        mask = _mask(request)
        found, read_at = self._state.read(request.documents, how)
        read_time = to_timestamp(read_at)
        for name, version in found:
            if version is None:
                yield BatchGetDocumentsResponse(missing=name, read_time=read_time)
            else:
                response = BatchGetDocumentsResponse(read_time=read_time)
                show(version, mask, response.found)
                yield response

    def create_document(self, request: Any) -> Any:
        """CreateDocument; an id of 20 characters is assigned when none is given."""
        parent_name(request.parent)
        collection = f"{request.parent}/{collection_id(request.collection_id)}"
        identity = request.document_id or "".join(secrets.choice(_AUTO_ID) for _ in range(20))
        write = Write(update=request.document)
        write.update.name = document_name(f"{collection}/{identity}")
        write.current_document.exists = False
        return self._write_one(write, _mask(request))

    def update_document(self, request: Any) -> Any:
        """UpdateDocument: an upsert unless the precondition says otherwise."""
        write = Write(update=request.document)
        for member in ("update_mask", "current_document"):
            if request.HasField(member):
                getattr(write, member).CopyFrom(getattr(request, member))
        return self._write_one(write, _mask(request))

    def delete_document(self, request: Any) -> Any:
        """DeleteDocument; a missing document is no error without a precondition."""
        write = Write(delete=document_name(request.name))
        if request.HasField("current_document"):
            write.current_document.CopyFrom(request.current_document)
        self._state.commit(database_of(request.name), [write])
        return empty_pb2.Empty()

    def list_documents(self, request: Any) -> Any:
        """ListDocuments, in pages."""
        if request.show_missing and request.order_by:
            raise errors.invalid_argument("cannot specify an order when show_missing is true")
        page, is_more = self._state.list_documents(
            _listing(request),
            _consistency(request),
            show_missing=request.show_missing,
            after=document_name(_page_name(request.page_token)) if request.page_token else "",
            size=request.page_size if request.page_size > 0 else _PAGE_SIZE,
        )
        mask = _mask(request)
        response = ListDocumentsResponse()
        for name, version in page:
            if version is None:
                response.documents.add(name=name)
            else:
                show(version, mask, response.documents.add())
        if is_more:
            response.next_page_token = _page_token(page[-1][0])
        return response

    def list_collection_ids(self, request: Any) -> Any:
        """ListCollectionIds, in pages."""
        read_time = to_micros(request.read_time) if request.HasField("read_time") else None
        found = self._state.collection_ids(parent_name(request.parent), read_time)
        begin = _page_start(request.page_token, found)
        size = request.page_size if request.page_size > 0 else _PAGE_SIZE
        response = ListCollectionIdsResponse(collection_ids=found[begin : begin + size])
        if begin + size < len(found):
            response.next_page_token = _page_token(response.collection_ids[-1])
        return response

    def begin_transaction(self, request: Any) -> Any:
        """BeginTransaction: read-write unless asked otherwise."""
        return BeginTransactionResponse(
            transaction=self._begin(request.options, read_only_by_default=False)
        )

    def commit(self, request: Any) -> Any:
        """Commit: atomic, in order, within a transaction or without one."""
        committed = self._state.commit(request.database, request.writes, request.transaction)
        return CommitResponse(
            write_results=write_results(committed), commit_time=to_timestamp(committed.at)
        )

    def rollback(self, request: Any) -> Any:
        """Rollback."""
        self._state.rollback(request.transaction)
        return empty_pb2.Empty()

    def batch_write(self, request: Any) -> Any:
        """BatchWrite: each write on its own, each with its status."""
        names = [_written_name(write) for write in request.writes]
        if len(set(names)) < len(names):
            raise errors.invalid_argument(
                "the same document cannot be written more than once in a single request"
            )
        response = BatchWriteResponse()
        for write in request.writes:
            result, status = self._write_alone(request.database, write)
            response.write_results.append(result)
            response.status.append(status)
        return response

    def run_query(self, request: Any) -> Iterator[Any]:
        """RunQuery: the documents, the last with ``done``; none: one response with a read time."""
        if request.HasField("explain_options"):
            raise errors.unimplemented("RunQueryRequest.explain_options")
        plan = query.plan(request.parent, request.structured_query)
        how, begun = self._begin_with(request)
        if begun:
            yield RunQueryResponse(transaction=begun)
        found, skipped, read_at = self._state.run(plan, how)
        read_time = to_timestamp(read_at)
        if not found:
            yield RunQueryResponse(read_time=read_time, skipped_results=skipped, done=True)
        for number, version in enumerate(found, 1):
            response = RunQueryResponse(read_time=read_time, skipped_results=skipped)
            show(version, plan.select, response.document)
            skipped = 0
            if number == len(found):
                response.done = True
            yield response

    def run_aggregation_query(self, request: Any) -> Iterator[Any]:
        """RunAggregationQuery."""
        if request.HasField("explain_options"):
            raise errors.unimplemented("RunAggregationQueryRequest.explain_options")
        asked = aggregates.read(request.structured_aggregation_query)
        plan = query.plan(request.parent, request.structured_aggregation_query.structured_query)
        how, begun = self._begin_with(request)
        result, read_at = self._state.aggregate(plan, asked, how)
        response = RunAggregationQueryResponse(transaction=begun, read_time=to_timestamp(read_at))
        for alias, value in result.items():
            response.result.aggregate_fields[alias].CopyFrom(value)
        yield response

    def partition_query(self, request: Any) -> Any:
        """PartitionQuery: cursors that part a collection group into even shares, in pages."""
        if request.partition_count <= 0:
            raise errors.invalid_argument("partition_count must be positive.")
        plan = query.plan(request.parent, request.structured_query)
        read_time = to_micros(request.read_time) if request.HasField("read_time") else None
        names = self._state.partition(plan, request.partition_count, read_time)
        begin = _page_start(request.page_token, names)
        size = request.page_size if request.page_size > 0 else len(names)
        page = names[begin : begin + size]
        response = PartitionQueryResponse(
            partitions=[Cursor(values=[Value(reference_value=name)], before=True) for name in page]
        )
        if begin + size < len(names):
            response.next_page_token = _page_token(page[-1])
        return response

    def listen(self, incoming: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Listen."""
        return Listening(self._state, incoming, context).responses()

    def write(self, incoming: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        """Write."""
        return self._writing.responses(incoming)

    def _begin_with(self, request: Any) -> tuple[Consistency, bytes]:
        """How to read, and the id of the transaction that the request asked to begin, if any."""
        if request.WhichOneof("consistency_selector") != "new_transaction":
            return _consistency(request), b""
        begun = self._begin(request.new_transaction, read_only_by_default=True)
        return Consistency(transaction=begun), begun

    def _begin(self, options: Any, *, read_only_by_default: bool) -> bytes:
        mode = options.WhichOneof("mode")
        if mode == "read_only" or (mode is None and read_only_by_default):
            at = options.read_only
            read_time = to_micros(at.read_time) if at.HasField("read_time") else None
            return self._state.begin(read_only=True, read_time=read_time)
        return self._state.begin(read_only=False, retry=options.read_write.retry_transaction)

    def _write_one(self, write: Any, mask: tuple[fields.FieldPath, ...] | None) -> Any:
        name = write.update.name
        committed = self._state.commit(database_of(name), [write])
        at = committed.results[0][0]
        found, _ = self._state.read([name], Consistency())
        version = found[0][1]
        if version is None or version.at != at:
            return Document(name=name, update_time=to_timestamp(at or committed.at))
        return answered(version, mask)

    def _write_alone(self, database: str, write: Any) -> tuple[Any, Any]:
        try:
            committed = self._state.commit(database, [write])
        except ApiError as error:
            status = status_pb2.Status(code=error.code.value[0], message=error.message)
            return WriteResult(), status
        return write_results(committed)[0], status_pb2.Status()


def handlers(
    state: State, faults: Faults
) -> tuple[Sequence[grpc.GenericRpcHandler], dict[str, QuickMethod]]:
    """The gRPC handlers of the service, and which methods are quick, by their path.

    What is not emulated answers UNIMPLEMENTED by name. ``faults`` learns which methods there are.
    """
    service = Firestore(state)
    unary = {
        "GetDocument": (service.get_document, requests.GetDocumentRequest),
        "CreateDocument": (service.create_document, requests.CreateDocumentRequest),
        "UpdateDocument": (service.update_document, requests.UpdateDocumentRequest),
        "DeleteDocument": (service.delete_document, requests.DeleteDocumentRequest),
        "ListDocuments": (service.list_documents, requests.ListDocumentsRequest),
        "ListCollectionIds": (service.list_collection_ids, requests.ListCollectionIdsRequest),
        "BeginTransaction": (service.begin_transaction, requests.BeginTransactionRequest),
        "Commit": (service.commit, requests.CommitRequest),
        "Rollback": (service.rollback, requests.RollbackRequest),
        "BatchWrite": (service.batch_write, requests.BatchWriteRequest),
        "PartitionQuery": (service.partition_query, requests.PartitionQueryRequest),
    }
    streaming = {
        "BatchGetDocuments": (service.batch_get_documents, requests.BatchGetDocumentsRequest),
        "RunQuery": (service.run_query, requests.RunQueryRequest),
        "RunAggregationQuery": (
            service.run_aggregation_query,
            requests.RunAggregationQueryRequest,
        ),
    }
    two_way = {
        "Listen": (service.listen, requests.ListenRequest),
        "Write": (service.write, requests.WriteRequest),
    }
    methods = {name: _unary(method, kind) for name, (method, kind) in unary.items()}
    methods |= {name: _streaming(method, kind) for name, (method, kind) in streaming.items()}
    methods |= {name: _two_way(method, kind) for name, (method, kind) in two_way.items()}
    streams = [(name, method.response_streaming) for name, method in methods.items()]
    faults.knows("firestore", methods_of({SERVICE: streams}))
    brief = {name: (once(call), kind) for name, (call, kind) in unary.items() if name in _QUICK}
    quick = {
        f"/{SERVICE}/{name}": QuickMethod(
            from_bytes(_bounded(kind), _of_checked(method), _serialized, ApiError),
            methods[name],
            _takes_turns(kind) if name in _TAKING_TURNS else None,
            is_long=name in _LONG,
        )
        for name, (method, kind) in (brief | streaming).items()
    }
    return [grpc.method_handlers_generic_handler(SERVICE, methods), _NotEmulated()], quick


class _NotEmulated(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every other method of any service."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method.lstrip("/")

        def refuse(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"Method {method} is not emulated")
            yield

        return grpc.stream_stream_rpc_method_handler(refuse)


def _unary(method: Callable[[Any], Any], kind: Any) -> grpc.RpcMethodHandler:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(_checked(request))
        except ApiError as error:
            context.abort(error.code, error.message)

    return grpc.unary_unary_rpc_method_handler(answer, _bounded(kind), _serialized)


def _streaming(method: Callable[[Any], Iterator[Any]], kind: Any) -> grpc.RpcMethodHandler:
    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from method(_checked(request))
        except ApiError as error:
            context.abort(error.code, error.message)

    return grpc.unary_stream_rpc_method_handler(answer, _bounded(kind), _serialized)


def _two_way(
    method: Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]], kind: Any
) -> grpc.RpcMethodHandler:
    def answer(incoming: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from method(incoming, context)
        except ApiError as error:
            context.abort(error.code, error.message)

    return grpc.stream_stream_rpc_method_handler(answer, kind.pb().FromString, _serialized)


def _serialized(message: Any) -> bytes:
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())


def _bounded(kind: Any) -> Callable[[bytes], Any]:
    """Reads a request; one over the limit is left to ``_checked``, which may answer it."""
    read = kind.pb().FromString
    return lambda raw: read(raw) if len(raw) <= _MAX_REQUEST_BYTES else _TOO_LONG


def _of_checked(method: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    return lambda request: method(_checked(request))


def _takes_turns(kind: Any) -> Callable[[bytes], bool]:
    """Of a kind of read, whether it may have to wait in line: within a transaction."""
    read = kind.pb().FromString

    def takes_turns(raw: bytes) -> bool:
        try:
            return read(raw).WhichOneof("consistency_selector") in _TRANSACTIONS
        except DecodeError:
            return False  # the answer says so

    return takes_turns


def _checked(request: Any) -> Any:
    if request is _TOO_LONG:
        raise errors.invalid_argument(
            f"Request payload size exceeds the limit: {_MAX_REQUEST_BYTES} bytes."
        )
    return request


def _consistency(request: Any) -> Consistency:
    selector = request.WhichOneof("consistency_selector")
    if selector == "transaction":
        return Consistency(transaction=request.transaction)
    if selector == "read_time":
        return Consistency(read_time=to_micros(request.read_time))
    return Consistency()


def _mask(request: Any) -> tuple[fields.FieldPath, ...] | None:
    if not request.HasField("mask"):
        return None
    return tuple(fields.parse(path) for path in request.mask.field_paths)


def _written_name(write: Any) -> str:
    operation = write.WhichOneof("operation")
    if operation == "update":
        return str(write.update.name)
    return str(write.delete if operation == "delete" else write.transform.document)


def _listing(request: Any) -> query.Plan:
    return query.Plan(
        parent=parent_name(request.parent),
        collection_id=request.collection_id,
        descendants=False,
        where=None,
        orders=query.orders_of_text(request.order_by),
        start=None,
        end=None,
        offset=0,
        limit=None,
        select=None,
    )


def _page_token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _page_name(token: str) -> str:
    """The item that the token names; raises INVALID_ARGUMENT."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise errors.invalid_argument("invalid page token") from error


def _page_start(token: str, listed: list[str]) -> int:
    """The position after the item that the token names; raises INVALID_ARGUMENT."""
    if not token:
        return 0
    name = _page_name(token)
    if name not in listed:
        raise errors.invalid_argument("invalid page token")
    return listed.index(name) + 1
