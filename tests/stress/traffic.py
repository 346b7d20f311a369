"""Traffic with a memory: what was acknowledged, what arrived, and how often."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
from aiohttp import web
from google.api_core import exceptions

from emulators.serving import HttpService

from .mortal import PROJECT, Clients, Mortal

MESSAGES, TASKS, DOCUMENTS, OBJECTS = 1_000, 200, 500, 20
AHEAD_S = 600.0  # how far ahead every second task is scheduled
PER_REQUEST = 10
PER_COMMIT = 5
CONCURRENT_TASKS = 50
TIMEOUT_S = 20.0
TOPIC, LANDED = (f"projects/{PROJECT}/topics/{name}" for name in ("things", "landed"))
PULLED, PUSHED, LANDINGS = (
    f"projects/{PROJECT}/subscriptions/{name}" for name in ("pulled", "pushed", "landings")
)
PLACE = f"projects/{PROJECT}/locations/here"
QUEUE = f"{PLACE}/queues/work"
BUCKET = "mortal-uploads"
LOST = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.Cancelled,
    requests.ConnectionError,
    requests.Timeout,
)


@dataclass
class Arrival:
    """One request at the endpoint: machine times, and the product time it came at."""

    began: float
    at: float
    ended: float | None = None


class Inbox:
    """The endpoint of pushes and tasks; ``gate`` cleared, it receives and answers nobody."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.gate = threading.Event()
        self.gate.set()
        self.arrivals: dict[str, list[Arrival]] = defaultdict(list)
        self.service = HttpService("inbox", self._application)

    def seen(self, kind: str) -> set[str]:
        """What arrived, by ``kind`` (the first part of the path)."""
        return {key.partition("/")[2] for key in list(self.arrivals) if key.startswith(kind + "/")}

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/{tail:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        key = request.path.strip("/")
        if key in ("pushed", "landings"):
            message = (await request.json())["message"]
            named = message["messageId"] if key == "pushed" else message["attributes"]["objectId"]
            key = f"{key}/{named}"
        arrival = Arrival(time.monotonic(), self._now())
        self.arrivals[key].append(arrival)
        while not self.gate.is_set():
            await asyncio.sleep(0.005)
        assert body is not None
        arrival.ended = time.monotonic()
        return web.Response()


@dataclass
class Acknowledged:
    """What the services said yes to.

    ``pulled`` are the message ids whose acknowledgement was accepted; ``unsure`` those that were
    acknowledged without an answer.
    """

    messages: dict[str, int] = field(default_factory=dict)
    tasks: set[str] = field(default_factory=set)
    documents: set[int] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)
    pulled: list[str] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)

    def counts(self) -> str:
        """How much of each was accepted, for the reader of a failure."""
        return (
            f"{len(set(self.messages.values()))} messages, {len(self.tasks)} tasks, "
            f"{len(self.documents)} documents, {len(self.objects)} objects accepted; "
            f"{len(self.pulled)} pulled"
        )

    def progress(self) -> float:
        """The share of everything to be sent that was accepted, 0 to 1."""
        done = len(set(self.messages.values())) + len(self.tasks)
        done += len(self.documents) + len(self.objects)
        return done / (MESSAGES + TASKS + DOCUMENTS + OBJECTS)


