"""The client side of the emulator measurements, in a process of its own.

``python -m bench.load pubsub|firestore|contention HOST`` prints one JSON object: rates per second
by name, and the milliseconds of contended commits.
Calls go through bare gRPC stubs with a window of calls under way, so that the server is measured
and not the client libraries' own work, which is the same for both sides.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import grpc

WINDOW = 16
BODY = b"x" * 100
UNARY, BATCHES, PER_BATCH = 1_500, 150, 100
PULLED, PUSHED = 10_000, 1_000
GETS, SETS, COMMITS, PER_COMMIT = 1_500, 1_000, 60, 50
CONTENDED_S = 3.0
PATIENCE_S = 120.0
OPTIONS = [("grpc.max_receive_message_length", -1)]

Rates = dict[str, float]


def raw(message: Any) -> Any:
    """The protobuf class behind a proto-plus class."""
    return type(message.pb(message()))


def rate_of(call: Callable[[Any], grpc.Future], requests: list[Any]) -> float:
    """Requests per second with ``WINDOW`` under way; raises what a call raises."""
    under_way: deque[grpc.Future] = deque()
    began = time.perf_counter()
    for request in requests:
        if len(under_way) == WINDOW:
            under_way.popleft().result(timeout=PATIENCE_S)
        under_way.append(call(request))
    for future in under_way:
        future.result(timeout=PATIENCE_S)
    return len(requests) / (time.perf_counter() - began)


def pubsub(host: str) -> Rates:
    """Publish one by one and in batches, pull by stream, push to an endpoint of this process."""
    from google.protobuf.empty_pb2 import Empty
    from google.pubsub_v1 import types

    with grpc.insecure_channel(host, options=OPTIONS) as channel:
        broker = _Broker(channel, types, Empty)
        return {
            "publish, one each": broker.publish_rate(UNARY, 1),
            "publish, 100 each": broker.publish_rate(BATCHES, PER_BATCH),
            "streaming pull": broker.pull_rate(PULLED),
            "push": broker.push_rate(PUSHED),
        }


class _Broker:
    """Pub/Sub by its bare methods, in a project of its own."""

    def __init__(self, channel: grpc.Channel, types: Any, empty: Any) -> None:
        self.types = types
        self.project = f"projects/b-{uuid.uuid4().hex[:8]}"
        kinds = {name: raw(getattr(types, name)) for name in ("Topic", "Subscription")}
        self.topic_type, self.subscription_type = kinds["Topic"], kinds["Subscription"]
        self.request, answer = raw(types.PublishRequest), raw(types.PublishResponse)
        unary = channel.unary_unary
        publisher, subscriber = "/google.pubsub.v1.Publisher/", "/google.pubsub.v1.Subscriber/"
        self._publish = unary(
            publisher + "Publish", self.request.SerializeToString, answer.FromString
        )
        self._create_topic = unary(
            publisher + "CreateTopic",
            self.topic_type.SerializeToString,
            self.topic_type.FromString,
        )
        self._subscribe = unary(
            subscriber + "CreateSubscription",
            self.subscription_type.SerializeToString,
            self.subscription_type.FromString,
        )
        self._delete = unary(
            subscriber + "DeleteSubscription",
            raw(types.DeleteSubscriptionRequest).SerializeToString,
            empty.FromString,
        )
        self._stream = channel.stream_stream(
            subscriber + "StreamingPull",
            raw(types.StreamingPullRequest).SerializeToString,
            raw(types.StreamingPullResponse).FromString,
        )

    def topic(self) -> str:
        name = f"{self.project}/topics/t{uuid.uuid4().hex[:8]}"
        self._create_topic(self.topic_type(name=name), timeout=PATIENCE_S)
        return name

    def subscription(self, topic: str, endpoint: str = "") -> str:
        name = topic.replace("/topics/", "/subscriptions/")
        made = self.subscription_type(name=name, topic=topic, ack_deadline_seconds=60)
        made.push_config.push_endpoint = endpoint
        self._subscribe(made, timeout=PATIENCE_S)
        return name

    def delete(self, subscription: str) -> None:
        request = raw(self.types.DeleteSubscriptionRequest)(subscription=subscription)
        self._delete(request, timeout=PATIENCE_S)

    def batch(self, topic: str, size: int) -> Any:
        return self.request(topic=topic, messages=[{"data": BODY}] * size)

    def publish_rate(self, requests: int, size: int) -> float:
        """Messages per second, to a topic with one subscription that nobody pulls."""
        topic = self.topic()
        subscription = self.subscription(topic)
        rate = rate_of(self._publish.future, [self.batch(topic, size)] * requests) * size
        self.delete(subscription)
        return rate

    def fill(self, topic: str, count: int) -> None:
        rate_of(self._publish.future, [self.batch(topic, PER_BATCH)] * (count // PER_BATCH))

    def pull_rate(self, count: int) -> float:
        """Messages per second from a full backlog by one stream, each one acknowledged."""
        topic = self.topic()
        subscription = self.subscription(topic)
        self.fill(topic, count)
        request = raw(self.types.StreamingPullRequest)
        sent: SimpleQueue[Any] = SimpleQueue()
        sent.put(request(subscription=subscription, stream_ack_deadline_seconds=60))
        began = time.perf_counter()
        got = 0
        stream = self._stream(iter(sent.get, None), timeout=PATIENCE_S)
        for response in stream:
            sent.put(request(ack_ids=[one.ack_id for one in response.received_messages]))
            got += len(response.received_messages)
            if got >= count:
                break
        rate = got / (time.perf_counter() - began)
        sent.put(None)
        stream.cancel()
        self.delete(subscription)
        return rate

    def push_rate(self, count: int) -> float:
        """Messages per second to an endpoint that answers at once, from publish to the last."""
        with_endpoint = Endpoint(count)
        topic = self.topic()
        subscription = self.subscription(topic, with_endpoint.url)
        began = time.perf_counter()
        self.fill(topic, count)
        if not with_endpoint.full.wait(PATIENCE_S):
            raise TimeoutError(f"{with_endpoint.seen} of {count} pushes in {PATIENCE_S:.0f} s")
        rate = count / (time.perf_counter() - began)
        self.delete(subscription)
        return rate


class Endpoint:
    """The least HTTP server that a push needs: reads a request, answers 204, keeps the line."""

    def __init__(self, count: int) -> None:
        self.count, self.seen = count, 0
        self.full = threading.Event()
        ready: SimpleQueue[int] = SimpleQueue()
        threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True).start()
        self.url = f"http://127.0.0.1:{ready.get()}/push"

    async def _serve(self, ready: SimpleQueue[int]) -> None:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            await reader.readexactly(_length(head))
            writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
            self.seen += 1
            if self.seen >= self.count:
                self.full.set()
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError("a push without Content-Length")


def firestore(host: str) -> Rates:
    """Documents read, set one by one, and set fifty at a time."""
    from google.cloud.firestore_v1 import types

    root = f"projects/b-{uuid.uuid4().hex[:8]}/databases/(default)"
    with grpc.insecure_channel(host, options=OPTIONS) as channel:
        unary = channel.unary_unary
        service = "/google.firestore.v1.Firestore/"
        commit = unary(
            service + "Commit",
            raw(types.CommitRequest).SerializeToString,
            raw(types.CommitResponse).FromString,
        )
        get = unary(
            service + "GetDocument",
            raw(types.GetDocumentRequest).SerializeToString,
            raw(types.Document).FromString,
        )
        sets = [_commit(types, root, [n]) for n in range(SETS)]
        whole = [
            _commit(types, root, range(first, first + PER_COMMIT))
            for first in range(0, COMMITS * PER_COMMIT, PER_COMMIT)
        ]
        reads = [raw(types.GetDocumentRequest)(name=_name(root, n % SETS)) for n in range(GETS)]
        return {
            "set": rate_of(_as(commit), sets),
            "get": rate_of(_as(get), reads),
            "commit, 50 writes each": rate_of(_as(commit), whole) * PER_COMMIT,
        }


def contention(host: str) -> Rates:
    """Transactions of 2, 8 and 32 writers on one document; raises when an update is lost."""
    from bench.contention import WRITERS, measure

    found: Rates = {}
    for writers in WRITERS:
        seen = measure(writers, host, CONTENDED_S)
        if seen.lost:
            raise AssertionError(f"{seen.lost} updates of {writers} writers are lost at {host}")
        found[f"increments by {writers}"] = seen.commits / seen.seconds
        found[f"commit among {writers}, median"] = seen.median_ms
    return found


def _as(method: Any) -> Callable[[Any], grpc.Future]:
    """As the emulators' clients are known: with the owner's rights."""
    return lambda request: method.future(request, metadata=(("authorization", "Bearer owner"),))


def _name(root: str, number: int) -> str:
    return f"{root}/documents/things/{number}"


def _commit(types: Any, root: str, numbers: Any) -> Any:
    request = raw(types.CommitRequest)(database=root)
    for number in numbers:
        document = request.writes.add().update
        document.name = _name(root, number)
        document.fields["n"].integer_value = number
        document.fields["text"].string_value = "a text of some length, as documents have it"
        document.fields["tags"].array_value.values.add().string_value = "one"
    return request


MEASURED: dict[str, Callable[[str], Rates]] = {
    "pubsub": pubsub,
    "firestore": firestore,
    "contention": contention,
}


def main(arguments: list[str]) -> Iterator[str]:
    """The rates of one service at one address, as a line of JSON."""
    service, host = arguments
    yield json.dumps(MEASURED[service](host))


if __name__ == "__main__":
    sys.stdout.writelines(main(sys.argv[1:]))
