"""Calls of one request are answered without a thread that waits for each step of the wire.

gRPC's Python server hands each call to a pool's thread, and its request and reply back and forth
under one interpreter lock: for a short call that is more than half of what it costs. These
methods are registered with gRPC's core under a completion queue of their own, and one thread
takes a call from it, reads, answers and ends it; of an answer of many messages it sends the next
when it finds the last one sent. Everything on the wire stays with the core.

``grpc._cython.cygrpc`` and ``grpc._server`` are private to grpcio, whose version is locked; the
contract suites run through here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from grpc import _server
from grpc._cython import cygrpc

_LOG = logging.getLogger(__name__)
_NO_FLAGS = 0
_NO_METADATA = ()
_ENDED = None
_JOIN_S = 5.0

Answer = tuple[int, bytes, bytes | None]  # status code, its details, the serialized reply
Answers = Iterator[Answer]  # each with a reply, but for the last: it has the status
_WELL: Answer = (cygrpc.StatusCode.ok, b"", None)
_NO_REQUEST: Answer = (cygrpc.StatusCode.unimplemented, b"the call had no request", None)
_UNREADABLE: Answer = (cygrpc.StatusCode.internal, b"Exception deserializing request!", None)


@dataclass(frozen=True)
class QuickMethod:
    """``answers``: from the request's bytes, raises nothing; ``handler``: the same for a thread.

    ``may_wait`` says of which requests that they are to be answered on a thread after all, and
    ``is_long`` that the first reply is.
    """

    answers: Callable[[bytes], Answers]
    handler: grpc.RpcMethodHandler
    may_wait: Callable[[bytes], bool] | None = None
    is_long: bool = False


def from_bytes(
    parse: Callable[[bytes], Any],
    call: Callable[[Any], Iterator[Any]],
    write: Callable[[Any], bytes],
    refusal: type[Any],
) -> Callable[[bytes], Answers]:
    """A method from bytes to bytes; errors as gRPC's own server reports them.

    ``refusal``: the service's own error, with its status ``code`` and its ``message``.
    """

    def answers(body: bytes) -> Answers:
        try:
            for reply in call(parse(body)):
                yield cygrpc.StatusCode.ok, b"", write(reply)
        except refusal as error:
            yield error.code.value[0], error.message.encode(), None
        except DecodeError:
            yield _UNREADABLE
        except Exception as error:  # noqa: BLE001  logged and told to the caller
            _LOG.exception("a quick call failed")
            told = f"Exception calling application: {error}".encode()
            yield cygrpc.StatusCode.unknown, told, None
        else:
            yield _WELL

    return answers


def once(call: Callable[[Any], Any]) -> Callable[[Any], Iterator[Any]]:
    """What answers with one reply, as what answers with some."""

    def calls(request: Any) -> Iterator[Any]:
        yield call(request)

    return calls


class QuickCalls:
    """The quick methods of one server, by their path (``/package.Service/Method``).

    While ``is_struck`` a call goes to a thread of ``pool`` and through the server's interceptors,
    as any other does: there it may be delayed.
    """

    def __init__(
        self,
        server: Any,
        methods: Mapping[str, QuickMethod],
        pool: Executor,
        is_struck: Callable[[], bool],
    ) -> None:
        """Register the methods; the server has not been started."""
        self._methods = methods
        self._pool = pool
        self._is_struck = is_struck
        self._interceptors = server._state.interceptor_pipeline
        self._core = server._state.server
        self._queue = cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        for path in methods:
            self._core.register_method(path)
        self._thread = threading.Thread(target=self._serve, name="quick-calls", daemon=True)

    def start(self) -> None:
        """Answer; the server has been started."""
        for path in self._methods:
            self._ask(path)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the server has ended every call."""
        self._queue.shutdown()
        self._thread.join(_JOIN_S)

    def _ask(self, path: str) -> None:
        """Ask the core for one more call of a method."""
        self._core.request_registered_call(self._queue, self._queue, path, path)

    def _serve(self) -> None:
        while True:
            event = self._queue.poll()
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                return
            _told(self._process, event)
            del event  # else its call outlives it until the next one comes

    def _process(self, event: Any) -> None:
        tag = event.tag
        if tag is _ENDED:
            return
        if type(tag) is tuple:
            call, method = tag
            request = event.batch_operations[0].message()
            if request is None:
                self._send(call, iter((_NO_REQUEST,)))
            elif method.may_wait is not None and method.may_wait(request):
                self._pool.submit(_told, lambda: self._send(call, iter([*method.answers(request)])))
            elif method.is_long:
                self._pool.submit(_told, self._send, call, method.answers(request))
            else:
                self._send(call, method.answers(request))
        elif type(tag) is _Rest:
            if event.success:  # else the caller has gone
                self._go_on(*tag)
        elif isinstance(tag, str):
            if event.success:  # else the server is being shut down
                self._begin(tag, event)
        else:
            for callback in tag(event)[1]:
                callback()

    def _begin(self, path: str, event: Any) -> None:
        try:
            self._take(path, event)
        finally:  # else nobody takes the calls that follow
            try:
                self._ask(path)
            except ValueError:
                _LOG.debug("%s: no more calls, the server is being shut down", path)

    def _take(self, path: str, event: Any) -> None:
        method = self._methods[path]
        if self._is_struck():
            registered = _server._RegisteredMethod(path, method.handler)
            _server._handle_call(event, registered, self._interceptors, self._pool, False)
        else:
            receive = (cygrpc.ReceiveMessageOperation(_NO_FLAGS),)
            event.call.start_server_batch(receive, (event.call, method))

    def _send(self, call: Any, answers: Answers) -> None:
        """Begin to answer; a caller who has gone is answered in vain."""
        begun = cygrpc.SendInitialMetadataOperation(_NO_METADATA, _NO_FLAGS)
        self._go_on(call, next(answers), answers, begun)

    def _go_on(self, call: Any, answer: Answer, answers: Answers, *operations: Any) -> None:
        """Send a message, and with the last one the status."""
        body = answer[2]
        following = None if body is None else next(answers)
        batch = list(operations)
        if body is not None:
            batch.append(cygrpc.SendMessageOperation(body, _NO_FLAGS))
        last = answer if following is None else following
        if last[2] is None:
            batch += _end_of(last)
            call.start_server_batch(batch, _ENDED)
        else:
            call.start_server_batch(batch, _Rest(call, last, answers))


class _Rest(NamedTuple):
    """What is to be sent when what is being sent has been."""

    call: Any
    answer: Answer
    answers: Answers


def _end_of(answer: Answer) -> tuple[Any, ...]:
    code, details, _ = answer
    return (
        cygrpc.SendStatusFromServerOperation(_NO_METADATA, code, details, _NO_FLAGS),
        cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),
    )


def _told(work: Callable[..., None], *given: Any) -> None:
    """Work of which somebody hears when it fails: that call is lost, those that follow are not."""
    try:
        work(*given)
    except Exception:  # noqa: BLE001  as said
        _LOG.exception("a call ended with an exception that gRPC does not know of")