class Traffic:
    """Four senders and a puller; each sends again, after a restart, what was not acknowledged."""

    def __init__(self, cloud: Mortal) -> None:
        self.cloud = cloud
        self.inbox = Inbox(cloud.now)
        self.yes = Acknowledged()
        self.wrong: list[BaseException] = []
        self.last: Exception | None = None
        self._up = threading.Event()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def provision(self) -> None:
        """Topics, subscriptions, a queue, a bucket with a notification; the cloud is up."""
        self.started = self.cloud.now()
        self.inbox.service.start()
        to = self.cloud.clients
        for topic in (TOPIC, LANDED):
            to.publisher.create_topic(name=topic)
        to.subscriber.create_subscription(name=PULLED, topic=TOPIC)
        for name, topic in ((PUSHED, TOPIC), (LANDINGS, LANDED)):
            url = f"{self.inbox.service.url}/{name.rpartition('/')[2]}"
            to.subscriber.create_subscription(
                name=name, topic=topic, push_config={"push_endpoint": url}
            )
        limits = {
            "max_dispatches_per_second": 500,
            "max_concurrent_dispatches": CONCURRENT_TASKS,
        }
        to.tasks.create_queue(parent=PLACE, queue={"name": QUEUE, "rate_limits": limits})
        bucket = to.storage.create_bucket(BUCKET)
        bucket.notification("landed", topic_project=PROJECT, payload_format="JSON_API_V1").create()

    def start(self, pulling: bool = True) -> None:
        """Begin to send, and to pull unless told not to."""
        self._up.set()
        for send in (self._publish, self._enqueue, self._write, self._upload):
            self._run(send)
        if pulling:
            self.pull()

    def pull(self) -> None:
        """Begin to pull and acknowledge."""
        self._run(self._pull)

    def pause(self) -> None:
        """The cloud is down: what fails waits."""
        self._up.clear()

    def resume(self) -> None:
        """The cloud is up again."""
        self._up.set()

    def stop(self) -> None:
        """End everything."""
        self._over.set()
        self._up.set()
        self.inbox.gate.set()
        for thread in self._threads:
            thread.join(timeout=TIMEOUT_S)
        self.inbox.service.stop()

    def until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait for something that must come."""
        end = time.monotonic() + TIMEOUT_S
        while not reached():
            assert not self.wrong, self.wrong
            assert time.monotonic() < end, f"waited for {what}: {self.yes.counts()} ({self.last})"
            time.sleep(0.02)

    def _run(self, work: Callable[[], None]) -> None:
        def body() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - the test shows it
                self.wrong.append(error)

        self._threads.append(threading.Thread(target=body, daemon=True))
        self._threads[-1].start()

    def _insist(self, send: Callable[[Clients], None]) -> None:
        """Until it is acknowledged, over as many restarts as it takes."""
        while not self._over.is_set():
            self._up.wait()
            try:
                return send(self.cloud.clients)
            except LOST as error:
                self.last = error
                time.sleep(0.02)
        return None

    def _publish(self) -> None:
        for first in range(0, MESSAGES, PER_REQUEST):
            numbers = range(first, first + PER_REQUEST)
            self._insist(lambda to, numbers=numbers: self._publish_one(to, numbers))

    def _publish_one(self, to: Clients, numbers: Iterable[int]) -> None:
        messages = [{"data": b"m%d" % n} for n in numbers]
        ids = to.publisher.publish(topic=TOPIC, messages=messages, retry=None, timeout=5)
        self.yes.messages |= dict(zip(ids.message_ids, numbers, strict=True))

    def _enqueue(self) -> None:
        for number in range(TASKS):
            self._insist(lambda to, number=number: self._enqueue_one(to, number))

    def _enqueue_one(self, to: Clients, number: int) -> None:
        name = f"t{number}"
        task = {
            "name": f"{QUEUE}/tasks/{name}",
            "http_request": {"url": f"{self.inbox.service.url}/task/{name}"},
        }
        if number % 2:
            task["schedule_time"] = datetime.fromtimestamp(self.due(name), UTC)
        with suppress(exceptions.AlreadyExists):  # made before, and not acknowledged
            to.tasks.create_task(parent=QUEUE, task=task, retry=None, timeout=5)
        self.yes.tasks.add(name)

    def due(self, name: str) -> float:
        """When a task may come at the earliest, in product time."""
        return self.started + (AHEAD_S if int(name[1:]) % 2 else 0.0)

    def _write(self) -> None:
        for first in range(0, DOCUMENTS, PER_COMMIT):
            numbers = range(first, first + PER_COMMIT)
            self._insist(lambda to, numbers=numbers: self._write_one(to, numbers))

    def _write_one(self, to: Clients, numbers: range) -> None:
        batch = to.firestore.batch()
        for number in numbers:
            batch.create(to.firestore.document(f"things/{number}"), {"n": number})
        batch.set(to.firestore.document("last/one"), {"n": numbers[-1]})
        with suppress(exceptions.AlreadyExists):  # as above; all writes are made or none
            batch.commit(retry=None, timeout=5)
        self.yes.documents.update(numbers)

    def _upload(self) -> None:
        for number in range(OBJECTS):
            self._insist(lambda to, number=number: self._upload_one(to, number))

    def _upload_one(self, to: Clients, number: int) -> None:
        name = f"o{number}"
        blob = to.storage.bucket(BUCKET).blob(name)
        blob.upload_from_string(contents(name), retry=None, timeout=5, checksum="crc32c")
        self.yes.objects.add(name)

    def _pull(self) -> None:
        while not self._over.is_set():
            self._insist(self._pull_once)

    def _pull_once(self, to: Clients) -> None:
        request = {"subscription": PULLED, "max_messages": 50}
        try:
            answer = to.subscriber.pull(request=request, retry=None, timeout=0.5)
        except exceptions.DeadlineExceeded:
            return
        if received := list(answer.received_messages):
            ids = {one.message.message_id for one in received}
            request = {"subscription": PULLED, "ack_ids": [one.ack_id for one in received]}
            self.yes.unsure |= ids
            to.subscriber.acknowledge(request=request, retry=None, timeout=5)
            self.yes.unsure -= ids
            self.yes.pulled += ids


def contents(name: str) -> bytes:
    """What is in an object of that name: 64 KiB that no other object has."""
    return (name.encode() * 65_536)[:65_536]
