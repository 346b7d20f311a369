"""What the gRPC emulators share: a loopback server over raw protobuf classes, loud about gaps,
and the shell of those that call endpoints.

``raw`` gives the protobuf class behind a client library's proto-plus class: served directly it
is several times as fast. A method that no table names answers UNIMPLEMENTED with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc
from geminivideo.runtime.clock import Clock
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from emulators.faults.delivery_hook import DeliveryFaults
from emulators.faults.engine import Faults
from emulators.faults.rpc_hook import FaultInterceptor, methods_of
from emulators.outbound import Attendants, Outbound, Rewrite, TokenMinter
from emulators.quick_calls import Answers, QuickCalls, QuickMethod, from_bytes, once
from emulators.serving import LOOPBACK, PortInUseError, listening_socket
from emulators.workers import Workers

MAX_REQUEST_BYTES = 24 * 1024 * 1024
MAX_WORKERS = 256  # threads start as they are needed; an open stream or a waiting pull holds one
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class ApiError(Exception):
    """An error as the API reports it: a canonical status code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Method:
    """One RPC: raw request and reply classes and what answers it; ``streams`` in both ways.

    A ``quick`` one never waits for another call and asks nothing of its context (which may be
    None): it is answered without a thread of its own.
    """

    request: Any
    reply: Any
    call: Callable[..., Any]
    streams: bool = False
    quick: bool = False


Services = Mapping[str, Mapping[str, Method]]  # by full service name, then by method name


def raw(message: Any) -> Any:
    """The protobuf class behind a proto-plus message class."""
    return type(message.pb(message()))


def timestamp(seconds: float) -> Timestamp:
    """Epoch seconds as a protobuf timestamp, to the microsecond."""
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp


def duration(seconds: float) -> Duration:
    """Seconds as a protobuf duration, to the microsecond."""
    span = Duration()
    span.FromMicroseconds(round(seconds * 1e6))
    return span


def seconds(stamp: Any) -> float:
    """A protobuf timestamp or duration as seconds."""
    return float(stamp.seconds) + float(stamp.nanos) / 1e9


def page(names: Iterable[str], size: int, token: str, limit: int) -> tuple[list[str], str]:
    """One page of sorted names after ``token``, and the next page's token ("" at the end)."""
    rest = sorted(name for name in names if name > token)
    count = min(size, limit) if size > 0 else limit
    chosen = rest[:count]
    return chosen, chosen[-1] if len(rest) > count else ""


class RpcServer:
    """A gRPC server on one loopback port; bound when built, answering from ``start`` on.

    ``name`` is also the service that the rules of ``faults`` name.
    """

    def __init__(self, name: str, port: int, faults: Faults) -> None:
        listening_socket(port, name).close()
        self._pool = Workers(MAX_WORKERS, f"rpc-{name}")
        self.port: int
        self._started = False
        self._quick: QuickCalls | None = None
        self._name = name
        self._faults = faults
        hooks = (FaultInterceptor(name, faults),)
        self._server = grpc.server(self._pool, interceptors=hooks, options=_OPTIONS)
        try:
            self.port = self._server.add_insecure_port(f"{LOOPBACK}:{port}")
        except RuntimeError as error:
            raise PortInUseError(port, name) from error

    def start(self, services: Services) -> None:
        """Answer the calls that ``services`` names, and refuse all others by name."""
        known = (
            grpc.method_handlers_generic_handler(service, _handlers(methods))
            for service, methods in services.items()
        )
        self._server.add_generic_rpc_handlers([*known, _Unimplemented()])
        self._faults.knows(self._name, methods_of(_streaming(services)))
        if quick := _quick_methods(services):
            self._quick = QuickCalls(
                self._server, quick, self._pool, lambda: bool(self._faults.active)
            )
        self._server.start()
        if self._quick is not None:
            self._quick.start()
        self._started = True

    def stop(self) -> None:
        """Refuse new calls, give those under way a moment, then cut them off."""
        if not self._started:
            self._server.start()  # gRPC gives a bound port back only when a running server stops
        ended = self._server.stop(grace=0.3).wait(timeout=5)
        if ended and self._quick is not None:
            self._quick.stop()


