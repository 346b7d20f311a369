"""The script on a gRPC server: an interceptor that wraps what answers a call.

gRPC's Python server cannot cut one connection, so a dropped call ends with the status that a
client reports for a cut one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import Any, NoReturn

import grpc
from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2
from google.rpc import error_details_pb2 as error_details  # registers what details are made of

from emulators.faults import shapes
from emulators.faults.engine import Call, Faults
from emulators.faults.rules import Kind, Rule
from emulators.faults.waits import pause

CUT = "recvmsg:Connection reset by peer"
_DETAILS = "grpc-status-details-bin"
_NAMES = ("name", "topic", "subscription", "parent", "snapshot", "database")
_NAMED = ("topic", "subscription", "queue", "job", "document", "task")
assert error_details.ErrorInfo


class FaultInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Strikes the calls of one service; without a live rule a call is handed on as it is."""

    def __init__(self, service: str, faults: Faults) -> None:
        self._service = service
        self._faults = faults

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> grpc.RpcMethodHandler | None:
        """The method's own handler, wrapped while there is something to strike."""
        handler = continuation(handler_call_details)
        # An open stream may be struck by a rule that is added later: it is always wrapped.
        if handler is None or not (self._faults.active or handler.response_streaming):
            return handler
        endpoint = short_name(handler_call_details.method)
        return _Wrapped(self._service, self._faults, endpoint, handler).handler()


def short_name(method: str) -> str:
    """``Publisher/Publish`` of ``/google.pubsub.v1.Publisher/Publish``."""
    service, _, name = method.lstrip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"


def methods_of(services: Mapping[str, Iterable[tuple[str, bool]]]) -> dict[str, bool]:
    """Endpoint to whether it streams, of ``{full service: [(method, streams)]}``."""
    return {
        short_name(f"/{service}/{name}"): streams
        for service, methods in services.items()
        for name, streams in methods
    }


def resources_of(request: Any) -> Sequence[str]:
    """What a request is about: full names, and each without its project and location."""
    full = list(dict.fromkeys(_full_names(request)))
    return (*full, *(_short(name) for name in full))


def _full_names(request: Any) -> Iterator[str]:
    for member in _NAMES:
        value = getattr(request, member, "")
        if isinstance(value, str) and value:
            yield value
    for member in _NAMED:
        name = getattr(getattr(request, member, None), "name", "")
        if isinstance(name, str) and name:
            yield name
    documents = getattr(request, "documents", ())
    yield from (each for each in documents if isinstance(each, str))
    for write in getattr(request, "writes", ()):
        yield write.update.name or write.delete or write.transform.document


def _short(name: str) -> str:
    _, is_document, path = name.partition("/documents/")
    return path if is_document else name.rpartition("/")[2]


class _Wrapped:
    """One method under the script."""

    def __init__(self, service: str, faults: Faults, endpoint: str, handler: Any) -> None:
        self._service = service
        self._faults = faults
        self._endpoint = endpoint
        self._inner = handler

    def handler(self) -> grpc.RpcMethodHandler:
        inner = self._inner
        ends = (inner.request_deserializer, inner.response_serializer)
        if inner.request_streaming and inner.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._talked, *ends)
        if inner.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streamed, *ends)
        if inner.request_streaming:
            return inner
        return grpc.unary_unary_rpc_method_handler(self._answered, *ends)

    def _answered(self, request: Any, context: grpc.ServicerContext) -> Any:
        rule = self._begun(lambda: resources_of(request), context)
        answer = self._inner.unary_unary(request, context)
        if rule is not None and rule.drop == "after":
            cut(context)
        return answer

    def _streamed(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        def resources() -> Sequence[str]:
            return resources_of(request)

        rule = self._begun(resources, context)
        yield from self._passed(
            self._inner.unary_stream(request, context), rule, resources, context
        )

    def _talked(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        remembered = _Remembering(requests)

        def resources() -> Sequence[str]:
            return resources_of(remembered.first())

        rule = self._begun(resources, context)
        responses = self._inner.stream_stream(remembered, context)
        yield from self._passed(responses, rule, resources, context)

    def _begun(
        self, resources: Callable[[], Sequence[str]], context: grpc.ServicerContext
    ) -> Rule | None:
        rule = self._taken(Kind.CALL, resources, context)
        if rule is None:
            return None
        if rule.delay_s:
            pause(self._faults.clock, rule.delay_s, context.is_active)
        if rule.refuses:
            refuse(context, rule)
        if rule.drop == "before":
            cut(context)
        return rule

    def _passed(
        self,
        responses: Any,
        rule: Rule | None,
        resources: Callable[[], Sequence[str]],
        context: grpc.ServicerContext,
    ) -> Iterator[Any]:
        loses = rule is not None and rule.drop == "after"
        with closing(responses) if hasattr(responses, "close") else nullcontext():
            for response in responses:
                if loses:
                    break
                if self._faults.active:
                    stall = self._taken(Kind.MESSAGE, resources, context)
                    if stall is not None:
                        pause(self._faults.clock, stall.stall_s, context.is_active)
                yield response
        if loses:
            cut(context)

    def _taken(
        self, kind: Kind, resources: Callable[[], Sequence[str]], context: grpc.ServicerContext
    ) -> Rule | None:
        def callers() -> Sequence[str]:
            port = context.peer().rpartition(":")[2]
            return (self._faults.caller_at(int(port)),) if port.isdigit() else ()

        if not self._faults.active:
            return None
        return self._faults.take(Call(self._service, self._endpoint, kind, callers, resources))


class _Remembering:
    """The requests of a stream; the first can be looked at before it is taken."""

    def __init__(self, requests: Iterator[Any]) -> None:
        self._requests = requests
        self._first: list[Any] = []
        self._given = False

    def __iter__(self) -> _Remembering:
        return self

    def __next__(self) -> Any:
        if self._given:
            return next(self._requests)
        first = self.first()
        self._given = True
        if first is None:
            raise StopIteration
        return first

    def first(self) -> Any:
        """The first request, waited for; None when the stream ends without one."""
        if not self._first:
            self._first.append(next(self._requests, None))
        return self._first[0]


def cut(context: grpc.ServicerContext) -> NoReturn:
    """End a call as a client sees a connection that broke."""
    context.abort(grpc.StatusCode.UNAVAILABLE, CUT)
    raise AssertionError("abort returned")


def refuse(context: grpc.ServicerContext, rule: Rule) -> NoReturn:
    """Answer the scripted error, with its details as ``google.rpc.Status``."""
    code, message = shapes.code_of(rule), shapes.message_of(rule)
    if details := shapes.details_of(rule):
        status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
        for detail in details:
            json_format.ParseDict(detail, status.details.add())
        context.set_trailing_metadata(((_DETAILS, status.SerializeToString()),))
    context.abort(grpc.StatusCode[code], message)
    raise AssertionError("abort returned")
