"""Transport of the host: the front end on loopback, and the stream to a function's process."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from emulators.host import errors
from emulators.host.state import MAX_BODY_BYTES
from emulators.identity import without_signature
from emulators.serving import LOOPBACK

_CHUNK = 64 * 1024
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


# functions-framework labels what a function prints with the request's execution id; the trace is
# one, so that each line of a log names its trace.
EXECUTION_HEADER = "Function-Execution-Id"
_W3C = re.compile(r"[0-9a-fA-F]{2}-([0-9a-fA-F]{32})-[0-9a-fA-F]{16}-[0-9a-fA-F]{2}")
_GOOGLES = re.compile(r"([0-9a-fA-F]{32})(?:/|$)")
_TRACE = web.RequestKey("trace", str)
REFUSED = web.RequestKey("refused", str)
_BEGUN = web.RequestKey("begun", bool)
_TOO_LARGE = web.RequestKey("too_large", bool)


class BodyTooLargeError(Exception):
    """More bytes came than Cloud Run takes."""


def open_session() -> aiohttp.ClientSession:
    """One connection per request: a process may be replaced between any two.

    A request whose connection is lost is not sent again, as Cloud Run never does: aiohttp would by
    itself, once, when its method is idempotent, and has no setting against it.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=_NOT_OURS,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    session._retry_connection = False
    return session


def bearer(request: web.Request) -> str:
    """The bearer token of a request, empty when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def check_size(request: web.Request) -> None:
    """Raise the 413 refusal when the announced body is too large."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise errors.too_large(MAX_BODY_BYTES)


def forwarded_headers(request: web.Request, *, verified: bool) -> CIMultiDict[str]:
    """The caller's headers as Cloud Run passes them on, with a trace if there was none."""
    headers = end_to_end(request.headers)
    if verified:
        headers["Authorization"] = f"Bearer {without_signature(bearer(request))}"
    headers.setdefault("X-Forwarded-For", request.remote or LOOPBACK)
    headers.setdefault("X-Forwarded-Proto", "http")
    trace, span = trace_of(request), secrets.token_hex(8)
    headers.setdefault("traceparent", f"00-{trace}-{span}-01")
    headers.setdefault("X-Cloud-Trace-Context", f"{trace}/{int(span, 16)};o=1")
    headers.setdefault(EXECUTION_HEADER, trace)
    return headers


def trace_of(request: web.Request) -> str:
    """The 32 hexadecimal digits of the trace that a request is part of, or that it begins."""
    if _TRACE not in request:
        sent = request.headers
        given = _W3C.match(sent.get("traceparent", ""))
        given = given or _GOOGLES.match(sent.get("X-Cloud-Trace-Context", ""))
        request[_TRACE] = given[1].lower() if given else secrets.token_hex(16)
    return request[_TRACE]


def request_line(request: web.Request, project: str, status: int, seconds: float) -> dict[str, Any]:
    """What Cloud Run's request log says of a request (``LogEntry.httpRequest``), and its trace."""
    return {
        "httpRequest": {
            "requestMethod": request.method,
            "requestUrl": request.path,
            "status": status,
            "userAgent": request.headers.get("User-Agent", ""),
            "latency": f"{seconds:.3f}s",
        },
        "logging.googleapis.com/trace": f"projects/{project}/traces/{trace_of(request)}",
    }


def end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Headers without those that belong to one connection."""
    named = {n.strip().lower() for n in headers.get("Connection", "").split(",")}
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP | named
    )


async def exchange(
    session: aiohttp.ClientSession, request: web.Request, port: int, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """Stream the request to the process on ``port`` and its answer back to the caller.

    Raises ``aiohttp.ClientError`` when the process fails before its answer began; afterwards the
    caller's connection is cut, so that half an answer is not taken for a whole one.
    """
    url = URL(f"http://{LOOPBACK}:{port}{request.raw_path}", encoded=True)
    body = _limited(request) if request.body_exists else None
    async with session.request(
        request.method, url, headers=headers, data=body, allow_redirects=False
    ) as answer:
        response = web.StreamResponse(
            status=answer.status, reason=answer.reason, headers=end_to_end(answer.headers)
        )
        request[_BEGUN] = True
        await response.prepare(request)
        await _stream(answer, response, request)
        return response


async def _stream(
    answer: aiohttp.ClientResponse, response: web.StreamResponse, request: web.Request
) -> None:
    try:
        async for chunk in answer.content.iter_chunked(_CHUNK):
            await response.write(chunk)
        await response.write_eof()
    except aiohttp.ClientError:
        cut_begun_answer(request)
    except ConnectionResetError:
        return  # the caller left; the process has done its work all the same


async def _limited(request: web.Request) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in request.content.iter_chunked(_CHUNK):
        received += len(chunk)
        if received > MAX_BODY_BYTES:
            request[_TOO_LARGE] = True
            raise BodyTooLargeError
        yield chunk


def is_too_large(request: web.Request) -> bool:
    """Whether the exchange failed because the caller sent more than is taken."""
    return request.get(_TOO_LARGE, False)


def cut_begun_answer(request: web.Request) -> None:
    """Cut the caller's connection when an answer has begun that cannot be finished."""
    if request.get(_BEGUN, False) and request.transport is not None:
        request.transport.abort()


def local_port(request: web.Request) -> int:
    """The port that the caller asked."""
    assert request.transport is not None
    return int(request.transport.get_extra_info("sockname")[1])


def unknown_port() -> web.Response:
    """A port without a function: only between two deployments."""
    return web.Response(status=HTTPStatus.NOT_FOUND, text="Error: no function is deployed here\n")
