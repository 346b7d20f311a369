"""Batch requests: many calls of the JSON API in one multipart body.

https://cloud.google.com/storage/docs/batch: under 10 MB, no uploads, no downloads. The
documentation advises 100 calls; the client library sends up to 1,000.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from urllib.parse import urlsplit

from emulators.storage import errors

MAX_CALLS = 1_000
MAX_BYTES = 10 << 20
_OUTER_HEADERS = frozenset({"accept-encoding", "connection", "content-length", "host"})


@dataclass(frozen=True)
class Call:
    """One call of a batch; ``target`` is its path with its query."""

    content_id: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """The answer to one call."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


Make = Callable[[Call], Awaitable[Reply]]


def parsed(content_type: str, raw: bytes) -> list[Call]:
    """The calls of a ``multipart/mixed`` body; raises 400 for what is none, or too much."""
    if len(raw) > MAX_BYTES:
        raise errors.invalid("A batch request is at most 10 MB.")
    whole = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + raw)
    if not whole.is_multipart():
        raise errors.invalid("A batch request needs a multipart/mixed body.")
    calls = [_call(part) for part in whole.get_payload() if isinstance(part, Message)]
    if not 0 < len(calls) <= MAX_CALLS:
        raise errors.invalid(f"A batch request has 1 to {MAX_CALLS} calls, not {len(calls)}.")
    return calls


def _call(part: Message) -> Call:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes), "a part that is itself multipart is none of ours"
    head, _, body = payload.replace(b"\r\n", b"\n").partition(b"\n\n")
    line, _, rest = head.lstrip().partition(b"\n")
    words = line.decode(errors="replace").split()
    if len(words) < 2:
        raise errors.invalid("A part of the batch holds no HTTP request.")
    url = urlsplit(words[1])
    if not url.path.startswith("/storage/v1/") or "alt=media" in url.query:
        raise errors.invalid(f"Not allowed in a batch: {words[0]} {url.path}")
    headers = {k: v for k, v in message_from_bytes(rest).items() if k.lower() not in _OUTER_HEADERS}
    target = url.path + (f"?{url.query}" if url.query else "")
    return Call(part.get("Content-ID", ""), words[0], target, headers, body.rstrip(b"\n"))


async def answered(calls: Iterable[Call], make: Make, boundary: str) -> bytes:
    """Make the calls one after another; the multipart body of their answers, in their order."""
    parts = [_part(call, await make(call), boundary) for call in calls]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def _part(call: Call, reply: Reply, boundary: str) -> bytes:
    lines = [f"--{boundary}", "Content-Type: application/http"]
    if call.content_id:
        lines.append(f"Content-ID: <response-{call.content_id.strip('<>')}>")
    lines += ["", f"HTTP/1.1 {reply.status} {reply.reason}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines += [f"Content-Length: {len(reply.body)}", "", ""]
    return "\r\n".join(lines).encode() + reply.body + b"\r\n"