class Caller(Protocol):
    """What sends the requests of a service: pushes, dispatches, executions."""

    attendants: Attendants

    def start(self) -> None:
        """Attend what was loaded."""


class State(Protocol):
    """What a service keeps on disk."""

    def close(self) -> None:
        """Close the files; nothing may be called afterwards."""


class CallingService:
    """The shell of a gRPC service that calls endpoints; a service gives it its parts by ``_own``.

    The port is bound before anything else is opened: a taken one leaves nothing behind.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        port: int,
        token_minter: TokenMinter | None,
        rewrite: Rewrite | None,
        least_timeout_s: float,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults(clock)
        self._rpc = RpcServer(name, port, self.faults)
        self._deliveries = DeliveryFaults(self.faults)
        self._outbound = Outbound(
            name,
            clock,
            token_minter=token_minter,
            rewrite=rewrite,
            least_timeout_s=least_timeout_s,
        )

    @property
    def port(self) -> int:
        """The gRPC port."""
        return self._rpc.port

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``: for an insecure channel, or the service's ``*_EMULATOR_HOST``."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Answer calls, and resume what an earlier process left to do."""
        self._outbound.start()
        self._caller.start()
        self._rpc.start(self._services)

    def stop(self) -> None:
        """End calls and requests; what is not settled is tried again after the next start."""
        self._rpc.stop()
        self._outbound.stop()
        self._state.close()

    def call_on_ended(self, call: Callable[[], None]) -> None:
        """Call ``call``, which must not block, when a request has its outcome."""
        self._outbound.on_ended = call

    @property
    def spawned(self) -> int:
        """How many requests have been begun."""
        return self._outbound.spawned

    def clock_moved(self) -> None:
        """Tell the server that its clock jumped, so that it looks at what is due now."""
        self._caller.attendants.clock_moved()

    def _own(self, state: State, caller: Caller, services: Services) -> None:
        self._state, self._caller, self._services = state, caller, services


def _streaming(services: Services) -> dict[str, list[tuple[str, bool]]]:
    return {
        service: [(name, method.streams) for name, method in methods.items()]
        for service, methods in services.items()
    }


def _handlers(methods: Mapping[str, Method]) -> dict[str, grpc.RpcMethodHandler]:
    return {name: _handler(method) for name, method in methods.items()}


def _handler(method: Method) -> grpc.RpcMethodHandler:
    build = (
        grpc.stream_stream_rpc_method_handler
        if method.streams
        else grpc.unary_unary_rpc_method_handler
    )
    return build(
        _streamed(method.call) if method.streams else _answered(method.call),
        request_deserializer=method.request.FromString,
        response_serializer=method.reply.SerializeToString,
    )


def _quick_methods(services: Services) -> dict[str, QuickMethod]:
    return {
        f"/{service}/{name}": QuickMethod(_quick_answer(method), _handler(method))
        for service, methods in services.items()
        for name, method in methods.items()
        if method.quick
    }


def _quick_answer(method: Method) -> Callable[[bytes], Answers]:
    def call(request: Any) -> Any:
        return method.call(request, None)

    return from_bytes(
        method.request.FromString, once(call), method.reply.SerializeToString, ApiError
    )


def _answered(call: Callable[..., Any]) -> Callable[..., Any]:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return call(request, context)
        except ApiError as error:
            _abort(context, error)

    return answer


def _streamed(call: Callable[..., Any]) -> Callable[..., Any]:
    def answer(requests: Any, context: grpc.ServicerContext) -> Any:
        try:
            yield from call(requests, context)
        except ApiError as error:
            _abort(context, error)

    return answer


def _abort(context: grpc.ServicerContext, error: ApiError) -> NoReturn:
    context.abort(error.code, error.message)
    raise AssertionError("abort returned")


class _Unimplemented(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every method that no table names."""

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:
        name = handler_call_details.method.lstrip("/")

        def refuse(requests: Any, context: grpc.ServicerContext) -> Any:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not emulated")
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)
